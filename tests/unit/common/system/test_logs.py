"""common.system.logs: the ends of logs that somebody else writes."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from pathlib import Path
from typing import Callable

import pytest

from jupyterhub4family.common.system import logs
from jupyterhub4family.common.system.logs import Log, end_of, show
from tests.unit.helpers import PYTHON, TIMEOUT, with_our_package


def log(path: Path) -> Log:
    return Log(path, path.parent)


def test_the_end_of_a_log(tmp_path: Path) -> None:
    file = tmp_path / "log"
    assert end_of(log(file), 3) is None
    file.write_text("one\ntwo\nthree\nfour")
    assert end_of(log(file), 2) == "three\nfour"
    assert end_of(log(file), 0) == "" and end_of(log(file), 100) == "one\ntwo\nthree\nfour"
    assert end_of(log(file), 100, longest=7) == "ee\nfour"
    file.write_bytes(b"\xff\n")
    assert end_of(log(file), 1) == "\ufffd\n"


def test_a_log_of_gigabytes_takes_no_longer(tmp_path: Path) -> None:
    with open(tmp_path / "log", "wb") as file:
        file.truncate(5 * 2**30)
    shown = end_of(log(tmp_path / "log"), 10)
    assert shown == "\0" * logs.LONGEST_LINE + " (...)\n"


class Enough(Exception):
    """In place of Ctrl-C."""


def test_what_is_added_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = tmp_path / "one.log", tmp_path / "other.log"
    one.write_text("old\n")

    def put_aside() -> None:
        one.rename(tmp_path / "one.log.1")
        one.write_text("again\n")

    def replace_by_pipe() -> None:
        one.unlink()
        os.mkfifo(one)

    steps: list[Callable[[], object]] = [
        lambda: one.write_text("old\nnew\nhalf"),
        lambda: other.write_text("begun\n"),
        lambda: one.write_text("old\nnew\nhalf and more\n"),
        put_aside,
        lambda: one.write_text(""),
        replace_by_pipe,
    ]

    ours, really_sleep = threading.current_thread(), time.sleep

    def sleep(seconds: float) -> None:
        if threading.current_thread() is not ours:
            # Of another test, whose server has not ended yet.
            really_sleep(seconds)
            return
        if not steps:
            raise Enough
        steps.pop(0)()

    monkeypatch.setattr(time, "sleep", sleep)
    shown: list[str] = []
    with pytest.raises(Enough):
        show([log(one), log(other)], 10, True, shown.append)
    first, second = f"==> {one} <==\n", f"==> {other} <==\n"
    assert shown == [first, "old\n", "new\n", second, "begun\n", first, "half and more\n", "again\n"]


def test_one_alone_is_not_named(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("hello\n")
    shown: list[str] = []
    show([log(tmp_path / "log")], 10, False, shown.append)
    assert shown == ["hello\n"]


def test_when_nobody_reads_it_any_more_it_ends(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("hello\n")
    code = f"""
from pathlib import Path
from jupyterhub4family.common.system import logs
log = logs.Log(Path({str(tmp_path / "log")!r}), Path({str(tmp_path)!r}))
logs.show([log], 10, True, lambda text: print(text, end="", flush=True))
"""
    process = subprocess.Popen([*PYTHON, "-c", with_our_package(code)], stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"hello\n"
    assert process.poll() is None
    process.stdout.close()
    assert process.wait(TIMEOUT) == 0
