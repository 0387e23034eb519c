"""tools/audit: what the databases say is understood, and that nobody could be asked is never taken for good news."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import re
import types
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def audit() -> types.ModuleType:
    loader = importlib.machinery.SourceFileLoader("audit", str(ROOT / "tools" / "audit"))
    spec = importlib.util.spec_from_loader("audit", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


#: As uv 0.13.9 and npm 11 print them.
HOLE = {"dependency": {"name": "six", "version": "1.17.0"}, "id": "GHSA-1", "summary": "bad", "fix_versions": ["99"]}
UV = {"schema": {"version": "preview"}, "summary": {"audited_packages": 3, "vulnerabilities": 0}, "vulnerabilities": []}
NPM = {"auditReportVersion": 2, "vulnerabilities": {}, "metadata": {"vulnerabilities": {"total": 0}}}
NPM_HOLE = {"ws": {"name": "ws", "severity": "high", "range": "<99", "via": []}}


def test_what_uv_says(audit: types.ModuleType) -> None:
    assert audit.holes_in_python(json.dumps(UV)) == []
    assert audit.holes_in_python("Resolved 2 packages\n" + json.dumps({**UV, "vulnerabilities": [HOLE]})) == [
        "six 1.17.0: GHSA-1 bad"
    ]


def test_what_npm_says(audit: types.ModuleType) -> None:
    assert audit.holes_in_npm(json.dumps(NPM)) == []
    assert audit.holes_in_npm(json.dumps({**NPM, "vulnerabilities": NPM_HOLE})) == ["ws <99: high"]


@pytest.mark.parametrize(
    "report",
    [
        "",
        "error: Request failed after 3 retries",
        "{}",
        "{",
        "[]",
        '{"message": "405 Method Not Allowed", "error": {"summary": ""}}',
        '{"vulnerabilities": null}',
        json.dumps({**UV, "summary": {"audited_packages": 0}}),
    ],
)
def test_that_nobody_could_be_asked_is_no_good_news(
    audit: types.ModuleType, report: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert audit.holes_in_python(report) is None
    assert audit.holes_in_npm(report) is None
    assert audit.tell("x.txt", None, "dns error\n") == audit.NOT_CHECKED
    assert "NOT CHECKED" in capsys.readouterr().out
    assert audit.tell("x.txt", [], "") == audit.FINE and audit.tell("x.txt", ["hole"], "") == audit.FOUND


def test_everything_that_is_locked_is_asked_about(audit: types.ModuleType) -> None:
    for name in audit.NAMES:
        lock = (ROOT / "locks" / f"{name}.txt").read_text("utf-8")
        pinned = set(re.findall(r"^([\w.-]+==[\w.]+)", lock, re.MULTILINE))
        asked = set(re.findall(r'"([\w.-]+==[\w.]+)', audit.project(name)))
        assert pinned == asked and pinned


def test_the_test_command_knows_what_its_status_means(audit: types.ModuleType) -> None:
    text = (ROOT / "test").read_text("utf-8")
    assert f"not_checked={audit.NOT_CHECKED}" in text and 'part "known holes" tools/audit' in text
