"""What the service account, taken over, cannot do; and what of root's and of its own others cannot.

What sudo lets through depends on its version, so that is tried on each Debian; the rest on one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.machine.lib.family import PASSWORD, STATE, logged_in, shared_machine, variables_of_server
from tests.machine.lib.machine import Machine

MEDIATOR = "/usr/lib/jupyterhub4family/mediator"
AUTHENTICATE = "/usr/lib/jupyterhub4family/authenticate"
MEMBERS = "/usr/lib/jupyterhub4family/members"


@pytest.fixture(scope="module")
def machine(suite: str) -> Iterator[Machine]:
    """A machine with two members and somebody else; the tests leave it as it was."""
    with shared_machine(suite, "alice", "bob") as machine:
        machine.add_account("stranger", PASSWORD)
        yield machine


def as_service(machine: Machine, command: str, request: object = None) -> tuple[int, str]:
    """Run as the account jupyterhub, as whoever took it over would."""
    text = json.dumps(request) if request is not None else ""
    done = machine.execute(command, user="jupyterhub", input=text)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout + done.stderr


@pytest.mark.every_debian
@pytest.mark.parametrize(
    "command",
    [
        "sudo -n -u alice id",
        "sudo -n id",
        "sudo -n -u alice /bin/sh",
        f"sudo -n {MEDIATOR}",
        f"sudo -n -u root {MEDIATOR}",
        f"sudo -n -u stranger {MEDIATOR}",
        f"sudo -n -u www-data {MEDIATOR}",
        f"sudo -n -u alice -g shadow {MEDIATOR}",
        f"sudo -n -u alice {MEDIATOR} --help",
        f"sudo -n -u alice {MEDIATOR}/../../../bin/id",
        f"sudo -n -u alice PYTHONPATH=/tmp {MEDIATOR}",
        f"sudo -n -E -u alice LD_PRELOAD=/tmp/x {MEDIATOR}",
        f"sudo -n {AUTHENTICATE} x",
        f"sudo -n {MEMBERS}",
        "sudo -n /usr/lib/jupyterhub4family/setup configure",
        "sudo -n /usr/lib/jupyterhub4family/control stop",
        "sudo -n -l -U root",
        "cat /etc/shadow",
    ],
)
def test_the_service_account_may_not(machine: Machine, command: str) -> None:
    status, output = as_service(machine, command)
    assert status != 0, output
    assert "uid=" not in output


@pytest.mark.every_debian
def test_options_of_sudo_lead_nowhere(machine: Machine) -> None:
    """All that sudo can be reported beside a command: other accounts, folders, roots, shells, environments."""
    for options in (
        *("-u '#0'", "-u '#-1'", "-u '#4294967295'", "-u root -g jupyterhub", "-g root", "-u alice -g root"),
        *("-i", "-s", "-i -u alice", "-s -u alice", "-e", "-R / -u alice", "-D /root -u alice", "-u jupyterhub"),
        *("-E -u alice", "BASH_ENV=/tmp/x -u alice", "LD_PRELOAD=/tmp/x -u alice"),
        *("PYTHONPATH=/tmp", "PATH=/tmp", "-E HOME=/tmp", "-u stranger", "-u nobody", "-u bob,root"),
    ):
        for program in (MEDIATOR, "/bin/id"):
            status, output = as_service(machine, f"sudo -n {options} {program}", {"action": "log"})
            refused = status != 0 or '"ok": false' in output
            assert refused and "uid=" not in output, (options, program, output)


@pytest.mark.every_debian
def test_a_poisoned_environment_reaches_no_door(machine: Machine) -> None:
    """Whoever calls has put programs and modules of their own in every place that something could read."""
    trap = "/var/lib/jupyterhub4family/state/trap"
    machine.run(
        f"mkdir -p {trap} && cd {trap} && printf 'import os; os.system(\"touch /tmp/trapped\")' > sitecustomize.py"
        " && cp sitecustomize.py json.py && cp sitecustomize.py usercustomize.py && printf 'touch /tmp/trapped' > rc"
        " && printf '#!/bin/sh\ntouch /tmp/trapped' > gpasswd && chmod 755 gpasswd"
        " && cp gpasswd python3 && cp gpasswd id",
        user="jupyterhub",
    )
    poison = (
        f"PYTHONPATH={trap} PYTHONHOME={trap} PYTHONSTARTUP={trap}/rc PYTHONUSERBASE={trap} PATH={trap}:$PATH"
        f" BASH_ENV={trap}/rc ENV={trap}/rc HOME={trap} LD_LIBRARY_PATH={trap} LANGUAGE=../../trap LC_ALL=C.UTF-8"
        f" JUPYTER_CONFIG_DIR={trap} XDG_CONFIG_HOME={trap} SUDO_UID=0 SUDO_USER=root TMPDIR={trap} IFS=/"
    )
    for door, request in (
        (f"-u alice {MEDIATOR}", {"action": "log"}),
        (f"-u alice {MEDIATOR}", {"action": "prepare", "thorough": True}),
        (AUTHENTICATE, {"name": "alice", "password": PASSWORD}),
    ):
        _status, output = as_service(machine, f"cd {trap} && {poison} /usr/bin/sudo -n {door}", request)
        assert json.loads(output.splitlines()[-1])["ok"] is True, output
    # SUDO_UID is sudo's own word: the service is not taken for root here.
    status, _output = as_service(machine, f"SUDO_UID=0 /usr/bin/sudo -n {MEMBERS}", {"action": "list"})
    assert status != 0
    assert not machine.exists("/tmp/trapped")
    machine.run(f"rm -r {trap}")


@pytest.mark.any_debian
def test_what_is_not_its_own_it_cannot_write(machine: Machine) -> None:
    home = "/var/lib/jupyterhub4family"
    for path in (
        *(f"{home}/.profile", f"{home}/.bashrc", f"{home}/.ssh", f"{home}/handover/x", f"{home}/x", MEDIATOR),
        *("/etc/jupyterhub4family/config.yaml", "/etc/jupyterhub4family/jupyterhub_config.d/x.py", "/etc/cron.d/x"),
        *("/etc/sudoers.d/x", "/etc/pam.d/jupyterhub4family", "/usr/share/jupyterhub4family/x", "/etc/profile.d/x.sh"),
        *("/etc/systemd/system/x.service", "/run/jupyterhub4family/x", "/etc/ld.so.preload", "/usr/local/bin/x"),
    ):
        assert as_service(machine, f"echo x > {path}")[0] != 0, path
        assert as_service(machine, f"ln -sf /etc/shadow {path}")[0] != 0, path


@pytest.mark.any_debian
def test_the_template_leads_root_nowhere(machine: Machine) -> None:
    """The service owns it; root opens a door to it: neither name nor content may have root link what is not its own."""
    templates = "/var/lib/jupyterhub4family/templates"
    door = "/usr/lib/jupyterhub4family/environment"
    kept = machine.run(f"readlink {templates}/current").strip()
    strange = f"{templates}/{kept.split('-')[0]}-00000000dead"
    listing = "find /etc /root /home -xdev -printf '%p %m %u %g %n\\n' | sort"
    before = machine.run(listing)
    for made, target in (
        ("true", "../../../../root"),
        ("true", "/etc"),
        (f"mkdir {strange} && ln -s /etc {strange}/env", strange.rsplit("/", 1)[1]),
        (
            f"mkdir -p {strange}/env && ln -s /etc {strange}/env/lib && ln -s /root {strange}/env/bin",
            strange.rsplit("/", 1)[1],
        ),
        (f"mkdir -p {strange}/env && mkfifo {strange}/env/pipe", strange.rsplit("/", 1)[1]),
    ):
        machine.run(f"rm -rf {strange}; {made}; ln -sfn {target} {templates}/current", user="jupyterhub")
        done = machine.execute(f"sudo -n {door}", user="bob", input="{}")
        assert "Traceback" not in done.stderr, done
        given = machine.run(
            "find /var/lib/jupyterhub4family/handover -type f -user root -o -type d -user root -mindepth 1"
        )
        assert given.strip() == "", (target, given)
    machine.run(f"rm -rf {strange}; ln -sfn {kept} {templates}/current", user="jupyterhub")
    machine.run("rm -rf /var/lib/jupyterhub4family/handover/*")
    assert machine.run(listing) == before


@pytest.mark.every_debian
def test_sudo_lists_two_doors_and_nothing_else(machine: Machine) -> None:
    listed = machine.run("sudo -l -U jupyterhub")
    rules = [line.strip() for line in listed.splitlines() if line.strip().startswith("(")]
    assert len(rules) == 2, listed
    assert all(rule.replace("\\", "").endswith('""') and "/usr/lib/jupyterhub4family/" in rule for rule in rules), rules
    assert "shadow" not in machine.run("id -nG jupyterhub").split()
    assert machine.run("getent shadow jupyterhub").split(":")[1] in ("*", "!"), "the account has no password"
    machine.run("visudo -c")


@pytest.mark.any_debian
def test_the_mediator_refuses_who_is_no_member(machine: Machine) -> None:
    """Even if sudo's rules let it be started: here root starts it as somebody else."""
    for name in ("stranger", "root", "nobody", "jupyterhub"):
        done = machine.execute(f"runuser -u {name} -- {MEDIATOR}", input='{"action": "prepare"}')
        assert json.loads(done.stdout)["ok"] is False, (name, done)


