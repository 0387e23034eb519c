"""Runs as the caller: reads the command line and hands over to one module per command.

A module is imported when its command is called, and no other: all of them take several times as long as most commands.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Callable, Optional

from jupyterhub4family import __version__
from jupyterhub4family.common.i18n import argparse_words
from jupyterhub4family.common.i18n.messages import N_, _

EPILOG = N_("Exit status: 0 success, 2 usage error, 3 refused, 4 permission denied, 6 not running; more in the manual.")
#: Where nobody says how wide the terminal is.
_USUAL_COLUMNS = 80
#: Adds the arguments of one command to its parser.
AddTo = Callable[[argparse.ArgumentParser], None]


def main(args: Optional[Sequence[str]] = None) -> int:
    """Run the command that `args` (default: the command line) ask for; returns the exit status."""
    words = sys.argv[1:] if args is None else list(args)
    # Before a command there are options without values only, so it is the first word that is none.
    called = next((word for word in words if not word.startswith("-")), "")
    arguments = build_parser(called).parse_args(words)
    return int(arguments.run(arguments))


class _Formatter(argparse.HelpFormatter):
    """argparse's own one looks how wide the terminal is with `shutil`, and with that loads whatever can compress."""

    def __init__(self, prog: str, **more: Any) -> None:
        super().__init__(prog, **{"width": _columns() - 2, **more})


class _Parser(argparse.ArgumentParser):
    """For the command, and for all that is below it: argparse makes these of the same class."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **{"formatter_class": _Formatter, **more})


def _columns() -> int:
    """As `shutil.get_terminal_size` has it."""
    wanted = os.environ.get("COLUMNS", "")
    if wanted.isdecimal() and int(wanted) > 0:
        return int(wanted)
    try:
        return os.get_terminal_size(1).columns or _USUAL_COLUMNS
    except OSError:
        return _USUAL_COLUMNS


def build_parser(only: Optional[str] = None) -> argparse.ArgumentParser:
    """The whole command line; with `only`, all commands, but nobody's arguments except those of the one called so."""
    argparse_words.translate_argparse()
    parser = _Parser(
        prog="jupyterhub4family", description=_("JupyterHub for the family on this machine."), epilog=_(EPILOG)
    )
    parser.add_argument(
        "--version",
        action="version",
        version=f"jupyterhub4family {__version__}",
        help=_("show program's version number and exit"),
    )
    commands = parser.add_subparsers(dest="command", metavar=_("COMMAND"), required=True)
    for name, (text, imported) in COMMANDS.items():
        command = commands.add_parser(name, help=_(text))
        if only in (None, name):
            imported()(command)
    return parser


def _add_version(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help=_("as JSON"))
    parser.set_defaults(run=_version)


def _version(arguments: argparse.Namespace) -> int:
    if arguments.json:
        print(f'{{"version": "{__version__}"}}')
    else:
        print(f"jupyterhub4family {__version__}")
    return 0


#: In the order of the help: what each command does, and the import of what adds its arguments.
COMMANDS: dict[str, tuple[str, Callable[[], AddTo]]] = {
    "status": (
        N_("show what is running and where the portal is"),
        lambda: import_module("jupyterhub4family.cli.status").add_to,
    ),
    "open": (N_("open the portal in the browser"), lambda: import_module("jupyterhub4family.cli.open").add_to),
    "members": (
        N_("add, remove and list who may log in"),
        lambda: import_module("jupyterhub4family.cli.members").add_to,
    ),
    "env": (
        N_("manage your own JupyterLab environment"),
        lambda: import_module("jupyterhub4family.cli.env").add_to,
    ),
    "backup": (
        N_("back up the hub and everybody's notebooks, and restore them"),
        lambda: import_module("jupyterhub4family.cli.backup").add_to,
    ),
    "cert": (
        N_("show, renew, export or replace the portal's certificate"),
        lambda: import_module("jupyterhub4family.cli.certificates.command").add_to,
    ),
    "config": (
        N_("show and change the settings"),
        lambda: import_module("jupyterhub4family.cli.settings.command").add_to,
    ),
    "doctor": (
        N_("check the installation and repair problems"),
        lambda: import_module("jupyterhub4family.cli.doctor.command").add_to,
    ),
    "upgrade": (
        N_("install the newest version, test it, and go back automatically if nobody can log in with it"),
        lambda: import_module("jupyterhub4family.cli.upgrade").add_upgrade,
    ),
    "rollback": (
        N_("go back to the version before the last upgrade"),
        lambda: import_module("jupyterhub4family.cli.upgrade").add_rollback,
    ),
    "support": (
        N_("pack what helpers need to know into an archive, without secrets or names"),
        lambda: import_module("jupyterhub4family.cli.support.command").add_to,
    ),
    "logs": (
        N_("show what hub, proxy or a member's servers have written"),
        lambda: import_module("jupyterhub4family.cli.logs").add_to,
    ),
    "start": (N_("start hub and proxy"), lambda: import_module("jupyterhub4family.cli.control").add_start),
    "stop": (
        N_("stop hub and proxy; members' running servers keep running"),
        lambda: import_module("jupyterhub4family.cli.control").add_stop,
    ),
    "restart": (
        N_("restart the hub; open notebooks keep working"),
        lambda: import_module("jupyterhub4family.cli.control").add_restart,
    ),
    "version": (N_("say which version this is"), lambda: _add_version),
}


if __name__ == "__main__":
    sys.exit(main())
