"""The bench's arithmetic: what it makes of values, what it keeps of earlier runs, and what it writes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, ClassVar, cast

import pytest

# The bench is a developers' tool: it needs what the tests' environment has, and a Python of today.
pytest.importorskip("httpx")
pytest.importorskip("playwright")

from bench import crowd, main, measure, report, results, summary
from bench.book import BUSY, Book, Value, wait_until_quiet
from bench.figures import FIGURES, GROWTH, ONCE, OURS_ALONE, SCENES, SMOKE, scene_of
from bench.link import QUEUE, Direction
from bench.main import Bench
from bench.reasons import REASONS
from bench.results import Origin
from bench.scenes import Stage
from bench.stacks import FLOOR, OURS, STOCK, Ours
from bench.stock import Stock
from bench.syncs import tally
from tests.machine.lib.machine import Machine

TODAY = Origin("2027-01-02 03:04", "abcdef012345", "0123456789ab")
ABOUT: dict[str, Any] = {
    "machine": {"Computer": "2 cores"},
    "versions": {"jupyterhub": "6.1.1"},
    "differs": {"Node": "ours: of our lock"},
    "version": "jupyterhub4family 1.0",
}


def book(values: dict[str, dict[str, list[Value]]], load: float = 0.2) -> Book:
    """A book in which this was noted."""
    made = Book(began_at_load=load)
    for figure, columns in values.items():
        for column, each in columns.items():
            for value in each:
                made.values[figure][column].append(value)
                made.loads[figure].append(load + 1)
    return made


def measured(ours: list[Value], stock: list[Value], load: float = 0.2) -> Book:
    return book({"warm_start": {OURS: ours, STOCK: stock, FLOOR: [0.1] * len(ours)}}, load)


# -- the table ----------------------------------------------------------------------------------------------------


def test_each_figure_has_one_scene_and_each_scene_its_figures() -> None:
    listed = [figure for figures in SCENES.values() for figure in figures]
    assert sorted(listed) == sorted(FIGURES)
    assert set(SMOKE) < set(SCENES)
    assert all(scene_of(figure) in SCENES for figure in FIGURES)
    assert [scene for scene, figures in SCENES.items() if not figures] == [GROWTH]


@pytest.mark.parametrize(
    ("figure", "mark"),
    [
        ("warm_start", 0.20),
        ("warm_cpu", 0.25),
        ("server_memory", 0.30),
        ("server_memory_used", 0.40),
        ("service_memory", 0.90),
        ("ten_at_once", 0.22),
        ("downloaded", 0.50),
        ("page_bytes", 0.30),
        ("page_cold", 0.65),
        ("install_to_lab", 0.30),
    ],
)
def test_marks_that_were_set_beside_stock(figure: str, mark: float) -> None:
    assert FIGURES[figure].ratio == mark
    assert summary.mark(FIGURES[figure]) == f"≤ {mark:.2f}"


@pytest.mark.parametrize(
    ("figure", "mark"),
    [("syncs", 5), ("hub_cpu", 0.06), ("doctor_cpu", 3), ("members_cpu", 0.1), ("version_cpu", 0.04)],
)
def test_marks_that_were_set_by_themselves(figure: str, mark: float) -> None:
    assert FIGURES[figure].limit == mark
    assert f"{mark:g}" in summary.mark(FIGURES[figure])


def test_reasons_are_for_figures() -> None:
    assert set(REASONS) <= set(FIGURES)


# -- medians, ratios, verdicts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "median"),
    [
        ([], None),
        ([3.0], 3.0),
        ([1.0, 2.0], 1.5),
        ([9.0, 1.0, 2.0], 2.0),
        ([1.0, None, 2.0], 2.0),
        ([None, None], None),
    ],
)
def test_median(values: list[Value], median: Value) -> None:
    assert summary.median(values) == median


@pytest.mark.parametrize(
    ("ours", "stock", "ratio"),
    [
        ([1.0, 4.0, 1.0], [2.0, 8.0, 4.0], 0.5),  # a repeat that was disturbed was so on both sides
        ([1.0], [], None),
        ([1.0, 3.0], [4.0], 0.5),
        ([5.0], [None], 0.0),  # stock comes to no end
        ([None], [1.0], None),
    ],
)
def test_ratio(ours: list[Value], stock: list[Value], ratio: Value) -> None:
    assert summary.ratio(ours, stock) == ratio


def row(key: str, ours: list[Value], stock: list[Value], load: float = 0.0) -> dict[str, Any]:
    values = {OURS: ours, STOCK: stock}
    return summary.summarise(key, {**TODAY.as_json(), "values": values, "load": {"begin": load, "most": load}})


@pytest.mark.parametrize(
    ("key", "ours", "stock", "reached"),
    [
        ("warm_start", [0.2], [1.0], True),
        ("warm_start", [0.21], [1.0], False),
        ("warm_start", [0.2], [], None),
        ("syncs", [5.0], [52.0], True),
        ("syncs", [6.0], [52.0], False),
        ("killed_systemd", [None], [1.0], False),
        ("hub_memory", [1.0], [2.0], None),
    ],
)
def test_a_mark_is_reached(key: str, ours: list[Value], stock: list[Value], reached: bool | None) -> None:
    found = row(key, ours, stock)
    assert found["reached"] is reached
    assert bool(found["reason"]) is (reached is False)


def test_what_began_beside_other_work_is_marked() -> None:
    assert not row("warm_start", [1.0], [4.0], BUSY)["busy"]
    assert row("warm_start", [1.0], [4.0], BUSY + 0.1)["busy"]
    assert " †" in report.table({"warm_start": row("warm_start", [1.0], [4.0], 3.0)})[2]
    assert " †" not in report.table({"warm_start": row("warm_start", [1.0], [4.0])})[2]


# -- runs in parts ------------------------------------------------------------------------------------------------


def test_a_scene_is_added_to_those_before() -> None:
    suite: dict[str, Any] = {}
    results.add(suite, "syncs", book({"syncs": {OURS: [4.0], STOCK: [52.0]}}), TODAY)
    results.add(suite, "warm", measured([1.0], [5.0]), TODAY)
    assert list(suite["figures"]) == ["warm_start", "syncs"], "in the order of the table"
    assert suite["figures"]["warm_start"]["median"] == {OURS: 1.0, STOCK: 5.0, FLOOR: 0.1}
    assert suite["figures"]["warm_start"]["load"] == {"begin": 0.2, "most": 1.2}


def test_values_of_the_same_package_are_counted_together() -> None:
    suite: dict[str, Any] = {}
    results.add(suite, "warm", measured([1.0, 2.0], [5.0, 5.0]), TODAY)
    later = Origin("2027-01-03 00:00", "fedcba", TODAY.package)
    results.add(suite, "warm", measured([3.0], [6.0], 0.7), later)
    found = suite["figures"]["warm_start"]
    assert found["values"] == {OURS: [1.0, 2.0, 3.0], STOCK: [5.0, 5.0, 6.0], FLOOR: [0.1] * 3}
    assert (found["date"], found["commit"], found["load"]) == (later.date, "fedcba", {"begin": 0.7, "most": 1.7})


@pytest.mark.parametrize("reason", ["another package", "again", "busy before", "measured in another way"])
def test_values_that_do_not_belong_together_are_replaced(reason: str) -> None:
    suite: dict[str, Any] = {}
    results.add(suite, "warm", measured([1.0], [5.0], 4.0 if reason == "busy before" else 0.2), TODAY)
    if reason == "measured in another way":
        suite["figures"]["warm_start"]["how"] = "with a stopwatch"
    now = Origin(TODAY.date, TODAY.commit, "another" if reason == "another package" else TODAY.package)
    results.add(suite, "warm", measured([3.0], [6.0]), now, again=reason == "again")
    assert suite["figures"]["warm_start"]["values"][OURS] == [3.0]
    assert not suite["figures"]["warm_start"]["busy"]


def test_only_what_is_missing_is_done_when_resumed() -> None:
    suite: dict[str, Any] = {}
    assert results.missing(suite, "syncs", TODAY.package, 5) == 5
    results.add(suite, "syncs", played("syncs", 3), TODAY)
    assert results.missing(suite, "syncs", TODAY.package, 5) == 2
    assert results.missing(suite, "syncs", TODAY.package, 3) == 0
    assert results.missing(suite, "syncs", "another package", 3) == 3
    results.add(suite, "syncs", played("syncs", 5, load=2.0), TODAY, again=True)
    assert results.missing(suite, "syncs", TODAY.package, 5) == 5, "it was disturbed"


def played(scene: str, repeats: int, load: float = 0.2, more: tuple[str, ...] = ()) -> Book:
    """A book of a scene; figures that are in `more` have one value more, as where a first repeat has two."""
    values: dict[str, dict[str, list[Value]]] = {}
    for key in SCENES[scene]:
        count = 1 if key in ONCE else repeats + (key in more)
        values[key] = {OURS: [1.0] * count} if key in OURS_ALONE else {OURS: [1.0] * count, STOCK: [5.0] * count}
    return book(values, load)


def test_a_second_member_is_no_repeat() -> None:
    """The first repeat of installing lets in two members: a run that broke off after four had five values of those."""
    suite: dict[str, Any] = {}
    results.add(suite, "install", played("install", 4, more=("first_start", "first_start_only", "new_member")), TODAY)
    assert results.missing(suite, "install", TODAY.package, 5) == 1


def test_a_figure_that_has_failed_or_is_new_is_missing() -> None:
    suite: dict[str, Any] = {}
    results.add(suite, "page", played("page", 5), TODAY)
    assert results.missing(suite, "page", TODAY.package, 5) == 0
    del suite["figures"]["visit"]
    assert results.missing(suite, "page", TODAY.package, 5) == 5
    for scene in set(SCENES) - {GROWTH, "page"}:
        results.add(suite, scene, played(scene, 5), TODAY)
        assert results.missing(suite, scene, TODAY.package, 5) == 0, scene


def test_what_broke_off_between_neighbours_leaves_pairs() -> None:
    broken = measured([1.0, 2.0, 9.0], [5.0, 6.0])
    broken.note("syncs", OURS, 4.0)
    broken.note("first_minus_warm", OURS, 0.1)
    broken.keep_pairs(set(FIGURES) - OURS_ALONE)
    assert broken.values["warm_start"][OURS] == [1.0, 2.0] and broken.values["warm_start"][STOCK] == [5.0, 6.0]
    assert "syncs" not in broken.values and broken.values["first_minus_warm"] == {OURS: [0.1]}


class Broken(Bench):
    """A bench in whose second repeat somebody gives up, or a machine does."""

    error: BaseException = RuntimeError("no machine\nno more")

    def _scene(self, book: Book, scene: str, repeats: int) -> None:
        for column in (OURS, STOCK, STOCK):
            book.note("syncs", column, float(repeats))
        raise self.error


@pytest.mark.parametrize("error", [RuntimeError("no machine\nno more"), KeyboardInterrupt()])
def test_a_scene_that_breaks_off_is_written_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    monkeypatch.setattr(main, "about", lambda _ours: ABOUT)
    monkeypatch.setattr(Broken, "error", error)
    bench = Broken(Ours(tmp_path / "x.deb", "trixie"), Stock("trixie"), {}, tmp_path, TODAY)
    if isinstance(error, KeyboardInterrupt):
        with pytest.raises(KeyboardInterrupt):
            bench.run("syncs", 2, patience=0)
    else:
        assert bench.run("syncs", 2, patience=0).problems == ["syncs: RuntimeError: no machine"]
    written = results.read(tmp_path)["trixie"]
    assert written["figures"]["syncs"]["values"] == {OURS: [2.0], STOCK: [2.0]}
    assert written["problems"]["syncs"] == [f"syncs: {type(error).__name__}: {str(error).partition(chr(10))[0]}"]


def grown(*members: int, ended: str = "") -> dict[str, Any]:
    steps = [{"members": each, "start": 1.0, "hub": 90.0, "proxy": 60.0, "servers": 50.0 * each} for each in members]
    return {"steps": steps, "ended": ended, "whole": True}


def test_growth_is_done_when_both_have_grown() -> None:
    suite: dict[str, Any] = {}
    one = Book(0.0)
    one.growth[OURS] = grown(1, 5)
    results.add(suite, GROWTH, one, TODAY)
    assert results.missing(suite, GROWTH, TODAY.package, 5) == 1
    one.growth[STOCK] = grown(1, ended="1 servers ran when 2000 MB were left of this computer's memory: 5 do not fit")
    results.add(suite, GROWTH, one, TODAY)
    assert results.missing(suite, GROWTH, TODAY.package, 5) == 0
    assert results.missing(suite, GROWTH, "another", 5) == 1
    one.growth[STOCK] = {**grown(1, 5), "whole": False}
    results.add(suite, GROWTH, one, TODAY)
    assert results.missing(suite, GROWTH, TODAY.package, 5) == 1, "the machine broke down on the way"


class Window:
    """A member's browser: its server lives as long as there are not too many."""

    running: ClassVar[list[str]] = []

    def __init__(self, name: str) -> None:
        self.name = name

    def start(self) -> float:
        self.running.append(self.name)
        return 1.0

    def servers(self) -> dict[str, object]:
        return {"": {}} if self.name in self.running[-6:] else {}

    def stop_server(self) -> None:
        self.running.remove(self.name)


