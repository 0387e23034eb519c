"""root.tell_hub: root has the hub told by a program of the service; a hub that cannot be told stops nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from jupyterhub4family.common.system import programs
from jupyterhub4family.common.system.programs import Finished, ProgramError
from jupyterhub4family.root.doors.hub_users import update_hub


def answering(monkeypatch: pytest.MonkeyPatch, output: str) -> list[dict[str, Any]]:
    """The service's program answers `output`; returns what it was asked."""
    asked: list[dict[str, Any]] = []

    def run(words: list[Any], **more: Any) -> Finished:
        assert [str(word) for word in words] == [
            "/usr/bin/setsid",
            "--wait",
            "/usr/sbin/runuser",
            "-u",
            "jupyterhub",
            "--",
            "/usr/lib/jupyterhub4family/tell-hub",
        ]
        asked.append(json.loads(more["text_input"]))
        return Finished(0, output, "")

    monkeypatch.setattr(programs, "run", run)
    return asked


def test_a_hub_that_was_told_needs_no_note(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answering(monkeypatch, '{"ok": true}\n')
    assert update_hub("know", "anna") == ""
    assert asked == [{"action": "know", "names": ["anna"]}]


def test_a_hub_that_does_not_run_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, '{"ok": false, "error": "the hub does not answer", "status": 6}\n')
    assert update_hub("forget", "anna") == "the hub does not answer; the hub finds out at its next start"


@pytest.mark.parametrize("output", ["", "\n", "Traceback (most recent call last):\n  …", '{"ok": tr'])
def test_nonsense_is_noted(monkeypatch: pytest.MonkeyPatch, output: str) -> None:
    answering(monkeypatch, output)
    assert "could not be told" in update_hub("forget", "anna")


def test_a_program_that_does_not_start_or_end_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_words: Any, **_more: Any) -> Finished:
        raise ProgramError("runuser did not end within 120 seconds")

    monkeypatch.setattr(programs, "run", run)
    assert "could not be told" in update_hub("forget", "anna")
