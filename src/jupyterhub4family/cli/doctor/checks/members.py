"""Runs as the caller: the members: who they are, what their homes let others see, whether their servers can start."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path

from jupyterhub4family.cli.base import accounts as membership
from jupyterhub4family.cli.doctor.base import side_by_side
from jupyterhub4family.cli.doctor.base.finding import Check, CheckContext, Finding, fine, problem, unknown, warning
from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.common.i18n.messages import N_, _, joined, ngettext
from jupyterhub4family.common.protocol import calling, doors, service_programs
from jupyterhub4family.common.protocol.actions import Nothing
from jupyterhub4family.common.system import accounts, programs


def check_who(context: CheckContext) -> Iterator[Finding]:
    """Nobody is a member who could become root, or who can never be one."""
    found = membership.accounts_in_group()
    if not found:
        yield warning(_("Nobody is a member yet"), _("sudo jupyterhub4family members add NAME"))
        return
    known = {account.pw_name for account in found}
    for account in found:
        yield from _about(account, context.by_root)
    yield from (
        _administrators()
        if context.by_root
        else [unknown(_("Only root can see which members sudo or another rule lets become root"))]
    )
    for name in grp.getgrnam(accounts.MEMBER_GROUP).gr_mem:
        if name not in known:
            yield warning(
                _(
                    "{name} is in the group {group}, but there is no such account",
                    name=name,
                    group=accounts.MEMBER_GROUP,
                ),
                _("sudo gpasswd --delete {name} {group}", name=name, group=accounts.MEMBER_GROUP),
            )
    yield fine(ngettext("{count} account may log in", "{count} accounts may log in", len(membership.members())))


def _about(account: pwd.struct_passwd, by_root: bool) -> Iterator[Finding]:
    name = account.pw_name
    refused = accounts.never_a_member(account)
    if refused:
        yield problem(
            _(
                "{name} is in the group {group} and must not be: {reason}",
                name=name,
                group=accounts.MEMBER_GROUP,
                reason=refused.message,
            ),
            _("sudo gpasswd --delete {name} {group}", name=name, group=accounts.MEMBER_GROUP),
        )
        return
    groups = [] if by_root else accounts.administrator_groups(account)
    if groups:
        yield warning(
            _("{name} is a member and can become root (group {groups})", name=name, groups=", ".join(groups)),
            _("give the person a second account for JupyterHub: sudo adduser NAME"),
        )


def _administrators() -> Iterator[Finding]:
    """Members who can become root, as root's door sees them: it looks at more than others may read."""
    try:
        found = calling.call(doors.LIST_MEMBERS, Nothing()).members
    except FamilyError as error:
        yield unknown(_("Who of the members can become root could not be checked: {reason}", reason=error.message))
        return
    for member in found:
        if member.refused:
            yield problem(
                _(
                    "{name} is a member and can become root ({reasons}), so logins and new servers are refused",
                    name=member.name,
                    reasons=joined(member.reasons),
                ),
                _(
                    "take that right away, or the membership, which also ends their servers: {command}; or allow it on "
                    "purpose: {allow}",
                    command=f"sudo jupyterhub4family members remove {member.name}",
                    allow=f"sudo jupyterhub4family members add --allow-administrator {member.name}",
                ),
            )
        elif member.administrator:
            yield warning(
                _(
                    "{name} is a member and can become root ({reasons}), as root has allowed: whoever broke into the "
                    "hub could, too",
                    name=member.name,
                    reasons=joined(member.reasons),
                ),
                _("give the person a second account for JupyterHub: sudo adduser NAME"),
            )


def check_homes(_context: CheckContext) -> Iterator[Finding]:
    """Each member has a home that is theirs and that others cannot look into."""
    everybody, well = membership.members(), True
    for account in everybody:
        for finding in _home(account):
            well = False
            yield finding
    if well and everybody:
        yield fine(_("The members' homes are private"))


def _home(account: pwd.struct_passwd) -> Iterator[Finding]:
    name, home = account.pw_name, account.pw_dir
    try:
        status = os.stat(home)
    except FileNotFoundError:
        yield problem(
            _("The home of {name} ({home}) is missing", name=name, home=home),
            _("sudo mkhomedir_helper {name}", name=name),
        )
        return
    if status.st_uid != account.pw_uid:
        yield problem(
            _("The home of {name} ({home}) belongs to somebody else", name=name, home=home),
            _("sudo chown {name}: {home}", name=name, home=home),
        )
    elif status.st_mode & stat.S_IWOTH:
        yield problem(
            _("Everybody on this computer can write to the home of {name}", name=name),
            _("sudo chmod go-w,o-rx {home}", home=home),
        )
    elif status.st_mode & (stat.S_IROTH | stat.S_IXOTH):
        # Debian 11 makes homes like this (DIR_MODE=0755 in adduser.conf); 12 and 13 do not.
        yield warning(
            _("Everybody who has an account on this computer can look into the home of {name}", name=name),
            _("sudo chmod o-rx {home}", home=home),
        )


