"""Who can become root is no member unawares: not when added, and not when it comes to be so afterwards.

Each way is tried on each Debian with its real sudo, PAM and account database: at `members add`, at the next
login and at the next start. The doors are asked as whoever has taken over the hub would ask them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.machine.lib.client import LoginRefused
from tests.machine.lib.family import PASSWORD, add_member, logged_in, ready, shared_machine
from tests.machine.lib.machine import Machine
from tests.machine.lib.plugin import NewMachine

LIBRARY = "/usr/lib/jupyterhub4family"
ALLOWED = "/etc/jupyterhub4family/allowed-administrators"
RULE = "/etc/sudoers.d/zz-attack"

every_debian = pytest.mark.every_debian


@dataclass(frozen=True)
class Way:
    """How `ben` comes to be able to become root, how that is taken back, and what he is told then."""

    give: str
    take: str
    reported: str


def rule(text: str, reported: str) -> Way:
    """A file of sudo's rules."""
    lines = text.replace("\n", "\\n")
    return Way(f"printf '{lines}\\n' > {RULE} && chmod 440 {RULE} && visudo -c -q", f"rm {RULE}", reported)


WAYS = {
    # The seven of the list of holes.
    "root under another name": rule("ben ALL=(toor) ALL", "toor, which is root"),
    "an administrator as target": rule("ben ALL=(papa) NOPASSWD: ALL", "papa, who can become root (in the group sudo:"),
    "a group as target": rule("ben ALL=(:docker) NOPASSWD: ALL", "in the group docker"),
    "a second account with his number": Way(
        "useradd -o -u $(id -u ben) -M -N -G sudo twin",
        "gpasswd -q -d twin sudo; sed -i /^twin:/d /etc/passwd /etc/shadow",
        "group sudo",
    ),
    "a program of ours": rule(f"ben ALL=(root) NOPASSWD: {LIBRARY}/setup configure", "setup configure as root"),
    "doas": Way("echo 'permit nopass :kin as root cmd sh' > /etc/doas.conf", "rm /etc/doas.conf", "/etc/doas.conf"),
    "a group that nobody thinks of": Way("gpasswd -a ben sbuild", "gpasswd -d ben sbuild", "group sbuild"),
    # And more.
    "a door that takes arguments": rule(
        f"ben ALL=(root) NOPASSWD:NOSETENV: {LIBRARY}/environment", "environment as root"
    ),
    "a door with an environment": rule(f'ben ALL=(root) NOPASSWD:SETENV: {LIBRARY}/environment ""', "as root"),
    "somebody else's door": rule(f'ben ALL=(root) NOPASSWD:NOSETENV: {LIBRARY}/authenticate ""', "authenticate"),
    "all our programs": rule(f"ben ALL=(root) NOPASSWD: {LIBRARY}/", "as root"),
    "a chain": rule("ben ALL=(anna) ALL\nanna ALL=(carol) ALL\ncarol ALL=(root) /bin/sh", "carol, who can become root"),
    "everybody but root": rule("ben ALL=(ALL, !root) ALL", "toor, which is root"),
    "a system account": rule("ben ALL=(www-data) ALL", "www-data"),
    "a group's number, aliases": rule(
        "User_Alias KIDS = %%#4711\nRunas_Alias HE = anna, #0\nKIDS ALL=(HE) /bin/ls", "/bin/ls as root"
    ),
    "capitals": rule("ben ALL=(ROOT) /bin/ls", "/bin/ls as root"),
    "an included file": Way(
        f"echo 'ben ALL=(root) /bin/ls' > /root/more; chmod 440 /root/more; echo '@include /root/more' > {RULE}",
        f"rm {RULE} /root/more",
        "/bin/ls as root",
    ),
    "a netgroup that nobody knows": rule("ben ALL=(+admins) ALL", "+admins"),
    "docker under another name": Way(
        "groupadd -o -g $(getent group docker | cut -d: -f3) fun && gpasswd -a ben fun", "groupdel fun", "group docker"
    ),
    "as primary group": Way("usermod -g docker ben", "usermod -g ben ben", "group docker"),
    "administrator of a group": Way("gpasswd -A ben docker", "gpasswd -A '' docker", "/etc/gshadow"),
    "root's number in a container": Way(
        "cp /etc/subuid /root/subuid; echo ben:0:70000 >> /etc/subuid", "cp /root/subuid /etc/subuid", "/etc/subuid"
    ),
    "su without a password": Way(
        "sed -i '1i auth sufficient pam_wheel.so trust group=kin' /etc/pam.d/su", "sed -i 1d /etc/pam.d/su", "pam_wheel"
    ),
    "docker's socket": Way(
        "python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"/run/docker.sock\")';"
        " chown root:kin /run/docker.sock; chmod 660 /run/docker.sock",
        "rm /run/docker.sock",
        "/run/docker.sock",
    ),
    "a rule of polkit": Way(
        "mkdir -p /etc/polkit-1/rules.d; echo 'polkit.addRule(function(action, subject)"
        ' { if (subject.isInGroup("kin")) return polkit.Result.YES; });\' > /etc/polkit-1/rules.d/1.rules',
        "rm /etc/polkit-1/rules.d/1.rules",
        "/etc/polkit-1/rules.d/1.rules",
    ),
    "polkit's administrators": Way(
        "mkdir -p /etc/polkit-1/localauthority.conf.d; printf '[Configuration]\\nAdminIdentities=unix-user:ben\\n'"
        " > /etc/polkit-1/localauthority.conf.d/9.conf",
        "rm /etc/polkit-1/localauthority.conf.d/9.conf",
        "9.conf",
    ),
    "an administrator's home": Way(
        "chgrp kin /home/papa; chmod 770 /home/papa", "chown papa:papa /home/papa; chmod 700 /home/papa", "home of papa"
    ),
    "programs that root runs": Way(
        "chgrp kin /usr/local/bin; chmod 775 /usr/local/bin",
        "chown root:root /usr/local/bin; chmod 755 /usr/local/bin",
        "/usr/local/bin",
    ),
    "capabilities": Way(
        "echo 'cap_setuid ben' > /etc/security/capability.conf; echo 'auth optional pam_cap.so' > /etc/pam.d/zz-cap",
        "rm /etc/security/capability.conf /etc/pam.d/zz-cap",
        "cap_setuid",
    ),
}

