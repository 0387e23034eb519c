"""The registry of doors: all that must agree with it does, and would notice a door or an action that is only there."""

from __future__ import annotations

import re
from typing import Any

import pytest

from jupyterhub4family.cli.doctor.checks import rights
from jupyterhub4family.common import records
from jupyterhub4family.common.protocol import doors, service_programs, shapes
from jupyterhub4family.common.protocol.actions import Action, Nothing, Program
from jupyterhub4family.common.protocol.doors import Door
from tests.unit import hostile, registry_checks
from tests.unit.helpers import DATA


@records.dataclass(frozen=True)
class Jump:
    """A request that nobody knows."""

    height: int


JUMP: Action[Any, Any] = Action(doors.MEDIATOR, "jump", Jump, Nothing)
KNOCK = Door("knock", "root.doors.knock", opened_by="%jupyterhub")
KNOCKING: Action[Any, Any] = Action(KNOCK, "", Nothing, Nothing)

COMPARISONS = [*registry_checks.COMPARISONS, "fuzz"]


def compared(name: str, all_doors: tuple[Door, ...], actions: tuple[Action[Any, Any], ...]) -> list[str]:
    """What the comparison called so has to say."""
    if name == "fuzz":
        from tests.unit import test_doors_properties

        return registry_checks.fuzz(all_doors, actions, test_doors_properties.WATCHED, hostile.SHAPES)
    return registry_checks.COMPARISONS[name](all_doors, actions)


@pytest.mark.parametrize("name", COMPARISONS)
def test_all_that_speaks_of_doors_agrees_with_the_registry(name: str) -> None:
    assert compared(name, doors.DOORS, doors.ACTIONS) == []


@pytest.mark.parametrize("name", COMPARISONS)
def test_a_door_that_is_only_in_the_registry_is_noticed_everywhere(name: str) -> None:
    """The proof that these comparisons can fail; each says what is missing."""
    found = compared(name, (*doors.DOORS, KNOCK), (*doors.ACTIONS, KNOCKING))
    assert found, name
    assert re.search("knock|KNOCK|six", " ".join(found)), found


@pytest.mark.parametrize("name", ["handlers", "fuzz", "reference"])
def test_an_action_that_is_only_in_the_registry_is_noticed_everywhere(name: str) -> None:
    found = compared(name, doors.DOORS, (*doors.ACTIONS, JUMP))
    assert found and "jump" in " ".join(found), found
    if name == "fuzz":
        assert "height" in " ".join(found), found


@records.dataclass(frozen=True)
class ReadMore:
    """The request of `log`, with a key more."""

    name: str = ""
    lines: int = 20


@pytest.mark.parametrize("name", ["fuzz", "reference"])
def test_a_key_that_is_only_in_the_registry_is_noticed(name: str) -> None:
    more: Action[Any, Any] = Action(doors.MEDIATOR, "log", ReadMore, doors.LogLines)
    actions = tuple(more if action is doors.LOG else action for action in doors.ACTIONS)
    assert "lines" in " ".join(compared(name, doors.DOORS, actions))


def test_a_key_that_is_only_in_the_reference_is_noticed() -> None:
    less: Action[Any, Any] = Action(doors.MEDIATOR, "log", Nothing, doors.LogLines)
    actions = tuple(less if action is doors.LOG else action for action in doors.ACTIONS)
    (found,) = compared("reference", doors.DOORS, actions)
    assert "the request of log, has name" in found


def test_every_action_that_is_defined_is_in_the_table() -> None:
    defined = [value for value in vars(doors).values() if isinstance(value, Action)]
    assert [one.name for one in defined] == [one.name for one in doors.ACTIONS]
    assert [value for value in vars(doors).values() if isinstance(value, Door)] == list(doors.DOORS)


@pytest.mark.parametrize("left_out", doors.ACTIONS, ids=lambda action: f"{action.program.name}-{action.name}")
def test_an_action_that_is_only_in_the_code_is_noticed(left_out: Action[Any, Any]) -> None:
    """As one that somebody has added to a door's HANDLERS, and forgotten here."""
    rest = tuple(action for action in doors.ACTIONS if action is not left_out)
    found = registry_checks.handlers(doors.DOORS, rest)
    assert any((left_out.name or "its only action") in one and left_out.program.module in one for one in found), found


def test_doctor_looks_at_every_door_of_the_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doors, "DOORS", (*doors.DOORS, KNOCK))
    output = [str(finding.message) for finding in rights.check_doors(None)]  # type: ignore[arg-type]
    for door in doors.DOORS:
        assert any(str(door.path) in message for message in output), door


def test_every_program_of_the_package_has_its_module() -> None:
    actions = [one for one in vars(service_programs).values() if isinstance(one, Action)]
    found = {action.program for action in actions} | {
        one for one in vars(service_programs).values() if isinstance(one, Program)
    }
    assert len(found) >= 12
    for program in found:
        text = (DATA / "usr/lib/jupyterhub4family" / program.name).read_text("utf-8")
        assert f"from jupyterhub4family.{program.module} import" in text, program


def test_the_type_of_every_key_can_be_told_and_checked() -> None:
    for action in [*doors.ACTIONS, *(one for one in vars(service_programs).values() if isinstance(one, Action))]:
        for shape in (action.request, action.answer):
            for kind in shapes.types_of(shape).values():
                assert shapes.name_of(kind)


def test_no_repr_of_a_request_shows_a_password() -> None:
    login = doors.Login("anna", "a secret")
    trial = service_programs.TrialLogin("anna", "a secret")
    backup = service_programs.SetUpBackup("/backups", "a secret")
    assert "a secret" not in repr((login, trial, backup))
