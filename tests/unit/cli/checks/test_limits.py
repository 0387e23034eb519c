"""cli.checks.limits and cli.servers: what is not enforced is said, and what servers use is counted."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from jupyterhub4family.cli import servers
from jupyterhub4family.cli.checks import limits
from jupyterhub4family.cli.checks.finding import OK, WARNING, Situation
from jupyterhub4family.cli.servers import Server
from jupyterhub4family.common import confinement
from jupyterhub4family.common.confinement import Usage
from tests.unit.helpers import account


@pytest.fixture(autouse=True)
def _a_good_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SYSTEMD_RUNS", tmp_path)
    monkeypatch.setattr(limits, "BUS", tmp_path)
    monkeypatch.setattr(limits, "BUSCTL", Path("/bin/sh"))
    monkeypatch.setattr(confinement, "counts_memory", lambda: True)
    monkeypatch.setattr(confinement, "counts_processes", lambda: True)
    monkeypatch.setattr(limits, "running_servers", lambda: [Server("anna", 50, confined=True)])


def sentences() -> str:
    found = list(limits.check_limits(Situation()))
    assert all(one.hint for one in found if one.state == WARNING)
    return "\n".join(f"{one.state}: {one.sentence}" for one in found)


def test_all_is_well() -> None:
    assert sentences().startswith(f"{OK}: Each server has its limits")


# As a text: the pytest of Debian 11 does not know the class.
Change = Callable[["pytest.MonkeyPatch"], None]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda patch: patch.setattr(limits, "SYSTEMD_RUNS", Path("/nowhere")), "systemd does not run"),
        (lambda patch: patch.setattr(limits, "BUS", Path("/nowhere")), "D-Bus does not run"),
        (lambda patch: patch.setattr(limits, "BUSCTL", Path("/nowhere")), "D-Bus does not run"),
        (lambda patch: patch.setattr(confinement, "counts_memory", lambda: False), "does not limit memory"),
        (lambda patch: patch.setattr(confinement, "counts_processes", lambda: False), "number of processes"),
        (
            lambda patch: patch.setattr(limits, "running_servers", lambda: [Server("anna", 50, confined=False)]),
            "1 server runs without limits",
        ),
        (
            lambda patch: patch.setattr(
                limits, "running_servers", lambda: [Server("anna", 50, confined=True, killed=1)]
            ),
            "server of anna wanted too much memory",
        ),
    ],
)
def test_what_is_not_enforced_is_said(monkeypatch: pytest.MonkeyPatch, change: Change, words: str) -> None:
    change(monkeypatch)
    found = sentences()
    assert found.startswith(f"{WARNING}: ") and words in found and f"{OK}: " not in found


class Proc:
    """A /proc in which all processes are those of whoever runs the tests, who is anna."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder / "proc"
        self.folder.mkdir()
        (self.folder / "net").mkdir()
        monkeypatch.setattr(servers, "PROC", self.folder)
        monkeypatch.setattr("jupyterhub4family.common.processes.PROC", self.folder)

    def process(self, pid: int, parent: int, *words: str) -> None:
        (self.folder / str(pid)).mkdir()
        (self.folder / str(pid) / "cmdline").write_bytes("".join(f"{word}\0" for word in words).encode())
        (self.folder / str(pid) / "stat").write_text(f"{pid} (x) S {parent} {' '.join(['0'] * 40)}\n", "ascii")


def test_servers_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proc = Proc(tmp_path, monkeypatch)
    monkeypatch.setattr(servers, "members", lambda: [account("anna", os.getuid())])
    usage = {50: Usage(memory=300 * 2**20, memory_limit=2**30, processor=90.4, killed=1)}
    monkeypatch.setattr(confinement, "usage", usage.get)
    proc.process(50, 1, "/home/anna/env/bin/python", "/home/anna/env/bin/jupyterhub-singleuser")
    proc.process(51, 50, "/home/anna/env/bin/python", "/home/anna/env/bin/jupyterhub-singleuser")
    proc.process(52, 50, "/home/anna/env/bin/python", "-m", "ipykernel_launcher")
    proc.process(53, 1, "grep", "-r", "/x/jupyterhub-singleuser")
    proc.process(54, 1)
    proc.process(60, 1, "/home/anna/env/bin/python", "/home/anna/env/bin/jupyterhub-singleuser")
    assert servers.running_servers() == [
        Server("anna", 50, True, megabytes=300, limit_megabytes=1024, processor_seconds=90, killed=1),
        Server("anna", 60, False),
    ]
    monkeypatch.setattr(servers, "members", lambda: [account("ben", os.getuid() + 1)])
    assert servers.running_servers() == []
