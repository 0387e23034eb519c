"""Runs as the caller: what all commands share at the terminal: colours, a bar for what takes long, questions.

Answers go to stdout, the rest to stderr. Colours and bars are for terminals only; NO_COLOR (no-color.org) and
`--quiet` are heeded. Only what is made here may hold control characters: whatever else is printed goes through
`PrintableOutput` (common/i18n/safe_text.py), which takes them out.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any

from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.common.i18n import safe_text
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.protocol import shapes

if TYPE_CHECKING:
    import threading

#: SGR codes of terminals.
GREEN, YELLOW, RED, BOLD, DIM = "32", "33", "31", "1", "2"
#: Characters of the bar itself.
BAR = 24
#: Characters of a sentence of progress.
LONGEST = 500
#: Seconds between two looks of the wheel.
TURN = 0.12


# -- options that several commands have -----------------------------------------------------------------


def add_quiet(parser: argparse.ArgumentParser) -> None:
    """Give a command the option --quiet."""
    parser.add_argument("-q", "--quiet", action="store_true", help=_("report errors only"))


def add_dry_run(parser: argparse.ArgumentParser) -> None:
    """Give a command that changes something the option --dry-run."""
    parser.add_argument("--dry-run", action="store_true", help=_("only show what would be done"))


def add_yes(parser: argparse.ArgumentParser) -> None:
    """Give a command that destroys something the option --yes."""
    parser.add_argument("-y", "--yes", action="store_true", help=_("do not ask for confirmation"))


def completes(action: argparse.Action, kind: str) -> None:
    """Tell the shells' completion (tools/manual) what an argument is: keys, values, accounts, members, logs, files."""
    setattr(action, "completes", kind)  # noqa: B010 (argparse knows nothing of it)


def is_quiet(arguments: argparse.Namespace) -> bool:
    """Whether the caller wants errors only."""
    return bool(getattr(arguments, "quiet", False))


# -- saying ---------------------------------------------------------------------------------------------


def report(arguments: argparse.Namespace, message: str) -> None:
    """Print a sentence that an error-only caller does not want."""
    if not is_quiet(arguments):
        print(message)


def print_answer(answer: Any, **more: Any) -> None:
    """Print as JSON what a door or program of ours has answered, for `--json`."""
    print(json.dumps({"ok": True, **shapes.encode(answer), **more}, indent=1))


class Ours(str):
    """Text for a terminal with control characters of our own making; all else in it is printable."""


def coloured(text: str, colour: str, stream: IO[str] | None = None) -> Ours:
    """`text` in a colour, if `stream` (default: stdout) is a terminal that shows colours."""
    text = safe_text.printable(text)
    return Ours(f"\x1b[{colour}m{text}\x1b[0m" if shows_colours(stream or sys.stdout) else text)


def print_parts(*parts: str, end: str = "\n") -> None:
    """Print parts of a line to stdout, those that are `Ours` as they are."""
    line = "".join(part if isinstance(part, Ours) else safe_text.printable(part) for part in parts)
    safe_text.unfiltered(sys.stdout).write(line + end)


def shows_colours(stream: IO[str]) -> bool:
    """Whether colours are wanted there: a terminal, and nobody has said NO_COLOR."""
    return is_terminal(stream) and not os.environ.get("NO_COLOR")


def is_terminal(stream: IO[str]) -> bool:
    """Whether lines there can be changed after they have been written."""
    return stream.isatty() and os.environ.get("TERM", "") not in ("", "dumb")


def confirm(arguments: argparse.Namespace, question: str) -> bool:
    """Ask before something is destroyed; True with --yes, and where nobody sits at the terminal.

    Scripts that have called a command for years must not begin to wait for an answer.
    """
    if getattr(arguments, "yes", False) or not sys.stdin.isatty() or not sys.stderr.isatty():
        return True
    print(question, _("[y/N]"), end=" ", file=sys.stderr, flush=True)
    try:
        answer = sys.stdin.readline()
    except KeyboardInterrupt:
        answer = ""
    return answer.strip().lower() in ("y", "yes", "j", "ja")


def confirmed(arguments: argparse.Namespace, question: str) -> None:
    """As `confirm`, but raise FamilyError when the answer is no."""
    if not confirm(arguments, question):
        raise FamilyError(_("nothing was done"))


# -- waiting --------------------------------------------------------------------------------------------


class Bar:
    """How far something is, on stderr: a bar that moves on a terminal, elsewhere a line for each new step."""

    def __init__(self, quiet: bool = False, stream: IO[str] | None = None) -> None:
        self._stream = safe_text.unfiltered(stream or sys.stderr)
        self._quiet = quiet
        self._moves = is_terminal(self._stream)
        self._last = ""
        self._drawn = False

    def show(self, percent: int, message: str) -> None:
        """Tell that `percent` is done and what is going on."""
        if self._quiet:
            return
        message = safe_text.one_line(message, LONGEST)
        if not self._moves:
            if message != self._last:
                self._write(f"{percent} %: {message}\n")
            self._last = message
            return
        full = BAR * max(0, min(100, percent)) // 100
        bar = coloured("━" * full, GREEN, self._stream) + coloured("━" * (BAR - full), DIM, self._stream)
        import shutil  # which brings along whatever can compress

        width = shutil.get_terminal_size().columns - BAR - 8
        self._write(f"\r\x1b[K{bar} {percent:3d} % {message[: max(0, width)]}")
        self._drawn = True

    def end(self) -> None:
        """Take the bar away: what comes now is the answer."""
        if self._drawn:
            self._write("\r\x1b[K")
        self._drawn = False

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_error: Any) -> None:
        self.end()

    def _write(self, text: str) -> None:
        # A closed stderr is no reason to stop working.
        with contextlib.suppress(OSError, ValueError, UnicodeEncodeError):
            self._stream.write(text)
            self._stream.flush()


@contextlib.contextmanager
def waiting(arguments: argparse.Namespace, message: str) -> Iterator[None]:
    """Show, on a terminal, that something goes on of which nobody can say how far it is."""
    if is_quiet(arguments) or not is_terminal(sys.stderr):
        yield
        return
    import threading

    over = threading.Event()
    turner = threading.Thread(target=_turn, args=(message, over), daemon=True)
    turner.start()
    try:
        yield
    finally:
        over.set()
        turner.join()


def _turn(message: str, over: threading.Event) -> None:
    started, stderr = time.monotonic(), safe_text.unfiltered(sys.stderr)
    message = safe_text.one_line(message, LONGEST)
    # Nothing flickers for what is done in no time.
    over.wait(0.4)
    turn = 0
    while not over.is_set():
        seconds = int(time.monotonic() - started)
        wheel = coloured("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"[turn % 10], GREEN, stderr)
        stderr.write(f"\r\x1b[K{wheel} {message} … {seconds} s")
        stderr.flush()
        turn += 1
        over.wait(TURN)
    stderr.write("\r\x1b[K")
    stderr.flush()
