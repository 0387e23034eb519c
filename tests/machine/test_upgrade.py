"""Upgrades: tried out before they count, taken back by themselves or by hand, while notebooks go on."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.machine.lib.client import Browser, Kernel
from tests.machine.lib.deb import altered_deb, field
from tests.machine.lib.family import STATE, add_member, hub_pid, logged_in, ready
from tests.machine.lib.layers import IN_PROGRESS
from tests.machine.lib.machine import Machine
from tests.machine.lib.plugin import NewMachine
from tests.machine.lib.repository import Repository

HOME = "/var/lib/jupyterhub4family"
PACKAGE = "usr/lib/jupyterhub4family/jupyterhub4family"
LOCKS = "usr/share/jupyterhub4family/locks"
#: Seconds that an upgrade may take from its files to its end, on a machine with much else to do.
TIMEOUT = 300
#: What Debian's own timers call.
DAILY = "/usr/lib/apt/apt.systemd.daily update && /usr/lib/apt/apt.systemd.daily install"
VERSION = "dpkg-query -W -f '${Version}' jupyterhub4family"


def version(machine: Machine) -> str:
    return machine.run(VERSION)


def status(machine: Machine) -> dict[str, Any]:
    reported: dict[str, Any] = json.loads(machine.execute("jupyterhub4family status --json").stdout)
    return reported


def kernel_with_variable(browser: Browser) -> Kernel:
    browser.start_server()
    kernel = browser.kernel()
    kernel.execute("import os; kept = os.getpid()")
    return kernel


def assert_same(kernel: Kernel) -> None:
    kernel.reconnect()
    assert kernel.execute("kept == os.getpid()") == "True"


def hub_does_not_start(tree: Path) -> None:
    with (tree / PACKAGE / "hub/configuration.py").open("a") as file:
        file.write('\nraise RuntimeError("broken on purpose")\n')


def nobody_gets_in(tree: Path) -> None:
    door = tree / PACKAGE / "root/doors/authenticate.py"
    text = door.read_text()
    broken = text.replace("allowed=not reason", "allowed=False")
    assert broken != text
    door.write_text(broken)


def other_locks(tree: Path) -> None:
    with (tree / LOCKS / "hub.txt").open("a") as file:
        file.write("# changed\n")


#: A newer JupyterHub with a newer form of the database.
MIGRATION = """
import sqlalchemy
from alembic import op

revision = "aaaaaaaaaaaa"
down_revision = "{head}"


def upgrade():
    op.create_table("newer", sqlalchemy.Column("id", sqlalchemy.Integer))
"""
#: Prints the release that a package, unpacked in a folder, will want.
WANTED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1] + "/usr/lib/jupyterhub4family")
from jupyterhub4family.common import paths
paths.LOCKS = Path(sys.argv[1] + "/usr/share/jupyterhub4family/locks")
from jupyterhub4family.service.releases.contents import release_tree
print(release_tree(print).wanted_id())
"""


def with_newer_release(machine: Machine, deb: str) -> str:
    """Lay the release that this package wants, as if it had been fetched: with a newer form of the database."""
    machine.write("/root/wanted.py", WANTED)
    machine.run(f"rm -rf /root/tree; dpkg-deb -x {deb} /root/tree")
    wanted = machine.run("python3 -I /root/wanted.py /root/tree").strip()
    head = revision(machine)
    machine.run(f"cd {HOME}/releases && runuser -u jupyterhub -- cp -al $(readlink current) {wanted}")
    directory = machine.run(
        f"ls -d {HOME}/releases/{wanted}/venv/lib/python3*/site-packages/jupyterhub/alembic/versions"
    ).strip()
    machine.write(f"{directory}/aaaaaaaaaaaa_newer.py", MIGRATION.replace("{head}", head))
    return wanted


def revision(machine: Machine, database: str = f"{STATE}/jupyterhub.sqlite") -> str:
    code = (
        "import sqlite3, sys; print(*sqlite3.connect(sys.argv[1]).execute('select * from alembic_version').fetchone())"
    )
    return machine.run(f'python3 -c "{code}" {database}').strip()


def release(machine: Machine) -> str:
    return machine.run(f"readlink {HOME}/releases/current").strip()


