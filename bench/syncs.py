"""Counts how often processes of a machine wait for the disk: as root, by strace attached from outside."""

from __future__ import annotations

import re
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.measure import Process, pids_outside, processes
from tests.machine.lib.machine import Machine

_CALLS = "fsync,fdatasync,sync,syncfs,msync"
#: A line of strace's: what was called, by whom. What another process interrupted is told in two lines, and counts once.
_CALL = re.compile(r"^(?:\[pid +)?(\d+)\]? +(?:fsync|fdatasync|sync|syncfs|msync)\(", re.M)


def count(machine: Machine, work: Callable[[], object]) -> dict[int, int]:
    """How often whom of the machine's processes waited for the disk during `work`, by their pid on this computer.

    Those that run already are watched with all they start, except for those that keep logs. strace makes them slower,
    which changes no count.
    """
    outside = pids_outside(machine)
    watched = [outside[pid] for pid, process in processes(machine).items() if pid in outside and not _is_log(process)]
    with tempfile.TemporaryDirectory() as directory:
        record = Path(directory, "calls")
        command = ["strace", "-f", "-qq", "-e", f"trace={_CALLS}", "-e", "signal=none", "-o", str(record)]
        attached = [word for pid in watched for word in ("-p", str(pid))]
        tracer = subprocess.Popen([*command, *attached], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            _wait_until_attached(tracer, watched)
            work()
        finally:
            tracer.terminate()
            _, said = tracer.communicate(timeout=30)
        if tracer.returncode not in (0, -15, 143):
            raise RuntimeError(f"strace: {said.strip()}")
        return tally(record.read_text())


def _is_log(process: Process) -> bool:
    """systemd's journal, and the syslog of machines without: they write when they like."""
    return "systemd-journald" in process.command or "rsyslogd" in process.command


def tally(record: str) -> dict[int, int]:
    """Calls by pid in what strace -f -o has written."""
    found: dict[int, int] = {}
    for match in _CALL.finditer(record):
        pid = int(match.group(1))
        found[pid] = found.get(pid, 0) + 1
    return found


def _wait_until_attached(tracer: subprocess.Popen[str], pids: list[int]) -> None:
    until = time.monotonic() + 20
    while not all(_tracer_of(pid) in (tracer.pid, None) for pid in pids):
        if tracer.poll() is not None or time.monotonic() > until:
            tracer.terminate()
            raise RuntimeError(f"strace did not attach: {tracer.stderr.read() if tracer.stderr else ''}")
        time.sleep(0.05)


def _tracer_of(pid: int) -> int | None:
    """Who traces a process; None if it is gone."""
    try:
        match = re.search(r"^TracerPid:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.M)
    except OSError:
        return None
    return int(match.group(1)) if match else None
