"""user.environment: whatever goes wrong, the member is told, and what was there is there still."""

from __future__ import annotations

import errno
import os
import shutil
import threading

import pytest

from jupyterhub4family.common.errors import ExitStatus, FamilyError
from jupyterhub4family.common.system.files import take_lock
from jupyterhub4family.user import copying, environment
from tests.unit.user.template import Home, remove, tree


@pytest.mark.parametrize("name", ["env.unfinished", "env.doomed"])
@pytest.mark.parametrize("kind", ["folder", "file", "link"])
@pytest.mark.parametrize("made_before", [True, False])
def test_what_a_power_cut_left_is_removed_and_never_used(home: Home, name: str, kind: str, made_before: bool) -> None:
    if made_before:
        home.prepare()
    left = home.env.with_name(name)
    left.parent.mkdir(parents=True, exist_ok=True)
    precious = home.home / "precious"
    precious.mkdir()
    (precious / "file").touch()
    if kind == "folder":
        shutil.copytree(home.template, left, symlinks=True)
        (left / "half").touch()
    elif kind == "file":
        left.touch()
    else:
        left.symlink_to(precious)
    assert home.prepare() == ("nothing" if made_before else "made")
    assert home.beside() == set() and not (home.env / "half").exists()
    assert (precious / "file").exists()
    assert home.works()


class Statvfs:
    """A disk with little room."""

    f_frsize = 4096
    f_bavail = 2


@pytest.mark.parametrize("broken", [True, False])
def test_a_full_disk_is_seen_before_anything_is_written(
    home: Home, monkeypatch: pytest.MonkeyPatch, broken: bool
) -> None:
    if broken:
        home.prepare()
        remove("site/notebook")(home.env)
    before = tree(home.home)
    monkeypatch.setattr(os, "statvfs", lambda _path: Statvfs())
    with pytest.raises(FamilyError, match="is full: 1 MB are needed, 0 MB are free") as caught:
        home.prepare()
    assert caught.value.status == ExitStatus.DISK_FULL and caught.value.hint
    home.env.parent.mkdir(parents=True, exist_ok=True)
    assert home.beside() == set()
    if broken:
        assert tree(home.home) == before


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("broken", [True, False])
def test_a_disk_that_fails_while_copying(
    home: Home, monkeypatch: pytest.MonkeyPatch, number: int, broken: bool
) -> None:
    if broken:
        home.prepare()
        remove("site/notebook")(home.env)
    before = tree(home.env)
    copied = 0
    real = copying._copy_file

    def copy(one: str, other: str) -> None:
        nonlocal copied
        copied += 1
        if copied > 5:
            raise OSError(number, os.strerror(number), other)
        real(one, other)

    monkeypatch.setattr(copying, "_copy_file", copy)
    with pytest.raises(FamilyError) as caught:
        home.prepare()
    full = number != errno.EIO
    assert (caught.value.status == ExitStatus.DISK_FULL) is full
    assert full or "Input/output error" in caught.value.message
    assert len(caught.value.message) < 900
    assert home.beside() == set()
    assert tree(home.env) == before


def test_a_program_that_is_ended_meanwhile_leaves_the_old_one(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def copy(_one: str, _other: str) -> None:
        raise KeyboardInterrupt

    home.prepare()
    remove("site/notebook")(home.env)
    before = tree(home.env)
    monkeypatch.setattr(copying, "_copy_file", copy)
    with pytest.raises(KeyboardInterrupt):
        home.prepare()
    assert tree(home.env) == before and home.beside() == set()


def test_a_missing_home_is_told(home: Home) -> None:
    shutil.rmtree(home.home)
    with pytest.raises(FamilyError, match=r"the home folder .* is missing") as caught:
        home.prepare()
    assert caught.value.hint and not home.home.exists()


def test_no_template_and_no_installer_yet(home: Home) -> None:
    home.point("nowhere")
    with pytest.raises(FamilyError, match="not ready yet") as caught:
        home.prepare()
    assert "wait" in caught.value.hint
    assert home.beside() == set()


def test_no_template_does_not_hurt_who_has_an_environment(home: Home) -> None:
    home.prepare()
    home.point("nowhere")
    assert home.prepare() == "nothing"


def test_two_at_once_make_one(home: Home) -> None:
    done: list[str] = []
    home.env.parent.mkdir(parents=True)
    lock = take_lock(home.env.parent / "lock", wait=False)
    assert lock is not None
    threads = [
        threading.Thread(target=lambda: done.append(environment.prepare(home.member, lambda *_event: None)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    os.close(lock)
    for thread in threads:
        thread.join()
    assert sorted(done) == ["made", "nothing", "nothing"]
