"""What `./test` does with machine tests, tried on small sample files: a second try, an order, a choice of releases."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("xdist", reason="the tools of machine tests are not on Debian's own machines")

from tests.machine.lib.order import Unit, parts
from tests.machine.lib.results import Results, expected, read, remember, remembered, slowest
from tests.unit.helpers import ROOT, TIMEOUT

CONFTEST = """
from tests.conftest import pytest_addoption
from tests.machine.lib.plugin import register as pytest_configure
"""
#: Fails the first time it is called for this name.
SAMPLE = """
import os, pytest
def fails_once(name):
    file = os.path.join(os.path.dirname(__file__), name)
    if not os.path.exists(file):
        open(file, "w").close()
        raise AssertionError(f"the first time, {name}")
def test_good(): pass
"""


def run(directory: Path, text: str, *options: str, commit: str = "x") -> subprocess.CompletedProcess[str]:
    """Run a sample file as `./test` runs those of machines."""
    (directory / "conftest.py").write_text(CONFTEST)
    (directory / "pytest.ini").write_text("[pytest]\n")
    (directory / "test_sample.py").write_text(SAMPLE + text)
    variables = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}:{ROOT}/src",
        "J4F_RUN": str(directory / "run"),
        "J4F_COMMIT": commit,
    }
    for name in ("PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_CURRENT_TEST"):
        variables.pop(name, None)
    # Without the plugins that are not needed here it begins in half the time.
    variables["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    args = [sys.executable, "-B", "-m", "pytest", "-p", "xdist.plugin", "-p", "no:cacheprovider", *options]
    args.append("test_sample.py")
    return subprocess.run(
        args, cwd=directory, env=variables, capture_output=True, text=True, timeout=4 * TIMEOUT, check=False
    )


def last(done: subprocess.CompletedProcess[str]) -> str:
    return done.stdout.strip().splitlines()[-1]


@pytest.mark.parametrize("workers", ["0", "2"])
def test_what_passes_the_second_time_is_unsteady_and_told(tmp_path: Path, workers: str) -> None:
    text = "def test_unsteady(): fails_once('one')\n"
    done = run(tmp_path, text, "--once-more", "-n", workers, "--results", str(tmp_path / "results/part.json"))
    assert done.returncode == 0, done.stdout
    assert "1 passed, 1 unsteady in" in last(done), done.stdout
    assert "test_sample.py::test_unsteady passed when it ran once more" in done.stdout
    kept = tmp_path / "run/failures/test_sample.py_test_unsteady/first-failure.txt"
    assert str(kept) in done.stdout and "the first time, one" in kept.read_text()
    assert read(tmp_path / "results/part.json").unsteady == ["test_sample.py::test_unsteady"]


@pytest.mark.parametrize("workers", ["0", "2"])
def test_what_fails_twice_has_failed(tmp_path: Path, workers: str) -> None:
    text = "def test_bad(): assert 1 == 2\ndef test_unsteady(): fails_once('one')\n"
    done = run(tmp_path, text, "--once-more", "-n", workers)
    assert done.returncode == 1
    assert "1 failed, 1 passed, 1 unsteady in" in last(done), done.stdout
    assert "test_sample.py::test_bad failed again" in done.stdout
    assert "FAILED test_sample.py::test_bad" in done.stdout, "with its own report"


@pytest.mark.parametrize(("count", "status"), [(2, 0), (3, 1)])
def test_two_unsteady_ones_are_borne_with_and_three_are_not(tmp_path: Path, count: int, status: int) -> None:
    text = f"@pytest.mark.parametrize('n', range({count}))\ndef test_unsteady(n): fails_once(f'number{{n}}')\n"
    done = run(tmp_path, text, "--once-more")
    assert done.returncode == status, done.stdout
    assert f"1 passed, {count} unsteady in" in last(done), done.stdout
    assert ("not in order" in done.stdout) == bool(status)


def test_unsteady_ones_of_all_parts_are_counted_together(tmp_path: Path) -> None:
    Results(unsteady=["one", "two"]).write(tmp_path / "results/other.json")
    done = run(
        tmp_path,
        "def test_unsteady(): fails_once('one')\n",
        "--once-more",
        "--results",
        str(tmp_path / "results/part.json"),
    )
    assert done.returncode == 1 and "3 unsteady tests" in done.stdout, done.stdout


def test_what_measures_time_is_listed_and_not_counted(tmp_path: Path) -> None:
    """Beside three other machines it may fail; alone it may not."""
    text = (
        "@pytest.mark.timed\n@pytest.mark.parametrize('n', range(3))\ndef test_fast(n): fails_once(f'number{n}')\n"
        "@pytest.mark.parametrize('n', range(2))\ndef test_other(n): fails_once(f'other{n}')\n"
    )
    results = tmp_path / "results/part.json"
    done = run(tmp_path, text, "--once-more", "-n", "2", "--results", str(results))
    assert done.returncode == 0 and "5 unsteady in" in last(done), done.stdout
    assert "the first time, number2" in done.stdout, "with what was wrong"
    assert len(read(results).timed) == 3 and len(read(results).unsteady) == 2
    slow = "@pytest.mark.timed\ndef test_slow(): assert 3 < 2\n"
    assert run(tmp_path, slow, "--once-more").returncode == 1


@pytest.mark.parametrize(
    "text",
    [
        # Neither a test that is skipped the second time, nor one that is not there any more, has passed.
        "def test_it():\n    try: fails_once('one')\n    except AssertionError: raise\n    pytest.skip('no more')\n",
        "if not os.path.exists(os.path.join(os.path.dirname(__file__), 'one')):\n"
        "    def test_it(): fails_once('one')\n",
        "@pytest.fixture\ndef bad(): raise OSError\ndef test_it(bad): pass\n",
        "@pytest.fixture\ndef bad():\n    yield\n    raise OSError\ndef test_it(bad): pass\n",
    ],
    ids=["skipped", "gone", "setup", "teardown"],
)
def test_only_what_passes_has_passed(tmp_path: Path, text: str) -> None:
    done = run(tmp_path, text, "--once-more")
    assert done.returncode == 1, done.stdout
    assert "unsteady in" not in done.stdout


@pytest.mark.parametrize("when", ["setup", "teardown"])
def test_a_setup_or_teardown_may_be_unsteady_as_well(tmp_path: Path, when: str) -> None:
    body = {"setup": "    fails_once('one')\n    yield\n", "teardown": "    yield\n    fails_once('one')\n"}[when]
    done = run(tmp_path, f"@pytest.fixture\ndef machine():\n{body}def test_it(machine): pass\n", "--once-more")
    assert done.returncode == 0 and "1 unsteady in" in last(done), done.stdout


@pytest.mark.parametrize("options", [(), ("--once-more", "-x")], ids=["not asked for", "ends at the first"])
def test_nothing_runs_again_unasked(tmp_path: Path, options: tuple[str, ...]) -> None:
    done = run(tmp_path, "def test_unsteady(): fails_once('one')\n", *options)
    assert done.returncode == 1 and "once more" not in done.stdout, done.stdout


def test_when_much_fails_nothing_runs_again(tmp_path: Path) -> None:
    text = "@pytest.mark.parametrize('n', range(11))\ndef test_bad(n): fails_once(f'number{n}')\n"
    done = run(tmp_path, text, "--once-more")
    assert done.returncode == 1
    assert "11 tests failed that do not measure time: too many to try again" in done.stdout, done.stdout
    assert "11 failed, 1 passed in" in last(done)


def test_a_file_that_cannot_be_read_fails_the_run(tmp_path: Path) -> None:
    done = run(tmp_path, "raise RuntimeError('no test')\n", "--once-more", "-n", "2")
    assert done.returncode not in (0, 5), done.stdout


CHOICE = """
@pytest.mark.any_debian
def test_any(suite): pass
@pytest.mark.every_debian
def test_every(suite): pass
@pytest.mark.every_init
def test_inits(suite, init): pass
@pytest.mark.any_init
def test_init(suite, init): pass
@pytest.mark.with_cron
def test_cron(suite): pass
@pytest.mark.campaign
def test_long(): pass
@pytest.mark.in_turn(3)
@pytest.mark.any_debian
@pytest.mark.parametrize("n", range(20))
def test_flood(suite, n): pass
"""


def chosen(directory: Path, commit: str, *options: str) -> set[str]:
    done = run(directory, CHOICE, "--collect-only", "-q", *options, commit=commit)
    assert done.returncode == 0, done.stdout
    return {line.partition("::")[2] for line in done.stdout.splitlines() if "::" in line}


def test_each_turn_has_other_releases_and_three_have_all(tmp_path: Path) -> None:
    # Three turns in a row, and then the first again.
    turns = [chosen(tmp_path, commit) for commit in ("f", "n", "c", "f")]
    assert turns[0] == turns[3], "a run can be repeated"
    for turn in turns:
        assert len([name for name in turn if name.startswith("test_any[")]) == 1
        assert len([name for name in turn if name.startswith("test_every[")]) == 3
        assert len([name for name in turn if name.startswith("test_inits[")]) == 2
        assert len([name for name in turn if name.startswith("test_init[")]) == 1
        (cron,) = (name[len("test_cron[") : -1] for name in turn if name.startswith("test_cron["))
        assert {name.split("[")[1] for name in turn if "-sysvinit]" in name} <= {f"{cron}-sysvinit]"}
        assert "test_long" not in turn and "test_good" in turn
    together = set().union(*turns)
    for name in ("test_any", "test_cron"):
        assert len([one for one in together if one.startswith(f"{name}[")]) == 3


def test_what_has_turns_is_in_one_of_three_runs_and_whenever_it_is_named(tmp_path: Path) -> None:
    turns = [floods(chosen(tmp_path, commit, "--once-more")) for commit in ("f", "n", "c")]
    assert sorted(turns[0] + turns[1] + turns[2]) == list(range(20)) and all(turns)
    assert floods(chosen(tmp_path, "f")) == list(range(20))


def floods(names: set[str]) -> list[int]:
    return sorted(int(name.rstrip("]").rpartition("-")[2]) for name in names if name.startswith("test_flood["))


def test_a_campaign_has_every_pair(tmp_path: Path) -> None:
    names = chosen(tmp_path, "f", "--campaign")
    counts = {name: len([one for one in names if one.partition("[")[0] == name]) for name in CAMPAIGN}
    assert counts == CAMPAIGN


CAMPAIGN = {
    "test_any": 3,
    "test_every": 3,
    "test_inits": 6,
    "test_init": 6,
    "test_cron": 3,
    "test_long": 1,
    "test_flood": 60,
}


def test_the_longest_come_first_on_each_worker(tmp_path: Path) -> None:
    units = [Unit(seconds, [f"{seconds}"] * count) for seconds, count in ((5, 1), (90, 1), (60, 3), (40, 1), (1, 4))]
    one, other = parts(units, 2)
    assert one[0] == "90" and other[:3] == ["60"] * 3
    assert len(one) == len(other) == 5
    assert sorted([*one, *other]) == sorted(item for unit in units for item in unit.items)
    assert parts([], 2) == [[], []]


@pytest.mark.parametrize("workers", [2, 3, 4])
def test_tests_that_are_moved_keep_their_order(workers: int) -> None:
    """The last of those that share a machine may end what the others need."""
    units = [
        Unit(seconds, [(seconds, number) for number in range(count)]) for seconds, count in ((90, 1), (9, 8), (4, 7))
    ]
    for part in parts(units, workers):
        for seconds in (9, 4):
            numbers = [number for unit, number in part if unit == seconds]
            assert numbers == sorted(numbers), part


@pytest.mark.parametrize("workers", ["0", "2"])
def test_measured_times_give_the_order_and_files_that_share_stay_together(tmp_path: Path, workers: str) -> None:
    times = tmp_path / "times.json"
    text = """
