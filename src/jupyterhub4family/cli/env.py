"""Runs as the caller: `env status|upgrade|repair|reset [NAME]`, one's own environment or, for root, a member's."""

from __future__ import annotations

import argparse
import os
from typing import Optional

from jupyterhub4family.cli.base import terminal
from jupyterhub4family.common.errors import PermissionRefused, UsageError
from jupyterhub4family.common.i18n.messages import N_, _
from jupyterhub4family.common.protocol import calling, service_programs
from jupyterhub4family.common.protocol.actions import Action, AnswerT, Nothing
from jupyterhub4family.common.protocol.service_programs import EnvironmentStatus
from jupyterhub4family.common.system import accounts, programs

_HELP = {
    "status": N_("show its state: versions, the member's own packages, whether a newer one is available"),
    "upgrade": N_("rebuild it from the newest template, keeping the member's own packages"),
    "repair": N_("check it thoroughly and, if it is broken, rebuild it, keeping the member's own packages"),
    "reset": N_("rebuild it without the member's own packages"),
}
_SENTENCES = {
    "nothing": N_("Nothing to do: it is in order."),
    "upgraded": N_("Upgraded."),
    "mended": N_("Repaired."),
    "reset": N_("Rebuilt."),
}
_CHANGES = {
    "upgrade": service_programs.UPGRADE_ENVIRONMENT,
    "repair": service_programs.REPAIR_ENVIRONMENT,
    "reset": service_programs.RESET_ENVIRONMENT,
}
#: How an environment was made (user/copying.py), as people are told.
_WAYS = {"hard links": N_("made with hard links"), "copy": N_("made by copying"), "fetched": N_("made by fetching")}


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    actions = parser.add_subparsers(dest="action", metavar="|".join(_HELP), required=True)
    for action, text in _HELP.items():
        one = actions.add_parser(action, help=_(text))
        one.add_argument("name", nargs="?", metavar="NAME", help=_("a member (root only; default: yourself)"))
        one.add_argument("--json", action="store_true", help=_("as JSON"))
        if action != "status":
            terminal.add_quiet(one)
        if action == "reset":
            terminal.add_yes(one)
            terminal.add_dry_run(one)
        one.set_defaults(run=env)


def env(arguments: argparse.Namespace) -> int:
    """Do what the arguments ask for, as the member whose environment it is."""
    become = _as_member(arguments.name)
    if arguments.action == "status":
        return _status(arguments, become)
    if arguments.action == "reset":
        if arguments.dry_run:
            return _print_what_reset_would_do(_ask(service_programs.ENVIRONMENT_STATUS, become, arguments))
        terminal.confirmed(
            arguments, _("Rebuild the environment without the member's own packages? The old one is kept beside it.")
        )
    change = _ask(_CHANGES[arguments.action], become, arguments)
    if arguments.json:
        terminal.print_answer(change)
        return 0
    terminal.report(arguments, _(_SENTENCES[change.done]))
    if change.lost:
        print(_("Could not be kept: {packages}", packages=", ".join(change.lost)))
    if change.done != "nothing":
        terminal.report(arguments, _("Servers that run now use the old one: stop and start them."))
    return 0


def _status(arguments: argparse.Namespace, become: list[str]) -> int:
    status = _ask(service_programs.ENVIRONMENT_STATUS, become, arguments)
    if arguments.json:
        terminal.print_answer(status)
    else:
        _print_status(status)
    return 0


def _ask(action: Action[Nothing, AnswerT], become: list[str], arguments: argparse.Namespace) -> AnswerT:
    """What the member's program answers; its progress is shown meanwhile. Raises FamilyError."""
    with terminal.Bar(quiet=arguments.json or terminal.is_quiet(arguments)) as bar:
        return calling.call(action, Nothing(), become=become, on_progress=bar.show)


def _print_what_reset_would_do(status: EnvironmentStatus) -> int:
    if not status.exists:
        print(_("There is no environment yet; it is made when the first server starts."))
        return 0
    print(_("{place} would be rebuilt; the old one would be kept beside it.", place=status.place))
    if status.extras:
        print(_("These packages would be gone: {packages}", packages=", ".join(sorted(status.extras))))
    return 0


def _as_member(name: Optional[str]) -> list[str]:
    """How to become the member `name`; nothing to do for oneself. Raises FamilyError."""
    if name is None:
        if os.geteuid() == 0:
            raise UsageError(
                _("root has no environment"), _("name a member: {command}", command="jupyterhub4family env status NAME")
            )
        return []
    account = accounts.find_account(accounts.check_name(name))
    if account.pw_uid == os.geteuid():
        return []
    if os.geteuid() != 0:
        raise PermissionRefused(
            _("only {name} and root may do this", name=name), f"sudo jupyterhub4family env … {name}"
        )
    return programs.as_account(account.pw_name)


def _print_status(status: EnvironmentStatus) -> None:
    if not status.exists:
        print(_("There is no environment yet; it is made when the first server starts."))
        return
    way = _WAYS.get(status.made_by)
    print(status.place + (f" ({_(way)})" if way else ""))
    print("  " + ", ".join(f"{name} {version}" for name, version in status.versions.items()))
    if status.extras:
        extras = ", ".join(f"{name} {version}" for name, version in sorted(status.extras.items()))
        print("  " + _("own packages: {packages}", packages=extras))
    if status.missing:
        broken = ", ".join(status.missing)
        print("  " + _("broken: {packages}. It is repaired at the server's next start.", packages=broken))
    elif status.outdated:
        if status.changed:
            print("  " + _("A newer one is available. Try: {command}", command="jupyterhub4family env upgrade"))
        else:
            print("  " + _("A newer one is available. It is installed at the server's next start."))
    elif status.changed:
        print("  " + _("up to date, with changes of your own"))
    else:
        print("  " + _("up to date"))
