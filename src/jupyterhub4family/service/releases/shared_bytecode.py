"""Runs as jupyterhub: what two environments have in common is compiled to bytecode once, and lies on the disk once.

Nearly all packages of the hub are in the members' environment too, as hard links to the same files (ADR 38).
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path


def link(compiled: Path, environment: Path) -> int:
    """Link the bytecode in `compiled` to `environment`, for modules that are the same files; returns how many were.

    What of it is not there yet, or cannot be linked, is for the compiler. Only what was fetched with one cache is the
    same file: of an environment that was made anew because the disk had damaged the other one, nothing is.
    """
    linked = 0
    for packages in environment.glob("lib/python3*/site-packages"):
        counterpart = compiled / packages.relative_to(environment)
        for directory, _directories, names in os.walk(packages):
            other = counterpart / os.path.relpath(directory, packages)
            if (other / "__pycache__").is_dir():
                linked += sum(_link_module(str(other / name), os.path.join(directory, name)) for name in names)
    return linked


def _link_module(compiled: str, module: str) -> bool:
    """Whether the bytecode of a module could be linked. It says of which time its source is, no more: so both have to
    be one file."""
    if not module.endswith(".py"):
        return False
    try:
        if not os.path.samestat(os.lstat(compiled), os.lstat(module)):
            return False
        bytecode = importlib.util.cache_from_source(module)
        os.makedirs(os.path.dirname(bytecode), exist_ok=True)
        os.link(importlib.util.cache_from_source(compiled), bytecode)
    except OSError:
        return False
    return True
