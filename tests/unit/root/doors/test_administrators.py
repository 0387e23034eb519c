"""root.administrators: whether an account can become root, by files of the test's own; a chain is followed to its end.

Real sudo, PAM and account databases are met on real machines (tests/machine/attacks/test_becoming_root.py).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import PermissionRefused
from jupyterhub4family.common.state import allowed_administrators
from jupyterhub4family.common.system import accounts
from jupyterhub4family.common.system.programs import ProgramError
from jupyterhub4family.root.doors import (
    administrators,
    doas_rights,
    file_rights,
    job_rights,
    one_look,
    pam_rights,
    polkit_rights,
    sudo_rights,
)
from jupyterhub4family.root.doors.sudo_rights import Rule
from tests.unit.helpers import People


class Machine:
    """Files where the real ones would be, and what sudo would say."""

    def __init__(self, people: People, patch: pytest.MonkeyPatch, directory: Path) -> None:
        self.people, self.directory = people, directory
        self.rules: dict[str, list[Rule]] = {}
        self.asked: list[str] = []
        for name in ("pam.d", "polkit", "authority", "administrators", "home"):
            (directory / name).mkdir()
        patch.setattr(sudo_rights, "rules_of", self._rules_of)
        patch.setattr(doas_rights, "DOAS_CONF", directory / "doas.conf")
        patch.setattr(pam_rights, "PAM_DIRECTORY", directory / "pam.d")
        patch.setattr(pam_rights, "CAPABILITIES", directory / "capability.conf")
        patch.setattr(pam_rights, "GROUPS", directory / "group.conf")
        patch.setattr(job_rights, "CRONTABS", (directory / "crontab", directory / "cron.d"))
        patch.setattr(job_rights, "SCRIPTS", (directory / "root.crontab", directory / "cron.daily"))
        patch.setattr(job_rights, "UNITS", (directory / "units", directory / "local-units"))
        patch.setattr(file_rights, "LISTED", (directory / "listed", directory / "units"))
        patch.setattr(file_rights, "WITH_DIRECTORIES", frozenset({directory / "units"}))
        patch.setattr(file_rights, "LIBRARIES", (directory / "ld.so.conf.d", directory / "ld.so.preload"))
        patch.setattr(file_rights, "MODULES", (str(directory / "python3*/dist-packages"),))
        patch.setattr(file_rights, "SCHROOT", (directory / "schroot.conf", directory / "chroot.d"))
        patch.setattr(polkit_rights, "RULES", (directory / "polkit",))
        patch.setattr(polkit_rights, "LOCAL_AUTHORITY", (directory / "authority",))
        patch.setattr(polkit_rights, "ADMINISTRATORS", directory / "administrators")
        patch.setattr(file_rights, "TRUSTED", (directory / "trusted",))
        patch.setattr(file_rights, "SOCKETS", (directory / "docker.sock",))
        patch.setattr(file_rights, "GROUP_SHADOW", directory / "gshadow")
        patch.setattr(file_rights, "SUBORDINATE_UIDS", directory / "subuid")
        patch.setattr(file_rights, "SUBORDINATE_GIDS", directory / "subgid")
        patch.setattr(paths, "ALLOWED_ADMINISTRATORS", directory / "allowed")
        # What is whoever's who runs the tests stands for what is root's.
        ordinary = accounts.is_ordinary_uid
        patch.setattr(accounts, "is_ordinary_uid", lambda uid: uid != os.getuid() and ordinary(uid))
        people.group("docker", 999)
        people.group("kin", 4711)
        people.add("root", 0)
        people.add("papa", 1002, "sudo", home=directory / "nowhere")
        people.add("anna", 1001, "jupyterhub", "kin")
        self.ben = people.add("ben", 1500, "jupyterhub", "kin")

    def write(self, name: str, text: str) -> None:
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")

    def ways(self, name: str = "ben") -> list[str]:
        found = [str(one) for one in administrators.ways_to_root(self.people.accounts[name])]
        # A list of all says the same as a look at one, whoever was looked at before.
        asked, listed = list(self.asked), {}
        with one_look.at_many():
            for other in self.people.accounts.values():
                if other.pw_uid != 0:
                    listed[other.pw_name] = [str(one) for one in administrators.ways_to_root(other)]
        self.asked = asked
        assert listed[name] == found
        return found

    def _rules_of(self, name: str) -> list[Rule]:
        self.asked.append(name)
        return self.rules.get(name, [])


@pytest.fixture
def machine(people: People, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    return Machine(people, monkeypatch, tmp_path)


def test_a_plain_account(machine: Machine) -> None:
    assert machine.ways() == []
    administrators.check(machine.ben)


# -- groups and numbers ----------------------------------------------------------------------------


@pytest.mark.parametrize("group", sorted(accounts.ADMINISTRATOR_GROUPS))
def test_every_group_of_the_table_with_its_reason(machine: Machine, group: str) -> None:
    if group not in machine.people.groups:
        machine.people.group(group, 0 if group == "root" else 300)
    machine.people.groups[group][1].append("ben")
    assert machine.ways() == [f"in the group {group}: {accounts.WAYS_OF_GROUPS[group]}"]


def test_another_name_for_the_number_of_a_group(machine: Machine) -> None:
    machine.people.group("fun", 999)
    machine.people.groups["fun"][1].append("ben")
    assert machine.ways()[0].startswith("in the group docker: ")


def test_number_0_whatever_it_is_called(machine: Machine) -> None:
    machine.people.add("clara", 1003, gid=0)
    assert machine.ways("clara")[0].startswith("in the group root: ")


def test_a_second_account_with_the_number_of_an_administrator(machine: Machine) -> None:
    machine.people.add("clara", 1002)
    assert machine.ways("clara")[0].startswith("in the group sudo: ")
    machine.people.add("emil", 1500)
    machine.rules["emil"] = [Rule(("root",), commands=("/bin/sh",))]
    assert machine.ways() == ["sudo allows /bin/sh as root"]


# -- sudo, in chains -------------------------------------------------------------------------------


def test_a_chain_is_followed(machine: Machine) -> None:
    machine.rules["ben"] = [Rule(("anna",), commands=("ALL",))]
    assert machine.ways() == []
    machine.rules["anna"] = [Rule(("papa",), commands=("/bin/ls",))]
    (found,) = machine.ways()
    assert found.startswith("sudo allows ALL as anna, who can become root (sudo allows /bin/ls as papa, who can become")


def test_a_circle_ends(machine: Machine) -> None:
    machine.rules = {"ben": [Rule(("anna",), commands=("ALL",))], "anna": [Rule(("ben",), commands=("ALL",))]}
    assert machine.ways() == [] and machine.asked == ["ben", "anna"]


def test_a_fan_has_an_end_too(machine: Machine) -> None:
    for number in range(administrators.MAXIMUM_TARGETS + 5):
        machine.people.add(f"p{number}", 2000 + number)
    machine.rules["ben"] = [Rule(("ALL", "!#0"), commands=("ALL",))]
    machine.people.accounts.pop("papa")
    (found,) = machine.ways()
    assert "too many accounts" in found


def test_no_more_reasons_than_anybody_reads(machine: Machine) -> None:
    machine.rules["ben"] = [Rule(("root",), commands=(f"/bin/{number}",)) for number in range(20)]
    assert len(machine.ways()) == administrators.MAXIMUM_REASONS


def test_what_cannot_be_asked_is_an_error(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def rules_of(_name: str) -> list[Rule]:
        raise ProgramError("sudo could not be asked")

    monkeypatch.setattr(sudo_rights, "rules_of", rules_of)
    with pytest.raises(ProgramError):
        administrators.check(machine.ben)


# -- what root has allowed -------------------------------------------------------------------------


def test_what_root_has_allowed_holds(machine: Machine) -> None:
    machine.rules["ben"] = [Rule(("root",), commands=("ALL",))]
    with pytest.raises(PermissionRefused, match=r"ben can become root \(sudo allows ALL as root\)") as caught:
        administrators.check(machine.ben)
    assert "members add --allow-administrator ben" in caught.value.hint
    allowed_administrators.allow(machine.ben)
    machine.asked.clear()
    administrators.check(machine.ben)
    assert machine.asked == [], "and costs nothing"
    assert allowed_administrators.names() == ["ben"]
    assert (machine.directory / "allowed").stat().st_mode & 0o777 == 0o644
    allowed_administrators.forget("ben")
    with pytest.raises(PermissionRefused):
        administrators.check(machine.ben)


def test_a_file_that_somebody_has_spoilt_allows_nobody(machine: Machine) -> None:
    machine.rules["ben"] = [Rule(("root",), commands=("ALL",))]
    machine.write("allowed", "ben\nben x\n# ben 1500\nben 1500 more\n\x00ben 1500\n")
    with pytest.raises(PermissionRefused):
        administrators.check(machine.ben)


def test_whom_earlier_versions_have_let_in_is_noted_once(machine: Machine) -> None:
    """They took these for administrators, so root must have insisted; other ways nobody knew of."""
    machine.people.add("emil", 1600, "jupyterhub")
    machine.people.add("clara", 1601, "jupyterhub")
    machine.rules["emil"] = [Rule(("ALL",), ("ALL",), commands=("ALL",))]
    machine.rules["clara"] = [Rule(("papa",), commands=("ALL",))]
    everybody = [machine.people.accounts[name] for name in ("papa", "anna", "ben", "emil", "clara")]
    administrators.allow_earlier_members(everybody)
    assert allowed_administrators.names() == ["emil", "papa"]
    machine.people.groups["sudo"][1].append("ben")
    administrators.allow_earlier_members(everybody)
    assert allowed_administrators.names() == ["emil", "papa"]


# -- doas ------------------------------------------------------------------------------------------

DOAS = {
    "permit ben": "lets it be root",
    "permit nopass keepenv persist nolog ben": "lets it be root",
    "permit setenv { -PATH A=b } ben": "lets it be root",
    "permit 1500": "lets it be root",
    "permit :kin": "lets it be root",
    "permit :4711 as root cmd /bin/ls args -l": "lets it be root",
    'permit "ben" as "root"': "lets it be root",
    "permit \\\n ben": "lets it be root",
    "permit ben as papa": "lets it be papa (in the group sudo",
    "permit ben as 0": "lets it be root",
    "deny ben\npermit ben": "lets it be root",
    "permit ben\ndeny ben cmd sh": "lets it be root",
    "permit ben\ndeny ben as anna": "lets it be root",
    "permit ben as root\npermit ben as anna\ndeny ben as anna": "lets it be root",
    "allow ben": "is not understood",
    "permit ben as": "is not understood",
    "permit setenv ben": "is not understood",
    'permit "ben': "is not understood",
    "permit ben as anna": "",
    "permit ben as ben": "",
    "permit ben as nosuch": "",
    "permit anna": "",
    "permit :sudo": "",
    "permit ben\ndeny ben": "",
    "permit ben\ndeny :kin": "",
    "permit ben as root\ndeny ben as root": "",
    "# permit ben\n\n   \npermit anna # ben": "",
    "": "",
}


@pytest.mark.parametrize("text", DOAS)
def test_doas(machine: Machine, text: str) -> None:
    machine.write("doas.conf", text + "\n")
    found = machine.ways()
    assert [DOAS[text] in one for one in found] == ([True] if DOAS[text] else []), found


# -- PAM -------------------------------------------------------------------------------------------

PAM = {
    "auth sufficient pam_wheel.so trust group=kin": True,
    "auth [success=done default=ignore] pam_wheel.so trust group=kin # comment": True,
    "-auth sufficient /lib/security/pam_wheel.so group=kin \\\n  trust": True,
    "auth sufficient pam_succeed_if.so use_uid user = ben": True,
    "auth sufficient pam_succeed_if.so use_uid user ingroup kin": True,
    "auth required pam_wheel.so group=kin": False,
    "auth required pam_wheel.so trust group=kin": False,
    "auth sufficient pam_wheel.so trust deny group=kin": False,
    "auth sufficient pam_wheel.so trust": False,
    "auth sufficient pam_wheel.so trust group=sudo": False,
    "auth sufficient pam_succeed_if.so user ingroup kin": False,
    "auth sufficient pam_succeed_if.so use_uid user in anna:ben quiet": True,
    "auth sufficient pam_succeed_if.so use_uid user in anna:papa": False,
    "auth sufficient pam_succeed_if.so use_uid user notin anna:papa": True,
    "auth sufficient pam_succeed_if.so use_uid uid >= 1000": True,
    "auth sufficient pam_succeed_if.so use_uid uid < 1000": False,
    "auth sufficient pam_succeed_if.so use_uid user ingroup sudo:kin": True,
    "auth sufficient pam_succeed_if.so use_uid user notingroup kin": False,
    "auth sufficient pam_succeed_if.so use_uid user != root": True,
    "auth sufficient pam_succeed_if.so ruser = ben": True,
    "auth sufficient pam_succeed_if.so ruser = anna": False,
    "auth sufficient pam_succeed_if.so ruser ingroup kin": True,
    "auth sufficient pam_succeed_if.so uid >= 1000": False,
    "auth sufficient pam_permit.so": True,
    "auth required pam_permit.so": False,
    "auth sufficient pam_listfile.so item=ruser sense=allow file={directory}/listed": True,
    "auth sufficient pam_listfile.so item=ruser sense=deny file={directory}/listed": False,
    "auth sufficient pam_listfile.so item=ruser sense=allow file={directory}/nowhere": False,
    "@include trusted": True,
    "auth include trusted": True,
    "auth substack trusted": True,
    "@include su": False,
    "account sufficient pam_wheel.so trust group=kin": False,
    "# auth sufficient pam_wheel.so trust group=kin": False,
    "@include common-auth": False,
}


@pytest.mark.parametrize("text", PAM)
def test_whom_su_trusts(machine: Machine, text: str) -> None:
    text_there = text.replace("{directory}", str(machine.directory))
    machine.write("pam.d/su", f"auth sufficient pam_rootok.so\n{text_there}\n")
    machine.write("pam.d/trusted", "auth sufficient pam_wheel.so trust group=kin\n")
    machine.write("listed", "anna\nben\n")
    assert bool(machine.ways()) is PAM[text]


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("*;*;ben;Al0000-2400;docker", True),
        ("login;tty*;anna|ben;Al0000-2400;audio, docker", True),
        ("*;*;%kin;Al0000-2400;docker", True),
        ("*;*;*;Al0000-2400;docker", True),
        ("*;*;!root;Al0000-2400;docker", True),
        ("*;*;!ben;Al0000-2400;docker", False),
        ("*;*;ben;Al0000-2400;audio,kin", False),
        ("*;*;anna;Al0000-2400;docker", False),
        ("# *;*;ben;Al0000-2400;docker", False),
    ],
)
def test_groups_at_login(machine: Machine, text: str, is_one: bool) -> None:
    machine.write("group.conf", text + "\n")
    assert machine.ways() == [], "nobody asks for that file"
    machine.write("pam.d/login", "auth optional pam_group.so\n")
    assert bool(machine.ways()) is is_one


@pytest.mark.parametrize(
    ("file", "text", "is_one"),
    [
        ("schroot.conf", "[old]\nroot-users=anna,ben", True),
        ("chroot.d/old", "[old]\nroot-groups = kin", True),
        ("chroot.d/old", "[old]\nsource-root-users=ben", True),
        ("chroot.d/old", "[old]\nusers=ben\nroot-users=anna\nroot-groups=root,sbuild", False),
        ("chroot.d/old", "#root-users=ben", False),
    ],
)
def test_root_in_a_chroot(machine: Machine, file: str, text: str, is_one: bool) -> None:
    machine.write(file, text + "\n")
    assert bool(machine.ways()) is is_one


# -- jobs of root's --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "text", "is_one"),
    [
        ("crontab", "5 4 * * * root {home}/copy.sh", True),
        ("cron.d/copy", "@daily root cd / && python3 {home}/copy.py >/dev/null", True),
        ("cron.d/copy", "5 4 * * * anna {home}/copy.sh", False),
        ("cron.d/copy", "5 4 * * * root rsync -a {home} /srv/copy", False),
        ("cron.d/copy", "5 4 * * * root cat /etc/hosts >> {home}/notes.txt", False),
        ("cron.d/copy", "# 5 4 * * * root {home}/copy.sh", False),
        ("root.crontab", "5 4 * * * {home}/copy.sh", True),
        ("cron.daily/copy", "#!/bin/sh\nexec {home}/copy.sh", True),
        ("units/bot.service", "[Service]\nExecStart=/usr/bin/python3 {home}/copy.py", True),
        ("units/bot.service", "[Service]\nUser=root\nExecStart=-{home}/copy.sh -v", True),
        ("units/bot.service", "[Service]\nUser=anna\nExecStart={home}/copy.sh", False),
        ("units/bot.service", "[Service]\nUser=anna\nExecStartPre=+{home}/copy.sh", True),
        ("units/bot.service.d/own.conf", "[Service]\nExecStartPost={home}/copy.sh", True),
        ("units/bot.service", "[Service]\nWorkingDirectory={home}\nExecStart=/usr/bin/python3 -u copy.py", True),
        ("units/bot.service", "[Service]\nWorkingDirectory=-{home}\nExecStart=/bin/sh -c './copy.sh x'", True),
        ("units/bot.service", "[Service]\nUser=anna\nWorkingDirectory={home}\nExecStart=/bin/sh copy.sh", False),
        ("units/bot.service", "[Service]\nWorkingDirectory={home}\nExecStart=/bin/cat notes.txt", False),
        ("units/bot.timer", "[Timer]\nUnit={home}/copy.sh", False),
        # By a name in the folder in which it is run, or by whatever interpreter.
        ("cron.d/copy", "5 4 * * * root cd {home} && ./copy.sh", True),
        ("cron.d/copy", "5 4 * * * root cd {home} && python3 copy.py", True),
        ("cron.d/copy", "5 4 * * * root cd {home}; make install", True),
        ("cron.d/copy", "5 4 * * * root cd {home} && tar czf /srv/copy.tgz .", False),
        ("cron.d/copy", "5 4 * * * anna cd {home} && ./copy.sh", False),
        ("cron.d/copy", "5 4 * * * root /bin/bash {home}/notes", True),
        ("cron.d/copy", "5 4 * * * root /usr/bin/python3 -u {home}/notes", True),
        ("cron.d/copy", "5 4 * * * root docker compose -p x -f {home}/compose.yml up -d", True),
        ("cron.d/copy", "PATH={home}/bin:/usr/bin\n5 4 * * * root backup", True),
        ("cron.d/copy", "PATH=/usr/bin:{home}", True),
        ("cron.d/copy", "PATH=/usr/bin:/bin\n5 4 * * * root /bin/true", False),
        ("root.crontab", "5 4 * * * cd {home} && ./copy.sh", True),
        ("cron.daily/copy", "#!/bin/sh\ncd {home}\n./copy.sh", True),
        ("cron.daily/copy", "#!/bin/sh\ncd {home}\ncd /srv\n./copy.sh", False),
        ("cron.daily/copy", "#!/bin/sh\nexport PATH={home}:$PATH\nbackup", True),
        ("local-units/bot.service", "[Service]\nExecStart={home}/copy.sh", True),
        ("units/bot.service", "[Service]\nWorkingDirectory={home}\nExecStart=/usr/bin/python3 -m bot.main", True),
        ("units/bot.service", "[Service]\nWorkingDirectory={home}\nExecStart=/usr/bin/npm start", True),
        ("units/bot.service", "[Service]\nEnvironmentFile=-{home}/.env\nExecStart=/usr/bin/tool", True),
        ("units/bot.service", "[Service]\nUser=anna\nEnvironmentFile={home}/.env\nExecStart=/usr/bin/tool", False),
        ("units/bot.service", "[Service]\nEnvironment=PATH={home}:/usr/bin\nExecStart=/usr/bin/tool", True),
    ],
)
def test_jobs_of_roots(machine: Machine, file: str, text: str, is_one: bool) -> None:
    home = machine.directory / "house"
    home.mkdir()
    for name in ("copy.sh", "copy.py", "notes.txt"):
        machine.write(f"house/{name}", "")
    home.chmod(0o777)
    if file.startswith("units/bot.service.d"):
        machine.write("units/bot.service", "[Service]\nExecStart=/bin/true\n")
    machine.write(file, text.replace("{home}", str(home)) + "\n")
    assert bool(machine.ways()) is is_one
    home.chmod(0o755)
    assert machine.ways() == []


@pytest.mark.parametrize("place", ["units/bot.service.d", "python3.13/dist-packages/yaml", "python3.13/dist-packages"])
def test_folders_of_what_root_runs(machine: Machine, place: str) -> None:
    directory = machine.directory / place
    directory.mkdir(parents=True)
    directory.chmod(0o777)
    assert str(directory) in machine.ways()[0]
    directory.chmod(0o755)
    assert machine.ways() == []


def test_a_unit_that_was_linked(machine: Machine) -> None:
    """`systemctl enable /opt/bot/bot.service`: root's file, which runs somebody else's program."""
    machine.write("house/copy.sh", "")
    machine.write("opt/bot.service", f"[Service]\nExecStart={machine.directory}/house/copy.sh\n")
    (machine.directory / "units").mkdir()
    (machine.directory / "units/bot.service").symlink_to(machine.directory / "opt/bot.service")
    assert machine.ways() == []
    (machine.directory / "house").chmod(0o777)
    (machine.directory / "house/copy.sh").chmod(0o755)
    assert len(machine.ways()) == 1 and machine.ways()[0].endswith("copy.sh, which root trusts")


def test_libraries_that_programs_of_roots_load(machine: Machine) -> None:
    place = machine.directory / "libraries"
    place.mkdir()
    machine.write("ld.so.conf.d/own.conf", f"# {machine.directory}/other\n{place}\n")
    machine.write("ld.so.preload", f"{machine.directory}/own.so")
    machine.write("own.so", "")
    assert machine.ways() == []
    place.chmod(0o777)
    (machine.directory / "own.so").chmod(0o666)
    assert len(machine.ways()) == 2


def test_what_is_added_to_a_unit(machine: Machine) -> None:
    machine.write("units/bot.service.d/own.conf", "[Service]\nNice=5\n")
    assert machine.ways() == []
    (machine.directory / "units/bot.service.d/own.conf").chmod(0o666)
    assert machine.ways()[0].endswith("own.conf, which root trusts")


@pytest.mark.parametrize("file", ["listed/ben.list", "python3.13/dist-packages/x.pth"])
def test_files_of_what_root_runs(machine: Machine, file: str) -> None:
    machine.write(file, "")
    (machine.directory / file).chmod(0o666)
    assert str(machine.directory / file) in machine.ways()[0]


def test_wheel_is_number_0_where_there_is_none(machine: Machine) -> None:
    machine.write("pam.d/su", "auth sufficient pam_wheel.so trust\n")
    machine.people.group("wheel", 4000)
    assert machine.ways() == []
    machine.people.groups["wheel"][1].append("ben")
    assert len(machine.ways()) == 2


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("cap_setuid ben", True),
        ("^cap_dac_override ben", True),
        ("cap_net_raw,cap_setuid anna ben", True),
        ("all @kin", True),
        ("cap_sys_admin *", True),
        ("cap_net_raw ben\ncap_setuid *", False),
        ("none ben\ncap_setuid *", False),
        ("!cap_setuid ben", False),
        ("cap_setuid papa", False),
        ("# cap_setuid ben", False),
    ],
)
def test_capabilities(machine: Machine, text: str, is_one: bool) -> None:
    machine.write("capability.conf", text + "\n")
    assert machine.ways() == [], "nobody asks for that file"
    machine.write("pam.d/common-auth", "auth optional pam_cap.so\n")
    assert bool(machine.ways()) is is_one


# -- polkit ----------------------------------------------------------------------------------------

YES = "return polkit.Result.YES;"
POLKIT = {
    f'polkit.addRule(function(action, subject) {{ if (subject.user == "ben") {YES} }});': True,
    f"polkit.addRule(function(action, subject) {{ if (subject.isInGroup('kin')) {YES} }});": True,
    'polkit.addAdminRule(function(action, subject) { return ["unix-user:ben"]; });': True,
    'polkit.addAdminRule(function(action, subject) { return ["unix-group:kin"]; });': True,
    f'if (action.id == "org.freedesktop.policykit.exec" && subject.user == "ben") {YES}': True,
    f'if (action.id.indexOf("org.freedesktop.systemd1.") == 0 && subject.user == "ben") {YES}': True,
    f'if (action.id == "org.freedesktop.systemd1.set-environment" && subject.user == "ben") {YES}': True,
    f'if (action.id == "org.debian.apt.install-or-remove-packages" && subject.user == "ben") {YES}': True,
    f'if (action.id == "io.snapcraft.snapd.manage" && subject.user == "ben") {YES}': True,
    f'if (action.id == "org.freedesktop.NetworkManager.network-control" && subject.user == "ben") {YES}': False,
    f'polkit.addRule(function(action, subject) {{ if (subject.user == "anna") {YES} }});': False,
    # Who asks nobody who it is says yes to everybody.
    f'polkit.addRule(function(action, subject) {{ if (action.id == "org.freedesktop.policykit.exec") {YES} }});': True,
    f'polkit.addRule((a, subject) => {{ if (a.id == "org.gnome.gparted" && action.id) {YES} }});': True,
    f"polkit.addRule(function(action, subject) {{ {YES} }});": True,
    f'if (action.id == "org.freedesktop.policykit.exec" && subject.isInGroup("sudo")) {YES}': False,
    f'if (action.id == "org.freedesktop.systemd1.manage-units" && subject.local && subject.active) {YES}': False,
    f'if (action.id == "org.freedesktop.NetworkManager.network-control") {YES}': False,
    f'if (action.id == "org.gtk.vfs.file-operations" && subject.user == "ben") {YES}': True,
    f'// if (subject.user == "ben") {YES}': False,
    f'/* if (subject.user == "ben")\n {YES} */': False,
    'polkit.addAdminRule(function(action, subject) { return ["unix-group:sudo"]; });': False,
}


@pytest.mark.parametrize("text", POLKIT)
def test_rules_of_polkit(machine: Machine, text: str) -> None:
    machine.write("polkit/50-own.rules", text)
    assert bool(machine.ways()) is POLKIT[text]


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("[x]\nIdentity=unix-user:ben\nAction=*\nResultActive=yes\n", True),
        (
            "[x]\nIdentity=unix-user:anna;unix-group:kin\nAction=org.freedesktop.policykit.*\nResultAny=auth_self\n",
            True,
        ),
        ("[x]\nIdentity=unix-user:*\nAction=org.freedesktop.systemd1.manage-units\nResultAny=yes\n", True),
        ("[x]\nIdentity=unix-user:ben\nAction=org.freedesktop.udisks2.filesystem-mount\nResultAny=yes\n", False),
        ("[x]\nIdentity=unix-user:ben\nAction=*\nResultActive=auth_admin\n", False),
        ("[x]\nIdentity=unix-user:anna\nAction=*\nResultActive=yes\n", False),
        ("#[x]\n#Identity=unix-user:ben\n#Action=*\n#ResultActive=yes\n", False),
    ],
)
def test_older_rules_of_polkit(machine: Machine, text: str, is_one: bool) -> None:
    machine.write("authority/50-local.d/1.pkla", text)
    assert bool(machine.ways()) is is_one


def test_older_administrators_of_polkit(machine: Machine) -> None:
    machine.write("administrators/1.conf", "[Configuration]\nAdminIdentities=unix-user:0;unix-group:sudo\n")
    assert machine.ways() == []
    machine.write("administrators/2.conf", "[Configuration]\nAdminIdentities=unix-user:0;unix-group:kin\n")
    assert "2.conf" in machine.ways()[0]


# -- files -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "is_one"), [(0o755, False), (0o770, False), (0o777, True), (0o1777, True)])
def test_what_root_trusts(machine: Machine, mode: int, is_one: bool) -> None:
    (machine.directory / "trusted").mkdir()
    (machine.directory / "trusted").chmod(mode)
    assert bool(machine.ways()) is is_one


def test_what_is_its_own_or_its_groups(machine: Machine) -> None:
    trusted = machine.directory / "trusted"
    trusted.mkdir(mode=0o700)
    machine.people.add("clara", os.getuid() if os.getuid() else 3000)
    if os.getuid():
        assert machine.ways("clara"), "who owns it can change it, whatever its mode is"
    trusted.chmod(0o770)
    machine.people.groups["kin"] = (trusted.stat().st_gid, ["ben"])
    assert str(trusted) in machine.ways()[0]
    trusted.chmod(0o707)
    assert machine.ways() == [], "its group's rights count, not everybody's"


def test_a_file_where_root_trusts_all_of_them(machine: Machine) -> None:
    machine.write("listed/tidy", "")
    machine.write("elsewhere", "")
    (machine.directory / "listed/link").symlink_to("../elsewhere")
    assert machine.ways() == []
    (machine.directory / "listed/tidy").chmod(0o666)
    (machine.directory / "elsewhere").chmod(0o666)
    assert [one.rpartition("/")[2] for one in machine.ways()] == ["link, which root trusts", "tidy, which root trusts"]


def test_what_is_masked_is_nobodys(machine: Machine) -> None:
    """`systemctl mask`, and Debian's own init scripts: everybody may write /dev/null."""
    machine.write("listed/plain", "")
    (machine.directory / "listed/masked").symlink_to("/dev/null")
    machine.write("cron.d/quiet", "5 4 * * * root /bin/true >/dev/null")
    assert machine.ways() == []


