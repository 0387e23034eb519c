"""An installed 0.1.0 becomes what is here, in place, and goes back again: the programs of both lay their files so.

What runs while files are exchanged is the other one's code: the hub, the upgrade itself, doors that are just open. A
module that has moved must not be missed by any of them.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.machine.attacks.test_squatters import SQUATTERS, lie_in_wait, prey
from tests.machine.lib.deb import altered_deb, deb_of_commit, field
from tests.machine.lib.family import STATE, add_member, logged_in, ready
from tests.machine.lib.layers import install
from tests.machine.lib.machine import Machine
from tests.machine.lib.plugin import NewMachine
from tests.machine.test_upgrade import TIMEOUT, assert_same, kernel_with_variable, status, version

#: What was 0.1.0.
FIRST_RELEASE = "1f33e490ca9ddf3f9fb01c70ffc9d7ffd8397c4f"


@pytest.mark.any_debian
def test_there_and_back(new_machine: NewMachine, deb: Path, tmp_path: Path, suite: str) -> None:
    first = deb_of_commit(FIRST_RELEASE)
    assert field(first, "Version") == "0.1.0"
    machine = new_machine(suite, layer="deps")
    install(machine, first)
    add_member(machine, "alice", *SQUATTERS)
    machine.run("gpasswd -a bob jupyterhub_adm >/dev/null")
    machine.run("jupyterhub4family config set family_name Miller")
    ready(machine)  # that restarts the hub
    members = machine.run("jupyterhub4family members list")
    machine.put(altered_deb(deb, "0.1.1", tmp_path), "/root/ours.deb")
    with logged_in(machine, "alice") as alice:
        kernel = kernel_with_variable(alice)
        lie_in_wait(machine)
        machine.run("dpkg -i /root/ours.deb </dev/null >/dev/null 2>&1")
        ready(machine, TIMEOUT)
        assert version(machine) == "0.1.1" and status(machine)["failed_upgrade"] == ""
        assert prey(machine) == "", "whose programs opened their ports by themselves, and end now"
        machine.run(f"for name in {' '.join(SQUATTERS)}; do crontab -u $name -r; pkill -f [s]quat.py; done; true")
        assert_same(kernel)
        assert database_written_by(machine) == "new", "with a log"
        assert alice.get("/hub/home").status == 200, "the login from before is still good"
        assert machine.run("jupyterhub4family members list") == members

        machine.run("jupyterhub4family rollback </dev/null >/dev/null 2>&1", timeout=TIMEOUT)
        ready(machine, TIMEOUT)
        assert version(machine) == "0.1.0"
        assert_same(kernel)
        assert database_written_by(machine) == "old", "0.1.0 knows no log, and leaves none"
        assert alice.get("/hub/home").status == 200
        assert machine.run("jupyterhub4family members list") == members
    assert "Miller" in machine.run("jupyterhub4family config get family_name")
    with logged_in(machine, "bob") as bob:
        bob.start_server()
        assert bob.kernel().execute("6 * 7") == "42"


def database_written_by(machine: Machine) -> str:
    """Which of the two writes the hub's database, by its header and what lies beside it."""
    header = machine.run(f"od -An -tx1 -j18 -N2 {STATE}/jupyterhub.sqlite").split()
    log, journal = (machine.exists(f"{STATE}/jupyterhub.sqlite-{name}") for name in ("wal", "journal"))
    found = {(("02", "02"), True, False): "new", (("01", "01"), False, True): "old"}
    return found.get(((header[0], header[1]), log, journal), f"{header} {log} {journal}")
