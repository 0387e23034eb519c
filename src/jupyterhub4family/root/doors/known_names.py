"""Runs as root, inside doors: accounts and groups as configuration files name them: by name or by number."""

from __future__ import annotations

import grp
import pwd
import re
from typing import Optional


def find_account(name: str) -> Optional[pwd.struct_passwd]:
    """The account of this name or number; None if there is none."""
    try:
        return pwd.getpwnam(name)
    except (KeyError, ValueError):
        pass
    try:
        return pwd.getpwuid(int(name)) if _is_number(name) else None
    except (KeyError, OverflowError):
        return None


def group_number(name: str) -> Optional[int]:
    """The number of the group of this name, or that it is one; None if there is no such group."""
    try:
        return grp.getgrnam(name).gr_gid
    except (KeyError, ValueError):
        return int(name) if _is_number(name) else None


def _is_number(name: str) -> bool:
    return re.fullmatch("[0-9]{1,10}", name, re.ASCII) is not None
