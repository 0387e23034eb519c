"""Runs as root, inside doors: who opened the door. Believes sudo's own variables only, and only as root."""

from __future__ import annotations

import os
import pwd
from typing import Optional

from jupyterhub4family.common.errors import PermissionRefused
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.system import accounts


def require_root() -> None:
    """Raise PermissionRefused unless this process is root's."""
    if os.geteuid() != 0:
        raise PermissionRefused(_("this needs root privileges"), _("run it with sudo"))


def calling_account() -> Optional[pwd.struct_passwd]:
    """The account that called sudo; None when root itself called.

    sudo sets SUDO_UID itself and lets nobody else set it. Raises PermissionRefused if the variable names
    no account.
    """
    untrusted_uid = os.environ.get("SUDO_UID")
    if untrusted_uid is None:
        return None
    try:
        account = pwd.getpwuid(int(untrusted_uid))
    except (ValueError, KeyError, OverflowError) as error:
        raise PermissionRefused(_("the calling account is unknown")) from error
    return None if account.pw_uid == 0 else account


def calling_member(message: str) -> pwd.struct_passwd:
    """The member who called sudo. Raises PermissionRefused: with `message` for everybody else."""
    require_root()
    caller = calling_account()
    if caller is None or not accounts.is_member(caller):
        raise PermissionRefused(message)
    return caller
