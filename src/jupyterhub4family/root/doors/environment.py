"""Runs as root through sudo, called by members: the door that gives the calling member a hard-linked template.

It builds in a folder of root's, never in anybody's home, and hands over a finished tree that the member then
moves in with their own rights. Root itself links nothing: a child that has become the account `jupyterhub`,
the owner of the template, makes the links; root only gives the folders of the new tree to the member. So the
service account can get nothing linked that is not its own, and a member nothing at all.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import secrets
import shutil
import sys
import time
from pathlib import Path
from typing import Callable

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import ExitStatus, FamilyError
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.protocol import doors, serving
from jupyterhub4family.common.protocol.actions import Nothing
from jupyterhub4family.common.system import accounts, disk_space
from jupyterhub4family.root.base import sudo_caller

#: Seconds after which what nobody has fetched is removed.
STALE = 3600
_TEMPLATE_ID = re.compile(r"py3\.[0-9]{1,2}-[0-9a-f]{12}")
#: Exit statuses of the child that links.
_LINKED, _NOT_LINKED, _DISK_FULL = 0, 1, 2


def main() -> int:
    """Answer one request with a directory of the member's that holds `env`."""
    return serving.serve(_calling_member, HANDLERS)


def _calling_member() -> pwd.struct_passwd:
    return sudo_caller.calling_member(_("only a member may ask for an environment"))


def _copy_template(member: pwd.struct_passwd, _request: Nothing) -> doors.Copy:
    return doors.Copy(str(give(member)))


def give(member: pwd.struct_passwd) -> Path:
    """Build a copy for `member` and hand it over. Raises FamilyError; then nothing is left behind."""
    template = current_template()
    owner = accounts.find_account(accounts.SERVICE_ACCOUNT)
    _remove_leftovers(owner, member)
    staging = paths.STAGING / f"{member.pw_uid}.{secrets.token_hex(8)}"
    os.mkdir(staging, 0o700)
    try:
        os.chown(staging, owner.pw_uid, owner.pw_gid, follow_symlinks=False)
        status = _as_account(owner, lambda: _link_tree(template / "env", staging / "env"))
        if status != _LINKED:
            if status == _DISK_FULL:
                raise FamilyError(_("the disk is full"), status=ExitStatus.DISK_FULL)
            raise FamilyError(_("the template could not be linked"))
        _chown_directories(staging, owner, member)
    except (OSError, FamilyError) as error:
        _remove(owner, staging)
        if isinstance(error, OSError):
            raise FamilyError(_("the environment could not be handed over: {reason}", reason=error.strerror)) from error
        raise
    return staging


def current_template() -> Path:
    """The folder of the template in use. Raises FamilyError if there is none, or its name is not one of ours."""
    try:
        untrusted_name = os.readlink(paths.TEMPLATES / "current")
    except OSError:
        raise FamilyError(_("there is no template yet")) from None
    if not _TEMPLATE_ID.fullmatch(untrusted_name):
        raise FamilyError(_("the template has a name that the service never gives"))
    return paths.TEMPLATES / untrusted_name


def _as_account(account: pwd.struct_passwd, work: Callable[[], None]) -> int:
    """Run `work` in a child that has given up root for `account`; returns its exit status."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = _NOT_LINKED
    try:
        os.setgroups([])
        os.setgid(account.pw_gid)
        os.setuid(account.pw_uid)
        os.umask(0o022)
        work()
        status = _LINKED
    except OSError as error:
        status = _DISK_FULL if disk_space.is_full(error) else _NOT_LINKED
    finally:
        os._exit(status)


def _link_tree(source: Path, target: Path) -> None:
    """Make the folders of `source` anew below `target`, with hard links to its files and copies of its links."""
    os.mkdir(target, 0o755)
    with os.scandir(source) as entries:
        for entry in entries:
            there = target / entry.name
            if entry.is_symlink():
                os.symlink(os.readlink(entry.path), there)
            elif entry.is_dir(follow_symlinks=False):
                _link_tree(Path(entry.path), there)
            else:
                os.link(entry.path, there, follow_symlinks=False)


def _chown_directories(staging: Path, owner: pwd.struct_passwd, member: pwd.struct_passwd) -> None:
    """Make the member the owner of every folder below `staging`, by descriptors that follow no link.

    `staging` itself comes last: before that the member cannot get in, to push folders of others' under our hands. And
    nothing is given away but what is the service's. Raises FamilyError when there is anything else.
    """
    for _path, _directories, _files, descriptor in os.fwalk(staging, topdown=False, follow_symlinks=False):
        if os.fstat(descriptor).st_uid != owner.pw_uid:
            raise FamilyError(_("the template could not be linked"))
        os.fchown(descriptor, member.pw_uid, member.pw_gid)


def forget(member: pwd.struct_passwd) -> None:
    """Remove what was made for a member and stayed here, with the member's own rights; before the account goes."""
    for staging in paths.STAGING.glob(f"{member.pw_uid}.*"):
        _remove(member, staging)


def _remove(owner: pwd.struct_passwd, staging: Path) -> None:
    """Remove a tree that is still the service's, with the service's rights."""
    _as_account(owner, lambda: shutil.rmtree(staging, ignore_errors=True))
    with contextlib.suppress(OSError):
        os.rmdir(staging)


def _remove_leftovers(owner: pwd.struct_passwd, member: pwd.struct_passwd) -> None:
    """What earlier calls left: empty folders at once, forgotten trees after a while, each with its owner's rights."""
    for staging in paths.STAGING.iterdir():
        try:
            status = os.lstat(staging)
        except OSError:
            continue
        mine = staging.name.startswith(f"{member.pw_uid}.")
        with contextlib.suppress(OSError):
            if mine:
                os.rmdir(staging)
                continue
        if status.st_mtime > time.time() - STALE:
            continue
        if status.st_uid == owner.pw_uid:
            _take_back(owner, staging)
            _remove(owner, staging)
        elif status.st_uid == member.pw_uid:
            _remove(member, staging)


def _take_back(owner: pwd.struct_passwd, staging: Path) -> None:
    """Give the service what it had handed over of a tree when it was interrupted: it cannot remove others' folders.

    `staging` itself is handed over last, so nobody could have put anything of theirs in there meanwhile.
    """
    receiver = int(staging.name.partition(".")[0])
    for _path, _directories, _files, descriptor in os.fwalk(staging, topdown=False, follow_symlinks=False):
        if os.fstat(descriptor).st_uid == receiver:
            os.fchown(descriptor, owner.pw_uid, owner.pw_gid)


HANDLERS = (serving.on(doors.COPY_TEMPLATE, _copy_template),)


if __name__ == "__main__":
    sys.exit(main())