@pytest.mark.any_debian
def test_by_itself_and_back_by_itself(new_machine: NewMachine, deb: Path, tmp_path: Path, suite: str) -> None:
    """N to N+1 by Debian's own daily work; a broken N+2 is taken back, is told, and does not come again."""
    machine = ready(new_machine(suite, layer="installed"))
    machine.run("apt-get install -qq -y --no-install-recommends unattended-upgrades </dev/null >/dev/null 2>&1")
    # Debian's own updates are not what is tried here.
    machine.write("/etc/apt/apt.conf.d/51only-ours", "#clear Unattended-Upgrade::Origins-Pattern;\n")
    add_member(machine, "alice", "bob")
    machine.run("gpasswd -a bob jupyterhub_adm >/dev/null")
    refused = machine.execute("jupyterhub4family config set auto_upgrade on")
    assert refused.returncode == 8 and "upgrade_source" in refused.stderr, refused
    with Repository(machine, tmp_path) as repository, logged_in(machine, "alice") as alice:
        kernel = kernel_with_variable(alice)
        repository.publish(altered_deb(deb, "99.1", tmp_path))
        repository.configure()
        machine.run("jupyterhub4family config set auto_upgrade on")
        before = hub_pid(machine)
        machine.run(f"rm -f /var/lib/apt/periodic/*; {DAILY}", timeout=600)
        ready(machine, TIMEOUT)
        assert version(machine) == "99.1" and hub_pid(machine) != before
        assert status(machine)["failed_upgrade"] == ""
        assert_same(kernel)

        machine.expect_log("broken on purpose")
        repository.publish(altered_deb(deb, "99.2", tmp_path, hub_does_not_start))
        machine.run(f"rm -f /var/lib/apt/periodic/*; {DAILY}", timeout=600)
        machine.wait(f"test -e {HOME}/upgrade/failed.json", timeout=TIMEOUT)
        ready(machine, TIMEOUT)
        assert version(machine) == "99.1"
        assert_same(kernel)
        assert "99.2" in status(machine)["failed_upgrade"] and "99.2" in machine.run("jupyterhub4family status")
        doctor = machine.execute("jupyterhub4family doctor --json upgrade")
        assert doctor.returncode == 1 and "99.2" in doctor.stdout, doctor
        with logged_in(machine, "bob") as bob:
            assert "upgrade-trouble" in bob.get("/hub/home").text
        assert "upgrade-trouble" not in alice.get("/hub/home").text

        machine.run(f"rm -f /var/lib/apt/periodic/*; {DAILY}", timeout=600)
        assert version(machine) == "99.1" and not machine.exists(IN_PROGRESS), "it does not come again by itself"
        machine.run("jupyterhub4family config set auto_upgrade off")
        assert not machine.exists("/etc/apt/apt.conf.d/52jupyterhub4family")


@pytest.mark.any_debian
def test_by_hand_there_and_back(new_machine: NewMachine, deb: Path, tmp_path: Path, suite: str) -> None:
    machine = ready(new_machine(suite, layer="installed"))
    now = field(deb, "Version")
    add_member(machine, "alice")
    assert machine.execute("jupyterhub4family upgrade", user="alice").returncode == 4
    none = machine.run("jupyterhub4family upgrade --check")
    assert "no source" in none, none
    with Repository(machine, tmp_path) as repository, logged_in(machine, "alice") as alice:
        kernel = kernel_with_variable(alice)
        repository.publish(altered_deb(deb, "99.1", tmp_path))
        repository.configure()
        reported = json.loads(machine.run("jupyterhub4family upgrade --check --json"))
        assert reported == {"installed": now, "newer": "99.1", "source": True, "failed": ""}
        output = machine.run("jupyterhub4family upgrade")
        assert "99.1" in output and version(machine) == "99.1" and not machine.exists(IN_PROGRESS)
        assert "99.1" in machine.run("jupyterhub4family upgrade")  # there is nothing newer, and that is no error
        assert_same(kernel)

        output = machine.run("jupyterhub4family rollback")
        assert version(machine) == now and now in output
        assert_same(kernel)
        again = machine.execute("jupyterhub4family rollback")
        assert again.returncode == 3 and "no version to go back to" in again.stderr, again
        assert json.loads(machine.run("jupyterhub4family upgrade --check --json"))["newer"] == ""
        machine.run("jupyterhub4family upgrade --again")
        assert version(machine) == "99.1" and status(machine)["failed_upgrade"] == ""
        assert_same(kernel)
        machine.run("apt-get purge -y jupyterhub4family </dev/null >/dev/null 2>&1")
        assert machine.run("find /etc/apt /var/log -name '*jupyterhub4family*' -not -name '*install*'") == ""