#: What may be so, and makes nobody an administrator.
HARMLESS = {
    "acting as a plain member": rule("ben ALL=(anna) NOPASSWD: ALL", ""),
    "a group of plain people": rule("ben ALL=(%%kin) ALL\nanna ALL=(ben) ALL", ""),
    "reading logs": Way("gpasswd -a ben adm", "gpasswd -d ben adm", ""),
    "a denied command": rule("ben ALL=(root) !/bin/sh", ""),
    "another computer": rule("ben elsewhere=(root) ALL", ""),
    "containers of his own": Way("grep -q ^ben: /etc/subuid || usermod -v 300000-365535 ben", "true", ""),
    "polkit for the network": Way(
        "mkdir -p /etc/polkit-1/rules.d; echo 'polkit.addRule(function(action, subject) { if (action.id =="
        ' "org.freedesktop.NetworkManager.network-control" && subject.user == "ben") return polkit.Result.YES; });\''
        " > /etc/polkit-1/rules.d/2.rules",
        "rm /etc/polkit-1/rules.d/2.rules",
        "",
    ),
    "sudo only at a terminal": rule("Defaults requiretty", ""),
    "no sudo for root": rule("Defaults !root_sudo", ""),
}


@pytest.fixture(scope="module")
def machine(suite: str) -> Iterator[Machine]:
    """Three members who are plain people, and a father who is not."""
    with shared_machine(suite, "anna", "carol") as machine:
        machine.run("groupadd -g 4711 kin; groupadd docker; groupadd -r sbuild; useradd -o -u 0 -M -d /root toor")
        machine.add_account("ben", PASSWORD, groups=("kin",))
        machine.add_account("papa", PASSWORD, groups=("sudo",))
        machine.run("chmod 700 /home/papa; jupyterhub4family members add ben")
        yield machine


