"""A clock that was wrong: what was signed by it is replaced as soon as it is right, without a restart."""

from __future__ import annotations

from tests.machine.lib.family import CA, HEALTHY, add_member, logged_in, proxy_pid, ready
from tests.machine.lib.plugin import NewMachine

#: The machines here share the kernel's clock with the whole computer. So the proxy, and the program that makes
#: certificates for it, are told another time by Debian's libfaketime; it reads the difference from this file.
DIFFERENCE = "/etc/faketimerc"
WRAPPER = f"""\
#!/bin/sh
export LD_PRELOAD=$(ls /usr/lib/*/faketime/libfaketimeMT.so.1)
export FAKETIME_TIMESTAMP_FILE={DIFFERENCE} FAKETIME_NO_CACHE=1
export FAKETIME_DONT_FAKE_MONOTONIC=1 DONT_FAKE_MONOTONIC=1
exec "$0.real" "$@"
"""
NODE = "/var/lib/jupyterhub4family/releases/current/node/bin/node"
#: Seconds for the proxy to look at its clock and to have a certificate made, under load.
PATIENCE = 60
VERDICT = "curl -sS --cacert {ca} -o /dev/null https://127.0.0.1:8000/hub/health 2>&1 | grep -i '{said}'"


def test_a_wrong_clock_becomes_right(new_machine: NewMachine) -> None:
    machine = ready(new_machine("bookworm", layer="installed"))
    machine.run("apt-get install -qy --no-install-recommends libfaketime", timeout=300)
    machine.write(DIFFERENCE, "+0\n")
    machine.run(f"mv $(readlink -f {NODE}) $(readlink -f {NODE}).real")
    machine.write("/root/wrapper", WRAPPER)
    machine.run(f"install -o jupyterhub -m 755 /root/wrapper {NODE}")
    machine.run("jupyterhub4family restart --all")
    machine.wait(HEALTHY, timeout=PATIENCE)
    add_member(machine, "alice")
    proxy, authority = proxy_pid(machine), machine.read(CA)
    with logged_in(machine, "alice") as alice:
        alice.start_server()
        kernel = alice.kernel()
        kernel.execute("kept = 42")
        # A dead battery on the board, and a clock that somebody has set a year too late.
        for difference, said in (("-2500d", "expired"), ("+400d", "not yet valid")):
            machine.write(DIFFERENCE, f"{difference}\n")
            machine.wait(VERDICT.format(ca=CA, said=said), timeout=PATIENCE)
            assert (
                "Browsers do not trust the portal's certificate"
                in machine.execute("jupyterhub4family doctor certificate").stdout
            )
            machine.write(DIFFERENCE, "+0\n")
            machine.wait(HEALTHY, timeout=PATIENCE)
        assert kernel.execute("kept") == "42", "the very same connection goes on"
    assert proxy_pid(machine) == proxy
    assert machine.read(CA) == authority, "no device has to be told anything"
    assert "All is well." in machine.run("jupyterhub4family doctor certificate")