@pytest.mark.any_debian
def test_the_mediator_runs_nothing_else(machine: Machine) -> None:
    for request in (
        {"action": "spawn", "args": ["--version"], "env": {}},
        {"action": "spawn", "args": [], "env": {"JUPYTERHUB_USER": 1}},
        {"action": "spawn", "args": [], "env": {"A\u0000B": "x\u0000"}},
        {"action": "spawn", "args": [], "env": {}, "executable": "/bin/sh"},
        {"action": "start", "args": ["--version"], "env": {}},
        {"action": "start", "env": {"JUPYTERHUB_USER": 1}},
        {"action": "start", "env": {"A\u0000B": "x\u0000"}},
        {"action": "start", "env": {}, "thorough": True},
        {"action": "kill", "pid": 1, "signal": 1},
        {"action": "kill", "pid": 1, "signal": "9"},
        {"action": "exec"},
        {"action": ["spawn"]},
        {},
    ):
        _status, output = as_service(machine, f"sudo -n -u alice {MEDIATOR}", request)
        assert json.loads(output.splitlines()[-1])["ok"] is False, (request, output)


@pytest.mark.any_debian
def test_the_mediator_kills_only_servers_of_its_member(machine: Machine) -> None:
    own = int(machine.run("setsid sleep 1000 >/dev/null 2>&1 & echo $!", user="alice"))
    others = int(machine.run("setsid sleep 1000 >/dev/null 2>&1 & echo $!", user="bob"))
    for pid in (-1, 0, 1, own, others, 2**40):
        _status, output = as_service(
            machine, f"sudo -n -u alice {MEDIATOR}", {"action": "kill", "pid": pid, "signal": 9}
        )
        assert json.loads(output.splitlines()[-1]) == {"ok": True, "alive": False}
    machine.run(f"kill {own} && kill {others}")


