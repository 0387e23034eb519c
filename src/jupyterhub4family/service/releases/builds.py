"""Runs as jupyterhub: builds a tree aside, proves it, and switches to it with one rename.

Used for releases (what the hub runs from) and templates (what members' environments are made from). A tree
whose build was interrupted is thrown away together with the package cache: a power cut leaves both full of
empty files. Nothing without a marker file is ever used, and the marker is written after everything else has
reached the disk.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import platform
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import ExitStatus, FamilyError
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.python import offline, uv, venv
from jupyterhub4family.common.system import disk_space, files
from jupyterhub4family.common.system.programs import Arg, ProgramError

#: Part of every id: raise it when the way a tree is built changes without a change of its lock files.
FORMAT = "8"
#: Bytes; no file of a build is larger, so a build that failed with less left may have failed for that.
_LARGEST = 128 * disk_space.MEBIBYTE
#: What pip says at each of its tries; the last one tells all.
_TRIES_AGAIN = re.compile(r"WARNING: Retrying \([^\n]*\n(?=WARNING: Retrying \()")
#: What `wanted_id` makes.
_ID = re.compile(r"py3\.[0-9]+-[0-9a-f]{12}")


@dataclass(frozen=True)
class Tree:
    """A kind of tree: where its builds lie, from which lock files, and what fills one.

    `fill` gets the folder to fill; it raises FamilyError when it cannot.
    """

    name: str
    parent: Path
    locks: tuple[Path, ...]
    fill: Callable[[Path], None]

    def wanted_id(self) -> str:
        """Identifies the content: lock files, Python, processor. Raises FamilyError if a lock file is missing."""
        digest = hashlib.sha256(f"{FORMAT} {system_python_version()} {platform.machine()}".encode())
        for lock in self.locks:
            try:
                digest.update(lock.read_bytes())
            except OSError as error:
                raise FamilyError(
                    _("{path} cannot be read: {reason}", path=str(lock), reason=error.strerror),
                    _("install the package jupyterhub4family again"),
                ) from error
        return f"py{system_python_version()}-{digest.hexdigest()[:12]}"

    @property
    def current(self) -> Path:
        """The link to the build in use."""
        return self.parent / "current"

    def is_current(self) -> bool:
        """Whether the build in use is complete and the one that the lock files ask for."""
        return is_complete(self.current) and self.current.resolve().name == self.wanted_id()


def system_python_version() -> str:
    """Version of Debian's Python, such as 3.11, on which every tree is built."""
    return paths.SYSTEM_PYTHON.resolve().name[len("python") :]


def is_id(untrusted: str) -> bool:
    """Whether this could be the id of a build."""
    return bool(_ID.fullmatch(untrusted))


def is_complete(directory: Path) -> bool:
    """Whether `folder` holds a finished build."""
    return (directory / paths.COMPLETE_MARKER).is_file()


def ensure(tree: Tree, anew: bool = False) -> bool:
    """Make the wanted build of `tree` the current one; returns whether anything was built or switched.

    `anew` builds it even if it is there: one that was damaged on the disk. Raises FamilyError when it cannot;
    the build in use then stays in use.
    """
    with _exclusive(tree):
        if anew:
            # What was fetched shares its files with the builds: damage in one is damage in both.
            discard_cache()
        return _ensure(tree, anew)


def ensure_beside(tree: Tree) -> None:
    """The same in a child of a build that holds the lock meanwhile (beside.py), with whose cache it works.

    Raises FamilyError when it cannot.
    """
    try:
        tree.parent.mkdir(exist_ok=True)
        _remove_interrupted(tree)
        _ensure(tree)
    except OSError as error:
        raise _disk_error(error) from error


def _ensure(tree: Tree, anew: bool = False) -> bool:
    if not anew and tree.is_current():
        return False
    wanted = tree.parent / tree.wanted_id()
    if anew or not is_complete(wanted):
        _build(tree, wanted)
    _switch(tree, wanted)
    return True


def build(tree: Tree) -> str:
    """Make sure of the wanted build of `tree` without using it yet; returns its id. Raises FamilyError."""
    with _exclusive(tree):
        wanted = tree.parent / tree.wanted_id()
        if not is_complete(wanted):
            _build(tree, wanted)
        return wanted.name


def switch(tree: Tree, untrusted_id: str, keep_old: bool) -> bool:
    """Use another build of `tree`, which must be there; returns whether that changed anything. Raises FamilyError.

    Without `keep_old` the one that was in use is thrown away: it has not proved itself.
    """
    target = tree.parent / untrusted_id
    with _exclusive(tree):
        if not is_id(untrusted_id) or target.is_symlink() or not is_complete(target):
            raise FamilyError(_("there is no complete {name} {id}", name=tree.name, id=repr(untrusted_id[:40])))
        if tree.current.is_symlink() and os.readlink(tree.current) == target.name:
            return False
        _switch(tree, target, keep_old)
        return True


