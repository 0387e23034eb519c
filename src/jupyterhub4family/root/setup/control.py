"""Runs as root, called by the command: starts, stops and restarts hub and proxy."""

from __future__ import annotations

import argparse

from jupyterhub4family.common.protocol import serving
from jupyterhub4family.common.protocol.actions import Nothing
from jupyterhub4family.root.base import adoption, sudo_caller, supervisor
from jupyterhub4family.root.setup import setup


def main() -> int:
    """Program `control start|stop [--servers]|restart [--all]|hold-ports`."""
    parser = argparse.ArgumentParser(prog="control", description="Start and stop hub and proxy.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("start")
    commands.add_parser("stop").add_argument("--servers", action="store_true")
    commands.add_parser("restart").add_argument("--all", action="store_true")
    commands.add_parser("hold-ports")
    args = parser.parse_args()
    if args.command == "hold-ports":
        sudo_caller.require_root()
        adoption.become_holder()
    return serving.answer(lambda: _done(args))


def _done(args: argparse.Namespace) -> Nothing:
    sudo_caller.require_root()
    if args.command == "start":
        # The settings may have changed who supervises.
        setup.ensure_supervision(enable=False)
        supervisor.start()
    elif args.command == "restart":
        setup.ensure_supervision(enable=False)
        setup.ensure_apt_files()
        supervisor.restart(args.all)
    else:
        supervisor.stop()
        if args.servers:
            setup.end_all_servers()
    return Nothing()
