"""Looking at a machine from outside: memory, disk, network, packages. None of it costs the machine anything."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bench.stacks import Stack
from tests.machine.lib.machine import Machine
from tests.machine.lib.places import host

#: What a user may delete at any time, and both stacks leave to the programs they are made with.
_CACHES = ("*/.cache/pip", "*/.npm", "*/var/lib/apt/lists", "*/var/cache/apt", "*/var/log", "*/tmp")


@dataclass(frozen=True)
class Process:
    """A process of the machine."""

    pid: int
    parent: int
    user: str
    command: str
    pss_mb: float


def processes(machine: Machine) -> dict[int, Process]:
    """All processes by their pid, with their share of the memory (PSS: shared pages count in parts)."""
    users = {}
    for line in machine.path("/etc/passwd").read_text().splitlines():
        name, _, uid, *_ = line.split(":")
        users[int(uid)] = name
    found = {}
    for entry in machine.path("/proc").iterdir():
        if entry.name.isdigit() and (process := _process(entry, users)):
            found[process.pid] = process
    return found


def pids_outside(machine: Machine) -> dict[int, int]:
    """What the processes of the machine are called on this computer, by what the machine calls them."""
    namespace = os.readlink(f"/proc/{machine.pid}/ns/pid")
    found = {}
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and os.readlink(entry / "ns/pid") == namespace:
                found[int(_field(r"\nNSpid:.*\s(\d+)\n", (entry / "status").read_text()))] = int(entry.name)
        except OSError:
            continue  # ended at this moment
    return found


def _process(entry: Path, users: dict[int, str]) -> Process | None:
    try:
        status = (entry / "status").read_text()
        args = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        memory = (entry / "smaps_rollup").read_text()
    except OSError:
        return None  # ended at this moment, or one of the kernel's
    parent = int(_field(r"PPid:\s+(\d+)", status))
    user = users.get(int(_field(r"Uid:\s+(\d+)", status)), "?")
    return Process(int(entry.name), parent, user, args.strip(), int(_field(r"\nPss:\s+(\d+)", memory)) / 1024)


def _field(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    assert match, (pattern, text)
    return match.group(1)


def server_mb(machine: Machine, stack: Stack, names: Iterable[str]) -> float:
    """PSS of these members' servers, with everything that had to be started for them and stays: parents, too."""
    everything = processes(machine)
    names = set(names)
    mine = {pid for pid, process in everything.items() if process.user in names and not _is_login(process)}
    for pid in list(mine):
        while (pid := everything[pid].parent) in everything and pid != 1 and everything[pid].user != stack.account:
            mine.add(pid)
    return sum(everything[pid].pss_mb for pid in mine)


def _is_login(process: Process) -> bool:
    """systemd's own helpers of a login, not of a server."""
    return "systemd --user" in process.command or "(sd-pam)" in process.command


def service_mb(machine: Machine, stack: Stack) -> dict[str, float]:
    """PSS of the service's processes: hub, proxy, all."""
    mine = [process for process in processes(machine).values() if process.user == stack.account]
    proxy = sum(process.pss_mb for process in mine if "node" in process.command.partition(" ")[0])
    hub = sum(process.pss_mb for process in mine if is_hub(process))
    return {"hub": hub, "proxy": proxy, "service": sum(process.pss_mb for process in mine)}


def is_hub(process: Process) -> bool:
    """Whether this is JupyterHub itself."""
    return "bin/jupyterhub -f" in process.command and "python" in process.command.partition(" ")[0]


def hub_pid(machine: Machine, stack: Stack) -> int:
    """The pid of JupyterHub, as the machine counts."""
    (found,) = (p.pid for p in processes(machine).values() if p.user == stack.account and is_hub(p))
    return found


def available_mb() -> float:
    """Memory of this computer that programs can still have."""
    return int(_field(r"MemAvailable:\s+(\d+)", Path("/proc/meminfo").read_text())) / 1024


def received_mb(machine: Machine) -> float:
    """What came over the machine's network cable since it was booted."""
    return int(machine.run("cat /sys/class/net/host0/statistics/rx_bytes")) / 1e6


def disk_mb(machine: Machine) -> float:
    """What lies on the machine's disk above plain Debian; a file with several names counts once."""
    host("sync", "-f", machine.directory)
    excluded = [f"--exclude={pattern}" for pattern in _CACHES]
    listing = host("du", "-sk", *excluded, machine.directory / "disk/upper", check=False).stdout
    return int(listing.split()[0]) * 1024 / 1e6


def packages(machine: Machine) -> int:
    """How many Debian packages are installed."""
    return len(machine.run("dpkg-query -W -f '${db:Status-Abbrev}\\n' | grep '^ii'").split())
