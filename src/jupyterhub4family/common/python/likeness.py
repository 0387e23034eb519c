"""Any identity: whether two environments have the very same files in the places where Python looks for modules.

Members' environments are hard links to the template's files, in directories of their own. So the file system's number
of a file says which one it is: the same number is the same content, owner and mode. Nothing of the files is read.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Optional

from jupyterhub4family.common import paths

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: What an owner needs to find something in a directory.
_ALL = stat.S_IRWXU
_ACCESS_LIST = "system.posix_acl_access"
#: Characters of all names in a directory, and of what links say: a hundred times what the largest one has.
LONGEST_LISTING = 4 * 2**20


def of(environment: Path, directories: Sequence[str]) -> str:
    """A text that is the same for two environments if they have the same files in `directories`, for their owners.

    Raises OSError where one of them is missing, no directory, another account's, or closed to its owner; and where it
    has more names than anybody wants in memory: a file system of the owner's own can go on for ever.
    """
    digest = hashlib.sha256()
    # An environment may be a link to where there is more room.
    top = os.open(environment, _DIRECTORY & ~os.O_NOFOLLOW)
    try:
        # Libraries are not loaded from where nothing may be run.
        digest.update(f"{os.fstatvfs(top).f_flag & os.ST_NOEXEC}\n".encode())
        for place in directories:
            found = _contents(place, top)
            digest.update(f"{place}\n{found}\n".encode("utf-8", "surrogateescape"))
    finally:
        os.close(top)
    return digest.hexdigest()


def _contents(place: str, top: int) -> str:
    """The disk of a directory, and what is in it: names with the numbers of files, names of directories, links.

    `top` is a descriptor of the environment: some hundred directories need not be looked for from `/` on.
    """
    descriptor = os.open(place or ".", _DIRECTORY, dir_fd=top)
    try:
        status = os.fstat(descriptor)
        if status.st_uid != os.geteuid() or status.st_mode & _ALL != _ALL:
            raise PermissionError(place)
        with os.scandir(descriptor) as entries:
            lines = _lines(entries, descriptor, None if place else paths.MEMBER_ENVIRONMENT_NOTE)
    finally:
        os.close(descriptor)
    lines.sort()
    return f"{status.st_dev}\n" + "\n".join(lines)


def _lines(entries: Iterable[os.DirEntry[str]], directory: int, note: Optional[str]) -> list[str]:
    # One function for all: there are thousands of entries in each environment.
    lines, left = [], LONGEST_LISTING
    for entry in entries:
        name = entry.name
        if name == note:
            continue
        line = f"{name}\0{entry.inode()}"
        if not entry.is_file(follow_symlinks=False):
            if entry.is_symlink():
                line = f"{name}\0>{os.readlink(name, dir_fd=directory)}"
            elif entry.is_dir(follow_symlinks=False):
                line = f"{name}\0/"
        left -= len(line)
        if left < 0:
            raise OSError(errno.E2BIG, os.strerror(errno.E2BIG))
        lines.append(line)
    return lines


def is_readable_for_all(environment: Path, directories: Sequence[str]) -> bool:
    """Whether everybody may read every file in `directories`, by mode and without access lists (acl(5)).

    Else what its owner can import, others cannot. Raises OSError.
    """
    for place in directories:
        with os.scandir(os.path.join(environment, place)) as entries:
            for entry in entries:
                if entry.is_file(follow_symlinks=False) and not _is_readable(entry):
                    return False
    return True


def _is_readable(entry: os.DirEntry[str]) -> bool:
    if not entry.stat(follow_symlinks=False).st_mode & stat.S_IROTH:
        return False
    try:
        return _ACCESS_LIST not in os.listxattr(entry.path, follow_symlinks=False)
    except OSError:
        # A file system without such attributes.
        return True
