"""Runs as the caller: the service account and the groups: no password, no rights of anybody else's."""

from __future__ import annotations

import grp
import pwd
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

from jupyterhub4family.cli.checks.finding import Finding, Situation, fine, problem, service_account, unknown
from jupyterhub4family.common.accounts import (
    ADMINISTRATOR_GROUPS,
    DELEGATE_GROUP,
    MEMBER_GROUP,
    SERVICE_ACCOUNT,
    group_names,
    is_ordinary_uid,
)
from jupyterhub4family.common.messages import _
from jupyterhub4family.common.paths import SERVICE_HOME

SHADOW = Path("/etc/shadow")
#: Shells with which runuser, cron and screen can run the service's programs.
NO_SHELLS = ("/usr/sbin/nologin", "/sbin/nologin", "/bin/false", "/usr/bin/false")


def check_groups(_situation: Situation) -> Iterator[Finding]:
    """The groups of members and delegates exist."""
    missing = [name for name in (MEMBER_GROUP, DELEGATE_GROUP) if not _group_exists(name)]
    for name in missing:
        yield problem(
            _("The group {group} is missing, so nobody can be in it", group=name),
            _("sudo jupyterhub4family doctor --fix"),
            "accounts",
        )
    if not missing:
        yield fine(_("The groups of members and helpers are there"))


def check_service_account(situation: Situation) -> Iterator[Finding]:
    """The account exists, has no password, a home of its own and no rights beyond the doors."""
    account = service_account()
    fix = _("sudo jupyterhub4family doctor --fix")
    if account is None:
        yield problem(_("The account {name} is missing", name=SERVICE_ACCOUNT), fix, "accounts")
        return
    found = [*_identity(account, fix), *_groups_of(account, fix), *_password(situation, fix)]
    yield from found
    if all(finding.state != "problem" for finding in found):
        yield fine(_("The account {name} has no rights that it does not need", name=SERVICE_ACCOUNT))


def _identity(account: pwd.struct_passwd, fix: str) -> Iterator[Finding]:
    name = account.pw_name
    if account.pw_uid == 0 or is_ordinary_uid(account.pw_uid):
        yield problem(
            _("The account {name} is no system account (its number is {uid})", name=name, uid=account.pw_uid),
            _("rename it (usermod -l OTHER {name}), then install jupyterhub4family again", name=name),
        )
    if Path(account.pw_dir) != SERVICE_HOME:
        yield problem(
            _("The home of {name} is {home}, not {wanted}", name=name, home=account.pw_dir, wanted=SERVICE_HOME),
            _("sudo usermod --home {wanted} {name}", wanted=SERVICE_HOME, name=name),
        )
    if account.pw_shell in NO_SHELLS:
        yield problem(_("The account {name} has no shell, so cron cannot work for it", name=name), fix, "accounts")


def _groups_of(account: pwd.struct_passwd, fix: str) -> Iterator[Finding]:
    names = group_names(account)
    for group in sorted(names & ADMINISTRATOR_GROUPS):
        yield problem(
            _(
                "The account {name} is in the group {group}: the hub could become root",
                name=SERVICE_ACCOUNT,
                group=group,
            ),
            fix,
            "accounts",
        )
    for group in sorted(names & {MEMBER_GROUP, DELEGATE_GROUP}):
        yield problem(
            _("The account {name} is in the group {group}, which is for people", name=SERVICE_ACCOUNT, group=group),
            fix,
            "accounts",
        )


def _password(situation: Situation, fix: str) -> Iterator[Finding]:
    if not situation.by_root:
        yield unknown(_("Only root can see whether {name} has a password", name=SERVICE_ACCOUNT))
        return
    field = password_field(SERVICE_ACCOUNT)
    if field is None:
        yield problem(
            _("The account {name} has no entry in {file}", name=SERVICE_ACCOUNT, file=SHADOW), fix, "accounts"
        )
    elif not field.startswith(("!", "*")):
        yield problem(
            _("The account {name} has a password: somebody could log in with it", name=SERVICE_ACCOUNT),
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
