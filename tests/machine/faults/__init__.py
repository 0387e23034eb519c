"""Faults that a machine at home has, each with "nothing is lost" asserted.

Here is what no other test is about already: killed hub and proxy are in test_servers.py and test_supervisors.py, power
cuts and a full disk while something is built in test_interrupted.py, a full disk and memory in test_limits.py, a
changed address in test_https.py, a wrong clock in test_clock.py, power cuts in an upgrade in test_upgrade.py.
"""