@pytest.fixture
def bound() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as made:
        yield made


def test_a_socket_of_a_program_that_does_everything(machine: Machine, bound: socket.socket, tmp_path: Path) -> None:
    path = tmp_path / "docker.sock"
    bound.bind(str(path))
    path.chmod(0o660)
    assert machine.ways() == []
    machine.people.groups["kin"] = (path.stat().st_gid, ["ben"])
    assert "docker.sock, which does everything as root" in machine.ways()[0]


def test_an_administrators_home(machine: Machine) -> None:
    home = machine.directory / "home"
    home.chmod(0o777)
    machine.people.add("papa", 1002, home=home)
    machine.people.add("anna", 1001, home=home)
    # Anna's is the same: so she can become papa, and whoever writes in hers can, too.
    of_both = [f"it can write the home of {name}, who can become root" for name in ("papa", "anna")]
    assert sorted(machine.ways()) == sorted(of_both)
    machine.people.add("anna", 1001, home=machine.directory / "nowhere")
    assert machine.ways() == of_both[:1]
    home.chmod(0o755)
    assert machine.ways() == []
    machine.write("home/.bashrc", "")
    assert machine.ways() == []
    (home / ".bashrc").chmod(0o666)
    assert machine.ways() == ["it can write the home of papa, who can become root"]
    machine.people.groups["sudo"][1].remove("papa")
    assert machine.ways() == []
    home.chmod(0o777)
    assert machine.ways() == []
    machine.rules["papa"] = [Rule(("root",), commands=("ALL",))]
    assert machine.ways() == ["it can write the home of papa, who can become root"]


