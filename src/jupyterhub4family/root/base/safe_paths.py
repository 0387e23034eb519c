"""Runs as root: whether a folder is one that root may write below without being led elsewhere.

Whoever can change a folder on the way can put a link there and lead root anywhere. So every folder from / down must
belong to root, or to somebody who can become root anyway, and nobody else may write there.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from pathlib import Path

from jupyterhub4family.common.errors import FamilyError, RefusedError
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.system import accounts


def safe_directory(directory: Path) -> Path:
    """The real path of `folder`, without links. Raises RefusedError if others could lead root astray there."""
    try:
        real = directory.resolve(strict=True)
        for path in (*reversed(real.parents), real):
            _check(path, os.stat(path, follow_symlinks=False), last=path == real)
    except FileNotFoundError:
        raise FamilyError(_("there is no folder {directory}", directory=str(directory))) from None
    except (OSError, RuntimeError) as error:
        raise FamilyError(_("{file} cannot be checked: {error}", file=str(directory), error=str(error))) from error
    return real


def _check(path: Path, status: os.stat_result, last: bool) -> None:
    if not stat.S_ISDIR(status.st_mode):
        raise RefusedError(_("{directory} is not a folder", directory=str(path)))
    # In a folder like /tmp nobody can exchange what is root's.
    sticky = bool(status.st_mode & stat.S_ISVTX) and not last
    by_everybody = bool(status.st_mode & stat.S_IWOTH) and not sticky
    by_group = bool(status.st_mode & stat.S_IWGRP) and not sticky and not _is_trusted_group(status)
    if by_everybody or by_group or not _is_trusted(status.st_uid):
        raise RefusedError(
            _("accounts other than root can change {directory}, so they could mislead root there", directory=str(path)),
            _("choose a folder that only root can write to, such as one made by: sudo mkdir -m 700 /srv/backup"),
        )


def _is_trusted(uid: int) -> bool:
    """Root, or a person who can become root and is no member: theirs is where a desktop mounts a USB disk."""
    if uid == 0:
        return True
    try:
        account = pwd.getpwuid(uid)
    except KeyError:
        return False
    return bool(accounts.administrator_groups(account)) and not accounts.is_member(account)


def _is_trusted_group(status: os.stat_result) -> bool:
    """Root's group, or the private one of the folder's owner."""
    if status.st_gid == 0:
        return True
    try:
        group = grp.getgrgid(status.st_gid)
        return group.gr_name == pwd.getpwuid(status.st_uid).pw_name and not group.gr_mem
    except KeyError:
        return False
