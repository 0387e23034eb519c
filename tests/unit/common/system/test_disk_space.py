"""common.system.disk_space: what counts as a full disk, whoever says it."""

from __future__ import annotations

import errno
import shutil
import sqlite3
from pathlib import Path

import pytest

from jupyterhub4family.common.system.disk_space import disk_spaces, is_full, says_full


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "in another language"),
        OSError(errno.EDQUOT, "in another language"),
        sqlite3.OperationalError("database or disk is full"),
        shutil.Error([("/a", "/b", "[Errno 28] No space left on device: '/b'")]),
        shutil.Error([("/a", "/b", "[Errno 122] Disk quota exceeded: '/b'")]),
    ],
)
def test_an_error_of_a_full_disk(error: Exception) -> None:
    assert is_full(error)


@pytest.mark.parametrize("error", [OSError(errno.EROFS, "Read-only file system"), sqlite3.OperationalError("locked")])
def test_another_error(error: Exception) -> None:
    assert not is_full(error)


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("error: failed to write /x: No space left on device (os error 28)", True),
        ("npm ERR! code ENOSPC", True),
        ("Fatal: unable to save snapshot: write /x: disk quota exceeded", True),
        ("npm ERR! code ENOENT", False),
        ("", False),
    ],
)
def test_what_programs_say(text: str, full: bool) -> None:
    assert says_full(text) is full


def test_each_disk_is_named_once_and_what_is_missing_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    found = list(disk_spaces([tmp_path / "missing", tmp_path, tmp_path / "below"]))
    assert [space.path for space in found] == [tmp_path] and found[0].free > 0
