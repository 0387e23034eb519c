"""What is installed is what was written, and stays isolated whatever sudo, a home or root's own home bring along.

The package is the one that this Debian's own tools build: what dh-python of Debian 13 does to first lines, that of the
developer's machine does not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from jupyterhub4family.common.protocol import doors
from tests.machine.lib import layers, written
from tests.machine.lib.deb import altered_deb, deb_of_commit
from tests.machine.lib.family import PASSWORD, add_member, logged_in, ready, shared_machine
from tests.machine.lib.machine import Machine
from tests.machine.lib.plugin import NewMachine
from tests.machine.test_doctor import examine, findings, sentences
from tests.machine.test_from_first_release import FIRST_RELEASE
from tests.machine.test_upgrade import TIMEOUT, version
from tests.unit import hostile

LIBRARY = "/usr/lib/jupyterhub4family"
#: Lies there in place of a module: whoever imports it ends with a traceback.
BROKEN = "raise RuntimeError('broken in a home')"
#: Modules of Python's and Debian's that our programs import, in a home: what `pip install --user` can leave behind.
LAY_BROKEN = f"""
for python in /usr/lib/python3.*; do
    there=$HOME/.local/lib/$(basename $python)/site-packages
    mkdir -p $there
    for name in sitecustomize usercustomize yaml json signal cryptography; do echo "{BROKEN}" > $there/$name.py; done
    echo "import usercustomize" > $there/broken.pth
