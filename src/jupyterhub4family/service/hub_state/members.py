"""Runs as jupyterhub: who is a member, from the live group database."""

from __future__ import annotations

import grp
import pwd

from jupyterhub4family.common.system import accounts


def current_members() -> set[str]:
    """The names of all members."""
    group = grp.getgrnam(accounts.MEMBER_GROUP)
    names = set(group.gr_mem) | {account.pw_name for account in pwd.getpwall() if account.pw_gid == group.gr_gid}
    return {name for name in names if is_member(name)}


def is_member(name: str) -> bool:
    """Whether the account `name` is a member now."""
    try:
        return accounts.is_member(pwd.getpwnam(name))
    except KeyError:
        return False
