"""Runs as root, inside doors: the folder in /run that doors share; gone after a reboot, made again when needed."""

from __future__ import annotations

import os
from pathlib import Path

from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.common.i18n.messages import _

RUNTIME = Path("/run/jupyterhub4family")


def ensure_runtime() -> None:
    """Make the folder, root's alone. Raises FamilyError if something else lies there."""
    try:
        os.mkdir(RUNTIME, 0o700)
    except FileExistsError:
        status = os.lstat(RUNTIME)
        if status.st_uid != 0 or not RUNTIME.is_dir() or RUNTIME.is_symlink():
            raise FamilyError(
                _("{folder} is not root's folder", folder=str(RUNTIME)),
                _("remove it: {command}", command=f"sudo rm -r {RUNTIME}"),
            ) from None
