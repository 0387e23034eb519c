"""Runs as the caller: who is a member, and the service account, from the live account database."""

from __future__ import annotations

import grp
import pwd
from typing import Optional

from jupyterhub4family.common.system import accounts


def accounts_in_group() -> list[pwd.struct_passwd]:
    """Every account in the member group, sorted by name, also those that can never be members."""
    try:
        group = grp.getgrnam(accounts.MEMBER_GROUP)
    except KeyError:
        return []
    found = {
        account.pw_name: account
        for account in pwd.getpwall()
        if account.pw_name in group.gr_mem or account.pw_gid == group.gr_gid
    }
    return [account for _name, account in sorted(found.items())]


def members() -> list[pwd.struct_passwd]:
    """All members, sorted by name."""
    return [account for account in accounts_in_group() if accounts.never_a_member(account) is None]


def service_account() -> Optional[pwd.struct_passwd]:
    """The account of hub and proxy, if there is one."""
    try:
        return pwd.getpwnam(accounts.SERVICE_ACCOUNT)
    except KeyError:
        return None