@pytest.mark.with_cron
def test_release_and_database_go_back_as_well(new_machine: NewMachine, deb: Path, tmp_path: Path, suite: str) -> None:
    """Without systemd, and with a power cut: a newer JupyterHub changes the database, and then nobody gets in."""
    machine = ready(new_machine(suite, layer="installed", init="sysvinit"))
    add_member(machine, "alice")
    old, before = release(machine), revision(machine)

    def change(tree: Path) -> None:
        other_locks(tree)
        nobody_gets_in(tree)

    machine.put(altered_deb(deb, "99.2", tmp_path, change), "/root/broken.deb")
    newer = with_newer_release(machine, "/root/broken.deb")
    with logged_in(machine, "alice") as alice:
        kernel = kernel_with_variable(alice)
        machine.run("dpkg -i /root/broken.deb </dev/null >/dev/null 2>&1")
        machine.wait(f"test -e {HOME}/upgrade/failed.json", timeout=TIMEOUT)
        ready(machine, TIMEOUT)
        assert_same(kernel)
        assert alice.get("/hub/home").status == 200, "the login from before is still good"
    assert version(machine) == field(deb, "Version")
    assert release(machine) == old and revision(machine) == before
    assert not machine.exists(f"{HOME}/releases/{newer}")
    replaced = machine.run(f"ls {STATE}/database-copies/*-replaced.sqlite").strip()
    assert revision(machine, replaced) == "aaaaaaaaaaaa", "the newer JupyterHub had been at work"
    failed = status(machine)["failed_upgrade"]
    assert "trial login" in failed and "database is the previous one" in failed, failed
    modes = machine.run(
        f"stat -c %a {STATE}/database-copies {STATE}/database-copies/*.sqlite {STATE}/jupyterhub.sqlite"
    )
    assert set(modes.split()) == {"700", "600"}
    assert "jh4f-probe" not in machine.run("getent passwd")


@pytest.mark.any_debian
def test_downgrade_with_a_newer_database(new_machine: NewMachine, deb: Path, tmp_path: Path, suite: str) -> None:
    """Refused with the reason where the old JupyterHub cannot read the database; with a copy of its own it works."""
    machine = ready(new_machine(suite, layer="installed"))
    add_member(machine, "alice")
    now, before = field(deb, "Version"), revision(machine)
    machine.put(altered_deb(deb, "99.1", tmp_path, other_locks), "/root/newer.deb")
    machine.put(deb, "/root/older.deb")
    with_newer_release(machine, "/root/newer.deb")
    with logged_in(machine, "alice") as alice:
        kernel = kernel_with_variable(alice)
        machine.run("dpkg -i /root/newer.deb </dev/null >/dev/null 2>&1")
        ready(machine, TIMEOUT)
        assert version(machine) == "99.1" and revision(machine) == "aaaaaaaaaaaa"
        machine.run(f"mv {STATE}/database-copies /root/copies")
        machine.run("dpkg -i /root/older.deb </dev/null >/dev/null 2>&1")
        machine.wait(f"test -e {HOME}/upgrade/failed.json", timeout=TIMEOUT)
        ready(machine, TIMEOUT)
        assert version(machine) == "99.1" and revision(machine) == "aaaaaaaaaaaa"
        assert "newer JupyterHub" in status(machine)["failed_upgrade"]
        assert_same(kernel)
        machine.run(f"rm -rf {STATE}/database-copies; mv /root/copies {STATE}/database-copies")
        machine.run("dpkg -i /root/older.deb </dev/null >/dev/null 2>&1")
        ready(machine, TIMEOUT)
        assert version(machine) == now and revision(machine) == before
        assert status(machine)["failed_upgrade"] == ""
        assert_same(kernel)


@pytest.mark.any_debian
def test_it_waits_for_kernels_and_survives_a_power_cut(
    new_machine: NewMachine, deb: Path, tmp_path: Path, suite: str
) -> None:
    machine = ready(new_machine(suite, layer="installed"))
    add_member(machine, "alice")
    machine.run("jupyterhub4family config set upgrade_waits_for_kernels on")
    machine.put(altered_deb(deb, "99.1", tmp_path), "/root/newer.deb")
    with logged_in(machine, "alice") as alice:
        alice.start_server()
        kernel = alice.kernel()
        calculating = "import os, time\nwhile not os.path.exists('/home/alice/enough'): time.sleep(0.1)"
        cell = threading.Thread(target=kernel.execute, args=(calculating, TIMEOUT), daemon=True)
        cell.start()
        before = hub_pid(machine)
        machine.run("dpkg -i /root/newer.deb </dev/null >/dev/null 2>&1")
        machine.wait("jupyterhub4family status | grep -q 'notebook of alice'", timeout=60)
        assert hub_pid(machine) == before
        machine.run("touch ~alice/enough")
        ready(machine, TIMEOUT)
        cell.join(timeout=30)
        assert not cell.is_alive(), "the calculation has come to its end"
        assert hub_pid(machine) != before and version(machine) == "99.1"
    # In the middle of the next one the plug is pulled.
    machine.put(altered_deb(deb, "99.2", tmp_path), "/root/newest.deb")
    machine.run("dpkg -i /root/newest.deb </dev/null >/dev/null 2>&1; sync")
    machine.power_cut()
    machine.start()
    ready(machine, TIMEOUT)
    assert version(machine) == "99.2" and status(machine)["failed_upgrade"] == ""
    assert machine.run(f"cat {HOME}/upgrade/previous.json | tr -d ' \\n'").startswith('{"version":"99.1"')
