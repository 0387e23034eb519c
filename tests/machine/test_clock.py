"""A clock that was wrong: what was signed by it is replaced as soon as it is right, without a restart."""

from __future__ import annotations

from tests.machine.lib.family import CA, HEALTHY, STATE, add_member, hub_pid, logged_in, proxy_pid, ready
from tests.machine.lib.machine import Machine
from tests.machine.lib.plugin import NewMachine

#: The machines here share the kernel's clock with the whole computer. So the proxy, the program that makes
#: certificates for it, and the hub are told another time by Debian's libfaketime, which reads it from this file.
DIFFERENCE = "/etc/faketimerc"
WRAPPER = f"""\
#!/bin/sh
export LD_PRELOAD=$(ls /usr/lib/*/faketime/libfaketimeMT.so.1)
export FAKETIME_TIMESTAMP_FILE={DIFFERENCE} FAKETIME_NO_CACHE=1
export FAKETIME_DONT_FAKE_MONOTONIC=1 DONT_FAKE_MONOTONIC=1
exec "$0.real" "$@"
"""
NODE = "/var/lib/jupyterhub4family/releases/current/node/bin/node"
PYTHON = "/var/lib/jupyterhub4family/releases/current/venv/bin/python"
#: Seconds for the proxy to look at its clock and to have a certificate made, under load.
TIMEOUT = 60
VERDICT = "curl -sS --cacert {ca} -o /dev/null https://127.0.0.1:8000/hub/health 2>&1 | grep -i '{output}'"


def another_time(machine: Machine, program: str, wrapper: str) -> None:
    """Have this program of the release, which `wrapper` leads to, told the time by the file."""
    machine.run("apt-get install -qy --no-install-recommends libfaketime", timeout=300)
    machine.write(DIFFERENCE, "+0\n")
    machine.run(f"mv {program} {program}.real")
    machine.write("/root/wrapper", WRAPPER)
    machine.run(f"install -o jupyterhub -m 755 /root/wrapper {wrapper}")


def test_a_wrong_clock_becomes_right(new_machine: NewMachine) -> None:
    machine = ready(new_machine("bookworm", layer="installed"))
    another_time(machine, f"$(readlink -f {NODE})", NODE)
    machine.run("jupyterhub4family restart --all")
    machine.wait(HEALTHY, timeout=TIMEOUT)
    add_member(machine, "alice")
    proxy, authority = proxy_pid(machine), machine.read(CA)
    with logged_in(machine, "alice") as alice:
        alice.start_server()
        kernel = alice.kernel()
        kernel.execute("kept = 42")
        # A dead battery on the board, and a clock that somebody has set a year too late.
        for difference, output in (("-2500d", "expired"), ("+400d", "not yet valid")):
            machine.write(DIFFERENCE, f"{difference}\n")
            machine.wait(VERDICT.format(ca=CA, output=output), timeout=TIMEOUT)
            assert (
                "Browsers do not trust the portal's certificate"
                in machine.execute("jupyterhub4family doctor certificate").stdout
            )
            machine.write(DIFFERENCE, "+0\n")
            machine.wait(HEALTHY, timeout=TIMEOUT)
        assert kernel.execute("kept") == "42", "the very same connection goes on"
    assert proxy_pid(machine) == proxy
    assert machine.read(CA) == authority, "no device has to be told anything"
    assert "No problems." in machine.run("jupyterhub4family doctor certificate")


def test_the_hubs_clock_jumps_by_a_year_and_back(new_machine: NewMachine) -> None:
    """Logins may end by it; kernels, members and the database do not."""
    machine = ready(new_machine("bookworm", layer="installed"))
    another_time(machine, PYTHON, PYTHON)
    machine.run("jupyterhub4family restart")
    machine.wait(HEALTHY, timeout=TIMEOUT)
    assert "libfaketime" in machine.run(f"cat /proc/{hub_pid(machine)}/maps"), "the hub's time is the file's"
    add_member(machine, "alice")
    with logged_in(machine, "alice") as alice:
        alice.start_server()
        kernel = alice.kernel()
        kernel.execute("kept = 42")
        for difference in ("+365d", "+0", "-365d", "+0"):
            machine.write(DIFFERENCE, f"{difference}\n")
            # With a newly started hub, which looks at all it remembers, and with one that goes on.
            if difference != "+0":
                machine.run("jupyterhub4family restart")
            machine.wait(HEALTHY, timeout=TIMEOUT)
            # Whom the hub lets in a year ago, by a cookie that ends in two weeks, a browser of today takes for expired.
            if difference != "-365d":
                with logged_in(machine, "alice") as again:
                    assert "" in again.servers(), difference
                    assert again.kernel().execute("6 * 7") == "42", difference
            assert kernel.execute("kept") == "42", difference
        alice.close()
    with logged_in(machine, "alice") as alice:
        alice.stop_server()
    code = f'import sqlite3; print(*sqlite3.connect("{STATE}/jupyterhub.sqlite").execute("PRAGMA integrity_check"))'
    assert "ok" in machine.run(f"python3 -c '{code}'")
    assert "alice" in machine.run("jupyterhub4family members list")
