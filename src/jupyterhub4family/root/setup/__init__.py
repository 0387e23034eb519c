"""Runs as root: makes the machine as it should be, and again so."""
