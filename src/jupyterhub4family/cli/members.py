"""Runs as the caller: `members add|remove|list`, through the door of the same name."""

from __future__ import annotations

import argparse
import os
import pwd

from jupyterhub4family.cli.base import terminal
from jupyterhub4family.common.errors import PermissionRefused
from jupyterhub4family.common.i18n import safe_text
from jupyterhub4family.common.i18n.messages import N_, _, joined
from jupyterhub4family.common.protocol import calling, doors
from jupyterhub4family.common.protocol.actions import Action, AnswerT, Nothing, RequestT
from jupyterhub4family.common.protocol.responses import NoAnswer
from jupyterhub4family.common.system import accounts

#: Keys of a member in the door's answer that are told behind the name.
_MARKS = (N_("delegate"), N_("administrator"), N_("refused"))
_SENTENCES = {
    "added": N_("{name} is now a member and can log in"),
    "already a member": N_("{name} is already a member"),
    "removed": N_("{name} is no longer a member; their servers are stopped, their files are untouched"),
    "no member": N_("{name} is not a member"),
}


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    actions = parser.add_subparsers(dest="action", metavar="add|remove|list", required=True)
    add = actions.add_parser("add", help=_("let these accounts log in"))
    add.add_argument("names", nargs="+", metavar="NAME")
    add.add_argument(
        "--allow-administrator",
        action="store_true",
        help=_("accept accounts that can become root (root only; weakens this machine)"),
    )
    remove = actions.add_parser("remove", help=_("stop their servers, log them out and no longer let them in"))
    remove.add_argument("names", nargs="+", metavar="NAME")
    show = actions.add_parser("list", aliases=["show"], help=_("show all members"))
    terminal.add_yes(remove)
    terminal.add_dry_run(remove)
    for one in (add, remove):
        terminal.add_quiet(one)
    for one in (add, remove, show):
        one.add_argument("--json", action="store_true", help=_("as JSON"))
        one.set_defaults(run=members)


def members(arguments: argparse.Namespace) -> int:
    """Do what the arguments ask for."""
    if arguments.action in ("list", "show"):
        return _list(arguments)
    if arguments.action == "remove":
        if arguments.dry_run:
            return _print_what_remove_would_do(arguments.names)
        names = ", ".join(arguments.names)
        terminal.confirmed(
            arguments, _("Remove {names}? Their servers are stopped; what is not saved there is lost.", names=names)
        )
        with terminal.waiting(arguments, _("Stopping their servers")):
            done = call_door(doors.REMOVE_MEMBERS, doors.RemoveMembers(arguments.names))
    else:
        with terminal.waiting(arguments, _("Adding the accounts")):
            done = call_door(doors.ADD_MEMBERS, doors.AddMembers(arguments.names, arguments.allow_administrator))
    if arguments.json:
        terminal.print_answer(done)
        return 0
    for result in done.results:
        terminal.report(arguments, _(_SENTENCES[result.done], name=result.name))
        # Told to the quiet, too: it is a warning.
        if result.note:
            print("  " + _("note: {note}", note=result.note))
    return 0


def _list(arguments: argparse.Namespace) -> int:
    found = call_door(doors.LIST_MEMBERS, Nothing())
    if arguments.json:
        terminal.print_answer(found)
    else:
        _print_table(found.members)
    return 0


def _print_what_remove_would_do(names: list[str]) -> int:
    present = {member.name for member in call_door(doors.LIST_MEMBERS, Nothing()).members}
    for name in names:
        if name in present:
            print(
                _(
                    "{name} would no longer be a member; their servers would be stopped, their files would stay",
                    name=name,
                )
            )
        else:
            print(_("{name} is not a member", name=name))
    return 0


def call_door(action: Action[RequestT, AnswerT], request: RequestT) -> AnswerT:
    """Ask the door, through sudo unless root calls. Raises FamilyError."""
    become = [] if os.geteuid() == 0 else ["/usr/bin/sudo", "-n"]
    try:
        return calling.call(action, request, become=become)
    except NoAnswer as error:
        if os.geteuid() == 0:
            raise
        raise PermissionRefused(
            _("you may not manage members"),
            _(
                "run it as root (sudo), or ask root to make you a delegate: {command}",
                command=f"adduser {_own_name()} {accounts.DELEGATE_GROUP}",
            ),
        ) from error


def _own_name() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _print_table(members: list[doors.Member]) -> None:
    if not members:
        print(_("There are no members yet. Add one: {command}", command="jupyterhub4family members add NAME"))
        return
    width = max(len(member.name) for member in members)
    for member in members:
        marks = [_(word) for word in _MARKS if getattr(member, word)]
        extra = f"  ({', '.join(marks)})" if marks else ""
        display_name = safe_text.one_line(member.display_name)
        print(f"{member.name:{width}}  {display_name}{extra}".rstrip())
    for member in members:
        if member.refused:
            print()
            print(
                _(
                    "{name} can become root ({reasons}), so they can neither log in nor start a server. Allow it, as "
                    "root and on purpose: {command}",
                    name=member.name,
                    reasons=joined(member.reasons),
                    command=f"jupyterhub4family members add --allow-administrator {member.name}",
                )
            )
