"""cli.base.servers: whose server a process is, and what it uses."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jupyterhub4family.cli.base import accounts as membership
from jupyterhub4family.cli.base import servers
from jupyterhub4family.cli.base.servers import Server
from jupyterhub4family.common.paths import LEAN_START
from jupyterhub4family.common.system import cgroups, processes
from jupyterhub4family.common.system.cgroups import Usage
from tests.unit.helpers import account


class Proc:
    """A /proc in which all processes are those of whoever runs the tests, who is anna."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory = directory / "proc"
        self.directory.mkdir()
        (self.directory / "net").mkdir()
        monkeypatch.setattr(processes, "PROC", self.directory)

    def process(self, pid: int, parent: int, *args: str) -> None:
        (self.directory / str(pid)).mkdir()
        (self.directory / str(pid) / "cmdline").write_bytes("".join(f"{word}\0" for word in args).encode())
        (self.directory / str(pid) / "stat").write_text(f"{pid} (x) S {parent} {' '.join(['0'] * 40)}\n", "ascii")


def test_servers_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proc = Proc(tmp_path, monkeypatch)
    monkeypatch.setattr(membership, "members", lambda: [account("anna", os.getuid())])
    usage = {50: Usage(memory=300 * 2**20, memory_limit=2**30, processor=90.4, killed=1)}
    monkeypatch.setattr(cgroups, "usage", usage.get)
    proc.process(50, 1, "/home/anna/env/bin/python", "/home/anna/env/bin/jupyterhub-singleuser")
    proc.process(51, 50, "/home/anna/env/bin/python", "/home/anna/env/bin/jupyterhub-singleuser")
    proc.process(52, 50, "/home/anna/env/bin/python", "-m", "ipykernel_launcher")
    proc.process(53, 1, "grep", "-r", "/x/jupyterhub-singleuser")
    proc.process(54, 1)
    # As it starts lean.
    proc.process(60, 1, "/home/anna/env/bin/python", str(LEAN_START), "/home/anna/env/bin/jupyterhub-singleuser", "--x")
    proc.process(61, 1, "/bin/cat", str(LEAN_START), "/home/anna/x", "/home/anna/env/bin/jupyterhub-singleuser")
    assert servers.running_servers() == [
        Server("anna", 50, True, megabytes=300, limit_megabytes=1024, processor_seconds=90, killed=1),
        Server("anna", 60, False),
    ]
    monkeypatch.setattr(membership, "members", lambda: [account("ben", os.getuid() + 1)])
    assert servers.running_servers() == []
