"""Tests that fail run once more, alone, at the end: what passes then is *unsteady*, and told as that.

Two unsteady tests a run are borne with, and listed with the log of their first failure; a third fails the run. Those
that measure time (the mark `timed`) are listed, and not counted: beside other machines they may fail, and what they
find alone decides. What fails again fails the run, as does whatever else goes wrong than a test. With `-x` or
`--maxfail` nothing runs again.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.machine.lib import places
from tests.machine.lib.results import Results, read, read_all, remember

#: More unsteady tests than that, in all parts of a run, and the run has failed.
BEARABLE = 2
#: When more than that fail, timed ones not counted, it is not for want of steadiness.
TOO_MANY = 10
_PASSED = ("passed", "xfailed")


class Again:
    """The plugin; of several workers' processes only the one that has them all."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._results = Results()
        self._failures: dict[str, list[pytest.TestReport]] = {}
        self._lines: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take down how it went."""
        expected = report.skipped and hasattr(report, "wasxfail")
        self._results.add(report.nodeid, "xfailed" if expected else report.outcome, report.duration)
        if report.failed:
            self._failures.setdefault(report.nodeid, []).append(report)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """When the workers have gone: the second try, and what comes of it."""
        for test, reports in self._failures.items():
            _keep(test, reports)
        if self._may_run_again(session):
            self._run_again(session)
        results, times = self._config.getoption("results"), self._config.getoption("times")
        if results:
            self._results.write(results)
        if times:
            remember(times, self._results)

    def _may_run_again(self, session: pytest.Session) -> bool:
        if not self._config.getoption("once_more") or self._config.getoption("maxfail"):
            return False
        if session.exitstatus != pytest.ExitCode.TESTS_FAILED or not self._failures:
            return False
        counted = [test for test in self._failures if not self._is_timed(test)]
        if len(counted) > TOO_MANY:
            self._lines.append(f"{len(counted)} tests failed that do not measure time: too many to try again")
            return False
        return True

    def _is_timed(self, test: str) -> bool:
        return any("timed" in one.keywords for one in self._failures[test])

    def _run_again(self, session: pytest.Session) -> None:
        second = self._try(list(self._failures))
        passed = [test for test in self._failures if second.outcomes.get(test) in _PASSED]
        for test in self._failures:
            outcome = "passed when it ran once more" if test in passed else "failed again"
            self._lines.append(f"{test} {outcome}\n    the first failure: {places.failures_of(test)}/{_FIRST}")
            self._lines += [f"    | {line}" for line in _last_words(self._failures[test])]
        self._results.timed = [test for test in passed if self._is_timed(test)]
        self._results.unsteady = [test for test in passed if test not in self._results.timed]
        for test in passed:
            self._results.outcomes[test] = "unsteady"
        self._tell_the_terminal(passed)
        session.testsfailed -= len(passed)
        before = self._config.getoption("results")
        others = [one for part in read_all(before.parent) for one in part.unsteady] if before else []
        unsteady = {*others, *self._results.unsteady}
        if len(unsteady) > BEARABLE:
            self._lines.append(f"{len(unsteady)} unsteady tests, of which {BEARABLE} are borne with: not in order")
        elif len(passed) == len(self._failures):
            session.exitstatus = pytest.ExitCode.OK

    def _try(self, tests: list[str]) -> Results:
        """Run these tests, one after the other, in a pytest of their own."""
        terminal = self._config.pluginmanager.getplugin("terminalreporter")
        if terminal is not None:
            terminal.ensure_newline()
            terminal.section(f"{len(tests)} failed, and run once more, alone")
        sys.stdout.flush()
        with tempfile.TemporaryDirectory() as scratch:
            kept = Path(scratch, "second.json")
            options = ["-p", "no:xdist", "-p", "no:cacheprovider", f"--rootdir={self._config.rootpath}", "-q"]
            if self._config.inipath is not None:
                options.append(f"--config-file={self._config.inipath}")
            options += ["--campaign"] * bool(self._config.getoption("campaign"))
            command = [sys.executable, "-m", "pytest", *options, f"--results={kept}", *tests]
            variables = {**os.environ, places.SECOND_TRY: "yes"}
            subprocess.run(command, cwd=self._config.rootpath, env=variables, check=False)
            return read(kept)

    def _tell_the_terminal(self, unsteady: list[str]) -> None:
        """Neither failed nor passed: the last line counts them by themselves."""
        terminal = self._config.pluginmanager.getplugin("terminalreporter")
        if terminal is None:
            return
        for kind in ("failed", "error"):
            terminal.stats[kind] = [one for one in terminal.stats.get(kind, []) if one.nodeid not in unsteady]
            if not terminal.stats[kind]:
                del terminal.stats[kind]
        if unsteady:
            terminal.stats["unsteady"] = [self._failures[test][0] for test in unsteady]
            terminal._main_color = None

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """List what ran once more."""
        if self._lines:
            terminalreporter.section("once more")
            for line in self._lines:
                terminalreporter.write_line(line)


_FIRST = "first-failure.txt"
#: Lines of a first failure that are shown in the run's own output: of CI's there is nothing else to read.
_SHOWN = 12


def _keep(test: str, reports: list[pytest.TestReport]) -> None:
    """Write down the failure: the second try, and later runs, have others."""
    directory = places.failures_of(test)
    directory.mkdir(parents=True, exist_ok=True)
    texts = [f"{report.when}: {report.longreprtext}" for report in reports]
    texts += [f"--- {title}\n{text}" for report in reports for title, text in report.sections]
    (directory / _FIRST).write_text("\n\n".join(texts) + "\n")


def _last_words(reports: list[pytest.TestReport]) -> list[str]:
    """What was wrong, as pytest marks it, and where."""
    lines = [line for report in reports for line in report.longreprtext.splitlines()]
    wrong = [line for line in lines if line.startswith("E ")]
    return [line[:300] for line in (wrong[: _SHOWN - 1] + lines[-1:] if wrong else lines[-_SHOWN:])]
