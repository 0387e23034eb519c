"""service.releases.beside: work goes on in a child, which ends with whoever waits for it, and tells why it failed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jupyterhub4family.common.system.programs import ProgramError
from jupyterhub4family.service.releases import beside
from tests.unit.helpers import ROOT


def is_gone(pid: int) -> bool:
    """Whether a process has ended, waited for or not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def until_written(path: Path) -> int:
    while not path.exists() or not path.read_text("ascii"):
        time.sleep(0.005)
    return int(path.read_text("ascii"))


def test_both_are_done_at_the_same_time(tmp_path: Path) -> None:
    def work() -> None:
        while not (tmp_path / "ours").exists():
            time.sleep(0.005)
        (tmp_path / "its").write_text(str(os.getpid()), "ascii")

    with beside.begun(work) as wait:
        (tmp_path / "ours").touch()
        wait()
        assert until_written(tmp_path / "its") != os.getpid()


def test_its_error_is_told() -> None:
    def work() -> None:
        raise ProgramError("hash mismatch: für „node“")

    with beside.begun(work) as wait, pytest.raises(ProgramError, match="hash mismatch: für „node“"):
        wait()


def test_one_that_is_killed_is_an_error_too() -> None:
    """By the kernel, for want of memory."""
    with beside.begun(lambda: os.kill(os.getpid(), signal.SIGKILL)) as wait:
        with pytest.raises(ProgramError, match="ended with status -9"):
            wait()


def test_whoever_does_not_wait_ends_it(tmp_path: Path) -> None:
    def work() -> None:
        (tmp_path / "pid").write_text(str(os.getpid()), "ascii")
        time.sleep(600)

    with pytest.raises(ZeroDivisionError), beside.begun(work):
        child = until_written(tmp_path / "pid")
        raise ZeroDivisionError
    assert is_gone(child)


def test_it_ends_with_a_process_that_is_killed(tmp_path: Path) -> None:
    """Whatever that process has set for its signals: children inherit it."""
    code = """
import os, pathlib, signal, sys, time
from jupyterhub4family.service.releases import beside
signal.signal(signal.SIGTERM, signal.SIG_IGN)
def work():
    pathlib.Path(sys.argv[1]).write_text(str(os.getpid()))
    time.sleep(600)
with beside.begun(work) as wait:
    wait()
"""
    variables = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "pid")], env=variables) as parent:
        child = until_written(tmp_path / "pid")
        parent.kill()
    deadline = time.monotonic() + 10
    while not is_gone(child):
        assert time.monotonic() < deadline
        time.sleep(0.01)