done
"""
#: Who opens each door on this machine, and something that it does for them.
REQUESTS = {
    "authenticate": ("jupyterhub", "", {"name": "bob", "password": PASSWORD}),
    "mediator": ("jupyterhub", "-u bob", {"action": "prepare"}),
    "environment": ("bob", "", {}),
    "confine": ("bob", "", {}),
    "members": ("mum", "", {"action": "list"}),
}
#: All, and some alone: together, one may keep others from being looked at (a PYTHONHOME without a library does).
ENVIRONMENTS = [
    hostile.ENVIRONMENT,
    {name: value for name, value in hostile.ENVIRONMENT.items() if name != "PYTHONHOME"},
    {name: value for name, value in hostile.ENVIRONMENT.items() if not name.startswith("PYTHON")},
    *({name: hostile.ENVIRONMENT[name]} for name in ("PYTHONPATH", "PYTHONUSERBASE", "PYTHONWARNINGS", "OPENSSL_CONF")),
]

pytestmark = pytest.mark.every_debian


@pytest.fixture(scope="module")
def machine(suite: str) -> Iterator[Machine]:
    """A machine with a member and a delegate, on which lies what this Debian has built."""
    with shared_machine(suite, "bob") as machine:
        machine.add_account("mum", PASSWORD, groups=("jupyterhub_adm",))
        install(machine, written.deb_built_on(suite))
        yield machine


def install(machine: Machine, deb: Path) -> None:
    machine.put(deb, "/root/ours.deb")
    machine.run("dpkg --install /root/ours.deb </dev/null >/dev/null 2>&1")
    ready(machine, TIMEOUT)


def assert_as_written(machine: Machine) -> None:
    found = written.difference(written.written(), written.installed(machine))
    assert found == [], "\n".join(found)


def answer_of(machine: Machine, door: doors.Door, variables: dict[str, str]) -> dict[str, object]:
    """What a door says to somebody who has set these variables."""
    user, become, request = REQUESTS[door.name]
    machine.write("/run/request", json.dumps(request), 0o644)
    settings = " ".join(f"'{name}={value}'" for name, value in variables.items())
    command = f"env {settings} sudo -n {become} {door.path} </run/request"
    done = machine.execute(command, user=user)
    assert "Traceback" not in done.stderr and "ld.so" not in done.stderr, done
    assert done.stdout, done
    answer: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return {key: answer[key] for key in ("ok", "error") if key in answer}


def test_what_is_installed_is_what_was_written(machine: Machine) -> None:
    """First lines, contents, owners and modes of all files; and nothing that nobody wrote."""
    assert_as_written(machine)
    reported = examine(machine)
    assert reported["state"] != "problem", sentences(reported)


def test_and_so_it_is_after_an_upgrade_and_a_rollback(new_machine: NewMachine, suite: str, tmp_path: Path) -> None:
    """From 0.1.0, onwards, and back again; and back to what 0.1.0 was."""
    first, ours = deb_of_commit(FIRST_RELEASE), written.deb_built_on(suite)
    machine = new_machine(suite, layer="deps")
    layers.install(machine, first)
    add_member(machine, "bob")
    for number in ("0.1.1", "0.1.2"):
        install(machine, altered_deb(ours, number, tmp_path))
        assert version(machine) == number
        assert_as_written(machine)
    machine.run("jupyterhub4family rollback </dev/null >/dev/null 2>&1", timeout=TIMEOUT)
    ready(machine, TIMEOUT)
    assert version(machine) == "0.1.1"
    assert_as_written(machine)
    reported = examine(machine)
    assert reported["state"] != "problem", sentences(reported)


def test_back_to_the_first_release(new_machine: NewMachine, suite: str, tmp_path: Path) -> None:
    """The package before is put together of what lies there: it must be what that one was."""
    first = deb_of_commit(FIRST_RELEASE)
    machine = new_machine(suite, layer="deps")
    layers.install(machine, first)
    install(machine, altered_deb(written.deb_built_on(suite), "0.1.1", tmp_path))
    machine.run("jupyterhub4family rollback </dev/null >/dev/null 2>&1", timeout=TIMEOUT)
    ready(machine, TIMEOUT)
    assert version(machine) == "0.1.0"
    now = written.installed(machine)
    # dpkg leaves configuration that the older package does not know; this one does nothing without its program.
    script = "/etc/init.d/jupyterhub4family-hold-ports"
    assert f"{script} " in machine.run("dpkg-query -W -f '${Conffiles}' jupyterhub4family | grep obsolete")
    needed = "/usr/lib/jupyterhub4family/hold-ports"
    assert f"[ -x {needed} ] || exit 0" in machine.read(script) and not machine.exists(needed)
    del now[script]
    found = written.difference(written.unpacked(first), now)
    assert found == [], "\n".join(found)


def test_nothing_of_the_callers_runs_though_sudo_keeps_it(machine: Machine) -> None:
    """Each door answers as it does without, and none runs a line of what the variables lead to."""
    machine.run(hostile.LAY_EVIL)
    without = {door.name: answer_of(machine, door, {}) for door in doors.DOORS}
    assert without["members"]["ok"] and without["environment"]["ok"] and without["authenticate"]["ok"], without
    rules = hostile.sudo_keeps(*hostile.ENVIRONMENT)
    for name in ("00-hostile", "zz-hostile"):
        machine.write(f"/etc/sudoers.d/{name}", rules, 0o440)
    machine.run("visudo -c")
    try:
        for door in doors.DOORS:
            for variables in ENVIRONMENTS:
                assert answer_of(machine, door, variables) == without[door.name], (door.name, variables)
    finally:
        machine.run("rm /etc/sudoers.d/00-hostile /etc/sudoers.d/zz-hostile")
    ran = set(machine.run(f"cat {hostile.RAN}").split())
    assert "0" not in ran, "root has run what a member has written"
    service = machine.run("id -u jupyterhub").strip()
    assert ran <= {machine.run(f"id -u {name}").strip() for name in ("bob", "mum")} | {service}, ran


def test_no_rule_of_the_machines_own_undoes_ours(machine: Machine) -> None:
    """A rule for all commands that comes after ours gives variables to a door; then the first line is the wall."""
    machine.run(hostile.LAY_EVIL)
    kept = " ".join(hostile.ENVIRONMENT)
    machine.write("/etc/sudoers.d/zz-hostile", f'Defaults!ALL env_keep += "{kept}"\n', 0o440)
    try:
        for door in doors.DOORS:
            answer_of(machine, door, hostile.ENVIRONMENT)
    finally:
        machine.run("rm /etc/sudoers.d/zz-hostile")
    assert "0" not in machine.run(f"cat {hostile.RAN}").split(), "root has run what a member has written"


def test_a_program_that_is_not_isolated_says_so_and_does_nothing(machine: Machine) -> None:
    """What dh-python of Debian 13 made of 0.1.0. Doctor names it, and mends it."""
    programs = [*machine.run(f"find {LIBRARY} -maxdepth 1 -type f").split(), "/usr/bin/jupyterhub4family"]
    machine.run(f"cp -a {LIBRARY} /root/kept && cp -a /usr/bin/jupyterhub4family /root/kept-command")
    machine.run(hostile.LAY_EVIL)
    try:
        machine.run(f"sed -i '1s/.*/#! \\/usr\\/bin\\/python3/' {' '.join(programs)}")
        for program in programs:
            done = machine.execute(f"env PYTHONPATH=/nowhere {program} --help </dev/null")
            output = done.stdout + done.stderr
            assert "-I" in output and "Traceback" not in output, (program, done)
            always_well = program == f"{LIBRARY}/mediator"
            assert done.returncode == (0 if always_well else 1), (program, done)
        before = machine.run("getent group jupyterhub")
        done = machine.execute(f"{LIBRARY}/members", input='{"action": "remove", "names": ["bob"]}')
        assert json.loads(done.stdout)["ok"] is False and machine.run("getent group jupyterhub") == before
        # The command itself has to work, to look at the others.
        machine.run("cp -a /root/kept-command /usr/bin/jupyterhub4family")
        reported = examine(machine, "programs")
        named = [one["sentence"] for one in findings(reported, "problem")]
        assert named and all("-I" in sentence for sentence in named), reported
        assert len(named) == len(programs) - 1, "each is named"
        reported = examine(machine, "--fix", "programs")
        assert reported["state"] != "problem", sentences(reported)
        assert_as_written(machine)
    finally:
        machine.run(f"cp -a /root/kept/. {LIBRARY}/ && cp -a /root/kept-command /usr/bin/jupyterhub4family")
        machine.run("rm -r /root/kept /root/kept-command")


def test_what_lies_in_homes_disturbs_nobody_else(machine: Machine) -> None:
    """Broken packages below /root/.local and a member's: commands, doctor, doors, motd, timers and starts go on."""
    machine.run(LAY_BROKEN)
    machine.run(LAY_BROKEN, user="bob")
    machine.run("HOME=/var/lib/jupyterhub4family; " + LAY_BROKEN)
    try:
        _all_goes_on(machine)
    finally:
        for home in ("/root", "/home/bob", "/var/lib/jupyterhub4family"):
            machine.run(f"rm -rf {home}/.local/lib/python3.*")
        machine.run("rmdir -p /var/lib/jupyterhub4family/.local/lib 2>/dev/null; true")


def _all_goes_on(machine: Machine) -> None:
    for command in (
        "jupyterhub4family status",
        "jupyterhub4family members list",
        "jupyterhub4family --help",
        "jupyterhub4family config show",
        "jupyterhub4family cert show",
        "jupyterhub4family restart",
        "run-parts /etc/update-motd.d",
        "/usr/lib/jupyterhub4family/supervised-by systemd",
        "/usr/lib/jupyterhub4family/setup configure",
        "systemctl start jupyterhub4family-backup.service jupyterhub4family-upgrade.service",
    ):
        done = machine.execute(f"{command} </dev/null")
        assert done.returncode == 0 and "Traceback" not in done.stdout + done.stderr, (command, done)
    ready(machine)
    reported = examine(machine)
    assert reported["state"] != "problem", sentences(reported)
    for door in doors.DOORS:
        answer = answer_of(machine, door, {})
        assert answer["ok"] or door.name == "confine", (door.name, answer)
    machine.run("jupyterhub4family env status", user="bob")
    with logged_in(machine, "bob") as bob:
        bob.start_server()
        bob.stop_server()
    journal = machine.run("journalctl --quiet --no-pager --output=cat")
    assert not re.search("broken in a home", journal)
