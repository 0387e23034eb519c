"""Runs as the caller: `members add|remove|list`, through the door of the same name."""

from __future__ import annotations

import argparse
import json
import os
import pwd
import sys
from typing import Any

from jupyterhub4family.common.accounts import DELEGATE_GROUP
from jupyterhub4family.common.errors import ExitStatus, FamilyError, PermissionRefused
from jupyterhub4family.common.paths import MEMBERS
from jupyterhub4family.common.programs import last_lines, run

#: Seconds; stopping servers may take a while each.
TIMEOUT = 600

_SENTENCES = {
    "added": "{name} is a member now and can log in",
    "already a member": "{name} is a member already",
    "removed": "{name} is no longer a member; their servers are stopped, their files are untouched",
    "no member": "{name} is not a member",
}


def add_to(commands: Any) -> None:
    """Add this command to the command line."""
    parser = commands.add_parser("members", help="add, remove and list who may log in")
    actions = parser.add_subparsers(dest="action", metavar="add|remove|list", required=True)
    add = actions.add_parser("add", help="let these accounts log in")
    add.add_argument("names", nargs="+", metavar="NAME")
    add.add_argument(
        "--allow-administrator",
        action="store_true",
        help="accept accounts that can become root (root only; weakens this machine)",
    )
    remove = actions.add_parser("remove", help="stop their servers, end their sessions, let them in no more")
    remove.add_argument("names", nargs="+", metavar="NAME")
    show = actions.add_parser("list", aliases=["show"], help="show all members")
    for one in (add, remove, show):
        one.add_argument("--json", action="store_true", help="as JSON")
        one.set_defaults(run=members)


def members(arguments: argparse.Namespace) -> int:
    """Do what the words ask for."""
    action = "list" if arguments.action == "show" else arguments.action
    request: dict[str, Any] = {"action": action}
    if action != "list":
        request["names"] = arguments.names
    if getattr(arguments, "allow_administrator", False):
        request["allow_administrator"] = True
    if action == "remove" and sys.stderr.isatty():
        print("Stopping their servers …", file=sys.stderr)
    answer = ask_door(request)
    if arguments.json:
        print(json.dumps(answer, indent=1))
    elif action == "list":
        _print_table(answer["members"])
    else:
        for result in answer["results"]:
            print(_SENTENCES[result["done"]].format(name=result["name"]))
            if result.get("note"):
                print(f"  note: {result['note']}")
    return 0


def ask_door(request: dict[str, Any]) -> dict[str, Any]:
    """Send `request` through the door, through sudo unless root calls. Raises FamilyError."""
    words = [str(MEMBERS)] if os.geteuid() == 0 else ["/usr/bin/sudo", "-n", str(MEMBERS)]
    done = run(words, text_input=json.dumps(request), check=False, timeout=TIMEOUT)
    try:
        answer = json.loads(done.output.splitlines()[-1])
    except (IndexError, ValueError):
        if os.geteuid() != 0:
            raise PermissionRefused(
                "you may not manage members",
                f"call it as root (sudo), or have root make you a delegate: adduser {_own_name()} {DELEGATE_GROUP}",
            ) from None
        raise FamilyError(f"the door gave no answer: {last_lines(done.errors, 3)}") from None
    if not answer.get("ok"):
        raise FamilyError(answer["error"], answer.get("hint", ""), ExitStatus(answer.get("status", 1)))
    return dict(answer)


def _own_name() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _print_table(members: list[dict[str, Any]]) -> None:
    if not members:
        print("There are no members yet. Add one: jupyterhub4family members add NAME")
        return
    width = max(len(member["name"]) for member in members)
    for member in members:
        marks = [word for word in ("delegate", "administrator") if member[word]]
        extra = f"  ({', '.join(marks)})" if marks else ""
        print(f"{member['name']:{width}}  {member['display_name']}{extra}".rstrip())
