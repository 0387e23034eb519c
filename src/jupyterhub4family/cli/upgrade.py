"""Runs as the caller, who must be root: `upgrade`, `rollback`. Root's own program does it and tells how far it is."""

from __future__ import annotations

import argparse
import json
import os

from jupyterhub4family.cli.base import terminal
from jupyterhub4family.common.errors import PermissionRefused, UsageError
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.protocol import calling, service_programs, shapes
from jupyterhub4family.common.protocol.actions import Action, AnswerT, Nothing
from jupyterhub4family.common.protocol.service_programs import Available
from jupyterhub4family.common.state import upgrade


def add_upgrade(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `upgrade`."""
    parser.add_argument("--check", action="store_true", help=_("only show whether there is a newer version"))
    parser.add_argument("--again", action="store_true", help=_("also try a version that has failed before"))
    parser.add_argument("--json", action="store_true", help=_("as JSON (with --check)"))
    terminal.add_quiet(parser)
    parser.set_defaults(run=_upgrade)


def add_rollback(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rollback`."""
    terminal.add_yes(parser)
    terminal.add_dry_run(parser)
    terminal.add_quiet(parser)
    parser.set_defaults(run=_rollback)


def _upgrade(arguments: argparse.Namespace) -> int:
    if arguments.json and not arguments.check:
        raise UsageError(_("--json goes with --check"))
    if arguments.check:
        return _check(arguments)
    found = _call(arguments, service_programs.UPGRADE_AGAIN if arguments.again else service_programs.UPGRADE_NOW)
    if found.newer:
        terminal.report(arguments, _("Version {version} has taken over", version=found.installed))
    else:
        _report_no_upgrade(arguments, found)
    return 0


def _check(arguments: argparse.Namespace) -> int:
    found = _call(arguments, service_programs.CHECK_UPGRADE)
    failed = upgrade.failed_upgrade()
    if arguments.json:
        print(json.dumps({**shapes.encode(found), "failed": failed.target if failed else ""}, indent=1))
        return 0
    if found.newer:
        print(
            _(
                "Version {version} can be installed: {command}",
                version=found.newer,
                command="jupyterhub4family upgrade",
            )
        )
    else:
        _report_no_upgrade(arguments, found)
    return 0


def _report_no_upgrade(arguments: argparse.Namespace, found: Available) -> None:
    failed = upgrade.failed_upgrade()
    if failed is not None:
        terminal.report(arguments, failed.message())
        terminal.report(
            arguments, _("To try it once more: {command}", command="sudo jupyterhub4family upgrade --again")
        )
    elif found.source:
        terminal.report(arguments, _("There is no newer version than {version}", version=found.installed))
    else:
        terminal.report(arguments, _("apt knows no source of newer versions of this package"))
        terminal.report(arguments, _("Set one (upgrade_source), or get a newer copy of the project and run ./install"))


def _rollback(arguments: argparse.Namespace) -> int:
    previous = upgrade.previous_edition()
    if arguments.dry_run:
        if previous is None:
            print(_("There is no version to go back to"))
        else:
            print(_("Version {version} would be installed again and tried out", version=previous.version))
        return 0
    if previous is not None and os.geteuid() == 0:
        terminal.confirmed(arguments, _("Go back to version {version}?", version=previous.version))
    done = _call(arguments, service_programs.ROLL_BACK)
    terminal.report(arguments, _("Version {version} is back in service", version=done.installed))
    if done.database:
        terminal.report(
            arguments,
            _(
                "The database of that version came back with it ({copy}): everybody has to log in again",
                copy=done.database,
            ),
        )
    terminal.report(
        arguments,
        _(
            "Version {version} is not installed again automatically; to install it: {command}",
            version=done.left,
            command="sudo jupyterhub4family upgrade --again",
        ),
    )
    return 0


def _call(arguments: argparse.Namespace, action: Action[Nothing, AnswerT]) -> AnswerT:
    if os.geteuid() != 0:
        raise PermissionRefused(_("only root may do this"), f"sudo jupyterhub4family {arguments.command}")
    with terminal.Bar(quiet=terminal.is_quiet(arguments) or bool(getattr(arguments, "json", False))) as bar:
        return calling.call(action, Nothing(), on_progress=bar.show)
