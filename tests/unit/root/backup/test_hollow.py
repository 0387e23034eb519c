"""root.backup.hollow: files that say they are large, on a disk of the test's own size."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from jupyterhub4family.root.backup import hollow

DISK = 100 * 2**20


@pytest.fixture
def homes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(hollow, "size_of_disk", lambda _place: DISK)
    for name in ("anna", "ben"):
        (tmp_path / name).mkdir()
    return tmp_path


def make(file: Path, size: int) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    os.truncate(file, size)
    return file


def test_disks_of_virtual_machines_are_saved(homes: Path) -> None:
    make(homes / "anna/disk.img", DISK // 2)
    make(homes / "ben/disk.img", DISK // 2)
    assert hollow.too_large(homes) == []


def test_what_is_there_is_saved_however_large(homes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hollow, "size_of_disk", lambda _place: 2**20)
    (homes / "anna/film").write_bytes(os.urandom(3 * 2**20))
    assert hollow.too_large(homes) == []


def test_the_largest_are_left_out_until_the_others_fit(homes: Path) -> None:
    bomb = make(homes / "ben/deep/er/bomb", 10**13)
    make(homes / "ben/disk.img", DISK // 2)
    make(homes / "anna/disk.img", DISK // 2)
    (homes / "anna/link").symlink_to(bomb)
    assert hollow.too_large(homes) == [bomb]


def test_who_has_too_many_of_them_is_left_out(homes: Path) -> None:
    for number in range(hollow.MAXIMUM_FILES + 50):
        make(homes / f"ben/{number}", DISK)
    make(homes / "anna/disk.img", DISK // 2)
    assert hollow.too_large(homes) == [homes / "ben"]


def test_one_file_under_many_names_is_read_as_often(homes: Path) -> None:
    film = homes / "ben/film"
    film.write_bytes(os.urandom(2**20))
    (homes / "anna/film").write_bytes(os.urandom(2**20))
    for number in range(60):
        os.link(film, homes / f"ben/{number}")
    os.link(homes / "anna/film", homes / "anna/copy")
    assert hollow.too_large(homes) == []
    for number in range(60, 250):
        os.link(film, homes / f"ben/{number}")
    assert hollow.too_large(homes) == [homes / "ben"]


def test_what_vanishes_hides_nothing(homes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that makes and removes files as fast as it can, beside a hollow one."""
    for number in range(5):
        make(homes / f"ben/{number}", 1)
    bomb = make(homes / "ben/bomb", 10**13)
    looked = os.scandir

    class Vanishing:
        def __init__(self, entry: os.DirEntry[str]) -> None:
            self.path = entry.path
            self.entry = entry

        def stat(self, *, follow_symlinks: bool) -> os.stat_result:
            if self.path != str(bomb) and Path(self.path).parent.name == "ben":
                raise FileNotFoundError(self.path)
            return self.entry.stat(follow_symlinks=follow_symlinks)

    @contextlib.contextmanager
    def scandir(place: Path) -> Iterator[list[Vanishing]]:
        with looked(place) as entries:
            found = [Vanishing(entry) for entry in entries]
        yield sorted(found, key=lambda one: one.path == str(bomb))

    monkeypatch.setattr(os, "scandir", scandir)
    assert hollow.too_large(homes) == [bomb]


def test_the_size_of_a_real_disk(tmp_path: Path) -> None:
    disk = os.statvfs(tmp_path)
    assert hollow.size_of_disk(tmp_path) == disk.f_blocks * disk.f_frsize > 2**20
