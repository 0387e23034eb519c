"""Runs as the caller: disk, memory and clock."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from jupyterhub4family.cli.doctor.base.finding import Check, CheckContext, Finding, fine, problem, warning
from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.common.i18n.messages import N_, _
from jupyterhub4family.common.state import supervision
from jupyterhub4family.common.system import disk_space, processes, programs
from jupyterhub4family.common.system.disk_space import DiskSpace

#: A server needs about 110 MB.
MEMORY_WANTED = 300 * disk_space.MEBIBYTE
#: Nobody can have installed this before it was written.
FIRST_YEAR, LAST_YEAR = 2026, 2100


def check_disk(_context: CheckContext) -> Iterator[Finding]:
    """There is space for the next release, and for what the members save."""
    well = True
    for space in disk_space.disk_spaces((paths.SERVICE_HOME, Path("/home"), Path("/"))):
        for finding in _finding(space):
            well = False
            yield finding
        directory, names = space.path, os.statvfs(space.path)
        if names.f_files and names.f_favail < 50_000 and names.f_favail < names.f_files // 50:
            well = False
            yield warning(
                _("There is hardly any space for more files (inodes) at {directory}", directory=directory),
                _("remove folders with very many small files; see: df -i"),
            )
    if well:
        yield fine(_("There is enough space on the disk"))


def _finding(space: DiskSpace) -> Iterator[Finding]:
    left, directory = space.megabytes, space.path
    see = _("free some space; see what takes it: sudo du -xh --max-depth=2 / | sort -h | tail")
    if space.is_gone:
        yield problem(_("The disk is full: {left} MB are left at {directory}", left=left, directory=directory), see)
    elif space.is_short:
        yield warning(
            _(
                "The disk is nearly full: {left} MB are left at {directory}; an update may need more",
                left=left,
                directory=directory,
            ),
            see,
        )


def check_memory(_context: CheckContext) -> Iterator[Finding]:
    """Another server still fits into memory."""
    lines = (processes.PROC / "meminfo").read_text("ascii").splitlines()
    about = {line.partition(":")[0]: int(line.partition(":")[2].split()[0]) * 1024 for line in lines}
    free = about.get("MemAvailable", 0) + about.get("SwapFree", 0)
    if free < MEMORY_WANTED:
        yield warning(
            _("Memory is short: {left} MB are free, and a server needs about 110", left=free // disk_space.MEBIBYTE),
            _("stop servers that nobody uses, or add swap"),
        )
    else:
        yield fine(_("There is enough memory for more servers"))


def check_clock(_context: CheckContext) -> Iterator[Finding]:
    """The clock is plausible: certificates, cookies and package sources depend on it."""
    now = time.time()
    year = time.gmtime(now).tm_year
    set_it = _("set it: sudo timedatectl set-ntp true, or: sudo date --set '2026-12-31 12:00'")
    if not FIRST_YEAR <= year <= LAST_YEAR:
        yield problem(_("The clock is wrong: it says {year}", year=year), set_it)
        return
    installed = os.stat(paths.LIBRARY).st_ctime
    if installed > now + 86400:
        yield problem(_("The clock is wrong: it shows a day before the installation"), set_it)
        return
    synchronized = _synchronized()
    if synchronized == "no":
        yield warning(
            _("The clock is not synchronized over the network (NTP)"), _("sudo apt-get install systemd-timesyncd")
        )
    else:
        yield fine(_("The clock is right") if synchronized == "yes" else _("The clock looks right"))


def _synchronized() -> str:
    """`yes`, `no`, or empty where nobody can tell: containers take their host's clock."""
    if not supervision.SYSTEMD_RUNS.is_dir():
        return ""
    try:
        if programs.run(["systemd-detect-virt", "--quiet", "--container"], check=False).returncode == 0:
            return ""
        return programs.run(["timedatectl", "show", "-p", "NTPSynchronized", "--value"], timeout=10).stdout.strip()
    except FamilyError:
        return ""


#: By the names that the JSON has, which are never changed.
CHECKS = {
    "disk": Check(N_("space on the disk"), check_disk),
    "memory": Check(N_("memory"), check_memory),
    "clock": Check(N_("the clock"), check_clock),
}
