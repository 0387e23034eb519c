"""cli.checks.members: who may log in, what their homes let others see, whether their servers can start."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from jupyterhub4family.cli.doctor.base.finding import OK, PROBLEM, UNKNOWN, WARNING, CheckContext, Finding
from jupyterhub4family.cli.doctor.checks import members
from jupyterhub4family.common.paths import MEMBER_ENVIRONMENT
from jupyterhub4family.common.system import accounts as system_accounts
from jupyterhub4family.common.system.programs import ProgramError, as_account
from tests.unit.fakes import Call, FakePrograms
from tests.unit.helpers import People

OWN = os.getuid()


def states(findings: Any) -> list[str]:
    return [one.state for one in findings]


def test_nobody_is_a_member(people: People) -> None:
    (found,) = members.check_who(CheckContext())
    assert found.state == WARNING and "members add" in found.hint


def test_ordinary_members(people: People) -> None:
    people.add("anna", 1001, "jupyterhub")
    people.add("clara", 1003, gid=200)
    unsure, found = members.check_who(CheckContext())
    assert unsure.state == UNKNOWN and "Only root" in unsure.message
    assert found.state == OK and "2" in found.message


def as_root(people: People, monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any]) -> list[Finding]:
    """What root is told, when the door `members` answers so."""
    FakePrograms(monkeypatch).answer("*", lambda _call: answer)
    people.add("anna", 1001, "jupyterhub")
    people.add("dad", 1002, "jupyterhub", "sudo")
    return list(members.check_who(CheckContext(by_root=True)))


def member(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "display_name": "", "uid": 1001, "delegate": False, "administrator": bool(more), **more}


def test_root_hears_who_can_become_root_and_by_what(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = [
        member("anna", refused=True, reasons=["/etc/doas.conf lets it be root"]),
        member("dad", refused=False, reasons=["in the group sudo"]),
    ]
    anna, dad, last = as_root(people, monkeypatch, {"ok": True, "members": listed})
    assert anna.state == PROBLEM and "/etc/doas.conf lets it be root" in anna.message
    assert "members remove anna" in anna.hint and "--allow-administrator anna" in anna.hint
    assert dad.state == WARNING and "as root has allowed" in dad.message
    assert last.state == OK


def test_root_hears_of_plain_members_too(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    assert states(as_root(people, monkeypatch, {"ok": True, "members": [member("anna")]})) == [OK]


def test_a_look_that_fails_is_not_taken_for_all_well(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    found = as_root(people, monkeypatch, {"ok": False, "error": "sudo could not be asked", "status": 1})
    assert states(found) == [UNKNOWN, OK] and "sudo could not be asked" in found[0].message


def test_members_that_should_not_be(people: People) -> None:
    people.add("dad", 1002, "jupyterhub", "sudo")
    people.add("daemon", 1, "jupyterhub")
    people.groups["jupyterhub"][1].append("ghost")
    found = {one.message.split()[0]: one.state for one in members.check_who(CheckContext())}
    assert found["dad"] == WARNING and found["daemon"] == PROBLEM and found["ghost"] == WARNING


@pytest.mark.parametrize(
    ("mode", "state"), [(0o700, OK), (0o750, OK), (0o755, WARNING), (0o711, WARNING), (0o777, PROBLEM)]
)
def test_homes(people: People, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, state: str) -> None:
    home = tmp_path / "anna"
    home.mkdir()
    home.chmod(mode)
    monkeypatch.setattr(system_accounts, "never_a_member", lambda _account: None)
    people.add("anna", OWN, "jupyterhub", home=home)
    (found,) = members.check_homes(CheckContext())
    assert found.state == state and bool(found.hint) is (state != OK)


def test_a_home_that_is_missing_or_somebody_elses(people: People, tmp_path: Path) -> None:
    people.add("anna", 1001, "jupyterhub", home=tmp_path / "none")
    people.add("ben", 1002, "jupyterhub", home=tmp_path)
    assert states(members.check_homes(CheckContext())) == [PROBLEM, PROBLEM]


def environment(
    people: People, monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any], by_root: bool = True
) -> tuple[list[Finding], list[list[str]]]:
    asked: list[list[str]] = []

    def converse(call: Call) -> dict[str, Any]:
        arguments = call.args
        asked.append([str(word) for word in arguments])
        return answer

    FakePrograms(monkeypatch).answer("*", converse)
    people.add("anna", 1001, "jupyterhub")
    return list(members.check_environments(CheckContext(by_root=by_root))), asked


GOOD = {"ok": True, "place": "/home/anna/.local/env", "exists": True, "missing": [], "made_by": "links"}


def test_an_environment_is_looked_at_with_its_owners_rights(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    found, asked = environment(people, monkeypatch, GOOD)
    assert states(found) == [OK] and asked[0][:6] == as_account("anna")
    assert asked[0][-1] == "examine", "not only at what lies there"


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        ({**GOOD, "exists": False, "made_by": ""}, OK),
        ({**GOOD, "missing": ["jupyterlab"]}, PROBLEM),
        ({**GOOD, "made_by": ""}, WARNING),
        ({"ok": False, "error": "no"}, UNKNOWN),
    ],
)
def test_what_an_environment_is_like(
    people: People, monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any], state: str
) -> None:
    found, _asked = environment(people, monkeypatch, answer)
    assert states(found) == [state]
    assert found[0].repair == ("environment:anna" if state == PROBLEM else "")


def test_others_environments_are_roots_to_look_at(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    found, asked = environment(people, monkeypatch, GOOD, by_root=False)
    assert states(found) == [UNKNOWN] and asked == []


def test_a_program_that_cannot_be_asked_ends_nothing(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    def converse(call: Call) -> dict[str, Any]:
        raise ProgramError("runuser could not be started")

    FakePrograms(monkeypatch).answer("*", converse)
    people.add("anna", 1001, "jupyterhub")
    assert states(members.check_environments(CheckContext(by_root=True))) == [UNKNOWN]


def test_an_environment_of_somebody_else(people: People, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / MEMBER_ENVIRONMENT).mkdir(parents=True)
    people.add("anna", 1001, "jupyterhub", home=tmp_path)
    (found,) = members.check_environments(CheckContext(by_root=True))
    assert found.state == PROBLEM and "belongs to somebody else" in found.message


LIKE = "ab" * 32


class Environments:
    """Members, the template, and what the programs say that look at them."""

    def __init__(self, people: People, monkeypatch: pytest.MonkeyPatch) -> None:
        self.like = dict.fromkeys(["anna", "ben", "clara", "dora"], LIKE)
        for number, name in enumerate(self.like, 1001):
            people.add(name, number, "jupyterhub")
        self.programs = FakePrograms(monkeypatch)
        self.programs.answer("try-template", {"ok": True, "likeness": LIKE, "directories": ["", "bin"]})
        self.programs.answer("compare-environments", lambda call: {"ok": True, "found": self.like})
        self.programs.answer("own-environment", GOOD)
        self.progress: list[tuple[int, str]] = []

    def check(self, by_root: bool = True) -> list[Finding]:
        context = CheckContext(by_root=by_root, on_progress=lambda *reported: self.progress.append(reported))
        return list(members.check_environments(context))

    @property
    def examined(self) -> list[str]:
        """Whose environment was looked at by their own program."""
        return sorted(
            call.args[call.args.index("-u") + 1] for call in self.programs.calls if call.name == "own-environment"
        )


@pytest.fixture
def environments(people: People, monkeypatch: pytest.MonkeyPatch) -> Environments:
    return Environments(people, monkeypatch)


def test_the_template_is_tried_once_for_all_who_have_its_files(environments: Environments) -> None:
    (found,) = environments.check()
    assert found.state == OK and "4" in found.message
    assert environments.examined == []
    tried, compared = environments.programs.calls
    assert tried.args[:6] == as_account("jupyterhub"), "root runs nothing of the service's"
    assert compared.request == {"names": ["anna", "ben", "clara", "dora"], "directories": ["", "bin"]}


def test_all_others_are_tried_each_by_itself(environments: Environments) -> None:
    environments.like.update(ben="cd" * 32, clara="none", dora="")
    environments.programs.answer("own-environment", {**GOOD, "missing": ["No module named 'tornado'"]})
    ben, dora, rest = environments.check()
    assert environments.examined == ["ben", "dora"]
    assert ben.state == dora.state == PROBLEM and "tornado" in ben.message and ben.repair == "environment:ben"
    assert dora.repair == "environment:dora" and rest.state == OK and "2" in rest.message


def test_progress_goes_on_and_names_who_is_waited_for(environments: Environments) -> None:
    environments.like.update(ben="", clara="", dora="")
    environments.check()
    percents = [percent for percent, _message in environments.progress]
    assert percents == [0, 25, 50, 75]
    assert "template" in environments.progress[0][1]
    assert all(any(name in one for name in ("ben", "clara", "dora")) for _, one in environments.progress[1:])


@pytest.mark.parametrize("program", ["try-template", "compare-environments"])
def test_without_a_measure_everybody_is_tried(environments: Environments, program: str) -> None:
    for answer in ({"ok": False, "error": "no"}, ProgramError("it does not run"), {"ok": True, "likeness": 3}):
        environments.programs.answer(program, answer)
        environments.programs.calls.clear()
        assert states(environments.check()) == [OK]
        assert environments.examined == ["anna", "ben", "clara", "dora"]


def test_a_lie_of_the_service_does_not_make_more_of_it(environments: Environments) -> None:
    """It says that its template is like nothing at all: then nothing is like it."""
    environments.programs.answer("try-template", {"ok": True, "likeness": "", "directories": []})
    environments.like = dict.fromkeys(environments.like, "")
    environments.check()
    assert environments.examined == ["anna", "ben", "clara", "dora"]


def test_who_is_alone_or_no_root_is_tried_as_ever(environments: Environments, people: People) -> None:
    assert states(environments.check(by_root=False)) == [UNKNOWN]
    for name in ("ben", "clara", "dora"):
        people.groups["jupyterhub"][1].remove(name)
    assert states(environments.check()) == [OK]
    assert [call.name for call in environments.programs.calls] == ["own-environment"]
