"""Runs as root, inside `backup`: members and delegates as a backup keeps them, and made again from one.

With the hashes of their passwords, so that after a restore everybody gets in as before: a backup holds the hub's
own secrets anyway, and all of it is encrypted with the recovery key (docs/adr/0015-backup.md).
"""

from __future__ import annotations

import grp
import os
import pwd
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jupyterhub4family.common.errors import FamilyError, UnknownAccountError, UsageError
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.system import accounts, programs
from jupyterhub4family.root.base import safe_paths

HOMES = Path("/home")
SHELLS = Path("/etc/shells")


@dataclass(frozen=True)
class AccountRecord:
    """What a backup knows about an account."""

    name: str
    uid: int
    #: As in the account database: name, room and telephone numbers.
    gecos: str
    home: str
    shell: str
    member: bool
    delegate: bool
    #: The hash of the password; empty if there was none.
    password: str = ""

    def __repr__(self) -> str:
        """Without the hash."""
        return f"Person({self.name!r})"


def account_records() -> list[AccountRecord]:
    """All members and delegates, sorted by name."""
    found = []
    for account in pwd.getpwall():
        delegate = accounts.DELEGATE_GROUP in accounts.group_names(account) and accounts.never_a_member(account) is None
        if accounts.is_member(account) or delegate:
            found.append(
                AccountRecord(
                    name=account.pw_name,
                    uid=account.pw_uid,
                    gecos=account.pw_gecos,
                    home=account.pw_dir,
                    shell=account.pw_shell,
                    member=accounts.is_member(account),
                    delegate=delegate,
                    password=_password(account.pw_name),
                )
            )
    return sorted(found, key=lambda record: record.name)


def _password(name: str) -> str:
    """The hash of a password; empty if the account is locked or has none."""
    fields = programs.run(["getent", "shadow", name], check=False).stdout.strip().split(":")
    return fields[1] if len(fields) > 1 and fields[1].startswith("$") else ""


def to_json(everybody: list[AccountRecord]) -> list[dict[str, Any]]:
    """The list as a backup keeps it."""
    return [asdict(record) for record in everybody]


def from_json(untrusted: Any) -> list[AccountRecord]:
    """`to_json` undone. Raises UsageError or RefusedError for what cannot be an account."""
    if not isinstance(untrusted, list):
        raise UsageError(_("the list of accounts in the backup is damaged"))
    return [_account_record(one) for one in untrusted]


def _account_record(untrusted: Any) -> AccountRecord:
    kinds = {"str": str, "int": int, "bool": bool}
    fields = AccountRecord.__dataclass_fields__
    if not isinstance(untrusted, Mapping) or set(untrusted) != set(fields):
        raise UsageError(_("the list of accounts in the backup is damaged"))
    for key, field in fields.items():
        if type(untrusted[key]) is not kinds[str(field.type)]:
            raise UsageError(_("the list of accounts in the backup is damaged"))
    record = AccountRecord(**untrusted)
    accounts.check_name(record.name)
    texts = (record.gecos, record.home, record.shell, record.password)
    clean = all(text.isprintable() and ":" not in text for text in texts) and record.home.startswith("/")
    if not clean or not accounts.is_ordinary_uid(record.uid) or not re.fullmatch(r"(\$[^\s]+)?", record.password):
        raise UsageError(_("the list of accounts in the backup is damaged"))
    return record


def ensure_account(record: AccountRecord) -> bool:
    """Make the account if it is missing, with its password, and the uid if that is free; whether it was made.

    One that is there stays as it is. Raises FamilyError.
    """
    try:
        account = accounts.find_account(record.name)
    except UnknownAccountError:
        _make(record)
        return True
    refused = accounts.never_a_member(account)
    if refused:
        raise refused
    return False


def _make(record: AccountRecord) -> None:
    args = ["/usr/sbin/useradd", "--comment", record.gecos, "--home-dir", str(home_of(record))]
    args += ["--no-create-home", "--shell", record.shell if record.shell in _shells() else "/bin/bash"]
    if _is_free(record.uid):
        args += ["--uid", str(record.uid)]
    try:
        grp.getgrnam(record.name)
        args += ["--gid", record.name]
    except KeyError:
        args += ["--user-group"]
    programs.run([*args, record.name])
    if record.password:
        programs.run(["/usr/sbin/chpasswd", "--encrypted"], text_input=f"{record.name}:{record.password}\n")
    _ensure_home(accounts.find_account(record.name))


def home_of(record: AccountRecord) -> Path:
    """Where the home is, or will be: where it was, if there is a place for it now, else below /home."""
    try:
        return Path(accounts.find_account(record.name).pw_dir)
    except UnknownAccountError:
        home = Path(record.home)
        return home if home.parent.is_dir() and home.parent != Path("/") else HOMES / record.name


def _ensure_home(account: pwd.struct_passwd) -> None:
    """Make the home, empty and the person's alone. One that has outlived its account stays as it is."""
    home = Path(account.pw_dir)
    safe_paths.safe_directory(home.parent)
    try:
        home.mkdir(mode=0o700)
    except FileExistsError:
        return
    except OSError as error:
        raise FamilyError(_("{file} cannot be written: {error}", file=str(home), error=str(error.strerror))) from error
    os.chown(home, account.pw_uid, account.pw_gid, follow_symlinks=False)


def ensure_delegate(record: AccountRecord) -> None:
    """Put the account into the delegates' group, where the backup says so."""
    if record.delegate and accounts.DELEGATE_GROUP not in accounts.group_names(accounts.find_account(record.name)):
        programs.run(["/usr/bin/gpasswd", "--add", record.name, accounts.DELEGATE_GROUP])


def _is_free(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return True
    return False


def _shells() -> set[str]:
    try:
        return {line.strip() for line in SHELLS.read_text("utf-8").splitlines()}
    except OSError:
        return set()
