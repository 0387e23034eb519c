"""Runs as the member: what is installed in a venv, read from its files without starting anything."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

#: Files whose presence shows that a server can do its work, relative to site-packages, with what people call it.
NEEDED_FILES = {
    "jupyterhub/singleuser/__init__.py": "jupyterhub",
    "jupyterlab/__init__.py": "jupyterlab",
    "notebook/__init__.py": "notebook",
}


def site_packages(environment: Path) -> Path:
    """The folder of a venv's packages for the Python that it runs on now; it may not exist."""
    version = Path(os.path.realpath(environment / "bin" / "python")).name
    return environment / "lib" / version / "site-packages"


def looks_complete(environment: Path) -> bool:
    """Whether Python and the packages that a server needs are where they are put normally."""
    if not os.access(environment / "bin" / "python", os.X_OK):
        return False
    directory = site_packages(environment)
    program = environment / "bin" / "jupyterhub-singleuser"
    return program.is_file() and all((directory / file).is_file() for file in NEEDED_FILES)


def installed(environment: Path) -> dict[str, str]:
    """Name and version of every package in a venv, for whatever Python (PyPA: recording installed projects)."""
    found = {}
    for directory in environment.glob("lib/python3*/site-packages/*.dist-info"):
        name, _, version = directory.name[: -len(".dist-info")].partition("-")
        if version and (directory / "METADATA").is_file():
            found[re.sub(r"[-_.]+", "-", name).lower()] = version
    return found


def fingerprint(environment: Path) -> str:
    """Changes whenever a package is installed, removed, up- or downgraded, or a program added."""
    import hashlib

    names = [f"{name} {version}" for name, version in installed(environment).items()]
    for directory in (environment / "bin", *environment.glob("lib/python3*/site-packages")):
        # A broken environment may lack any of them.
        with contextlib.suppress(OSError):
            names += [f"{directory.name}/{entry}" for entry in os.listdir(directory) if entry != "__pycache__"]
    return hashlib.sha256("\n".join(sorted(names)).encode("utf-8", "surrogateescape")).hexdigest()