def test_growth_tells_of_servers_that_were_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub whose memory is short stops servers that nobody uses; a row would be of fewer than it says."""
    windows = [Window(str(number)) for number in range(20)]
    monkeypatch.setattr(Window, "running", [])
    monkeypatch.setattr(crowd, "REST", 0)
    monkeypatch.setattr(crowd, "_windows", lambda _stack, _here, count: windows[:count])
    monkeypatch.setattr(crowd, "start_until_lab", Window.start)
    monkeypatch.setattr(measure, "available_mb", lambda: 1e6)
    monkeypatch.setattr(measure, "service_mb", lambda *_here: {"hub": 90.0, "proxy": 60.0})
    monkeypatch.setattr(measure, "server_mb", lambda _machine, _stack, names: 50.0 * len(names))
    noted = Book(0.0)
    here = Stage(Ours(Path("x.deb"), "trixie"), cast("Machine", None), "")
    crowd.growth(noted, here, (1, 5, 20))
    grew = noted.growth[OURS]
    assert [step["members"] for step in grew["steps"]] == [1, 5] and grew["whole"]
    assert grew["ended"] == "of 20 servers 14 had been ended when all were to run"


def test_what_failed_is_told_until_the_scene_is_done_again() -> None:
    suite: dict[str, Any] = {}
    broken = Book(0.0)
    broken.problem("warm: TimeoutError: no login page")
    results.add(suite, "warm", broken, TODAY)
    assert "no login page" in report.page({"bookworm": suite}, ABOUT)
    results.add(suite, "warm", measured([1.0], [5.0]), TODAY, again=True)
    assert "no login page" not in report.page({"bookworm": suite}, ABOUT)


def test_marks_of_today_hold_for_rows_of_yesterday() -> None:
    suite: dict[str, Any] = {}
    results.add(suite, "warm", measured([1.0], [4.0]), TODAY)
    stored = suite["figures"]["warm_start"]
    stored.update(mark="≤ 0.45", reached=True, how="with a stopwatch")
    suite["figures"]["no_more"] = stored
    results.judged_anew({"bookworm": suite})
    assert list(suite["figures"]) == ["warm_start"]
    found = suite["figures"]["warm_start"]
    assert (found["mark"], found["reached"], found["how"]) == ("≤ 0.20", False, "with a stopwatch")


# -- what is written ----------------------------------------------------------------------------------------------


def test_the_report_has_everything_of_both_releases(tmp_path: Path) -> None:
    suites: dict[str, Any] = {"bookworm": {}, "trixie": {}}
    for number, suite in enumerate(suites.values()):
        results.add(suite, "warm", measured([1.0 + number], [5.0]), TODAY)
        one = Book(0.0)
        one.growth = {OURS: grown(1, 100), STOCK: grown(1, ended="70 servers ran: 100 do not fit")}
        results.add(suite, GROWTH, one, TODAY)
    (tmp_path / "performance-growth.svg").write_text("of an earlier run")
    results.write(tmp_path, suites, ABOUT)
    report.write(tmp_path, suites, ABOUT)

    assert results.read(tmp_path) == json.loads((tmp_path / "performance.json").read_text())["suites"] == suites
    page = (tmp_path / "performance.md").read_text()
    assert "## Debian 12 (bookworm)" in page and "## Debian 13 (trixie)" in page
    assert "| 1 s (1–1, n=1) | 5 s (5–5, n=1) | 0.200 | ≤ 0.20 | yes | 0.10 s (0.10–0.10, n=1) |" in page
    assert "| 2 s (2–2, n=1) | 5 s (5–5, n=1) | 0.400 | ≤ 0.20 | **no** |" in page
    assert page.count("100 do not fit") == 2
    assert page.count(f"**{FIGURES['warm_start'].title}**: {FIGURES['warm_start'].how}. Floor: ") == 1
    assert "2027-01-02 03:04, commit abcdef012345, load 0.2 to 1.2" in page
    linked = set(re.findall(r"\((performance-\S+\.svg)\)", page))
    assert linked == {path.name for path in tmp_path.glob("*.svg")} == {f"performance-growth-{s}.svg" for s in suites}
    assert "<polyline" in (tmp_path / "performance-growth-trixie.svg").read_text()


def test_a_report_of_the_days_of_one_release_is_not_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / "performance.json").write_text('{"figures": {"warm_start": {}}, "growth": {}}')
    assert results.read(tmp_path) == {}
    (tmp_path / "performance.json").write_text("{")
    assert results.read(tmp_path) == {}
    assert results.read(tmp_path / "nowhere") == {}


@pytest.mark.parametrize(
    ("value", "shown"), [(0.0, "0"), (0.0123, "0.012"), (0.5, "0.50"), (12.34, "12.3"), (123.4, "123"), (5.0, "5")]
)
def test_numbers_have_as_many_digits_as_they_are_good_for(value: float, shown: str) -> None:
    table = report.table({"x": row("hub_memory", [value], [])})
    assert f"| {shown} MB ({shown}–{shown}, n=1) |" in table[2]


# -- waiting, counting, carrying ----------------------------------------------------------------------------------


def test_it_waits_until_the_computer_is_quiet() -> None:
    loads = iter([3.0, 1.5, 0.9])
    slept: list[float] = []
    assert wait_until_quiet(60, look=lambda: next(loads), sleep=slept.append) == 0.9
    assert len(slept) == 2
    assert wait_until_quiet(0, look=lambda: 3.0, sleep=slept.append) == 3.0
    assert len(slept) == 2


def test_calls_are_counted_once_by_whoever_makes_them() -> None:
    record = """\
101   fdatasync(12 <unfinished ...>
102   fsync(7)                          = 0
101   <... fdatasync resumed>)          = 0
101   fsync(12)                         = -1 EIO (Input/output error)
103   +++ exited with 0 +++
"""
    assert tally(record) == {101: 2, 102: 1}


def test_packets_wait_for_their_turn_and_then_for_the_delay() -> None:
    way = Direction(bytes_per_second=1000.0, delay=0.5)
    assert way.next_at() is None
    assert way.send(b"a" * 100, now=10.0) and way.send(b"b" * 100, now=10.0)
    assert way.next_at() == pytest.approx(10.6)
    assert list(way.arrived(10.59)) == []
    assert list(way.arrived(10.61)) == [b"a" * 100]
    assert list(way.arrived(10.71)) == [b"b" * 100]
    assert way.waiting_bytes == 0


def test_packets_beyond_the_queue_are_lost() -> None:
    way = Direction(bytes_per_second=1.0, delay=0.0)
    assert way.send(b"a" * QUEUE, now=0.0)
    assert not way.send(b"b", now=0.0)
