"""Runs as root, inside doors: accounts and their groups as the system's database has them, in one look read once.

Each question to the database has it read its files anew; with 200 members that were a thousand readings of them.
"""

from __future__ import annotations

import grp
import os
import pwd

from jupyterhub4family.common.system import accounts
from jupyterhub4family.root.doors import one_look


@one_look.once
def everybody() -> list[pwd.struct_passwd]:
    """All accounts that the database lists."""
    return pwd.getpwall()


@one_look.once
def _by_uid() -> dict[int, list[pwd.struct_passwd]]:
    found: dict[int, list[pwd.struct_passwd]] = {}
    for account in everybody():
        found.setdefault(account.pw_uid, []).append(account)
    return found


def with_uid(uid: int) -> list[pwd.struct_passwd]:
    """All accounts with this number: to the kernel they are one."""
    return _by_uid().get(uid, [])


@one_look.once
def groups_of(account: pwd.struct_passwd) -> frozenset[int]:
    """The numbers of all groups of `account`."""
    return frozenset(os.getgrouplist(account.pw_name, account.pw_gid))


@one_look.once
def _listed_groups() -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for group in grp.getgrall():
        found.setdefault(group.gr_gid, []).append(group.gr_name)
    return found


def names_of_group(gid: int) -> list[str]:
    """All names that are listed for the group of this number, its own first; none for one that no list has."""
    return _listed_groups().get(gid, [])


@one_look.once
def _name_of_group(gid: int) -> str:
    """What the group of this number is called; empty if there is none.

    A directory may list nobody, and know who is asked for. In a look at many, where it only matters what people are
    told, what is listed is enough: for each member's own group the whole file would be read.
    """
    if one_look.is_at_many() and (listed := names_of_group(gid)):
        return listed[0]
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return ""


@one_look.once
def group_names(account: pwd.struct_passwd) -> frozenset[str]:
    """The names of all groups of `account`."""
    return frozenset(map(_name_of_group, groups_of(account))) - {""}


@one_look.once
def administrator_groups(account: pwd.struct_passwd) -> list[str]:
    """Those groups of `account` that make it an administrator, sorted: by their names, and by their numbers."""
    numbers = groups_of(account)
    found = {name for name, number in administrator_group_numbers().items() if number in numbers}
    return sorted(found | (group_names(account) & accounts.ADMINISTRATOR_GROUPS))


@one_look.once
def administrator_group_numbers() -> dict[str, int]:
    """Those groups of this machine that make administrators, with their numbers."""
    return accounts.administrator_group_numbers()
