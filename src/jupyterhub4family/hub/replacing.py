"""Runs inside JupyterHub's process, as `jupyterhub`: puts functions of ours in the places of JupyterHub's own.

For what JupyterHub has neither a setting nor a hook for. None of its files is changed.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any


def replace(owner: Any, name: str, make: Callable[[Any], Any]) -> None:
    """Put what `make` makes of the function `name` of a module or class in its place.

    Once: the configuration is read more than once in one process. Raises what `make` does, and AttributeError.
    """
    is_of_class = isinstance(inspect.getattr_static(owner, name), classmethod)
    plain = getattr(owner, name).__func__ if is_of_class else getattr(owner, name)
    if getattr(plain, "is_ours", False):
        return
    ours = make(plain)
    ours.is_ours = True
    setattr(owner, name, classmethod(ours) if is_of_class else ours)
