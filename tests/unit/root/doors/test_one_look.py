"""root.doors.one_look: one look at many reads once; any other look reads anew, also after one that failed."""

from __future__ import annotations

from pathlib import Path

import pytest

from jupyterhub4family.common.system.programs import CompletedProcess
from jupyterhub4family.root.doors import administrators, file_rights, members, one_look, polkit_rights
from tests.unit.fakes import FakePrograms
from tests.unit.helpers import People

ASKED: list[str] = []


@one_look.once
def read(name: str) -> str:
    """Says each name."""
    ASKED.append(name)
    if name == "broken":
        raise OSError(name)
    return name.upper()


@pytest.fixture(autouse=True)
def nothing_asked() -> None:
    ASKED.clear()


def test_one_look_reads_once() -> None:
    with one_look.at_many():
        assert [read("a"), read("a"), read("b"), read("a")] == ["A", "A", "B", "A"]
        assert ASKED == ["a", "b"]


def test_any_other_look_reads_anew() -> None:
    assert [read("a"), read("a")] == ["A", "A"] and ASKED == ["a", "a"]
    with one_look.at_many():
        read("a")
    read("a")
    with one_look.at_many():
        read("a")
    assert ASKED == ["a"] * 5


def test_what_failed_is_tried_again_and_nothing_stays() -> None:
    with pytest.raises(OSError), one_look.at_many():
        for _number in range(2):
            with pytest.raises(OSError, match="broken"):
                read("broken")
        read("a")
        read("broken")
    read("a")
    assert ASKED == ["broken", "broken", "a", "broken", "a"]


def test_a_login_sees_what_came_after_a_list(people: People, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule that is made after the list was read counts for the very next question."""
    FakePrograms(monkeypatch).answer(
        "*", lambda call: CompletedProcess(0, f"User {call.args[-1]} is not allowed to run sudo on here.\n", "")
    )
    monkeypatch.setattr(file_rights, "GROUP_SHADOW", tmp_path / "gshadow")
    monkeypatch.setattr(polkit_rights, "LOCAL_AUTHORITY", ())
    anna = people.add("anna", 1001, "jupyterhub")
    people.add("ben", 1002, "jupyterhub")
    (tmp_path / "gshadow").write_text("sudo:!::\n", "utf-8")
    before = {one.name: one.reasons for one in members.list_members(True, None).members}  # type: ignore[arg-type]
    (tmp_path / "gshadow").write_text("sudo:!:anna:\n", "utf-8")
    after = [str(one) for one in administrators.ways_to_root(anna)]
    assert not any("gshadow" in str(one) for one in before["anna"])
    assert any("gshadow" in one for one in after)
    listed = {one.name: [str(way) for way in one.reasons] for one in members.list_members(True, None).members}  # type: ignore[arg-type]
    assert listed["anna"] == after and listed["ben"] == [str(one) for one in before["ben"]]
