"""Runs as the member: gets a copy of the service's template into the member's home, the cheapest way that works.

Hard links through the door `environment` (half a second, a few MB); else a copy, sharing blocks where the file
system can (reflink); else, without a usable template, packages fetched by uv from the lock.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import ExitStatus, FamilyError
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.protocol import calling, doors
from jupyterhub4family.common.protocol.actions import Nothing
from jupyterhub4family.common.protocol.responses import ProgressCallback
from jupyterhub4family.common.system import disk_space
from jupyterhub4family.common.system.programs import ProgramError

#: Bytes that must be free for a copy by hard links: folders, and room to work in.
LINKED_NEEDS = 64 * 2**20

HARD_LINKS, COPY, FETCHED = "hard links", "copy", "fetched"


def template_id() -> str:
    """The id of the template in use; empty if there is none."""
    name = paths.CURRENT_TEMPLATE.resolve().name
    return name if (paths.CURRENT_TEMPLATE / "env" / "bin" / "python").exists() else ""


def copy_template(target: Path, progress: ProgressCallback) -> str:
    """Fill `target`, which must not exist, with a fresh environment; returns how it was done.

    Raises FamilyError; `target` may then be half-made, and is for the caller to remove.
    """
    if not template_id():
        return _fetch(target, progress)
    if _same_disk(target.parent):
        _check_space(target.parent, LINKED_NEEDS)
        try:
            _by_door(target)
            return HARD_LINKS
        except (FamilyError, OSError) as error:
            progress(10, _("Hard links are not possible ({reason}); copying instead", reason=_short(error)))
    source = paths.CURRENT_TEMPLATE.resolve() / "env"
    _check_space(target.parent, size_of(source) * 11 // 10)
    _by_copying(source, target, progress)
    return COPY


def _same_disk(directory: Path) -> bool:
    try:
        return os.stat(directory).st_dev == os.stat(paths.STAGING).st_dev
    except OSError:
        return False


def _by_door(target: Path) -> None:
    """Ask for a tree in the handover folder and move it here. Raises FamilyError or OSError."""
    import shutil

    staging = Path(calling.call(doors.COPY_TEMPLATE, Nothing(), become=["/usr/bin/sudo", "-n"]).place)
    try:
        os.rename(staging / "env", target)
    except OSError:
        shutil.rmtree(staging / "env", ignore_errors=True)
        raise


def _by_copying(source: Path, target: Path, progress: ProgressCallback) -> None:
    """Copy a whole tree as it is, links as links, telling the percentage by the number of files (10 to 80)."""
    import shutil

    expected = max(1, sum(len(files) for _, _, files in os.walk(source)))
    done, reported = 0, 10

    def copy(one: str, other: str) -> str:
        nonlocal done, reported
        if os.path.islink(one):
            os.symlink(os.readlink(one), other)
        else:
            _copy_file(one, other)
        done += 1
        percent = 10 + 70 * done // expected
        if percent >= reported + 5:
            reported = percent
            progress(percent, _("Copying {done} of {expected} files", done=done, expected=expected))
        return other

    shutil.copytree(source, target, symlinks=True, copy_function=copy)


def _copy_file(one: str, other: str) -> None:
    """Copy content and mode; copy_file_range lets file systems that can do it share the blocks."""
    import shutil

    with open(one, "rb") as source, open(other, "xb") as copy:
        left = os.fstat(source.fileno()).st_size
        try:
            while left > 0:
                moved = os.copy_file_range(source.fileno(), copy.fileno(), left)
                if moved == 0:
                    break
                left -= moved
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP):
                raise
        # Where that is impossible, or ends too early, the rest is read and written.
        shutil.copyfileobj(source, copy)
    shutil.copystat(one, other)


def _fetch(target: Path, progress: ProgressCallback) -> str:
    """Without a template: fetch everything, as the service would. Raises FamilyError."""
    import shutil

    from jupyterhub4family.common.python import venv

    uv = paths.CURRENT_RELEASE / paths.UV
    if not uv.exists():
        raise FamilyError(
            _("JupyterLab for the family is not ready yet"), _("wait a few minutes, then start the server again")
        )
    progress(15, _("Fetching JupyterLab (the prepared copy is missing; this takes longer)"))
    cache = target.parent / "cache.unfinished"
    lock = paths.LOCKS / "member.txt"
    try:
        venv.make_environment(uv, target, lock, "JupyterLab", cache, report=lambda message: progress(15, message))
        venv.compile_bytecode(uv, target, cache)
    except ProgramError as error:
        raise FamilyError(error.message, _("check this machine's internet connection")) from error
    finally:
        shutil.rmtree(cache, ignore_errors=True)
    return FETCHED


def size_of(environment: Path) -> int:
    """Bytes that a template takes on disk, as the service noted them beside it."""
    try:
        return int((environment.parent / "size").read_text("ascii"))
    except (OSError, ValueError):
        return 500 * 2**20


def _check_space(directory: Path, needed: int) -> None:
    """Raise FamilyError when the disk has clearly no room, before anything is written."""
    free = disk_space.free_bytes(directory)
    if free < needed:
        raise disk_full(
            directory, _("{needed} MB are needed, {free} MB are free", needed=needed // 2**20, free=free // 2**20)
        )


def disk_full(directory: Path, detail: str) -> FamilyError:
    """The error for a full disk, with what to do."""
    return FamilyError(
        _("the disk with {directory} is full: {detail}", directory=str(directory), detail=detail),
        _("delete what you no longer need (empty the trash), then start the server again"),
        ExitStatus.DISK_FULL,
    )


def remove_tree(directory: Path) -> None:
    """Remove a folder, link or file of the member's, if it is there. Raises OSError."""
    import shutil

    if directory.is_symlink() or directory.is_file():
        directory.unlink()
    else:
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(directory)


def _short(error: Exception) -> str:
    return error.message if isinstance(error, FamilyError) else str(getattr(error, "strerror", error))