def login(machine: Machine, name: str) -> dict[str, object]:
    """What the hub's account hears of a right password."""
    request = json.dumps({"name": name, "password": PASSWORD})
    done = machine.execute(f"sudo -nH {LIBRARY}/authenticate", user="jupyterhub", input=request)
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def start(machine: Machine, name: str) -> str:
    """What the hub's account hears when it starts a server; what was started is ended. Empty: a server started.

    In both ways, which have to say the same.
    """
    variables = {"JUPYTERHUB_SERVICE_PREFIX": "/user/x/"}
    # A server that is quick says what it lacks before it is ended.
    machine.expect_log(r"Missing required environment \$JUPYTERHUB_SERVICE_URL")
    answers = []
    for request in ({"action": "spawn", "args": [], "env": variables}, {"action": "start", "env": variables}):
        asked = json.dumps(request)
        done = machine.execute(f"sudo -nH -u {name} {LIBRARY}/mediator", user="jupyterhub", input=asked)
        answer = json.loads(done.stdout.splitlines()[-1])
        if answer["ok"]:
            assert answer["pid"] > 1, "there is an environment, so this is a start"
            kill = json.dumps({"action": "kill", "pid": answer["pid"], "signal": 9})
            machine.execute(f"sudo -nH -u {name} {LIBRARY}/mediator", user="jupyterhub", input=kill)
        answers.append("" if answer["ok"] else str(answer["error"]))
    assert answers[0] == answers[1], answers
    return answers[0]


def rebuild(machine: Machine, name: str) -> str:
    """What the hub's account hears when it has the service's own programs run as somebody. Empty: they ran."""
    request = json.dumps({"action": "prepare", "thorough": True})
    done = machine.execute(f"sudo -nH -u {name} {LIBRARY}/mediator", user="jupyterhub", input=request)
    answer = json.loads(done.stdout.splitlines()[-1])
    return "" if answer["ok"] else str(answer["error"])


@every_debian
def test_who_can_become_root_is_not_added(machine: Machine) -> None:
    wrong: list[tuple[object, ...]] = []
    machine.run("jupyterhub4family members remove ben --yes")
    for name, way in WAYS.items():
        machine.run(way.give)
        done = machine.execute("jupyterhub4family members add ben")
        if done.returncode != 3 or way.reported not in done.stderr or "--allow-administrator ben" not in done.stderr:
            wrong.append((name, done))
            machine.run("jupyterhub4family members remove ben --yes")
        machine.run(way.take)
    for name, way in HARMLESS.items():
        machine.run(way.give)
        done = machine.execute("jupyterhub4family members add ben")
        # With that nobody but a member can ask sudo what it allows: so it says.
        unknown = name == "no sudo for root" and "sudo could not be asked" in done.stderr
        if done.returncode != 0 and not unknown:
            wrong.append((name, done))
        machine.run(f"jupyterhub4family members remove ben --yes; {way.take}")
    machine.run("jupyterhub4family members add ben")
    assert not wrong, "\n".join(map(str, wrong))


