"""Runs as the caller: the service account and the groups: no password, no rights of anybody else's."""

from __future__ import annotations

import grp
import pwd
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

from jupyterhub4family.cli.base import accounts as membership
from jupyterhub4family.cli.doctor.base.finding import (
    Check,
    CheckContext,
    Finding,
    Repair,
    fine,
    problem,
    unknown,
)
from jupyterhub4family.common import paths
from jupyterhub4family.common.i18n.messages import N_, _
from jupyterhub4family.common.system import accounts

SHADOW = Path("/etc/shadow")
#: Shells with which runuser, cron and screen can run the service's programs.
NO_SHELLS = ("/usr/sbin/nologin", "/sbin/nologin", "/bin/false", "/usr/bin/false")


def check_groups(_context: CheckContext) -> Iterator[Finding]:
    """The groups of members and delegates exist."""
    missing = [name for name in (accounts.MEMBER_GROUP, accounts.DELEGATE_GROUP) if not _group_exists(name)]
    for name in missing:
        yield problem(
            _("The group {group} is missing, so nobody can be in it", group=name),
            _("sudo jupyterhub4family doctor --fix"),
            "accounts",
        )
    if not missing:
        yield fine(_("The groups of members and helpers are there"))


def check_service_account(context: CheckContext) -> Iterator[Finding]:
    """The account exists, has no password, a home of its own and no rights beyond the doors."""
    account = membership.service_account()
    fix = _("sudo jupyterhub4family doctor --fix")
    if account is None:
        yield problem(_("The account {name} is missing", name=accounts.SERVICE_ACCOUNT), fix, "accounts")
        return
    found = [*_identity(account, fix), *_groups_of(account, fix), *_password(context, fix)]
    yield from found
    if all(finding.state != "problem" for finding in found):
        yield fine(_("The account {name} has no rights that it does not need", name=accounts.SERVICE_ACCOUNT))


def _identity(account: pwd.struct_passwd, fix: str) -> Iterator[Finding]:
    name = account.pw_name
    if account.pw_uid == 0 or accounts.is_ordinary_uid(account.pw_uid):
        yield problem(
            _("The account {name} is not a system account (its uid is {uid})", name=name, uid=account.pw_uid),
            _("rename it (usermod -l OTHER {name}), then install jupyterhub4family again", name=name),
        )
    if Path(account.pw_dir) != paths.SERVICE_HOME:
        yield problem(
            _("The home of {name} is {home}, not {wanted}", name=name, home=account.pw_dir, wanted=paths.SERVICE_HOME),
            _("sudo usermod --home {wanted} {name}", wanted=paths.SERVICE_HOME, name=name),
        )
    if account.pw_shell in NO_SHELLS:
        yield problem(_("The account {name} has no shell, so cron cannot work for it", name=name), fix, "accounts")


def _groups_of(account: pwd.struct_passwd, fix: str) -> Iterator[Finding]:
    names = accounts.group_names(account)
    for group in sorted(names & accounts.ADMINISTRATOR_GROUPS):
        yield problem(
            _(
                "The account {name} is in the group {group}: the hub could become root",
                name=accounts.SERVICE_ACCOUNT,
                group=group,
            ),
            fix,
            "accounts",
        )
    for group in sorted(names & {accounts.MEMBER_GROUP, accounts.DELEGATE_GROUP}):
        yield problem(
            _(
                "The account {name} is in the group {group}, which is for people",
                name=accounts.SERVICE_ACCOUNT,
                group=group,
            ),
            fix,
            "accounts",
        )


def _password(context: CheckContext, fix: str) -> Iterator[Finding]:
    if not context.by_root:
        yield unknown(_("Only root can see whether {name} has a password", name=accounts.SERVICE_ACCOUNT))
        return
    field = password_field(accounts.SERVICE_ACCOUNT)
    if field is None:
        yield problem(
            _("The account {name} has no entry in {file}", name=accounts.SERVICE_ACCOUNT, file=SHADOW), fix, "accounts"
        )
    elif not field.startswith(("!", "*")):
        yield problem(
            _("The account {name} has a password: somebody could log in with it", name=accounts.SERVICE_ACCOUNT),
            fix,
            "accounts",
        )


def password_field(name: str) -> Optional[str]:
    """The second field of an account's line in /etc/shadow; only root may read it. None if there is no line."""
    for line in SHADOW.read_text("utf-8", "replace").splitlines():
        fields = line.split(":")
        if fields[0] == name and len(fields) > 1:
            return fields[1]
    return None


def _group_exists(name: str) -> bool:
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True


#: By the names that the JSON has, which are never changed.
CHECKS = {
    "groups": Check(N_("the groups"), check_groups),
    "account": Check(N_("the service account"), check_service_account),
}
REPAIRS = (Repair("accounts", 10, N_("Groups and the service account are as installed: no password, no extra groups")),)
