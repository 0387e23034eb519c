"""Runs as the member (root comes here through runuser): shows the logs of the member's own servers.

Nothing in the member's home is opened with more rights than the member's, so a link there leads nowhere else; and what
is no plain file is passed over, so that root waits for no pipe.
"""

from __future__ import annotations

import argparse
import os
import pwd
import stat
import sys
from pathlib import Path

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.system import logs
from jupyterhub4family.common.system.logs import Log


def main() -> int:
    """Program `show-log LINES [--follow]`."""
    parser = argparse.ArgumentParser(prog="show-log", description="Show the logs of one's own servers.")
    parser.add_argument("lines", type=int)
    parser.add_argument("--follow", action="store_true")
    args = parser.parse_args()
    account = pwd.getpwuid(os.getuid())
    directory = Path(account.pw_dir) / paths.MEMBER_LOGS
    found = [Log(path, directory) for path in sorted(directory.glob("*.log")) if _is_plain(path)]
    if not found:
        raise FamilyError(_("{name} has not started a server yet, so there is no log", name=account.pw_name))
    logs.show(found, args.lines, args.follow, _write)
    return 0


def _is_plain(path: Path) -> bool:
    """Whether this is a file, and no link to one."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
