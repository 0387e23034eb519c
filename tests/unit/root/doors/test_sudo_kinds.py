"""root.doors.sudo_kinds: whom sudo's files cannot tell apart, and that whoever could be meant is asked about alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from jupyterhub4family.common.system.programs import CompletedProcess
from jupyterhub4family.root.doors import file_rights, members, one_look, polkit_rights, sudo_kinds, sudo_rights
from tests.unit.fakes import FakePrograms
from tests.unit.helpers import People

RULES = """\
# User privilege specification; %sudo may do everything
#Defaults:%sudo env_keep += "EDITOR"
Defaults env_reset
root ALL=(ALL:ALL) ALL
%sudo ALL=(ALL:ALL) ALL
%jupyterhub ALL = (root) NOPASSWD: /usr/lib/jupyterhub4family/confine ""
@includedir {directory}
"""


class Machine:
    """sudo's files, and four members: anna, ben, clara and dora, who is in a group of her own choice, too."""

    def __init__(self, people: People, patch: pytest.MonkeyPatch, directory: Path) -> None:
        self.people, self.directory = people, directory
        (directory / "sudoers.d").mkdir()
        patch.setattr(sudo_kinds, "SUDOERS", directory / "sudoers")
        patch.setattr(sudo_kinds, "SUDO_CONF", directory / "sudo.conf")
        patch.setattr(sudo_kinds, "NAME_SERVICES", directory / "nsswitch.conf")
        self.write("sudoers", RULES.format(directory=directory / "sudoers.d"))
        people.group("games", 60)
        for number, name in enumerate(("anna", "ben", "clara")):
            people.add(name, 1001 + number, "jupyterhub")
        people.add("dora", 1004, "jupyterhub", "games")

    def write(self, name: str, text: str) -> None:
        (self.directory / name).write_text(text, "utf-8")

    def alone(self) -> list[str]:
        """Who is asked about alone."""
        kinds = {name: sudo_kinds.kind(one) for name, one in self.people.accounts.items()}
        return [name for name, kind in kinds.items() if kind is None or kind != kinds["anna"]]