@contextlib.contextmanager
def _exclusive(tree: Tree) -> Iterator[None]:
    """What `tree` consists of may be changed in here; what an interrupted build has left is gone. Raises FamilyError.

    Members read templates and use the release's uv, so these trees are public; secrets lie in state/ only.
    """
    old_mask = os.umask(0o022)
    try:
        tree.parent.mkdir(exist_ok=True)
        with files.locked(paths.STATE / "build.lock"):
            if _remove_interrupted(tree):
                discard_cache()
            yield
    except OSError as error:
        raise _disk_error(error) from error
    finally:
        os.umask(old_mask)


def _build(tree: Tree, target: Path) -> None:
    staging = target.with_name(f".building-{target.name}")
    try:
        staging.mkdir()
        tree.fill(staging)
        os.sync()
        files.write_atomically(staging / paths.COMPLETE_MARKER, "")
    except (OSError, FamilyError) as error:
        full = _is_full(staging.parent)
        shutil.rmtree(staging, ignore_errors=True)
        if full and isinstance(error, FamilyError) and error.status != ExitStatus.DISK_FULL:
            raise _disk_full() from error
        raise
    _replace(target, staging)
    files.sync_directory(target.parent)


def _replace(target: Path, staging: Path) -> None:
    """Put one folder in the place of another. The proxy may be about to compress into that: then once more."""
    for tries_left in (2, 1, 0):
        shutil.rmtree(target, ignore_errors=True)
        try:
            staging.rename(target)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or not tries_left:
                raise


def _is_full(directory: Path) -> bool:
    """Whether what was built could not go on for want of room: not every program says why it fails."""
    try:
        return disk_space.free_bytes(directory) < _LARGEST
    except OSError:
        return False


def _switch(tree: Tree, target: Path, keep_old: bool = True) -> None:
    """Point `current` to `target`, keep what was current as `previous`, remove older builds."""
    old: Optional[str] = os.readlink(tree.current) if tree.current.is_symlink() else None
    previous = tree.parent / "previous"
    if keep_old and old and old != target.name and is_complete(tree.parent / old):
        files.point_link(previous, old)
    files.point_link(tree.current, target.name)
    if not keep_old:
        previous.unlink(missing_ok=True)
        old = None
    keep = {target.name, old, *(os.readlink(link) for link in tree.parent.iterdir() if link.is_symlink())}
    for directory in tree.parent.iterdir():
        if not directory.is_symlink() and directory.is_dir() and directory.name not in keep:
            shutil.rmtree(directory, ignore_errors=True)


def _remove_interrupted(tree: Tree) -> bool:
    """Remove what an interrupted build has left; returns whether there was anything."""
    interrupted = list(tree.parent.glob(".building-*"))
    for left in interrupted:
        shutil.rmtree(left, ignore_errors=True)
    return bool(interrupted)


def discard_cache() -> None:
    """Remove all fetched packages: one store serves release and template, and nobody needs it afterwards."""
    for directory in paths.CACHE.glob("*"):
        shutil.rmtree(directory, ignore_errors=True)


def fetch(before: list[Arg], after: list[Arg], what: str, sources: Optional[list[list[Arg]]] = None) -> None:
    """Run a package client that fetches `what`; arguments for where to look come between `before` and `after`.

    Raises FamilyError with a hint for network and disk.
    """
    (paths.CACHE / "tmp").mkdir(exist_ok=True)
    variables = {
        **uv.uv_environment(),
        "UV_CACHE_DIR": str(paths.CACHE / "uv"),
        "HOME": str(paths.CACHE),
        # Nothing of ours under names that others could foresee, and nothing left in /tmp when this is killed.
        "TMPDIR": str(paths.CACHE / "tmp"),
        "NODE_DISABLE_COMPILE_CACHE": "1",
    }
    places = offline.wheel_sources() if sources is None else sources
    fetched(what, lambda: offline.run_with_sources(before, after, places, variables, venv.FETCH_TIMEOUT))


def fetched(what: str, work: Callable[[], object]) -> None:
    """Do `work`, which fetches `what`; raise FamilyError with a hint for network and disk when it fails."""
    try:
        work()
    except ProgramError as error:
        raise fetch_failed(error, what) from error


def fetch_failed(error: ProgramError, what: str) -> FamilyError:
    """The error of a package client that fetched `what`, with a hint for network and disk."""
    text = _TRIES_AGAIN.sub("", error.message)
    if disk_space.says_full(text):
        return FamilyError(
            _("the disk is full, so {what} could not be stored", what=what),
            _("free some space"),
            ExitStatus.DISK_FULL,
        )
    if ("hash" in text.lower() and "mismatch" in text.lower()) or "EINTEGRITY" in text:
        return FamilyError(
            _("what was fetched for {what} is not what was expected: {reason}", what=what, reason=text),
            _("try again later"),
        )
    return FamilyError(
        _("{what} could not be fetched: {reason}", what=what, reason=text),
        _("check this machine's internet connection"),
        ExitStatus.NETWORK,
    )


def _disk_full() -> FamilyError:
    return FamilyError(_("the disk is full"), _("free some space"), ExitStatus.DISK_FULL)


def _disk_error(error: OSError) -> FamilyError:
    if disk_space.is_full(error):
        return _disk_full()
    return FamilyError(
        _("{path} could not be written: {reason}", path=str(error.filename or _("a file")), reason=error.strerror)
    )