def check_environments(context: CheckContext) -> Iterator[Finding]:
    """Each member's own environment can start a server. It is looked at with the member's own rights.

    All that a server needs is imported: for those that have the template's own files once for all, in the template.
    """
    everybody = membership.members()
    mine = [account for account in everybody if context.by_root or account.pw_uid == os.geteuid()]
    if len(mine) < len(everybody):
        yield unknown(_("Only root can check the environments of others"))
    found = {account.pw_name: list(_inaccessible(account)) for account in mine}
    waiting = [account.pw_name for account in mine if not found[account.pw_name]]
    if context.by_root and len(waiting) > 1:
        context.on_progress(0, _("Comparing the environments with the template"))
        like = _like_the_template(context, waiting)
        waiting = [name for name in waiting if name not in like]
    examined = side_by_side.each(
        waiting,
        lambda name: list(_examined(context, name)),
        lambda left: context.on_progress(
            100 * (len(mine) - len(left)) // len(mine), _("Checking the environment of {name}", name=left[0])
        ),
    )
    found.update(examined)
    yield from (finding for findings in found.values() for finding in findings)
    if well := sum(not findings for findings in found.values()):
        yield fine(ngettext("{count} environment is in order", "{count} environments are in order", well))


def _inaccessible(account: pwd.struct_passwd) -> Iterator[Finding]:
    """What keeps a member from their own environment."""
    name = account.pw_name
    directory = Path(account.pw_dir) / paths.MEMBER_ENVIRONMENT
    owner = _owner(directory)
    if owner is not None and owner != account.pw_uid:
        yield problem(
            _("The environment of {name} belongs to somebody else", name=name),
            _("sudo chown -R {name}: {place}", name=name, place=directory),
        )
    elif _owner(Path(account.pw_dir)) not in (None, account.pw_uid):
        # Of the home itself the check of the homes tells.
        yield unknown(_("{name} has no access to their own environment", name=name))


def _like_the_template(context: CheckContext, names: list[str]) -> set[str]:
    """Who of the members has no environment, or one that works as the template does; nobody if that does not work.

    What cannot be told in this way is no finding: it is looked at in the other one.
    """
    try:
        template = calling.call(service_programs.TRY_TEMPLATE, Nothing(), become=context.as_service())
        request = service_programs.CompareEnvironments(names, template.directories)
        found = calling.call(service_programs.COMPARE_ENVIRONMENTS, request).found
    except FamilyError:
        return set()
    # What could not be looked at is like nothing, whatever the service says.
    known = {template.likeness, service_programs.NO_ENVIRONMENT} - {""}
    return {name for name in names if found.get(name) in known}


def _examined(context: CheckContext, name: str) -> Iterator[Finding]:
    """What the member's own program says of their environment."""
    become = programs.as_account(name) if context.by_root else []
    try:
        status = calling.call(service_programs.EXAMINE_ENVIRONMENT, Nothing(), become=become)
    except FamilyError as error:
        yield unknown(_("The environment of {name} could not be checked: {reason}", name=name, reason=error.message))
        return
    if status.missing:
        yield problem(
            _(
                "The environment of {name} is broken; missing or not working: {missing}",
                name=name,
                missing=", ".join(status.missing),
            ),
            _("sudo jupyterhub4family env repair {name}", name=name),
            f"environment:{name}",
        )
    elif status.exists and not status.made_by:
        yield warning(
            _("The environment of {name} was not made by jupyterhub4family, so it does not follow updates", name=name),
            _("sudo jupyterhub4family env upgrade {name}", name=name),
        )


def _owner(directory: Path) -> int | None:
    """The number of the owner of `directory`; None if it is not there, or not to be seen."""
    try:
        return os.lstat(directory).st_uid
    except OSError:
        return None


#: By the names that the JSON has, which are never changed.
CHECKS = {
    "members": Check(N_("the members"), check_who),
    "homes": Check(N_("the members' homes"), check_homes),
    "environments": Check(N_("the members' environments"), check_environments),
}
