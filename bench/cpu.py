"""Counts CPU seconds from outside a machine, as root on the developer's computer.

The kernel counts what every process of a control group has computed, those that have ended included. So a door that
lives for thirty milliseconds counts as much as the server it prepares, and nothing has to be watched for it.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import measure
from tests.machine.lib.machine import Machine
from tests.machine.lib.places import PLAIN_PATH

_ROOT = Path("/sys/fs/cgroup")
#: Seconds for which a machine that nobody asks is watched before something is done on it.
WATCHED = 5.0


def hierarchy() -> Path:
    """Where control groups of version 2 are: those count CPU time whatever controllers there are."""
    return _ROOT if (_ROOT / "cgroup.controllers").exists() else _ROOT / "unified"


def of_group(group: Path) -> float:
    """The CPU seconds of a group with everything below it."""
    match = re.search(r"^usage_usec (\d+)", (group / "cpu.stat").read_text(), re.M)
    assert match, group
    return int(match.group(1)) / 1e6


def of_machine(machine: Machine) -> float:
    """The CPU seconds of all processes that the machine ever had; not of commands that are sent in from outside."""
    return of_group(hierarchy() / machine.name)


def of_process(pid: int) -> float:
    """The CPU seconds of one process of this computer, all threads and no children, to the nanosecond."""
    # The kernel's number for the clock of another process: see clock_getcpuclockid(3).
    return time.clock_gettime((~pid << 3) | 2)


class Meter:
    """CPU seconds of a machine, or of one of its processes, beyond what it needs while nobody asks it for anything."""

    def __init__(self, machine: Machine, pid: int | None = None) -> None:
        self._machine = machine
        self._pid = None if pid is None else measure.pids_outside(machine)[pid]
        self._idle = 0.0
        self._cpu = self._began = 0.0

    def _read(self) -> float:
        return of_machine(self._machine) if self._pid is None else of_process(self._pid)

    def look(self) -> None:
        """Begin to see how much it needs when it is left alone; `begin` ends that."""
        self._cpu, self._began = self._read(), time.monotonic()

    def begin(self) -> None:
        """Count from now on."""
        now, cpu = time.monotonic(), self._read()
        self._idle = (cpu - self._cpu) / (now - self._began)
        self._cpu, self._began = cpu, now

    def used(self) -> float:
        """CPU seconds since `begin`, without what it would have needed anyway."""
        return self._read() - self._cpu - self._idle * (time.monotonic() - self._began)


def watch(*meters: Meter) -> None:
    """Let meters see how a machine idles, and begin."""
    for meter in meters:
        meter.look()
    time.sleep(WATCHED)
    for meter in meters:
        meter.begin()


def of_command(machine: Machine, command: str, times: int = 1) -> float:
    """The CPU seconds of a shell command of root's in the machine: its own, and what it has the machine do.

    It runs in a control group beside the machine's, so that all it starts counts, whether somebody waits for it or
    not. `times` repeats it in the same shell, whose share becomes small then.
    """
    line = f"for _ in $(seq {times}); do {command}; done >/dev/null 2>&1"
    meter = Meter(machine)
    with _group(f"{machine.name}-command") as group, tempfile.TemporaryFile() as errors:
        # The shell waits until it is in the group; what brought it into the machine does not count.
        enter = [
            "nsenter",
            "-t",
            str(machine.pid),
            "-a",
            "env",
            "-i",
            f"PATH={PLAIN_PATH}",
            "LANG=C.UTF-8",
            "HOME=/root",
        ]
        process = subprocess.Popen(
            [*enter, "bash", "-c", f"read -r; {line}; echo $?; read -r"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd="/",
        )
        assert process.stdin and process.stdout
        watch(meter)
        before = of_group(group)
        shell = _pid_of_shell(process.pid)
        (group / "cgroup.procs").write_text(str(shell))
        process.stdin.write("\n")
        process.stdin.flush()
        status = process.stdout.readline().strip()
        used = of_group(group) - before + meter.used()
        process.stdin.close()
        process.wait()
    if status in ("", "126", "127"):
        raise RuntimeError(f"{machine.name}: {command} was not run, or came to no end: {status}")
    return used / times


def _pid_of_shell(pid: int) -> int:
    """What nsenter has started: with a namespace of processes it forks, and the child goes in."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(children[0]) if children else pid


@contextmanager
def _group(name: str) -> Iterator[Path]:
    group = hierarchy() / name
    group.mkdir(exist_ok=True)
    try:
        yield group
    finally:
        end = time.monotonic() + 5
        while time.monotonic() < end:
            try:
                group.rmdir()
                break
            except OSError:
                time.sleep(0.05)  # the last dead process has not left yet, or one lives on: then it stays
