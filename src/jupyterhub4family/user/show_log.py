"""Runs as the member (root comes here through runuser): shows the logs of the member's own servers.

Nothing in the member's home is opened with more rights than the member's, so a link there leads nowhere else.
"""

from __future__ import annotations

import argparse
import os
import pwd
from pathlib import Path

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.common.i18n.messages import _


def main() -> int:
    """Program `show-log LINES [--follow]`: becomes tail."""
    parser = argparse.ArgumentParser(prog="show-log", description="Show the logs of one's own servers.")
    parser.add_argument("lines", type=int)
    parser.add_argument("--follow", action="store_true")
    args = parser.parse_args()
    account = pwd.getpwuid(os.getuid())
    files = sorted(map(str, (Path(account.pw_dir) / paths.MEMBER_LOGS).glob("*.log")))
    if not files:
        raise FamilyError(_("{name} has not started a server yet, so there is no log", name=account.pw_name))
    tail = ["/usr/bin/tail", "-n", str(args.lines), *(["-F"] if args.follow else []), "--", *files]
    os.execv(tail[0], tail)