@pytest.mark.any_debian
def test_a_poisoned_environment_reaches_no_server(machine: Machine) -> None:
    poison = {
        "LD_PRELOAD": "/tmp/evil.so",
        "PYTHONPATH": "/tmp",
        "PYTHONSTARTUP": "/tmp/x",
        "PATH": "/tmp",
        "BASH_ENV": "/tmp/x",
        "HOME": "/tmp",
        "JUPYTER_CONFIG_PATH": "/tmp",
        "JUPYTERHUB_SINGLEUSER_APP": "evil.App",
    }
    with logged_in(machine, "alice") as alice:
        alice.start_server()
        pid = int(machine.run("pgrep -u alice -f bin/jupyterhub-singleuser").split()[0])
        known = variables_of_server(machine, pid)
        assert known["HOME"] == "/home/alice"
        assert not {"LD_PRELOAD", "PYTHONPATH", "SUDO_USER", "SUDO_COMMAND"} & set(known)
        variables = {**known, **poison}
        for request in ({"action": "spawn", "args": [], "env": variables}, {"action": "start", "env": variables}):
            _status, output = as_service(machine, f"sudo -n -u alice {MEDIATOR}", request)
            started = json.loads(output.splitlines()[-1])
            environ = machine.run(f"cat /proc/{started['pid']}/environ; kill {started['pid']}")
            for key, value in poison.items():
                assert f"{key}={value}" not in environ.split("\0")
        alice.stop_server()


