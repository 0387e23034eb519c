"""Runs as root, inside `backup`: puts together, for one backup, everything that belongs in it, as one tree.

The tree is in memory and in mounts that nobody else sees, and gone with the process. What others could have tampered
with comes from them, in JSON: the hub's state from the account `jupyterhub`, lists of packages from each member.
Members' homes are shown in it so that no link in them is ever followed (root/backup/mounts.py).

    tree/about.json  accounts.json  packages.json  hub.json  settings/  homes/NAME/
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import re
import socket
import stat
import time
from pathlib import Path
from typing import Any

from jupyterhub4family import __version__
from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import FamilyError, RefusedError
from jupyterhub4family.common.i18n.messages import Message, _
from jupyterhub4family.common.protocol import calling, service_programs
from jupyterhub4family.common.protocol.actions import Nothing
from jupyterhub4family.common.protocol.responses import ProgressCallback
from jupyterhub4family.common.system import accounts, files, programs
from jupyterhub4family.root.backup import accounts as backup_accounts
from jupyterhub4family.root.backup import mounts
from jupyterhub4family.root.backup.accounts import AccountRecord
from jupyterhub4family.root.base import safe_paths

#: Where the tree is mounted, and so how everything is called in every backup. Never change it.
TREE = paths.BACKUP / "tree"
#: Raised when an older version could not restore what this one saves.
FORMAT = 1
#: In a home, what is made again by itself or was thrown away.
LEFT_OUT_OF_HOMES = (
    ".cache",
    ".local/share/Trash",
    ".local/share/jupyterhub4family",
    ".local/state/jupyterhub4family",
)
#: Names and versions of packages, as a member's own program tells them (PyPA: names, version specifiers).
_NAME, _VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"), re.compile(r"[A-Za-z0-9][A-Za-z0-9.+!_-]{0,99}")
MAXIMUM_PACKAGES = 2000


def patterns_left_out() -> list[str]:
    """What restic shall leave out of the tree."""
    return [f"{TREE}/settings/backup", *(f"{TREE}/homes/*/{target}" for target in LEFT_OUT_OF_HOMES)]


def build_tree(on_progress: ProgressCallback) -> list[Message]:
    """Make the tree, in mounts of this process's own. Returns what could not be put into it, as sentences.

    Raises FamilyError where this computer does not allow such mounts.
    """
    notes: list[Message] = []
    on_progress(2, _("Asking the hub for its state"))
    try:
        state = _export_hub_state()
    except FamilyError as error:
        # A damaged database is no reason to lose the notebooks as well.
        state = {}
        notes.append(_("without the hub's state: {reason}", reason=error.message))
    everybody = backup_accounts.account_records()
    on_progress(5, _("Asking which packages everybody has installed"))
    packages = {record.name: packages_of(record) for record in everybody if record.member}
    # From here on nobody else's program is started: none shall live on in these mounts.
    mounts.enter_own_mounts()
    TREE.mkdir(mode=0o700, exist_ok=True)
    mounts.mount_memory(TREE)
    (TREE / "settings").mkdir(mode=0o755)
    (TREE / "homes").mkdir(mode=0o755)
    if paths.CONFIGURATION.is_dir():
        _mount_read_only(paths.CONFIGURATION, TREE / "settings", owner=0)
    for record in everybody:
        if record.member:
            try:
                _mount_home(accounts.find_account(record.name))
            except RefusedError as error:
                notes.append(_("without the home of {name}: {reason}", name=record.name, reason=error.message))
    about = {"format": FORMAT, "version": __version__, "host": socket.gethostname(), "made": int(time.time())}
    _write("about.json", about)
    _write("accounts.json", backup_accounts.to_json(everybody))
    _write("packages.json", packages)
    if state:
        _write("hub.json", state)
    return notes


def _write(name: str, content: Any) -> None:
    # Sorted, so that what has not changed is the same file.
    files.write_atomically(TREE / name, json.dumps(content, indent=1, sort_keys=True) + "\n", 0o600)


def _export_hub_state() -> dict[str, Any]:
    """The service's answer: {"files": {name: base64}}. Root does not look into it."""
    become = programs.as_account(accounts.SERVICE_ACCOUNT)
    return {"files": calling.call(service_programs.EXPORT_STATE, Nothing(), become=become).files}


def packages_of(record: AccountRecord) -> dict[str, str]:
    """What the member has installed in their environment beyond the template; empty if that cannot be told."""
    # In a session of its own: the member's program shall have no hold of root's terminal.
    become = programs.as_account(record.name)
    with contextlib.suppress(FamilyError):
        untrusted = calling.call(service_programs.ENVIRONMENT_STATUS, Nothing(), become=become).extras
        if len(untrusted) <= MAXIMUM_PACKAGES:
            return checked_packages(untrusted)
    return {}


def checked_packages(untrusted: dict[str, Any]) -> dict[str, str]:
    """Those of the packages whose names and versions are what such are."""
    return {
        name: version
        for name, version in untrusted.items()
        if isinstance(version, str) and _NAME.fullmatch(name) and _VERSION.fullmatch(version)
    }


def _mount_home(account: pwd.struct_passwd) -> None:
    target = TREE / "homes" / account.pw_name
    home = Path(account.pw_dir)
    try:
        real = safe_paths.safe_directory(home.resolve().parent) / home.resolve().name
    except (FamilyError, OSError) as error:
        raise RefusedError(
            _("{directory} cannot be checked: {error}", directory=str(home), error=str(error))
        ) from error
    target.mkdir(mode=0o700)
    _mount_read_only(real, target, account.pw_uid)


def _mount_read_only(directory: Path, target: Path, owner: int) -> None:
    """Show a folder, which must be the owner's, at `target`. Raises RefusedError if it is something else."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise RefusedError(
            _("{directory} cannot be opened: {error}", directory=str(directory), error=str(error.strerror))
        ) from error
    try:
        status = os.fstat(descriptor)
        if status.st_uid != owner or not stat.S_ISDIR(status.st_mode):
            raise RefusedError(_("{directory} belongs to somebody else", directory=str(directory)))
        mounts.mount_without_links(descriptor, target)
    finally:
        os.close(descriptor)
