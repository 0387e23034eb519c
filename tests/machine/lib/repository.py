"""A signed repository of our package, made by the project's own tool with a throw-away key, on a machine's disk."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.machine.lib.machine import Machine
from tests.machine.lib.places import PLAIN_PATH, REPOSITORY, host

#: Where it lies on the machine; and how apt is told.
DIRECTORY = "/srv/repository"
ADDRESS = f"file:{DIRECTORY}/"
NAME = "packages@example.org"


class Repository:
    """Use in a `with` statement: gpg's agent for the key ends with it."""

    def __init__(self, machine: Machine, directory: Path) -> None:
        self._machine = machine
        self._made = directory / "repository"
        self._keys = directory / "gnupg"
        self._environment = {**os.environ, "PATH": PLAIN_PATH, "GNUPGHOME": str(self._keys)}

    def __enter__(self) -> Repository:
        self._keys.mkdir(mode=0o700)
        args = ("--batch", "--passphrase", "", "--quick-gen-key", f"Family <{NAME}>", "rsa3072", "sign", "1y")
        host("gpg", *args, env=self._environment)
        return self

    def __exit__(self, *_error: object) -> None:
        host("gpgconf", "--kill", "all", env=self._environment, check=False)

    def publish(self, *debs: Path) -> None:
        """Add packages, and let the machine have the folder as it is now."""
        host(REPOSITORY / "tools/make-repository", self._made, NAME, *debs, env=self._environment)
        there = self._machine.path(DIRECTORY)
        shutil.rmtree(there, ignore_errors=True)
        self._machine.put(self._made, DIRECTORY)
        self._machine.run(f"chmod -R go=rX {DIRECTORY}")

    def configure(self) -> None:
        """Tell the machine, as a family does."""
        self._machine.run(f"jupyterhub4family config set upgrade_key {DIRECTORY}/jupyterhub4family.asc")
        self._machine.run(f"jupyterhub4family config set upgrade_source {ADDRESS}")
