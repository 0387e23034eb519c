"""Runs as root, inside doors: whether an account can become root, by which way, and whether root has allowed that.

Members must not: whoever has taken over the hub may act as every member. What is looked at, and what cannot be seen
from here, ADR 25 says. Everything is looked at anew each time; nothing is remembered but what root has allowed.
"""

from __future__ import annotations

import itertools
import pwd
from collections.abc import Iterator
from typing import Optional

from jupyterhub4family.common.errors import FamilyError, PermissionRefused
from jupyterhub4family.common.i18n.messages import Message, _, joined
from jupyterhub4family.common.state import allowed_administrators
from jupyterhub4family.common.system import accounts
from jupyterhub4family.root.doors import (
    database,
    doas_rights,
    file_rights,
    job_rights,
    one_look,
    pam_rights,
    polkit_rights,
    sudo_rights,
)

#: So many ways are named; one is enough to refuse.
MAXIMUM_REASONS = 4
#: Accounts in a chain or a fan of rules: more than any family has.
MAXIMUM_TARGETS = 200


def ways_to_root(account: pwd.struct_passwd) -> list[Message]:
    """By which ways `account` can become root; empty if by none that is known. At most MAXIMUM_REASONS of them.

    Raises ProgramError if sudo cannot be asked.
    """
    with one_look.at_one():
        return list(itertools.islice(_ways(account, {account.pw_uid}), MAXIMUM_REASONS))


def check(account: pwd.struct_passwd) -> None:
    """Raise PermissionRefused if `account` can become root and root has not allowed it to be a member nevertheless."""
    if allowed_administrators.is_allowed(account):
        return
    if found := ways_to_root(account):
        raise PermissionRefused(reason_to_refuse(account, found), hint(account))


def reason_to_refuse(account: pwd.struct_passwd, ways: list[Message]) -> Message:
    """Why `account` is refused, as people are told it."""
    return _(
        "{name} can become root ({reasons}): whoever broke into the hub could, too",
        name=account.pw_name,
        reasons=joined(ways),
    )


def hint(account: pwd.struct_passwd) -> Message:
    """What to do about it."""
    return _(
        "give the person a second account for JupyterHub, or, as root and on purpose: {command}",
        command=f"jupyterhub4family members add --allow-administrator {account.pw_name}",
    )


def _ways(account: pwd.struct_passwd, asked: set[int]) -> Iterator[Message]:
    """The same for one account in a chain; `asked` are the numbers of those that have been looked at."""

    def judge(target: pwd.struct_passwd) -> Optional[Message]:
        if target.pw_uid in asked:
            return None
        asked.add(target.pw_uid)
        if len(asked) > MAXIMUM_TARGETS:
            return _("there are too many accounts to look at")
        return next(_ways(target, asked), None)

    # Accounts with one number are one account to the kernel, whatever they are called.
    everybody = {one.pw_name: one for one in (account, *database.with_uid(account.pw_uid))}
    for one in everybody.values():
        for name in database.administrator_groups(one):
            yield _("in the group {group}: {reason}", group=name, reason=_(accounts.WAYS_OF_GROUPS[name]))
        for way in (file_rights.ways(one, judge), job_rights.ways(one), pam_rights.ways(one), polkit_rights.ways(one)):
            yield from way
        yield from sudo_rights.ways(one, judge)
        yield from doas_rights.ways(one, judge)


def were_allowed_before(account: pwd.struct_passwd) -> bool:
    """Whether this member is one whom earlier versions took for an administrator, and root must have insisted.

    For the first start of this version. Raises ProgramError if sudo cannot be asked.
    """
    if accounts.group_names(account) & accounts.ADMINISTRATOR_GROUPS:
        return True
    rules = sudo_rights.rules_of(account.pw_name)
    return any({"root", "ALL", "#0"} & set(rule.users) and rule.commands and not rule.is_own_door() for rule in rules)


def allow_earlier_members(members: list[pwd.struct_passwd]) -> None:
    """Note once whom root has allowed before this was noted: nobody is shut out by an upgrade."""
    if allowed_administrators.is_kept():
        return
    allowed_administrators.write([one for one in members if _was_allowed(one)])


def _was_allowed(account: pwd.struct_passwd) -> bool:
    try:
        return were_allowed_before(account)
    except FamilyError:
        return False
