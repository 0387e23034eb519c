"""Runs as the member (root comes here through runuser): moves what a restore has prepared into the member's home.

With the member's own rights: whatever links the member has in their home, nothing can be written through them that
the member could not write anyway. Nothing is overwritten: what is there and differs is kept aside.
"""

from __future__ import annotations

import errno
import filecmp
import json
import os
import pwd
import re
import shutil
import stat
from pathlib import Path

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import PermissionRefused, UsageError
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.protocol import service_programs, serving
from jupyterhub4family.common.protocol.service_programs import Imported, Restored
from jupyterhub4family.common.system import files


def main() -> int:
    """Answer one request."""
    os.umask(0o077)
    return serving.serve(_never_root, HANDLERS)


def _never_root() -> None:
    if os.geteuid() == 0:
        raise PermissionRefused(_("root must not do this: it would follow the member's links"))


def import_restored(_caller: None, request: Restored) -> Imported:
    """Move what is in `request.place` into the home of whoever runs this. Raises UsageError or OSError."""
    if not re.fullmatch(r"before-restore-[0-9-]{1,20}", request.aside):
        raise UsageError(_("the request is not a JSON object"))
    home = Path(pwd.getpwuid(os.getuid()).pw_dir)
    taking = Import(home / request.aside)
    taking.merge(Path(request.place), home)
    if request.packages:
        write_pending_packages(home, request.packages)
    return Imported(taking.taken, taking.kept)


class Import:
    """One move of a prepared tree into a home."""

    def __init__(self, staging: Path) -> None:
        """Put what has to make room below `aside`."""
        self._backup = staging
        #: How many files or whole folders were put into the home, and how many were put aside for them.
        self.taken = self.kept = 0

    def merge(self, source: Path, target: Path, below: Path = Path()) -> None:
        """Move everything in `source` into `target`; what stays behind in `source` is there already. Raises OSError."""
        for name in sorted(os.listdir(source)):
            restored, target_path = source / name, target / name
            if not os.path.lexists(target_path):
                _move(restored, target_path)
                self.taken += 1
            elif _is_directory(restored) and _is_directory(target_path):
                self.merge(restored, target_path, below / name)
            elif not _same(restored, target_path):
                kept = self._backup / below / name
                kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                _move(target_path, kept)
                _move(restored, target_path)
                self.kept += 1
                self.taken += 1


def write_pending_packages(home: Path, packages: dict[str, str]) -> None:
    """Have these packages installed when the next server starts (user/environment.py)."""
    pending_packages = home / paths.MEMBER_PENDING_PACKAGES
    pending_packages.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    files.write_atomically(pending_packages, json.dumps({"packages": packages, "tries": 0}) + "\n", 0o644)


def _is_directory(path: Path) -> bool:
    return stat.S_ISDIR(os.lstat(path).st_mode)


def _same(one: Path, other: Path) -> bool:
    """Whether both are the same link, or files with the same content."""
    kinds = [stat.S_IFMT(os.lstat(path).st_mode) for path in (one, other)]
    if kinds == [stat.S_IFLNK] * 2:
        return os.readlink(one) == os.readlink(other)
    return kinds == [stat.S_IFREG] * 2 and filecmp.cmp(one, other, shallow=False)


def _move(source: Path, target: Path) -> None:
    """Rename; a folder that its owner may not write to needs that for a moment. Another disk: copy."""
    mode = os.lstat(source).st_mode
    try:
        os.rename(source, target)
    except PermissionError:
        if not stat.S_ISDIR(mode) or mode & stat.S_IWUSR:
            raise
        source.chmod(0o700)
        os.rename(source, target)
        target.chmod(stat.S_IMODE(mode))
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy(source, target)


def _copy(source: Path, target: Path) -> None:
    """Copy to another disk, complete or not at all."""
    unfinished = target.with_name(f".{target.name[:200]}.unfinished")
    try:
        if _is_directory(source):
            shutil.copytree(source, unfinished, symlinks=True)
        else:
            shutil.copy2(source, unfinished, follow_symlinks=False)
        os.rename(unfinished, target)
    except BaseException:
        if os.path.lexists(unfinished):
            shutil.rmtree(unfinished) if _is_directory(unfinished) else unfinished.unlink()
        raise
    if _is_directory(source):
        shutil.rmtree(source)
    else:
        source.unlink()


HANDLERS = (serving.on(service_programs.IMPORT_RESTORED, import_restored),)
