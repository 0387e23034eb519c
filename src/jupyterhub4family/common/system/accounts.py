"""Any identity: what makes a Debian account a possible member. Reads the live account database only."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Iterable
from pathlib import Path
from typing import Optional

from jupyterhub4family.common import patterns
from jupyterhub4family.common.errors import FamilyError, RefusedError, UnknownAccountError
from jupyterhub4family.common.i18n.messages import N_, _

SERVICE_ACCOUNT = "jupyterhub"
#: As which the hub of another computer comes in on a node. Its group has the same name.
NODE_ACCOUNT = "jupyterhub_node"
#: Accounts in this unix group may log in.
MEMBER_GROUP = "jupyterhub"
#: Accounts in this unix group may add, remove and list members.
DELEGATE_GROUP = "jupyterhub_adm"

#: Whoever is in one of these can make themselves root, or read every password hash; and how. What is not in here and
#: why, ADR 25 says.
WAYS_OF_GROUPS = {
    "root": N_("it may do what root's group may"),
    "sudo": N_("sudo and polkit let it do everything"),
    "wheel": N_("su and polkit trust it, where they know it"),
    "admin": N_("sudo trusts it on machines that come from Ubuntu"),
    "docker": N_("its containers run as root and can have the whole disk"),
    "lxd": N_("its containers run as root and can have the whole disk"),
    "incus": N_("its containers run as root and can have the whole disk"),
    "incus-admin": N_("its containers run as root and can have the whole disk"),
    "libvirt": N_("its virtual machines can have the whole disk"),
    "libvirt-qemu": N_("its virtual machines can have the whole disk"),
    "sbuild": N_("schroot makes it root"),
    "mock": N_("mock makes it root"),
    "microk8s": N_("its containers run as root and can have the whole disk"),
    "disk": N_("it reads and writes the disk itself"),
    "kmem": N_("it reads and writes the kernel's memory"),
    "shadow": N_("it reads all passwords' hashes"),
    "staff": N_("it writes programs that root runs, in /usr/local"),
}
ADMINISTRATOR_GROUPS = frozenset(WAYS_OF_GROUPS)

#: Whose further numbers are which (subuid(5)): adduser gives 65,536 to everybody.
SUBORDINATE_UIDS = Path("/etc/subuid")

#: What Debian's adduser accepts by default (NAME_REGEX in adduser.conf(5)), at most 32 characters (useradd(8)).
_NAME = patterns.compiled(r"[a-z][-a-z0-9_]{0,31}")


def is_ordinary_uid(uid: int) -> bool:
    """Whether `uid` is one that Debian gives to people.

    Debian Policy 9.2.2: 1000–59999 and from 65536; 65534 is nobody; 60000–65535 are reserved.
    """
    return 1000 <= uid <= 59999 or 65536 <= uid < 2**32 - 1


def check_name(untrusted_name: str) -> str:
    """Return the name if it can be a Debian account's; raise RefusedError with a sentence that helps."""
    shown = repr(untrusted_name[:40])
    if _NAME.fullmatch(untrusted_name):
        return untrusted_name
    if untrusted_name.startswith("-"):
        raise RefusedError(
            _("{name} looks like an option, not like a name", name=shown), _("write the options before the names")
        )
    if _NAME.fullmatch(untrusted_name.lower()):
        raise RefusedError(
            _("{name} has upper-case letters, Debian's account names have none", name=shown),
            _("write {name}, if that is the account", name=untrusted_name.lower()),
        )
    if any(character.isspace() for character in untrusted_name):
        raise RefusedError(
            _("{name} has spaces in it", name=shown), _("name the account (such as anna), not the person")
        )
    raise RefusedError(
        _("{name} cannot be the name of a Debian account", name=shown),
        _("use small letters, digits, - and _, with a letter first, at most 32 characters"),
    )


def find_account(name: str) -> pwd.struct_passwd:
    """The account called `name`; raise UnknownAccountError if there is none."""
    try:
        return pwd.getpwnam(name)
    except KeyError:
        raise UnknownAccountError(
            _("there is no account {name} on this machine", name=repr(name)),
            _("make it first: {command}", command=f"sudo adduser {name}"),
        ) from None


def group_names(account: pwd.struct_passwd) -> set[str]:
    """The names of all groups of `account`, read from the live database, not from a running process."""
    return _names_of(os.getgrouplist(account.pw_name, account.pw_gid))


def _names_of(numbers: Iterable[int]) -> set[str]:
    names = set()
    for gid in numbers:
        try:
            names.add(grp.getgrgid(gid).gr_name)
        except KeyError:
            continue
    return names


def is_member(account: pwd.struct_passwd) -> bool:
    """Whether `account` is in the member group and is an ordinary person's account."""
    return not never_a_member(account) and MEMBER_GROUP in group_names(account)


def never_a_member(account: pwd.struct_passwd) -> Optional[FamilyError]:
    """Why `account` can never be a member, whatever its groups are; None if it can."""
    name = account.pw_name
    if account.pw_uid == 0:
        return RefusedError(
            _("{name} is the administrator of this machine and cannot be a member", name=name),
            _("give the person an account of their own: {command}", command="sudo adduser NAME"),
        )
    if name == SERVICE_ACCOUNT:
        return RefusedError(_("{name} is the account that runs the hub and cannot be a member", name=name))
    if not is_ordinary_uid(account.pw_uid):
        return RefusedError(
            _("{name} is a system account (uid {uid}) and cannot be a member", name=name, uid=account.pw_uid),
            _("only people's accounts (uid 1000 and above) can be members"),
        )
    return None


def administrator_groups(account: pwd.struct_passwd) -> list[str]:
    """Those groups of `account` that make it an administrator, sorted.

    A group counts by its number: another name for the same number is the same group to the kernel.
    """
    numbers = set(os.getgrouplist(account.pw_name, account.pw_gid))
    found = _names_of(numbers) & ADMINISTRATOR_GROUPS
    found |= {name for name, number in administrator_group_numbers().items() if number in numbers}
    return sorted(found)


def administrator_group_numbers() -> dict[str, int]:
    """Those groups of this machine that make administrators, with their numbers."""
    found = {group.gr_name: group.gr_gid for group in grp.getgrall() if group.gr_name in ADMINISTRATOR_GROUPS}
    return {"root": 0, **found}


def holder_of(uid: int) -> Optional[int]:
    """The number of the account that has this one: itself, or whose containers may use it (newuidmap(1)).

    None if it is nobody's.
    """
    for name, start, count in _subordinate_ranges():
        if start <= uid < start + count:
            try:
                return int(name) if name.isdecimal() else pwd.getpwnam(name).pw_uid
            except KeyError:
                return None
    try:
        return pwd.getpwuid(uid).pw_uid
    except (KeyError, OverflowError):
        return None


def _subordinate_ranges() -> list[tuple[str, int, int]]:
    try:
        lines = SUBORDINATE_UIDS.read_text("utf-8", "replace").splitlines()
    except OSError:
        return []
    found = [line.split(":") for line in lines]
    return [(one[0], int(one[1]), int(one[2])) for one in found if len(one) == 3 and (one[1] + one[2]).isdecimal()]
