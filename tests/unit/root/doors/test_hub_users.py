"""root.doors.hub_users: root has the hub told by a program of the service; a hub that cannot be told stops nothing."""

from __future__ import annotations

import pytest

from jupyterhub4family.common.system.programs import CompletedProcess, ProgramError
from jupyterhub4family.root.doors import hub_users
from tests.unit.fakes import FakePrograms


def test_a_hub_that_was_told_needs_no_note(programs_run: FakePrograms) -> None:
    programs_run.answer("tell-hub", {"ok": True})
    assert hub_users.add("anna") == "" and hub_users.remove("ben") == ""
    assert [call.request for call in programs_run.calls] == [
        {"action": "know", "names": ["anna"]},
        {"action": "forget", "names": ["ben"]},
    ]
    for call in programs_run.calls:
        assert call.timeout == 120
        assert call.args == [
            "/usr/bin/setsid",
            "--wait",
            "/usr/sbin/runuser",
            "-u",
            "jupyterhub",
            "--",
            "/usr/lib/jupyterhub4family/tell-hub",
        ]


def test_a_hub_that_does_not_run_is_noted(programs_run: FakePrograms) -> None:
    programs_run.answer(
        "tell-hub", CompletedProcess(6, '{"ok": false, "error": "the hub does not answer", "status": 6}\n', "")
    )
    assert hub_users.remove("anna") == "the hub does not answer; the hub learns of it at its next start"


@pytest.mark.parametrize("output", ["", "\n", "Traceback (most recent call last):\n  …", '{"ok": tr'])
def test_nonsense_is_noted(programs_run: FakePrograms, output: str) -> None:
    programs_run.answer("tell-hub", output)
    assert "could not be reached" in hub_users.remove("anna")


def test_a_program_that_does_not_start_or_end_is_noted(programs_run: FakePrograms) -> None:
    programs_run.answer("tell-hub", ProgramError("runuser did not end within 120 seconds"))
    assert "could not be reached" in hub_users.remove("anna")
