"""Runs as the caller: reads the command line and hands over to one module per command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Optional

from jupyterhub4family import __version__
from jupyterhub4family.cli import backup, control, env, logs, members, open, status, upgrade
from jupyterhub4family.cli.certificates import command as cert
from jupyterhub4family.cli.doctor import command as doctor
from jupyterhub4family.cli.settings import command as config
from jupyterhub4family.cli.support import command as support
from jupyterhub4family.common.i18n import argparse_words
from jupyterhub4family.common.i18n.messages import N_, _

EPILOG = N_("Exit status: 0 success, 2 usage error, 3 refused, 4 permission denied, 6 not running; more in the manual.")


def main(args: Optional[Sequence[str]] = None) -> int:
    """Run the command that `args` (default: the command line) ask for; returns the exit status."""
    arguments = build_parser().parse_args(args)
    return int(arguments.run(arguments))


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    argparse_words.translate_argparse()
    parser = argparse.ArgumentParser(
        prog="jupyterhub4family", description=_("JupyterHub for the family on this machine."), epilog=_(EPILOG)
    )
    parser.add_argument(
        "--version",
        action="version",
        version=f"jupyterhub4family {__version__}",
        help=_("show program's version number and exit"),
    )
    commands = parser.add_subparsers(dest="command", metavar=_("COMMAND"), required=True)
    for module in (status, open, members, env, backup, cert, config, doctor, upgrade, support, logs, control):
        module.add_to(commands)
    version = commands.add_parser("version", help=_("say which version this is"))
    version.add_argument("--json", action="store_true", help=_("as JSON"))
    version.set_defaults(run=_version)
    return parser


def _version(arguments: argparse.Namespace) -> int:
    if arguments.json:
        print(f'{{"version": "{__version__}"}}')
    else:
        print(f"jupyterhub4family {__version__}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