@pytest.fixture(scope="module")
def machine(): return object()
def test_long(): pass
def test_shared_one(machine): pass
def test_longer(): pass
def test_shared_two(machine): pass
"""
    times.write_text(json.dumps({"test_sample.py::test_long": 50, "test_sample.py::test_longer": 200}))
    done = run(tmp_path, text, "-v", "-n", workers, "--times", str(times))
    assert done.returncode == 0, done.stdout
    if workers == "0":
        names = [line.split("::")[1].split()[0] for line in done.stdout.splitlines() if "PASSED" in line]
        assert names == ["test_longer", "test_shared_one", "test_shared_two", "test_long", "test_good"], names
    assert set(remembered(times)) == {f"test_sample.py::test_{name}" for name in
                                      ("good", "long", "longer", "shared_one", "shared_two")}  # fmt: skip


def test_what_is_known_of_times(tmp_path: Path) -> None:
    file = tmp_path / "new/times.json"
    assert remembered(file) == {}
    now = Results()
    now.add("t[bookworm]", "passed", 1.0)
    now.add("t[bookworm]", "passed", 2.5)
    now.add("u", "failed", 9.0)
    now.add("u", "passed", 0.5)
    remember(file, now)
    assert remembered(file) == {"t[bookworm]": 3.5}, "what failed early says nothing"
    assert expected(remembered(file), "t[trixie]") == 3.5 and expected(remembered(file), "v") is None
    assert now.outcomes == {"t[bookworm]": "passed", "u": "failed"}
    assert slowest([now], 1) == ["     9.5 s  u"]
    file.write_text("[]")
    assert remembered(file) == {}