@pytest.mark.any_debian
def test_the_authenticate_door_tells_little(machine: Machine) -> None:
    def ask(request: object) -> dict[str, object]:
        _status, output = as_service(machine, f"sudo -n {AUTHENTICATE}", request)
        answer: dict[str, object] = json.loads(output.splitlines()[-1])
        return answer

    assert ask({"name": "alice", "password": PASSWORD})["allowed"] is True
    wrong = ask({"name": "alice", "password": "wrong"})
    assert wrong == ask({"name": "stranger", "password": "wrong"}) == ask({"name": "root", "password": ""})
    reported = ask({"name": "stranger", "password": PASSWORD})
    assert reported["allowed"] is False and reported["reason"] == "no-member", (
        "and nothing more, to who knows the password"
    )
    huge = {"name": "a", "password": "x" * 5000}
    malformed: tuple[object, ...] = ({"name": "alice"}, {"name": ["alice"], "password": "x"}, huge, [])
    for strange in malformed:
        assert ask(strange)["ok"] is False
    for user in ("alice", "stranger"):
        assert machine.execute(f"sudo -n {AUTHENTICATE}", user=user, input="{}").returncode != 0
        assert machine.execute(f"sudo -n {MEMBERS}", user=user, input="{}").returncode != 0
        assert machine.execute(f"sudo -n -u bob {MEDIATOR}", user=user, input="{}").returncode != 0


@pytest.mark.any_debian
def test_secrets_lie_where_only_the_service_reads(machine: Machine) -> None:
    for user in ("alice", "stranger"):
        assert machine.execute(f"ls {STATE}", user=user).returncode != 0
        assert machine.execute(f"cat {STATE}/jupyterhub.sqlite", user=user).returncode != 0
    modes = machine.run(f"find {STATE} -type f ! -name '*.lock' -printf '%m %p\\n'")
    assert all(line.split()[0] == "600" for line in modes.splitlines()), modes
    for token in ("proxy_token", "routes_token", "membership_token", "gate_key"):
        secret = machine.read(f"{STATE}/{token}").strip()
        assert len(secret) == 64
        shown = machine.run("ps axeo args; journalctl --no-pager; systemctl cat 'jupyterhub4family*'")
        assert secret not in shown, token
        listening = machine.run("cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'")
        assert secret not in listening, token


@pytest.mark.every_debian
def test_nothing_of_root_can_be_written_by_others(machine: Machine) -> None:
    places = "/usr/lib/jupyterhub4family /usr/share/jupyterhub4family /etc/sudoers.d/jupyterhub4family /usr/bin/jh4f"
    found = machine.run(f"find -L {places} \\( ! -user root -o -perm /022 \\) -print")
    assert found.strip() == ""
    listening = machine.run("ss -ltnH | awk '{print $4}'").split()
    outside = [address for address in listening if not address.startswith(("127.0.0.1:", "[::1]:"))]
    assert {address.rsplit(":", 1)[1] for address in outside} == {"8000"}, listening


@pytest.mark.any_debian
def test_what_runs_as_a_member_has_no_hold_of_roots_terminal(machine: Machine) -> None:
    """It could type into it (TIOCSTI, before Linux 6.2), and so could whatever else of the member's attaches to it."""
    logs = "~/.local/state/jupyterhub4family"
    machine.run(f"mkdir -p {logs} && echo hello >>{logs}/server.log", user="alice")
    # `script` is the terminal. Whoever started the tests may have had the signal of Ctrl-C ignored.
    command = "script -qfec 'jupyterhub4family logs alice -f' /root/typescript"
    machine.run(f"env --default-signal=INT setsid -f {command} </dev/null >/dev/null 2>&1")
    shows = "pgrep -u alice -f lib/jupyterhub4family/show-log"
    machine.wait(f"{shows} && grep -q hello /root/typescript", timeout=30)
    roots = machine.run("pgrep -u root -fx '/usr/bin/python3 -IS .*jupyterhub4family logs alice -f'").strip()
    assert machine.run(f"ps -o tty= -p {roots}").strip().startswith("pts/"), "root's command does have one"
    assert set(machine.run("ps -o tty= -u alice").split()) == {"?"}
    # Nor is it open there: whoever has it open reads what root types, however much later.
    opened = machine.run(f"for pid in $({shows}); do readlink /proc/$pid/fd/[0-2]; done").split()
    assert opened and not [one for one in opened if one.startswith("/dev/pts")], opened
    # And Ctrl-C, which reaches root's command only, ends all of it.
    machine.run(f"kill -INT {roots}")
    machine.wait(f"! {shows}", timeout=20)
    machine.run("rm -f /root/typescript")
