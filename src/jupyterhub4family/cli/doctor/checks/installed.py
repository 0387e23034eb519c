"""Runs as the caller: that every installed program is the one that was written: first line, content, owner, mode."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from jupyterhub4family.cli.doctor.base.finding import Check, CheckContext, Finding, Repair, fine, problem
from jupyterhub4family.common import paths
from jupyterhub4family.common.i18n.messages import N_, _

#: Root's alone to write, everybody's to run.
MODE = 0o755


def check_programs(_context: CheckContext) -> Iterator[Finding]:
    """Each program is what was packaged: above all its first line, which keeps Python isolated."""
    broken = False
    originals = [
        (original, place / original.name)
        for directory, place in paths.ORIGINAL_PROGRAMS.items()
        for original in sorted(directory.glob("*"))
    ]
    for original, program in originals:
        message = _defect(original, program)
        if message:
            broken = True
            yield problem(message, _("sudo jupyterhub4family doctor --fix"), "programs")
    if not originals:
        yield problem(
            _("The packaged programs in {directory} are missing", directory=paths.ORIGINALS),
            _("sudo apt-get install --reinstall jupyterhub4family"),
        )
    elif not broken:
        yield fine(_("All programs are as they were written"))


def _defect(original: Path, program: Path) -> str:
    """What is wrong with a program, as a sentence; empty if nothing is."""
    try:
        status = os.lstat(program)
        installed = program.read_bytes()
    except OSError:
        return _("The program {path} is missing", path=program)
    written = original.read_bytes()
    first, expected = (data.partition(b"\n")[0].decode("utf-8", "replace") for data in (installed, written))
    if first != expected:
        return _(
            "The first line of {path} is {line}, not {expected}",
            path=program,
            line=repr(first[:60]),
            expected=repr(expected),
        )
    if installed != written or not stat.S_ISREG(status.st_mode):
        return _("The program {path} is not the packaged one", path=program)
    mode = stat.S_IMODE(status.st_mode)
    if (status.st_uid, status.st_gid) != (0, 0) or mode != MODE:
        return _(
            "The program {path} must belong to root and have the mode {expected}, not {mode}",
            path=program,
            expected=f"{MODE:04o}",
            mode=f"{mode:04o}",
        )
    return ""


#: By the names that the JSON has, which are never changed.
CHECKS = {"programs": Check(N_("all programs"), check_programs)}
REPAIRS = (Repair("programs", 35, N_("The programs are the packaged ones again")),)
