"""Runs as root through sudo, called by members of `jupyterhub_adm` or by root: the door to membership.

It may put people's accounts into the group `jupyterhub`, take them out, and list them. It never makes, changes
or removes an account or a home.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import signal
import sys
from collections.abc import Iterator

from jupyterhub4family.common import paths, records
from jupyterhub4family.common.errors import FamilyError, PermissionRefused, RefusedError, UsageError
from jupyterhub4family.common.i18n import safe_text
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.protocol import calling, doors, serving
from jupyterhub4family.common.protocol.actions import Nothing
from jupyterhub4family.common.state import allowed_administrators
from jupyterhub4family.common.system import accounts, files, programs
from jupyterhub4family.root.base import run_dir, servers, sudo_caller
from jupyterhub4family.root.doors import administrators, database, hub_users, one_look

#: More names than any family has.
MAXIMUM_NAMES = 100
#: Seconds that others may take to change them; a delegate can keep a door of their own from ever going on.
LOCK_TIMEOUT = 180.0
#: Seconds that making an environment in advance may take; if it takes longer, the first start goes on with it.
PREPARE_TIMEOUT = 120


def main() -> int:
    """Answer one request."""
    return serving.serve(_check_caller, HANDLERS)


def add_members(by_root: bool, request: doors.AddMembers) -> doors.MemberResults:
    """Let these accounts in. Nothing is changed unless every name is acceptable."""
    _check_names(request.names, "add")
    if request.allow_administrator and not by_root:
        raise PermissionRefused(
            _("only root may add an administrator"), _("ask the person who looks after this machine")
        )
    with _exclusive():
        addable = [_addable(name, request.allow_administrator) for name in request.names]
        if request.allow_administrator:
            for account in addable:
                allowed_administrators.allow(account)
        return doors.MemberResults([_add(account) for account in addable])


def remove_members(_by_root: bool, request: doors.RemoveMembers) -> doors.MemberResults:
    """Take these accounts out. Nothing is changed unless every name is acceptable."""
    _check_names(request.names, "remove")
    with _exclusive():
        removable = [_removable(name) for name in request.names]
        return doors.MemberResults([_remove(account) for account in removable])


def list_members(_by_root: bool, _request: Nothing) -> doors.MemberList:
    """All members, sorted by name, with what people want to see of them."""
    with one_look.at_many():
        return doors.MemberList([_described(account) for account in current_members()])


def _check_names(untrusted_names: list[str], action: str) -> None:
    if len(untrusted_names) > MAXIMUM_NAMES:
        raise UsageError(_("names must be a list of at most {count} texts", count=MAXIMUM_NAMES))
    if not untrusted_names:
        raise UsageError(_("no name was given"), f"jupyterhub4family members {action} NAME")


@contextlib.contextmanager
def _exclusive() -> Iterator[None]:
    """Hold the lock of all changes of the members. Raises RefusedError if somebody does not let go of it."""
    run_dir.ensure_run_dir()
    lock = files.take_lock_within(run_dir.RUN_DIR / "members.lock", LOCK_TIMEOUT)
    if lock is None:
        raise RefusedError(_("somebody else is changing who is a member"), _("try again when it has finished"))
    try:
        yield
    finally:
        os.close(lock)


def current_members() -> list[pwd.struct_passwd]:
    """All members, sorted by name."""
    group = grp.getgrnam(accounts.MEMBER_GROUP)
    found = {}
    for account in pwd.getpwall():
        if account.pw_name in group.gr_mem or account.pw_gid == group.gr_gid:
            found[account.pw_name] = account
    return [account for _name, account in sorted(found.items()) if _is_member(account)]


def _is_member(account: pwd.struct_passwd) -> bool:
    return not accounts.never_a_member(account) and accounts.MEMBER_GROUP in database.group_names(account)


def _described(account: pwd.struct_passwd) -> doors.Member:
    ways = administrators.ways_to_root(account)
    return doors.Member(
        account.pw_name,
        # Members may choose it themselves (chfn(1)).
        safe_text.one_line(account.pw_gecos.split(",")[0]),
        account.pw_uid,
        delegate=accounts.DELEGATE_GROUP in database.group_names(account),
        administrator=bool(ways),
        refused=bool(ways) and not allowed_administrators.is_allowed(account),
        reasons=list(ways),
    )


def _check_caller() -> bool:
    """Whether root itself calls. Raises PermissionRefused unless it is root or a delegate, now."""
    sudo_caller.require_root()
    caller = sudo_caller.calling_account()
    if caller is None:
        return True
    if accounts.DELEGATE_GROUP not in accounts.group_names(caller):
        raise PermissionRefused(
            _("{name} is not in the group {group}", name=caller.pw_name, group=accounts.DELEGATE_GROUP)
        )
    return False


def _addable(untrusted_name: str, allow_administrator: bool) -> pwd.struct_passwd:
    """The account called so, if it may become a member. Raises FamilyError with a sentence that helps."""
    account = accounts.find_account(accounts.check_name(untrusted_name))
    refused = accounts.never_a_member(account)
    if refused:
        raise refused
    if not allow_administrator and (ways := administrators.ways_to_root(account)):
        raise RefusedError(administrators.reason_to_refuse(account, ways), administrators.hint(account))
    return account


def _removable(untrusted_name: str) -> pwd.struct_passwd:
    account = accounts.find_account(accounts.check_name(untrusted_name))
    refused = accounts.never_a_member(account)
    if refused:
        raise refused
    if account.pw_gid == grp.getgrnam(accounts.MEMBER_GROUP).gr_gid:
        raise RefusedError(
            _(
                "{group} is the primary group of {name}, so it cannot be taken away",
                group=accounts.MEMBER_GROUP,
                name=account.pw_name,
            ),
            _(
                "give the account another primary group first: {command}",
                command=f"usermod -g users {account.pw_name}",
            ),
        )
    return account


def _add(account: pwd.struct_passwd) -> doors.MemberResult:
    if accounts.is_member(account):
        return doors.MemberResult(account.pw_name, "already a member")
    _gpasswd("--add", account)
    note = hub_users.add(account.pw_name)
    _prepare_in_advance(account)
    return doors.MemberResult(account.pw_name, "added", note)


def _gpasswd(action: str, account: pwd.struct_passwd) -> None:
    """Change the group. Ctrl-C at a delegate's terminal must not end this halfway: gpasswd ignores it as we do.

    Raises ProgramError.
    """
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        programs.run(["/usr/bin/gpasswd", action, account.pw_name, accounts.MEMBER_GROUP])
    finally:
        signal.signal(signal.SIGINT, before)


def _prepare_in_advance(account: pwd.struct_passwd) -> None:
    """Have the member's environment made now, with the member's rights, so that the first login waits for nothing.

    Only from a template: fetching would take minutes. If it fails, the first start tells why.
    """
    if not files.is_marked(paths.CURRENT_TEMPLATE, paths.COMPLETE_MARKER):
        return
    prepare = records.replace(doors.PREPARE, timeout=PREPARE_TIMEOUT)
    with contextlib.suppress(FamilyError):
        calling.call(prepare, doors.Prepare(), become=programs.as_account(account.pw_name))


def _remove(account: pwd.struct_passwd) -> doors.MemberResult:
    """Stop the member's servers, take them out of the group, end their sessions, in this order.

    Once out of the group the hub can no longer signal their servers; and what they started in between
    is ended here, as root.
    """
    allowed_administrators.forget(account.pw_name)
    if accounts.MEMBER_GROUP not in accounts.group_names(account):
        return doors.MemberResult(account.pw_name, "no member")
    hub_users.remove(account.pw_name)
    _gpasswd("--delete", account)
    note = hub_users.remove(account.pw_name)
    servers.end_servers(account.pw_uid)
    return doors.MemberResult(account.pw_name, "removed", note)


HANDLERS = (
    serving.on(doors.ADD_MEMBERS, add_members),
    serving.on(doors.REMOVE_MEMBERS, remove_members),
    serving.on(doors.LIST_MEMBERS, list_members),
)


if __name__ == "__main__":
    sys.exit(main())
