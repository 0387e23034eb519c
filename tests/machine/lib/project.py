"""Copies of this project's files, as git sees them: no caches, nothing that was built."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

from tests.machine.lib.places import REPOSITORY, host


def copy_project(destination: Path, without: Collection[str] = ()) -> None:
    """Copy the working tree, changes and new files included, without these top-level names."""
    for name in _files():
        source, target = REPOSITORY / name, destination / name
        # A file may be deleted but not yet committed as such.
        if name.partition("/")[0] not in without and (source.is_symlink() or source.is_file()):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)


def _files() -> Iterator[str]:
    # As root in somebody else's working tree git refuses, unless told that this one is meant.
    git = ("git", "-C", REPOSITORY, "-c", f"safe.directory={REPOSITORY}")
    listing = host(*git, "ls-files", "-z", "--cached", "--others", "--exclude-standard").stdout
    yield from sorted(filter(None, listing.split("\0")))


def commands_of_readme() -> list[str]:
    """The commands under README's heading «Two commands», as somebody types them."""
    text = (REPOSITORY / "README.md").read_text("utf-8")
    under = text.partition("## Two commands")[2].partition("\n## ")[0]
    return [line.partition("#")[0].strip() for line in under.splitlines() if line.startswith("    ")]