@every_debian
def test_who_comes_to_be_able_to_is_noticed_at_login_and_start(machine: Machine) -> None:
    with logged_in(machine, "ben") as ben:
        ben.start_server()
        ben.stop_server()
    assert login(machine, "ben")["allowed"] is True and start(machine, "ben") == "" and rebuild(machine, "ben") == ""
    wrong: list[tuple[object, ...]] = []
    for name, way in WAYS.items():
        machine.run(way.give)
        answer, refused = login(machine, "ben"), start(machine, "ben")
        if answer.get("allowed") is not False or answer.get("reason") != "administrator" or way.reported not in refused:
            wrong.append((name, answer, refused))
        if name in ("a chain", "a group as target"):
            # carol's is a rule for root itself in the first, so she is one as well; the second is nothing to her.
            assert login(machine, "carol")["allowed"] is (name != "a chain")
        machine.run(way.take)
    assert start(machine, "ben") == "", "what was taken back is forgotten"
    for name, way in HARMLESS.items():
        machine.run(way.give)
        answer, refused = login(machine, "ben"), start(machine, "ben")
        if answer.get("allowed") is not True or refused:
            wrong.append((name, answer, refused))
        machine.run(way.take)
    assert not wrong, "\n".join(map(str, wrong))


@every_debian
def test_the_hub_runs_nothing_of_its_own_as_an_administrator(machine: Machine) -> None:
    """A template is the service's: what checks, repairs or follows one runs its programs."""
    machine.run("gpasswd -a anna docker")
    assert "can become root" in rebuild(machine, "anna")
    machine.run("rm -rf /home/anna/.local/share/jupyterhub4family/env; gpasswd -d anna docker")
    machine.run("gpasswd -a anna docker")
    request = json.dumps({"action": "prepare"})
    done = machine.execute(f"sudo -nH -u anna {LIBRARY}/mediator", user="jupyterhub", input=request)
    assert "can become root" in done.stdout and not machine.exists("/home/anna/.local/share/jupyterhub4family/env")
    machine.run("gpasswd -d anna docker")
    assert rebuild(machine, "anna") == ""


@every_debian
def test_people_are_told_and_root_may_insist(machine: Machine) -> None:
    machine.run("gpasswd -a ben docker")
    with pytest.raises(LoginRefused, match="administrator of this machine"), logged_in(machine, "ben"):
        pass
    listed = json.loads(machine.run("jupyterhub4family members list --json"))["members"]
    (ben,) = [one for one in listed if one["name"] == "ben"]
    assert ben["administrator"] and ben["refused"] and "docker" in str(ben["reasons"])
    assert "(administrator, refused)" in machine.run("jupyterhub4family members list")
    assert "ben is a member and can become root" in machine.execute("jupyterhub4family doctor members").stdout
    machine.run("jupyterhub4family members add --allow-administrator ben")
    assert machine.read(ALLOWED).splitlines()[-1] == f"ben {machine.run('id -u ben').strip()}"
    assert machine.run(f"stat -c '%U %a' {ALLOWED}").split() == ["root", "644"]
    with logged_in(machine, "ben") as browser:
        browser.start_server()
        browser.stop_server()
    assert start(machine, "ben") == "" and rebuild(machine, "ben") == ""
    assert "ben" in machine.run("jupyterhub4family status") and "root has allowed" in machine.run(
        "jupyterhub4family doctor members"
    )
    # Whoever takes over the hub cannot insist, nor can a delegate.
    assert machine.execute(f"sh -c 'echo anna 1 >> {ALLOWED}'", user="jupyterhub").returncode != 0
    # Removed, and added again, is another decision.
    machine.run("jupyterhub4family members remove ben --yes")
    assert "ben" not in machine.read(ALLOWED).split()
    assert machine.execute("jupyterhub4family members add ben").returncode == 3
    machine.run("gpasswd -d ben docker; jupyterhub4family members add ben")


@pytest.mark.with_cron
def test_with_cron_a_start_asks_as_well(new_machine: NewMachine, suite: str) -> None:
    """There is no scope to be put into then; the mediator asks root all the same."""
    machine = ready(new_machine(suite, layer="installed", init="sysvinit"))
    machine.run("groupadd docker")
    add_member(machine, "anna")
    with logged_in(machine, "anna") as anna:
        anna.start_server()
        anna.stop_server()
    assert start(machine, "anna") == ""
    machine.run("gpasswd -a anna docker")
    assert "can become root" in start(machine, "anna") and login(machine, "anna")["reason"] == "administrator"
