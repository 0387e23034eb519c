"""Runs as root through sudo, called by members of `jupyterhub_adm` or by root: the door to membership.

It may put people's accounts into the group `jupyterhub`, take them out, and list them. It never makes, changes
or removes an account or a home.
"""

from __future__ import annotations

import contextlib
import grp
import json
import os
import pwd
import sys
from collections.abc import Mapping
from typing import Any

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import FamilyError, PermissionRefused, RefusedError, UsageError
from jupyterhub4family.common.i18n.messages import _, joined
from jupyterhub4family.common.protocol import json_lines
from jupyterhub4family.common.system import accounts, files, programs
from jupyterhub4family.common.system.programs import Arg
from jupyterhub4family.root.base import run_dir, servers, sudo_caller
from jupyterhub4family.root.doors import hub_users, sudo_rights

#: More names than any family has.
MAXIMUM_NAMES = 100


def main() -> int:
    """Answer one request; the last line of stdout is the answer."""
    os.umask(0o022)
    try:
        sudo_caller.require_root()
        by_root = _check_caller()
        answer = handle(json_lines.read_request(sys.stdin.buffer), by_root)
    except FamilyError as error:
        json_lines.write_line(json_lines.error_answer(error))
        return int(error.status)
    json_lines.write_line({"ok": True, **answer})
    return 0


def handle(untrusted: Mapping[str, Any], by_root: bool) -> dict[str, Any]:
    """Do what the request asks for. Nothing is changed unless every name in it is acceptable."""
    json_lines.only_keys(untrusted, {"action": str, "names": list, "allow_administrator": bool}, ("action",))
    untrusted_names = untrusted.get("names", [])
    if len(untrusted_names) > MAXIMUM_NAMES or not all(type(name) is str for name in untrusted_names):
        raise UsageError(_("names must be a list of at most {count} texts", count=MAXIMUM_NAMES))
    if untrusted["action"] == "list":
        return {"members": list_members()}
    if untrusted["action"] not in ("add", "remove"):
        raise UsageError(_("the action must be one of {actions}", actions="add, remove, list"))
    if not untrusted_names:
        raise UsageError(_("no name was given"), f"jupyterhub4family members {untrusted['action']} NAME")
    allow_administrator = untrusted.get("allow_administrator", False)
    if allow_administrator and not by_root:
        raise PermissionRefused(
            _("only root may add an administrator"), _("ask the person who looks after this machine")
        )
    run_dir.ensure_run_dir()
    with files.locked(run_dir.RUN_DIR / "members.lock"):
        if untrusted["action"] == "add":
            accounts = [_addable(name, allow_administrator) for name in untrusted_names]
            return {"results": [_add(account) for account in accounts]}
        accounts = [_removable(name) for name in untrusted_names]
        return {"results": [_remove(account) for account in accounts]}


def list_members() -> list[dict[str, Any]]:
    """All members, sorted by name, with what people want to see of them."""
    group = grp.getgrnam(accounts.MEMBER_GROUP)
    found = {}
    for account in pwd.getpwall():
        if account.pw_name in group.gr_mem or account.pw_gid == group.gr_gid:
            found[account.pw_name] = account
    return [
        {
            "name": account.pw_name,
            "display_name": account.pw_gecos.split(",")[0],
            "uid": account.pw_uid,
            "delegate": accounts.DELEGATE_GROUP in accounts.group_names(account),
            "administrator": bool(accounts.administrator_groups(account)),
        }
        for _name, account in sorted(found.items())
        if accounts.is_member(account)
    ]


def _check_caller() -> bool:
    """Whether root itself calls. Raises PermissionRefused unless it is root or a delegate, now."""
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
    refusal = accounts.never_a_member(account)
    if refusal:
        raise refusal
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
    refusal = accounts.never_a_member(account)
    if refusal:
        raise refusal
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


def _add(account: pwd.struct_passwd) -> dict[str, Any]:
    if accounts.is_member(account):
        return {"name": account.pw_name, "done": "already a member"}
    programs.run(["/usr/bin/gpasswd", "--add", account.pw_name, accounts.MEMBER_GROUP])
    note = hub_users.update_hub("know", account.pw_name)
    _prepare_in_advance(account)
    return {"name": account.pw_name, "done": "added", "note": note}


def _prepare_in_advance(account: pwd.struct_passwd) -> None:
    """Have the member's environment made now, with the member's rights, so that the first login waits for nothing.

    Only from a template: fetching would take minutes. If it fails, the first start tells why.
    """
    if not (paths.CURRENT_TEMPLATE / paths.COMPLETE_MARKER).is_file():
        return
    args: list[Arg] = [*programs.as_account(account.pw_name), paths.MEDIATOR]
    with contextlib.suppress(FamilyError):
        programs.run(args, text_input=json.dumps({"action": "prepare"}), check=False, timeout=120)


def _remove(account: pwd.struct_passwd) -> dict[str, Any]:
    """Stop the member's servers, take them out of the group, end their sessions, in this order.

    Once out of the group the hub can no longer signal their servers; and what they started in between
    is ended here, as root.
    """
    if accounts.MEMBER_GROUP not in accounts.group_names(account):
        return {"name": account.pw_name, "done": "no member"}
    hub_users.update_hub("forget", account.pw_name)
    programs.run(["/usr/bin/gpasswd", "--delete", account.pw_name, accounts.MEMBER_GROUP])
    note = hub_users.update_hub("forget", account.pw_name)
    servers.end_servers(account.pw_uid)
    return {"name": account.pw_name, "done": "removed", "note": note}


if __name__ == "__main__":
    sys.exit(main())
