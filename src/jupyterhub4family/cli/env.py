"""Runs as the caller: `env status|upgrade|repair|reset [NAME]`, one's own environment or, for root, a member's."""

from __future__ import annotations

import argparse
import json
import os
from typing import Any, Optional

from jupyterhub4family.cli.base import terminal
from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import PermissionRefused, UsageError
from jupyterhub4family.common.i18n.messages import N_, _
from jupyterhub4family.common.protocol import json_lines
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
#: How an environment was made (user/copying.py), as people are told.
_WAYS = {"hard links": N_("made with hard links"), "copy": N_("made by copying"), "fetched": N_("made by fetching")}


def add_to(commands: Any) -> None:
    """Add this command to the command line."""
    parser = commands.add_parser("env", help=_("manage your own JupyterLab environment"))
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
    """Do what the words ask for, as the member whose environment it is."""
    args = [*_as_member(arguments.name), str(paths.LIBRARY / "own-environment")]
    if arguments.action == "reset":
        if arguments.dry_run:
            return _print_what_reset_would_do(_answer([*args, "status"], arguments))
        terminal.confirmed(
            arguments, _("Rebuild the environment without the member's own packages? The old one is kept beside it.")
        )
    answer = _answer([*args, arguments.action], arguments)
    if arguments.json:
        print(json.dumps(answer, indent=1))
    elif arguments.action == "status":
        _print_status(answer)
    else:
        terminal.report(arguments, _(_SENTENCES[answer["done"]]))
        if answer["lost"]:
            print(_("Could not be kept: {packages}", packages=", ".join(answer["lost"])))
        if answer["done"] != "nothing":
            terminal.report(arguments, _("Servers that run now use the old one: stop and start them."))
    return 0


def _answer(args: list[str], arguments: argparse.Namespace) -> dict[str, Any]:
    """What the member's program answers; its progress is shown meanwhile. Raises FamilyError."""
    with terminal.Bar(quiet=arguments.json or terminal.is_quiet(arguments)) as bar:
        return json_lines.unwrap(programs.call_json(args, {}, on_progress=bar.show))


def _print_what_reset_would_do(status: dict[str, Any]) -> int:
    if not status["exists"]:
        print(_("There is no environment yet; it is made when the first server starts."))
        return 0
    print(_("{place} would be rebuilt; the old one would be kept beside it.", place=status["place"]))
    if status["extras"]:
        print(_("These packages would be gone: {packages}", packages=", ".join(sorted(status["extras"]))))
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


def _print_status(answer: dict[str, Any]) -> None:
    if not answer["exists"]:
        print(_("There is no environment yet; it is made when the first server starts."))
        return
    way = _WAYS.get(answer["made_by"])
    print(answer["place"] + (f" ({_(way)})" if way else ""))
    print("  " + ", ".join(f"{name} {version}" for name, version in answer["versions"].items()))
    if answer["extras"]:
        extras = ", ".join(f"{name} {version}" for name, version in sorted(answer["extras"].items()))
        print("  " + _("own packages: {packages}", packages=extras))
    if answer["missing"]:
        broken = ", ".join(answer["missing"])
        print("  " + _("broken: {packages}. It is repaired at the server's next start.", packages=broken))
    elif answer["outdated"]:
        if answer["changed"]:
            print("  " + _("A newer one is available. Try: {command}", command="jupyterhub4family env upgrade"))
        else:
            print("  " + _("A newer one is available. It is installed at the server's next start."))
    elif answer["changed"]:
        print("  " + _("up to date, with changes of your own"))
    else:
        print("  " + _("up to date"))
