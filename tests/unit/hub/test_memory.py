"""hub.memory: what a server and all that descends from it hold."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from jupyterhub4family.common.system import cgroups, processes
from jupyterhub4family.common.system.cgroups import Usage
from jupyterhub4family.hub import memory

PAGE = os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(processes, "PROC", tmp_path)
    (tmp_path / "self").mkdir()
    return tmp_path


def process(proc: Path, pid: int, parent: int, pages: int, command: str = "python3") -> None:
    (proc / str(pid)).mkdir()
    fields = ["S", str(parent), *["0"] * 19, str(pages), *["0"] * 20]
    (proc / str(pid) / "stat").write_text(f"{pid} ({command}) {' '.join(fields)}\n", "ascii")


def test_a_server_with_its_kernels(proc: Path) -> None:
    process(proc, 10, 1, 100, command="evil) S 1 (")
    process(proc, 11, 10, 20)
    process(proc, 12, 11, 3)
    process(proc, 20, 1, 5000)
    (proc / "30").mkdir()
    assert memory.resident(10) == 123 * PAGE
    assert memory.resident(12) == 3 * PAGE
    assert memory.resident(99) is None


def test_processes_that_call_each_other_parents(proc: Path) -> None:
    """A pid used again while the table is read can look like that."""
    process(proc, 10, 11, 1)
    process(proc, 11, 10, 2)
    assert memory.resident(10) == 3 * PAGE


def test_this_very_process() -> None:
    held = memory.resident(os.getpid())
    assert held is not None and 4 * 1024**2 < held < 4 * 1024**3


def test_what_accounts_hold_in_servers_or_not(proc: Path) -> None:
    for pid, uid in ((10, 1001), (11, 1001), (20, 1002)):
        process(proc, pid, 1, pid)
        (proc / str(pid) / "status").write_text(f"Uid:\t{uid}\t{uid}\t{uid}\t{uid}\n", "ascii")
    process(proc, 30, 1, 5)  # has just ended, or is hidden
    assert memory.held_by_accounts() == {1001: 21 * PAGE, 1002: 20 * PAGE}


def test_how_long_a_server_has_calculated_without_a_scope() -> None:
    before = memory.processor_seconds(os.getpid())
    deadline = time.process_time() + 0.1
    while time.process_time() < deadline:
        pass
    assert 0.05 < memory.processor_seconds(os.getpid()) - before < 60
    with pytest.raises(OSError):
        memory.processor_seconds(2**22)


def test_how_long_it_has_calculated_in_its_scope(monkeypatch: pytest.MonkeyPatch) -> None:
    """There what has made itself a daemon counts as well."""
    monkeypatch.setattr(cgroups, "usage", lambda _pid: Usage(1, None, 4.5, 0))
    assert memory.processor_seconds(10) == 4.5
