"""cli.terminal: colours and bars for terminals only, and never where somebody asked for none."""

from __future__ import annotations

import argparse
import io
import os
import pty
import sys
import time
from typing import Any

import pytest

from jupyterhub4family.cli.base import terminal
from jupyterhub4family.common.errors import FamilyError


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def arguments(**args: Any) -> argparse.Namespace:
    return argparse.Namespace(**args)


@pytest.mark.parametrize(
    ("variables", "stream", "colour"),
    [
        ({"TERM": "xterm"}, Screen(), True),
        ({"TERM": "xterm", "NO_COLOR": ""}, Screen(), True),  # no-color.org: only if it is not empty
        ({"TERM": "xterm", "NO_COLOR": "1"}, Screen(), False),
        ({"TERM": "dumb"}, Screen(), False),
        ({"TERM": ""}, Screen(), False),
        ({"TERM": "xterm"}, io.StringIO(), False),
    ],
)
def test_colours(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], stream: Any, colour: bool) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert terminal.coloured("x", terminal.RED, stream) == ("\x1b[31mx\x1b[0m" if colour else "x")


def test_a_bar_on_a_terminal_moves_and_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "60")
    screen = Screen()
    with terminal.Bar(stream=screen) as bar:
        for percent, message in ((-5, "a"), (50, "b" * 100), (100, "c"), (300, "d")):
            bar.show(percent, message)
    frames = screen.getvalue().split("\r\x1b[K")
    assert frames[0] == frames[-1] == ""
    assert all(len(frame) < 60 for frame in frames), "a line that wraps could not be taken away"
    assert " 50 % bbb" in frames[2] and "\n" not in screen.getvalue()


def test_a_bar_elsewhere_is_a_line_for_each_step() -> None:
    stream = io.StringIO()
    with terminal.Bar(stream=stream) as bar:
        for percent, message in ((1, "a"), (2, "a"), (3, "b")):
            bar.show(percent, message)
    assert stream.getvalue() == "1 %: a\n3 %: b\n"


def test_a_quiet_bar_and_one_whose_reader_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Screen()
    with terminal.Bar(quiet=True, stream=stream) as bar:
        bar.show(50, "x")
    assert stream.getvalue() == ""
    stream.close()
    monkeypatch.setattr(stream, "isatty", lambda: False)
    terminal.Bar(stream=stream).show(50, "x")


def test_waiting_shows_a_wheel_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    for screen, quiet, shown in ((Screen(), False, True), (Screen(), True, False), (io.StringIO(), False, False)):
        monkeypatch.setattr(sys, "stderr", screen)
        with terminal.waiting(arguments(quiet=quiet), "Restarting"):
            time.sleep(0.6 if shown else 0)
        assert ("Restarting … 0 s" in screen.getvalue()) is shown
        assert screen.getvalue().endswith("\r\x1b[K") is shown


def test_saying(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.report(arguments(), "one")
    terminal.report(arguments(quiet=False), "two")
    terminal.report(arguments(quiet=True), "three")
    assert capsys.readouterr().out == "one\ntwo\n"


@pytest.mark.parametrize(
    ("answer", "yes"), [("y\n", True), ("ja\n", True), ("Yes \n", True), ("\n", False), ("n\n", False), ("", False)]
)
def test_a_question_is_asked_at_a_terminal(monkeypatch: pytest.MonkeyPatch, answer: str, yes: bool) -> None:
    ours, theirs = pty.openpty()
    os.write(ours, answer.encode() or b"\x04")
    screen = Screen()
    with open(theirs, encoding="utf-8") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        monkeypatch.setattr(sys, "stderr", screen)
        assert terminal.confirm(arguments(yes=False), "Remove it?") is yes
        assert screen.getvalue().startswith("Remove it? [y/N]")
        assert terminal.confirm(arguments(yes=True), "Remove it?")
    os.close(ours)


def test_scripts_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))
    assert terminal.confirm(arguments(), "Remove it?")


def test_no_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "confirm", lambda _arguments, _question: False)
    with pytest.raises(FamilyError, match="nothing was done"):
        terminal.confirmed(arguments(), "Remove it?")
