"""Runs as root, inside doors: the folder in /run that doors share; gone after a reboot, made again when needed."""

from __future__ import annotations

import os
from pathlib import Path

from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.common.i18n.messages import _

RUN_DIR = Path("/run/jupyterhub4family")


def ensure_run_dir() -> None:
    """Make the folder, root's alone. Raises FamilyError if something else lies there."""
    try:
        os.mkdir(RUN_DIR, 0o700)
    except FileExistsError:
        status = os.lstat(RUN_DIR)
        if status.st_uid != 0 or not RUN_DIR.is_dir() or RUN_DIR.is_symlink():
            raise FamilyError(
                _("{directory} does not belong to root", directory=str(RUN_DIR)),
                _("remove it: {command}", command=f"sudo rm -r {RUN_DIR}"),
            ) from None