@pytest.mark.parametrize(
    ("line", "is_one"),
    [
        ("docker:!:ben:", True),
        ("docker:!:anna,ben:anna", True),
        ("docker:!::ben", True),
        ("docker:!::", False),
        ("docker:!:anna:anna", False),
        ("kin:!:ben:ben", False),
        ("docker:!", False),
    ],
)
def test_groups_that_it_can_put_itself_into(machine: Machine, line: str, is_one: bool) -> None:
    machine.write("gshadow", f"root:*::\n{line}\n")
    assert bool(machine.ways()) is is_one


@pytest.mark.parametrize(
    ("file", "line", "named"),
    [
        ("subuid", "ben:0:1", "root"),
        ("subuid", "1500:1000:10", "papa"),
        ("subuid", "ben:100000:65536", ""),
        ("subuid", "ben:1001:1", ""),
        ("subuid", "anna:0:65536", ""),
        ("subuid", "ben:0", ""),
        ("subuid", "ben:x:1", ""),
        ("subgid", "ben:0:1", "root"),
        ("subgid", "ben:990:20", "docker"),
        ("subgid", "ben:100000:65536", ""),
    ],
)
def test_numbers_that_it_may_take_in_a_container(machine: Machine, file: str, line: str, named: str) -> None:
    machine.write(file, f"{line}\n")
    found = machine.ways()
    assert [one.endswith(f"lets it take the number of {named}") for one in found] == ([True] if named else [])


def test_what_is_not_there_is_no_way(machine: Machine) -> None:
    for path in machine.directory.iterdir():
        if path.is_dir():
            path.rmdir()
    assert machine.ways() == []
