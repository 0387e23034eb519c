"""hub.memory: what a server and all that descends from it hold."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jupyterhub4family.common.system import processes
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
