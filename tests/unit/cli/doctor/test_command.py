"""cli.doctor: what is told, mended, and said by the exit status."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jupyterhub4family.cli.base import snapshot
from jupyterhub4family.cli.base.snapshot import Status
from jupyterhub4family.cli.base.terminal import Bar
from jupyterhub4family.cli.doctor import command as doctor
from jupyterhub4family.cli.doctor import registry
from jupyterhub4family.cli.doctor.base import minimum_versions
from jupyterhub4family.cli.doctor.base.finding import OK, PROBLEM, UNKNOWN, WARNING, Check, CheckContext, Finding
from jupyterhub4family.cli.doctor.checks import release_integrity
from jupyterhub4family.cli.main import main
from jupyterhub4family.common.errors import FamilyError, PermissionRefused, UsageError
from jupyterhub4family.common.settings import effective
from jupyterhub4family.common.settings.model import Settings
from jupyterhub4family.common.system.programs import as_account
from tests.unit.fakes import Call, FakePrograms
from tests.unit.helpers import DATA, must_not_be_called


def saying(*findings: Finding) -> Check:
    return Check("the weather", lambda _context: iter(findings))


FINE = Finding(OK, "The sun shines")
KNOWN = Finding(WARNING, "It may rain", "take a coat")
BROKEN = Finding(PROBLEM, "The roof leaks", "mend it", "rights")
UNSEEN = Finding(UNKNOWN, "The cellar is dark")


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> dict[str, Check]:
    found: dict[str, Check] = {"sun": saying(FINE)}
    monkeypatch.setattr(registry, "CHECKS", found)
    monkeypatch.setattr(effective, "settings_in_use", lambda: (Settings(), None))
    monkeypatch.setattr(doctor, "_wait_for_portal", lambda _bar: None)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return found


def test_all_is_well(checks: dict[str, Check], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    output = capsys.readouterr().out
    assert "The sun shines" in output and "No problems." in output


def test_a_warning_is_no_problem(checks: dict[str, Check], capsys: pytest.CaptureFixture[str]) -> None:
    checks.update(rain=saying(KNOWN), cellar=saying(UNSEEN))
    assert main(["doctor"]) == 0
    output = capsys.readouterr().out
    assert "Try: take a coat" in output and "No problems, 1 warning. 1 check was not possible." in output


def test_a_problem(checks: dict[str, Check], capsys: pytest.CaptureFixture[str]) -> None:
    checks.update(roof=saying(BROKEN), rain=saying(KNOWN))
    assert main(["doctor"]) == 1
    output = capsys.readouterr().out
    assert "PROBLEM" in output and "Try: mend it" in output and "well" not in output
    assert output.splitlines()[-2:] == ["1 problem, 1 warning.", "Try: sudo jupyterhub4family doctor --fix"]


def test_as_json(checks: dict[str, Check], capsys: pytest.CaptureFixture[str]) -> None:
    checks["roof"] = saying(BROKEN)
    assert main(["doctor", "--json"]) == 1
    reported = json.loads(capsys.readouterr().out)
    assert reported["state"] == PROBLEM and reported["fixed"] == []
    assert reported["findings"][1] == {
        "check": "roof",
        "state": PROBLEM,
        "sentence": "The roof leaks",
        "hint": "mend it",
        "repairable": True,
    }


def test_only_the_named_checks_look_in_our_order(checks: dict[str, Check], capsys: pytest.CaptureFixture[str]) -> None:
    checks.update(roof=Check("the weather", must_not_be_called), rain=saying(KNOWN), cellar=saying(UNSEEN))
    assert main(["doctor", "--json", "cellar", "sun"]) == 0
    assert [one["check"] for one in json.loads(capsys.readouterr().out)["findings"]] == ["sun", "cellar"]


def test_after_repairing_only_the_named_checks_look_again(
    checks: dict[str, Check], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def repaired(_call: Call) -> dict[str, Any]:
        checks["roof"] = saying(FINE)
        return {"ok": True}

    FakePrograms(monkeypatch).answer("*", repaired)
    checks.update(sun=Check("the weather", must_not_be_called), roof=saying(BROKEN))
    assert main(["doctor", "--fix", "--json", "roof"]) == 0
    assert [one["check"] for one in json.loads(capsys.readouterr().out)["findings"]] == ["roof"]


def test_a_check_that_there_is_not_is_refused_before_anything_looks(checks: dict[str, Check]) -> None:
    checks.update(sun=Check("the weather", must_not_be_called), roof=Check("the weather", must_not_be_called))
    with pytest.raises(UsageError) as refused:
        main(["doctor", "sun", "rof"])
    assert "'rof'" in refused.value.message and "roof" in refused.value.hint


@pytest.mark.parametrize(
    ("error", "arguments"),
    [
        (FamilyError("sudo is gone", "get it"), "sudo is gone"),
        (PermissionError(13, "Permission denied", "/etc/shadow"), "Only root can check /etc/shadow"),
        (OSError(5, "Input/output error", "/disk"), "/disk could not be checked: Input/output error"),
    ],
)
def test_a_check_that_cannot_look_ends_nothing(checks: dict[str, Check], error: Exception, arguments: str) -> None:
    def broken(_context: CheckContext) -> Iterator[Finding]:
        yield KNOWN
        raise error

    checks.clear()
    checks.update(broken=Check("the roof", broken), sun=saying(FINE))
    results = doctor.examine(Bar(quiet=True))
    assert [one.finding.state for one in results][-2:] == [UNKNOWN, OK]
    assert results[-2].finding.message == arguments


def test_progress_names_checks_in_words(checks: dict[str, Check], monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr(Bar, "show", lambda _bar, _percent, message: shown.append(message))
    doctor.examine(Bar(quiet=True))
    assert shown == ["Checking: the weather"]


def test_mending_and_looking_again(
    checks: dict[str, Check], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[list[str]] = []

    def converse(call: Call) -> dict[str, Any]:
        arguments = call.args
        asked.append([str(word) for word in arguments])
        checks["roof"] = saying(FINE)
        return {"ok": True, **({"done": "mended"} if call.name == "own-environment" else {})}

    FakePrograms(monkeypatch).answer("*", converse)
    start = Finding(PROBLEM, "It is off", "switch it on", "start")
    anna = Finding(PROBLEM, "Anna's is broken", "mend it", "environment:anna")
    checks["roof"] = saying(anna, start, BROKEN, BROKEN)
    assert main(["doctor", "--fix"]) == 0
    assert [arguments[-1] for arguments in asked] == ["rights", "start", "repair"], (
        "once each, starting last, members after it"
    )
    assert asked[2][:6] == as_account("anna")
    output = capsys.readouterr().out
    assert output.count("Repaired:") == 3 and "No problems." in output


def test_what_cannot_be_mended_is_told(
    checks: dict[str, Check], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    FakePrograms(monkeypatch).answer("*", lambda _call: {"ok": False, "error": "no network"})
    checks["roof"] = saying(BROKEN)
    assert main(["doctor", "--fix"]) == 1
    assert capsys.readouterr().out.startswith("Could not be repaired (rights): no network\n")


def test_nothing_is_mended_unasked_or_for_nothing(checks: dict[str, Check], monkeypatch: pytest.MonkeyPatch) -> None:
    FakePrograms(monkeypatch).answer("*", lambda _call: pytest.fail("nothing is to be mended"))
    assert main(["doctor", "--fix"]) == 0
    checks["roof"] = saying(BROKEN)
    assert main(["doctor"]) == 1


@pytest.mark.parametrize("word", ["--fix", "--deep"])
def test_only_root_may_mend_and_try(checks: dict[str, Check], monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1001)
    with pytest.raises(PermissionRefused):
        main(["doctor", word])


@pytest.mark.parametrize(
    ("answer", "status"), [({"ok": True, "seconds": 7}, 0), ({"ok": False, "error": "the portal is away"}, 1)]
)
def test_a_round_trip(
    checks: dict[str, Check],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    answer: dict[str, Any],
    status: int,
) -> None:
    FakePrograms(monkeypatch).answer("*", lambda _call: answer)
    assert main(["doctor", "--deep"]) == status
    assert ("7 seconds" if status == 0 else "the portal is away") in capsys.readouterr().out


GOOD = {
    "ok": True,
    "complete": True,
    "wanted": True,
    "files": 9,
    "missing": [],
    "changed": [],
    "broken": [],
    "versions": {},
}


@pytest.mark.parametrize(
    ("different", "state", "repair"),
    [
        ({}, OK, ""),
        ({"complete": False}, PROBLEM, "release"),
        ({"complete": False, "being_built": True}, WARNING, ""),
        ({"missing": ["a.py"]}, PROBLEM, "release"),
        ({"changed": ["a.py"]}, PROBLEM, "release"),
        ({"broken": ["node"]}, PROBLEM, "release"),
        ({"wanted": False}, WARNING, ""),
        ({"versions": {"jupyterhub": "5.0.0"}}, WARNING, ""),
        ({"ok": False, "error": "no"}, UNKNOWN, ""),
    ],
)
def test_release(monkeypatch: pytest.MonkeyPatch, different: dict[str, Any], state: str, repair: str) -> None:
    monkeypatch.setattr(
        minimum_versions, "MINIMUM_VERSIONS", DATA / "usr/share/jupyterhub4family/minimum-versions.json"
    )
    monkeypatch.setattr(minimum_versions, "JUDGEMENTS", DATA / "usr/share/jupyterhub4family/judgements.json")
    FakePrograms(monkeypatch).answer("*", lambda _call: {**GOOD, **different})
    found = list(release_integrity.check_release(CheckContext(by_root=True)))
    assert (found[0].state, found[0].repair) == (state, repair)


def test_without_the_list_of_known_problems_the_rest_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(minimum_versions, "MINIMUM_VERSIONS", tmp_path / "missing")
    answer = {**GOOD, "missing": ["a.py"], "versions": {"jupyterhub": "5.0.0", "tornado": "6"}}
    FakePrograms(monkeypatch).answer("*", answer)
    assert [one.state for one in release_integrity.check_release(CheckContext(by_root=True))] == [PROBLEM, UNKNOWN]


def test_a_portal_that_was_just_started_is_given_time(monkeypatch: pytest.MonkeyPatch) -> None:
    states = ["not running", "starting", "running"]
    now = Status(version="1", supervisor="cron", portal="", hub_running=False)
    monkeypatch.setattr(effective, "settings_in_use", lambda: (Settings(), None))
    monkeypatch.setattr(snapshot, "take_snapshot", lambda _settings: replace(now, portal=states.pop(0)))
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    doctor._wait_for_portal(Bar(quiet=True))
    assert states == []
    monkeypatch.setattr(doctor, "TIMEOUT", 0)
    monkeypatch.setattr(snapshot, "take_snapshot", lambda _settings: replace(now, portal="not running"))
    doctor._wait_for_portal(Bar(quiet=True))
