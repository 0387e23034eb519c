"""Members' environments: hard links, hands off, following, mending, and attacks on the door that makes them."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.machine.lib.family import (
    PASSWORD,
    TEMPLATE,
    add_member,
    digest_of_template,
    logged_in,
    ready,
    shared_machine,
)
from tests.machine.lib.machine import Machine
from tests.machine.lib.plugin import NewMachine

PLACE = ".local/share/jupyterhub4family"
#: Of Debian 11's Python pip knows no certificates but its own, so behind a filtering proxy it has to be told.
PIP = f"PIP_CERT=/etc/ssl/certs/ca-certificates.crt ~/{PLACE}/env/bin/python -m pip"
DOOR = "/usr/lib/jupyterhub4family/environment"
#: Names, modes, owners and sizes of everything that is not alice's; times change by being looked at.
LISTING = "find /etc /usr/local /home/bob /var/lib/jupyterhub4family/templates -printf '%p %m %u %g %s\\n' | sort"
STAGING = "/var/lib/jupyterhub4family/handover"


def env_status(machine: Machine, name: str) -> dict[str, object]:
    status: dict[str, object] = json.loads(machine.run("jupyterhub4family env status --json", user=name))
    return status


pytestmark = pytest.mark.any_debian


@pytest.fixture(scope="module")
def machine(suite: str) -> Iterator[Machine]:
    """A machine with two members."""
    with shared_machine(suite, "alice", "bob") as machine:
        yield machine


def test_members_add_prepares_a_hard_linked_environment(machine: Machine) -> None:
    assert env_status(machine, "alice")["made_by"] == "hard links"
    # Its folders are hers, its files are the template's.
    assert machine.run(f"find ~alice/{PLACE}/env -type d ! -user alice").strip() == ""
    same = machine.run(
        f"cd ~alice/{PLACE}/env/lib/python3*/site-packages; stat -c %i jupyterlab/__init__.py;"
        f" cd {TEMPLATE}/lib/python3*/site-packages; stat -c %i jupyterlab/__init__.py"
    ).split()
    assert same[0] == same[1]
    own = int(
        machine.run(
            f"find ~alice/{PLACE}/env -links 1 -type f -o -type d -printf '%k\\n' | awk '{{s+=$1}} END {{print s}}'"
        )
    )
    assert own < 25_000, f"{own} kB for one more member"
    with logged_in(machine, "alice") as alice:
        events = alice.start_server()
        assert not any("only this first time" in event.message for event in events), "already made"
        assert alice.kernel().execute("1+1") == "2"
        alice.stop_server()


def test_a_member_cannot_write_into_the_template(machine: Machine) -> None:
    before = digest_of_template(machine)
    assert machine.run(f"find {TEMPLATE}/ -perm /022 ! -type l").strip() == ""
    attack = (
        f"cd ~/{PLACE}/env; for f in $(find . -type f | head -2000); do echo evil >> $f; chmod 777 $f; "
        'truncate -s 0 $f; chown alice $f; done 2>/dev/null; python3 -c \'open("pyvenv.cfg", "a")\' 2>/dev/null; true'
    )
    machine.run(attack, user="alice")
    machine.run(f"ln {TEMPLATE}/pyvenv.cfg ~/stolen 2>/dev/null; ! test -e ~/stolen", user="bob")
    with logged_in(machine, "alice") as alice:
        alice.start_server()
        terminal = alice.terminal()
        assert "done" in terminal.run("pip install -q --force-reinstall --no-deps six idna && echo done", 120).output
        alice.stop_server()
    assert digest_of_template(machine) == before
    with logged_in(machine, "bob") as bob:
        bob.start_server()
        assert bob.kernel().execute("1+1") == "2"
        bob.stop_server()


def test_the_door_serves_members_only_and_takes_nothing(machine: Machine) -> None:
    machine.run("id stranger >/dev/null 2>&1 || useradd -m stranger")
    assert machine.execute(f"sudo -n {DOOR}", user="stranger", input="{}").returncode != 0
    assert machine.execute(f"sudo -n {DOOR}", user="jupyterhub", input="{}").returncode != 0
    assert machine.execute(DOOR, user="alice", input="{}").returncode == 4
    for request in ("", "[]", '{"path": "/etc"}', '{"member": "bob"}', "{" * 10000):
        done = machine.execute(f"sudo -n {DOOR}", user="alice", input=request)
        assert done.returncode == 2 and json.loads(done.stdout)["ok"] is False, done
    assert "Traceback" not in machine.execute(f"sudo -n {DOOR}", user="alice", input="\x00").stderr


def test_links_in_the_home_lead_root_nowhere(machine: Machine) -> None:
    """~/.local replaced by links to root's and to another member's places: nothing of theirs changes."""
    before = machine.run(LISTING)
    for target in ("/etc", "/usr/local", "/home/bob", "/var/lib/jupyterhub4family"):
        machine.run(f"rm -rf ~/.local; ln -s {target} ~/.local", user="alice")
        done = machine.execute('echo {\\"action\\": \\"prepare\\"} | /usr/lib/jupyterhub4family/mediator', user="alice")
        answer = json.loads(done.stdout.splitlines()[-1])
        assert answer["ok"] is False and "Traceback" not in done.stderr, done
    machine.run("rm ~/.local", user="alice")
    assert machine.run(LISTING) == before
    machine.run('echo {\\"action\\": \\"prepare\\"} | /usr/lib/jupyterhub4family/mediator', user="alice")
    assert env_status(machine, "alice")["missing"] == []


def test_what_nobody_fetched_is_cleaned_up(machine: Machine) -> None:
    for _ in range(3):
        machine.run(f"sudo -n {DOOR}", user="alice", input="{}")
    assert len(machine.run(f"ls {STAGING}").split()) >= 3
    machine.run(f"touch -d '2 hours ago' {STAGING}/*")
    machine.run(f"sudo -n {DOOR}", user="alice", input="{}")
    left = machine.run(f"ls -d {STAGING}/*/env 2>/dev/null || true").split()
    assert len(left) == 1, left
    # sudo has killed the door while it handed over: the deepest folders are alice's already, the others not yet.
    half = f"{STAGING}/$(id -u alice).0123456789abcdef"
    machine.run(f"install -d -m 700 -o jupyterhub {half}; install -d -o jupyterhub {half}/env {half}/env/lib")
    machine.run(f"install -d -o alice {half}/env/lib/deep")
    machine.run(f"install -m 644 -o jupyterhub /etc/hostname {half}/env/lib/deep/file; touch -d '2 hours ago' {half}")
    machine.run(f"sudo -n {DOOR}", user="bob", input="{}")
    assert machine.execute(f"test -e {half}").returncode == 1, machine.run(f"find {half} -ls")


@pytest.mark.any_debian
def test_upgrade_and_repair_keep_own_packages(new_machine: NewMachine, suite: str) -> None:
    machine = ready(new_machine(suite, layer="installed"))
    add_member(machine, "alice", "bob")
    for name in ("alice", "bob"):
        machine.run("echo precious > ~/notes.ipynb", user=name)
    machine.run(f"{PIP} install -q iniconfig==2.0.0", user="alice")
    assert env_status(machine, "alice")["changed"] is True
    assert env_status(machine, "bob")["changed"] is False
    assert env_status(machine, "alice")["extras"] == {"iniconfig": "2.0.0"}

    # A new template, as a new version of the package brings one: the same packages under another id.
    machine.run(
        "cd /var/lib/jupyterhub4family/templates && old=$(readlink current) && new=${old%-*}-000000000000"
        " && cp -al $old $new && ln -sfn $new current",
        user="jupyterhub",
    )
    # The service makes the wanted one current again when it is asked; here it is the members' turn first.
    with logged_in(machine, "bob") as bob:
        events = bob.start_server()
        assert bob.kernel().execute("1+1") == "2"
        assert events
    assert env_status(machine, "alice")["changed"] is True, "a changed environment is left alone"

    for damage, cure in (
        (f"rm -r ~/{PLACE}/env/lib/python3*/site-packages/tornado", "repair"),
        (f"{PIP} uninstall -qy jupyter-server", "repair"),
        ("true", "reset"),
    ):
        machine.run(damage, user="alice")
        response = machine.run(f"jupyterhub4family env {cure}", user="alice")
        assert "Repaired" in response or "Rebuilt" in response, response
        extras = env_status(machine, "alice")["extras"]
        assert extras == ({"iniconfig": "2.0.0"} if cure != "reset" else {}), (damage, extras)
        assert machine.read("/home/alice/notes.ipynb") == "precious\n"
    assert "in order" in machine.run("jupyterhub4family env repair alice")
    assert machine.execute("jupyterhub4family env status alice", user="bob").returncode == 4
    assert machine.execute("jupyterhub4family env status").returncode == 2


@pytest.mark.any_debian
def test_a_broken_environment_mends_itself_at_the_next_start(new_machine: NewMachine, suite: str) -> None:
    """Of three members, each with something else broken."""
    machine = ready(new_machine(suite, layer="installed"))
    # What the broken servers say before they are mended.
    machine.expect_log("ModuleNotFoundError|ImportError")
    damages = {
        "tornado": f"rm -r ~/{PLACE}/env/lib/python3*/site-packages/tornado",
        "jupyter-server": f"{PIP} uninstall -qy jupyter-server",
        # As after an upgrade of Debian: the Python of this environment is gone.
        "python": f"cd ~/{PLACE}/env; ln -sfn /usr/bin/python3.4 bin/python; mv lib/python3.* lib/python3.4",
    }
    for name, damage in zip(("alice", "bob", "carl"), damages):
        add_member(machine, name)
        machine.run(f"{PIP} install -q iniconfig==2.0.0", user=name)
        machine.run(damages[damage], user=name)
        with logged_in(machine, name) as member:
            events = member.start_server()
            assert any("Repairing" in event.message for event in events), (damage, events)
            assert any("was rebuilt, keeping your own packages" in event.message for event in events), (damage, events)
            found = member.kernel().execute("import importlib.metadata as m; print(m.version('iniconfig'))")
            assert "2.0.0" in found, damage
            member.stop_server()


@pytest.mark.any_debian
def test_another_disk_falls_back_to_a_copy(new_machine: NewMachine, suite: str) -> None:
    machine = ready(new_machine(suite, layer="installed"))
    machine.run("mount -t tmpfs -o size=2g none /home")
    add_member(machine, "alice")
    assert env_status(machine, "alice")["made_by"] == "copy"
    with logged_in(machine, "alice") as alice:
        alice.start_server()
        assert alice.kernel().execute("1+1") == "2"


@pytest.mark.any_debian
def test_a_full_disk_is_told_at_once_and_nothing_is_lost(new_machine: NewMachine, suite: str) -> None:
    machine = ready(new_machine(suite, layer="installed"))
    machine.run("mount -t tmpfs -o size=100m none /home")
    add_member(machine, "alice")
    machine.run("echo 'export A=1' > ~/.bashrc", user="alice")
    with logged_in(machine, "alice") as alice:
        try:
            alice.start_server()
        except Exception as error:
            assert "full" in str(error) and "MB" in str(error), error
        else:
            raise AssertionError("400 MB went into 100 MB")
        assert machine.run("cat ~alice/.bashrc") == "export A=1\n"
        assert machine.run(f"ls -A ~alice/{PLACE}").split() == ["lock"]
        machine.run("mount -o remount,size=2g /home")
        alice.start_server()
        assert alice.kernel().execute("1+1") == "2"


@pytest.mark.any_debian
def test_without_a_template_it_is_fetched(new_machine: NewMachine, suite: str) -> None:
    machine = ready(new_machine(suite, layer="installed"))
    machine.add_account("alice", PASSWORD)
    machine.run("jupyterhub4family stop; rm -rf /var/lib/jupyterhub4family/templates/*")
    machine.run("jupyterhub4family members add alice")
    machine.run('echo {\\"action\\": \\"prepare\\"} | /usr/lib/jupyterhub4family/mediator', user="alice", timeout=600)
    assert env_status(machine, "alice")["made_by"] == "fetched"
