"""Runs as root, inside `backup`: mounts that this process and its children see, and nobody else.

They vanish with the process, however it ends. Why mounts: a member's home is shown in them without any way for the
kernel to follow a link in it. So root, which reads it, can never be led out of it, whatever the member does meanwhile.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.common.i18n.messages import _

#: <linux/sched.h>, <linux/mount.h>
_CLONE_NEWNS = 0x00020000
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 1, 2, 4, 8
_MS_REMOUNT, _MS_NOSYMFOLLOW, _MS_BIND, _MS_REC, _MS_SLAVE = 32, 256, 4096, 16384, 1 << 19
#: <linux/statfs.h>: what statvfs says of a mount on which no link is followed.
_ST_NOSYMFOLLOW = 0x2000


def enter_own_mounts() -> None:
    """From now on this process has mounts of its own; what the machine mounts later is seen as well."""
    _call("unshare", ctypes.c_int(_CLONE_NEWNS))
    _mount(None, Path("/"), None, _MS_REC | _MS_SLAVE)


def mount_memory(target: Path) -> None:
    """A file system in memory at the folder `target`, root's alone."""
    _mount("tmpfs", target, "tmpfs", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC, "mode=0700")


def mount_without_links(source: int, target: Path) -> None:
    """Show the folder of the descriptor `source` at `target`: read-only, following no link, and nothing mounted in it.

    Raises FamilyError where the kernel cannot do that (before 5.10): then root had better not look.
    """
    _mount(f"/proc/self/fd/{source}", target, None, _MS_BIND)
    safely = _MS_RDONLY | _MS_NOSUID | _MS_NODEV | _MS_NOEXEC | _MS_NOSYMFOLLOW
    _mount(None, target, None, _MS_BIND | _MS_REMOUNT | safely)
    if not os.statvfs(target).f_flag & _ST_NOSYMFOLLOW:
        raise FamilyError(
            _("this computer's kernel is too old for backups that members cannot manipulate"),
            _("bring Debian up to date and restart: sudo apt-get full-upgrade"),
        )


def _mount(source: str | None, target: Path, kind: str | None, flags: int, options: str | None = None) -> None:
    args = [None if word is None else os.fsencode(word) for word in (source, str(target), kind, options)]
    _call("mount", args[0], args[1], args[2], ctypes.c_ulong(flags), args[3])


def _call(name: str, *arguments: object) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if getattr(library, name)(*arguments) != 0:
        reason = os.strerror(ctypes.get_errno())
        raise FamilyError(
            _("this computer does not let root open folders safely ({program}): {reason}", program=name, reason=reason),
            _("in a container, allow mounting (nesting); see docs/howto/backup.md"),
        )
