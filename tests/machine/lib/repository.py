"""A signed repository of our package, made by the project's own tool with a throw-away key, on a machine's disk."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
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
        self.show(self._made)

    def show(self, directory: Path) -> None:
        """Let the machine have this folder as its source."""
        there = self._machine.path(DIRECTORY)
        shutil.rmtree(there, ignore_errors=True)
        self._machine.put(directory, DIRECTORY)
        self._machine.run(f"chmod -R go=rX {DIRECTORY}")

    def keep(self, directory: Path) -> Path:
        """A copy of the repository as it is now, as somebody else on the network may have it."""
        shutil.copytree(self._made, directory)
        return directory

    def sign(self, directory: Path, change: Callable[[str], str]) -> None:
        """Change what a copy says of itself, and sign it with the same key."""
        release = directory / "Release"
        release.write_text(change(release.read_text("utf-8")), "utf-8")
        args = ("--batch", "--yes", "--local-user", NAME, "--clearsign", "--output", directory / "InRelease", release)
        host("gpg", *args, env=self._environment)

    def add_others(self, directory: Path, *debs: Path) -> None:
        """Put packages of any name into a copy, and sign it: what only a holder of the key could do."""
        for deb in debs:
            shutil.copy(deb, directory)
        packages = host("apt-ftparchive", "packages", ".", cwd=directory, env=self._environment).stdout
        (directory / "Packages").write_text(packages, "utf-8")
        (directory / "Packages.gz").unlink()
        shutil.rmtree(directory / "by-hash")
        options = ("Origin=jupyterhub4family", "Label=jupyterhub4family", "Suite=stable", "Codename=stable")
        words = [word for option in options for word in ("-o", f"APT::FTPArchive::Release::{option}")]
        for name in ("Release", "InRelease"):
            (directory / name).unlink()
        made = host("apt-ftparchive", *words, "release", ".", cwd=directory, env=self._environment).stdout
        (directory / "Release").write_text(made, "utf-8")
        self.sign(directory, lambda text: text)

    def configure(self) -> None:
        """Tell the machine, as a family does."""
        self._machine.run(f"jupyterhub4family config set upgrade_key {DIRECTORY}/jupyterhub4family.asc")
        self._machine.run(f"jupyterhub4family config set upgrade_source {ADDRESS}")
