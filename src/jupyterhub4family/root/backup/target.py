"""Runs as root: where backups go and which key opens them; both in files that only root can read."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import FamilyError, RefusedError, UsageError
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.system import files
from jupyterhub4family.root.base import safe_paths

MAXIMUM_LENGTH = 500
#: No letter looks like a digit (RFC 4648, base 32): 25 of them are 125 bits.
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
#: What hands write for letters that are not in it.
_MISREAD = str.maketrans({"0": "O", "1": "I", "8": "B"})
#: The first characters of user and host are no hyphen: ssh would take that for an option.
_SFTP = re.compile(r"sftp:(?://)?(?:\w[\w.+-]*@)?(?:\w[\w.-]*|\[[0-9a-fA-F:.]+\])(?::\d{1,5})?(?::|/).+")
_REST = re.compile(r"rest:https://(?:(?P<user>[^/@:]+)(?::(?P<password>[^/@]*))?@)?\w[\w.-]*(?::\d{1,5})?/.*")


@dataclass(frozen=True)
class Target:
    """Where backups go."""

    #: As restic wants it; may hold a password.
    url: str
    #: For people, without the password.
    shown: str
    #: The folder, where it is one on this machine.
    local_directory: Optional[Path]


def parse_target(untrusted_target: str) -> Target:
    """What `untrusted_target` means. Raises UsageError if it is nothing that backups can go to."""
    if len(untrusted_target) > MAXIMUM_LENGTH or not untrusted_target.isprintable():
        raise UsageError(_("the backup's target is too long or contains control characters"))
    if untrusted_target.startswith("/"):
        directory = Path(os.path.normpath(untrusted_target))
        return Target(str(directory), str(directory), directory)
    if _SFTP.fullmatch(untrusted_target):
        return Target(untrusted_target, untrusted_target, None)
    found = _REST.fullmatch(untrusted_target)
    if found:
        password = found["password"]
        shown = untrusted_target.replace(f":{password}@", ":****@", 1) if password else untrusted_target
        return Target(untrusted_target, shown, None)
    raise UsageError(
        _("backups cannot go to {target}", target=repr(untrusted_target[:60])),
        _("give a folder (/media/usb/backup), sftp:USER@HOST:/FOLDER or rest:https://HOST/FOLDER"),
    )


def ready_directory(target: Target) -> None:
    """Make sure that root can safely write to the target, if it is a folder. Raises FamilyError."""
    if target.local_directory is None:
        return
    if not target.local_directory.is_dir():
        raise FamilyError(
            _("{target} is not there, so there is no backup now", target=target.shown),
            _("plug the disk in (or mount it), then try again"),
        )
    safe_paths.safe_directory(target.local_directory)


def make_directory(target: Target) -> None:
    """Make the target's folder at setup, if it is missing; its parent must be there. Raises FamilyError."""
    if target.local_directory is None:
        return
    if not target.local_directory.is_dir():
        safe_paths.safe_directory(target.local_directory.parent)
        try:
            target.local_directory.mkdir(mode=0o700)
        except OSError as error:
            raise FamilyError(
                _("{file} cannot be written: {error}", file=str(target.local_directory), error=str(error.strerror))
            ) from error
    ready_directory(target)


def on_the_same_disk(target: Target, directories: tuple[Path, ...]) -> bool:
    """Whether the backup would be lost together with what it is a backup of."""
    devices = {os.stat(directory).st_dev for directory in directories if directory.is_dir()}
    return target.local_directory is not None and os.stat(target.local_directory).st_dev in devices


# -- what is kept ------------------------------------------------------------------------------------


def configured_target() -> Optional[Target]:
    """Where backups go; None if none is set up. Raises UsageError if the file was spoilt."""
    try:
        return parse_target(paths.BACKUP_TARGET.read_text("utf-8").strip())
    except FileNotFoundError:
        return None


def write_target(target: Target, key: str) -> None:
    """Keep both, root's alone; the key first, so that there is never a target without its key."""
    paths.BACKUP_SETTINGS.parent.mkdir(mode=0o755, exist_ok=True)
    paths.BACKUP_SETTINGS.mkdir(mode=0o700, exist_ok=True)
    files.write_atomically(paths.BACKUP_KEY, key + "\n", 0o600)
    files.write_atomically(paths.BACKUP_TARGET, target.url + "\n", 0o600)


def remove_target() -> None:
    """Backups go nowhere any more; what is there stays there."""
    shutil.rmtree(paths.BACKUP_SETTINGS)


# -- the key -----------------------------------------------------------------------------------------


def new_key() -> str:
    """A new recovery key, easy to write down and to type."""
    letters = "".join(secrets.choice(_LETTERS) for _number in range(25))
    return "-".join(letters[start : start + 5] for start in range(0, 25, 5))


def check_key(untrusted_key: str) -> str:
    """The key as we write it, from what somebody has typed. Raises RefusedError if it cannot be one."""
    letters = re.sub(r"[\s-]", "", untrusted_key[:200]).upper().translate(_MISREAD)
    if len(letters) != 25 or set(letters) - set(_LETTERS):
        raise RefusedError(
            _("this is not a recovery key"), _("it has five groups of five letters and digits, such as K7QXA-…")
        )
    return "-".join(letters[start : start + 5] for start in range(0, 25, 5))