@pytest.fixture
def machine(people: People, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    return Machine(people, monkeypatch, tmp_path)


def test_plain_members_are_alike(machine: Machine) -> None:
    assert machine.alone() == []
    machine.write("nsswitch.conf", "passwd: files systemd sss\nsudoers: files\n")
    machine.write("sudo.conf", "# Plugin sudoers_policy sudoers.so\n\n")
    assert machine.alone() == []


@pytest.mark.parametrize(
    "rule",
    [
        "ben ALL=(root) /bin/sh",
        "BEN ALL=(root) /bin/sh",
        "!ben,%jupyterhub ALL=(root) /bin/sh",
        "User_Alias FUN=dora,ben",
        '"ben" ALL=(root) /bin/sh',
        "#1002 ALL=(root) /bin/sh",
        "#01002 ALL=(root) /bin/sh",
        "#1002ALL=(root) /bin/sh",
        "#1002.local=(root) /bin/sh",
        "%#1002-host=(root) /bin/sh",
        "%ben ALL=(root) /bin/sh",
        "%#1002 ALL=(root) /bin/sh",
        "Defaults:ben !authenticate",
    ],
)
def test_whoever_is_named_is_asked_about_alone(machine: Machine, rule: str) -> None:
    machine.write("sudoers.d/more", f"{rule}\n")
    assert "ben" in machine.alone() and "clara" not in machine.alone()


@pytest.mark.parametrize("group", ["%games", "%GAMES", "%#60", "%fun"])
def test_a_group_that_is_named_counts(machine: Machine, group: str) -> None:
    machine.people.group("fun", 60)
    machine.write("sudoers.d/more", f"{group} ALL=(root) /bin/sh\n")
    assert machine.alone() == ["dora"]


def test_a_group_that_is_in_no_list_counts(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = {name: group for name, group in machine.people.groups.items() if name != "games"}
    machine.people.groups = listed
    monkeypatch.setattr("os.getgrouplist", lambda name, gid: [gid, 200, *([60] if name == "dora" else [])])
    assert machine.alone() == ["dora"]


@pytest.mark.parametrize(
    "rule",
    [
        "+children ALL=(root) /bin/sh",
        "%:domain ALL=(root) /bin/sh",
        '%"domain users" ALL=(root) /bin/sh',
        "\\x62en ALL=(root) /bin/sh",
        "be\\\nn ALL=(root) /bin/sh",
        "#-3 ALL=(root) /bin/sh",
        'Defaults group_plugin="system_group.so"',
        "@include more files",
        "#include %h.rules",
        "@include /nowhere",
    ],
)
def test_what_could_name_somebody_in_disguise(machine: Machine, rule: str) -> None:
    machine.write("sudoers.d/more", f"{rule}\n")
    assert machine.alone() == ["anna", "ben", "clara", "dora"]


def test_other_sources_of_rules(machine: Machine) -> None:
    for line in ("sudoers: files sss", " Sudoers : files ldap", "sudoers files"):
        machine.write("nsswitch.conf", f"{line}\n")
        assert len(machine.alone()) == 4, line
    machine.write("nsswitch.conf", "")
    machine.write("sudo.conf", "Plugin sudoers_policy other.so\n")
    assert len(machine.alone()) == 4
    machine.write("sudo.conf", "")
    (machine.directory / "sudoers").unlink()
    assert len(machine.alone()) == 4


def test_included_files_are_searched(machine: Machine) -> None:
    deeper = machine.directory / "deeper"
    machine.write("sudoers.d/more", f"@include {deeper}\n")
    machine.write("deeper", f"clara ALL=(root) /bin/sh\n#include {deeper}\n")
    assert machine.alone() == ["clara"]
    # As many as nobody has.
    for number in range(sudo_kinds._MOST):
        machine.write(f"sudoers.d/{number}", "")
    assert len(machine.alone()) == 4


def test_a_list_asks_sudo_once_for_those_alike(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """ben, whom a rule names, gets his own answer; everybody else nobody's rights but their own."""
    machine.write("sudoers.d/more", "ben ALL=(root) /bin/sh\n")
    entry = "\nSudoers entry:\n    RunAsUsers: root\n    Commands:\n\t/bin/sh\n"

    def answer(name: str) -> str:
        if name == "ben":
            return f"User {name} may run the following commands on here:\n{entry}"
        return f"User {name} is not allowed to run sudo on here.\n"

    machine.people.add("root", 0)
    monkeypatch.setattr(file_rights, "GROUP_SHADOW", machine.directory / "gshadow")
    monkeypatch.setattr(polkit_rights, "LOCAL_AUTHORITY", ())
    fake = FakePrograms(monkeypatch)
    fake.answer("*", lambda call: CompletedProcess(0, answer(call.args[-1]), ""))
    listed = {one.name: one for one in members.list_members(True, None).members}  # type: ignore[arg-type]
    asked = [call.args[-1] for call in fake.calls]
    assert sorted(asked) == ["anna", "ben"]
    assert [name for name, one in listed.items() if any("/bin/sh" in str(way) for way in one.reasons)] == ["ben"]


def test_who_is_looked_at_alone_is_asked_about_alone(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def rules_of(name: str) -> list[sudo_rights.Rule]:
        asked.append(name)
        return []

    monkeypatch.setattr(sudo_rights, "rules_of", rules_of)
    everybody = list(machine.people.accounts.values())
    for _number in range(2):
        with one_look.at_one():
            for account in everybody:
                assert list(sudo_rights.ways(account, lambda _account: None)) == []
    assert asked == ["anna", "ben", "clara", "dora"] * 2


def test_a_name_of_digits_is_searched_as_it_is(machine: Machine) -> None:
    machine.people.group("007", 70)
    machine.people.add("0123", 1005, "jupyterhub")
    machine.people.add("eve", 1006, "jupyterhub", "007")
    machine.write("sudoers.d/more", "0123,%007 ALL=(root) /bin/sh\n")
    assert machine.alone() == ["0123", "eve"]


def test_whom_a_rule_lets_act_as_themselves_is_nobody_elses_answer(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rule for groups alone, `(:games)`: sudo then names the account that it was asked about."""
    asked: list[str] = []

    def rules_of(name: str) -> list[sudo_rights.Rule]:
        asked.append(name)
        return [sudo_rights.Rule((name,), ("games",), commands=("/bin/sh",))]

    monkeypatch.setattr(sudo_rights, "rules_of", rules_of)
    accounts = machine.people.accounts
    with one_look.at_many():
        found = [sudo_rights._rules_of(accounts[name])[0].users for name in ("anna", "ben", "clara", "anna")]
    assert found == [("anna",), ("ben",), ("clara",), ("anna",)] and asked == ["anna", "ben", "clara"]
