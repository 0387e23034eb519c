"""Runs as the caller: whether a machine with little memory could have more of it, and whether it was short lately."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from jupyterhub4family.cli.doctor.base.finding import Check, CheckContext, Finding, fine, warning
from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.common.i18n.messages import N_, _, ngettext
from jupyterhub4family.common.state import short_memory
from jupyterhub4family.common.system import cgroups, processes, programs

#: Bytes. A machine sold with 4 GB shows a little less.
SMALL = 4 * 2**30
#: The first Debian that has systemd-zram-generator, which is good as it comes.
FIRST_WITH_GENERATOR = 12
OS_RELEASE = Path("/etc/os-release")
PAGE = "docs/howto/small-machines.md"


def check_small_memory(_context: CheckContext) -> Iterator[Finding]:
    """A small machine has swap, best in compressed memory; no server had to be stopped for want of memory."""
    findings = [*_swap(), *_stops()]
    yield from findings or [fine(_("No server had to be stopped lately because memory was short"))]


def _swap() -> Iterator[Finding]:
    memory = cgroups.total_memory()
    if memory > SMALL or _has_swap() or _cannot_have_zram():
        return
    yield warning(
        _(
            "This computer has {memory} MB of memory and no swap. With compressed memory (zram) more servers fit",
            memory=memory // 2**20,
        ),
        _("{command}; then restart the computer (more: {page})", command=zram_command(), page=PAGE),
    )


def zram_command() -> str:
    """What gives this Debian compressed memory, half as large as its memory."""
    if _debian() >= FIRST_WITH_GENERATOR:
        return "sudo apt-get install systemd-zram-generator"
    return "sudo apt-get install zram-tools; echo PERCENT=50 | sudo tee -a /etc/default/zramswap"


def _has_swap() -> bool:
    """Whatever kind it is: in /proc/swaps a headline comes first."""
    try:
        return len((processes.PROC / "swaps").read_text("utf-8", "replace").splitlines()) > 1
    except OSError:
        return True  # not to be seen: nothing to say


def _cannot_have_zram() -> bool:
    """In a container it is the host's; and both packages need systemd."""
    if not paths.SYSTEMD_RUNS.is_dir():
        return True
    try:
        return programs.run(["systemd-detect-virt", "--quiet", "--container"], check=False).returncode == 0
    except FamilyError:
        return True


def _debian() -> int:
    """The number of Debian's release; of one that has none yet, a large one."""
    try:
        found = re.search(r'^VERSION_ID="?([0-9]+)', OS_RELEASE.read_text("utf-8", "replace"), re.MULTILINE)
    except OSError:
        found = None
    return int(found[1]) if found else 999


def _stops() -> Iterator[Finding]:
    count = len(short_memory.stops())
    if count:
        yield warning(
            ngettext(
                "Memory was short: {count} server that nobody used was stopped within a week",
                "Memory was short: {count} servers that nobody used were stopped within a week",
                count,
            ),
            _("if that happens often, see what helps: {page}", page=PAGE),
        )


#: By the names that the JSON has, which are never changed.
CHECKS = {
    "small-memory": Check(N_("whether memory is enough"), check_small_memory),
}
