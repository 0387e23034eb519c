"""Runs as root through sudo, called by members of `jupyterhub_adm` or by root: the door to membership.

It may put people's accounts into the group `jupyterhub`, take them out, and list them. It never makes, changes
or removes an account or a home.
"""

from __future__ import annotations

import contextlib
import dataclasses
import grp
import os
import pwd
import sys

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import FamilyError, PermissionRefused, RefusedError, UsageError
from jupyterhub4family.common.i18n.messages import _, joined
from jupyterhub4family.common.protocol import calling, doors, serving
from jupyterhub4family.common.protocol.actions import Nothing
from jupyterhub4family.common.system import accounts, files, programs
from jupyterhub4family.root.base import run_dir, servers, sudo_caller
from jupyterhub4family.root.doors import hub_users, sudo_rights

#: More names than any family has.
MAXIMUM_NAMES = 100
#: Seconds that making an environment in advance may take; if it takes longer, the first start goes on with it.
PREPARE_TIMEOUT = 120


def main() -> int:
    """Answer one request."""
    os.umask(0o022)
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
        return doors.MemberResults([_add(account) for account in addable])


def remove_members(_by_root: bool, request: doors.RemoveMembers) -> doors.MemberResults:
    """Take these accounts out. Nothing is changed unless every name is acceptable."""
    _check_names(request.names, "remove")
    with _exclusive():
        removable = [_removable(name) for name in request.names]
        return doors.MemberResults([_remove(account) for account in removable])


def list_members(_by_root: bool, _request: Nothing) -> doors.MemberList:
    """All members, sorted by name, with what people want to see of them."""
    return doors.MemberList(current_members())


def _check_names(untrusted_names: list[str], action: str) -> None:
    if len(untrusted_names) > MAXIMUM_NAMES:
        raise UsageError(_("names must be a list of at most {count} texts", count=MAXIMUM_NAMES))
    if not untrusted_names:
        raise UsageError(_("no name was given"), f"jupyterhub4family members {action} NAME")


def _exclusive() -> contextlib.AbstractContextManager[None]:
    """Hold the lock of all changes of the members."""
    run_dir.ensure_run_dir()
    return files.locked(run_dir.RUN_DIR / "members.lock")


def current_members() -> list[doors.Member]:
    """All members, sorted by name."""
    group = grp.getgrnam(accounts.MEMBER_GROUP)
    found = {}
    for account in pwd.getpwall():
        if account.pw_name in group.gr_mem or account.pw_gid == group.gr_gid:
            found[account.pw_name] = account
    return [
        doors.Member(
            account.pw_name,
            account.pw_gecos.split(",")[0],
            account.pw_uid,
            delegate=accounts.DELEGATE_GROUP in accounts.group_names(account),
            administrator=bool(accounts.administrator_groups(account)),
        )
        for _name, account in sorted(found.items())
        if accounts.is_member(account)
    ]


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
    reasons: list[str] = [_("in the group {group}", group=name) for name in accounts.administrator_groups(account)]
    reasons += sudo_rights.rights_beyond_doors(account.pw_name)
    if reasons and not allow_administrator:
        raise RefusedError(
            _(
                "{name} can become root ({reasons}): whoever broke into the hub could, too",
                name=account.pw_name,
                reasons=joined(reasons),
            ),
            _(
                "give the person a second account for JupyterHub, or, as root and on purpose: {command}",
                command=f"jupyterhub4family members add --allow-administrator {account.pw_name}",
            ),
        )
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
    programs.run(["/usr/bin/gpasswd", "--add", account.pw_name, accounts.MEMBER_GROUP])
    note = hub_users.add(account.pw_name)
    _prepare_in_advance(account)
    return doors.MemberResult(account.pw_name, "added", note)


def _prepare_in_advance(account: pwd.struct_passwd) -> None:
    """Have the member's environment made now, with the member's rights, so that the first login waits for nothing.

    Only from a template: fetching would take minutes. If it fails, the first start tells why.
    """
    if not (paths.CURRENT_TEMPLATE / paths.COMPLETE_MARKER).is_file():
        return
    prepare = dataclasses.replace(doors.PREPARE, timeout=PREPARE_TIMEOUT)
    with contextlib.suppress(FamilyError):
        calling.call(prepare, doors.Prepare(), become=programs.as_account(account.pw_name))


def _remove(account: pwd.struct_passwd) -> doors.MemberResult:
    """Stop the member's servers, take them out of the group, end their sessions, in this order.

    Once out of the group the hub can no longer signal their servers; and what they started in between
    is ended here, as root.
    """
    if accounts.MEMBER_GROUP not in accounts.group_names(account):
        return doors.MemberResult(account.pw_name, "no member")
    hub_users.remove(account.pw_name)
    programs.run(["/usr/bin/gpasswd", "--delete", account.pw_name, accounts.MEMBER_GROUP])
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
