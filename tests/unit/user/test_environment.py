"""user.environment: made once, left alone, followed, mended – and whatever fails, what was there is there still."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyterhub4family.common.errors import ExitStatus, FamilyError
from jupyterhub4family.common.files import take_lock
from jupyterhub4family.user import copying, environment
from tests.unit.user.template import Home, add_package, site_of


def tree(folder: Path) -> dict[str, tuple[int, int, str]]:
    """Every name below `folder` with mode, size and target, to see whether anything changed."""
    found = {}
    for path in folder.rglob("*"):
        status = path.lstat()
        target = os.readlink(path) if path.is_symlink() else ""
        if "__pycache__" not in path.parts:
            found[str(path.relative_to(folder))] = (status.st_mode, status.st_size, target)
    return found


@pytest.fixture(autouse=True)
def _notebooks_are_untouched(home: Home) -> Iterator[None]:
    yield
    if home.home.exists():
        assert (home.home / "work.ipynb").read_text("utf-8") == "precious"


def test_made_and_the_second_time_nothing(home: Home) -> None:
    template = tree(home.template)
    assert home.prepare() == "made"
    assert home.works()
    assert home.beside() == set()
    ours = tree(home.env)
    assert {name: ours[name] for name in template} == template
    assert set(ours) - set(template) == {environment.NOTE}
    assert home.events[0][0] <= 10 and home.events[-1][0] == 100
    assert [percent for percent, _ in home.events] == sorted(percent for percent, _ in home.events)
    assert home.prepare() == "nothing"
    assert home.events == [] and tree(home.env) == ours


def test_the_folders_are_for_the_member_to_change(home: Home) -> None:
    home.prepare()
    add_package(home.env, "six", "1.17")
    assert home.prepare() == "nothing"
    assert (site_of(home.env) / "six").is_dir()
    assert not (site_of(home.template) / "six").exists()


def remove(*names: str) -> Any:
    def do(env: Path) -> None:
        for name in names:
            path = site_of(env) / name[5:] if name.startswith("site/") else env / name
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    return do


def python_that_is_gone(env: Path) -> None:
    (env / "bin" / "python").unlink()
    (env / "bin" / "python").symlink_to("/usr/bin/python2.99")


def python_that_does_not_run(env: Path) -> None:
    (env / "bin" / "python").unlink()
    (env / "bin" / "python").write_text("", "ascii")


def other_version(env: Path) -> None:
    """As an upgrade of Debian leaves it: python3 is another one now."""
    (folder,) = (env / "lib").glob("python3*")
    folder.rename(folder.with_name("python3.1"))


BROKEN: dict[str, Any] = {
    "jupyterhub": remove("site/jupyterhub"),
    "jupyterhub.singleuser": remove("site/jupyterhub/singleuser"),
    "jupyterlab, whose pip entry is still there": remove("site/jupyterlab"),
    "notebook": remove("site/notebook"),
    "everything": remove("site/jupyterhub", "site/jupyterlab", "site/notebook"),
    "the program": remove("bin/jupyterhub-singleuser"),
    "python": remove("bin/python"),
    "python's target": python_that_is_gone,
    "python is no program": python_that_does_not_run,
    "another Python version": other_version,
    "bin": remove("bin"),
    "lib": remove("lib"),
    "bin and lib": remove("bin", "lib"),
}


@pytest.mark.parametrize("break_it", BROKEN.values(), ids=list(BROKEN))
def test_a_broken_one_is_mended_and_kept_aside(home: Home, break_it: Any) -> None:
    home.prepare()
    (home.env / "mine").write_text("kept", "utf-8")
    break_it(home.env)
    assert home.prepare() == "mended"
    assert home.works()
    (aside,) = home.beside()
    assert aside.startswith("env.aside-")
    assert (home.env.parent / aside / "mine").read_text("utf-8") == "kept"
    assert "env.aside-" in home.events[-1][1]
    assert home.prepare() == "nothing"


def test_only_the_newest_broken_one_is_kept(home: Home) -> None:
    home.prepare()
    for name in ("env.aside-20200101-000000", "env.aside-20210101-000000"):
        (home.env.parent / name).mkdir()
    remove("bin/jupyterhub-singleuser")(home.env)
    home.prepare()
    (aside,) = home.beside()
    assert aside > "env.aside-2022"


@pytest.mark.parametrize("kind", ["a file", "a dangling link", "an empty folder", "a link to a folder"])
def test_something_else_in_its_place(home: Home, kind: str) -> None:
    home.env.parent.mkdir(parents=True)
    elsewhere = home.home / "elsewhere"
    if kind == "a file":
        home.env.touch()
    elif kind == "a dangling link":
        home.env.symlink_to(elsewhere)
    elif kind == "an empty folder":
        home.env.mkdir()
    else:
        elsewhere.mkdir()
        (elsewhere / "mine").touch()
        home.env.symlink_to(elsewhere)
    assert home.prepare() in ("made", "mended")
    assert home.works()
    if kind == "a link to a folder":
        assert (elsewhere / "mine").exists(), "what a link of the member leads to is not ours"


@pytest.mark.parametrize("thorough", [False, True])
def test_a_thorough_look_finds_what_cannot_be_imported(home: Home, thorough: bool) -> None:
    home.prepare()
    (site_of(home.env) / "jupyterlab" / "labapp.py").write_text("import no_such_module\n", "utf-8")
    assert home.prepare(thorough=thorough) == ("mended" if thorough else "nothing")
    if thorough:
        assert any("no_such_module" in message for _, message in home.events)
        assert home.prepare(thorough=True) == "nothing"


# -- following -------------------------------------------------------------------------------------


def test_an_unchanged_one_follows_the_template(home: Home) -> None:
    home.prepare()
    home.new_template()
    assert home.prepare() == "followed"
    assert home.works() and home.beside() == set()
    assert (site_of(home.env) / "jupyterlab-4.7.0.dist-info").is_dir()
    assert home.prepare() == "nothing"


@pytest.mark.parametrize("change", ["extra", "downgraded", "removed", "program"])
def test_a_changed_one_is_left_alone(home: Home, change: str) -> None:
    home.prepare()
    site = site_of(home.env)
    if change == "extra":
        add_package(home.env, "numpy", "2.0")
    elif change == "downgraded":
        (site / "jupyterlab-4.6.6.dist-info").rename(site / "jupyterlab-4.0.0.dist-info")
    elif change == "removed":
        shutil.rmtree(site / "pip-26.0.dist-info")
    else:
        (home.env / "bin" / "black").touch()
    home.new_template()
    before = tree(home.env)
    assert home.prepare() == "nothing"
    assert tree(home.env) == before
    condition = environment.examine(home.env)
    assert condition.changed and condition.outdated and condition.missing == []


def test_one_without_a_note_is_never_replaced_unasked(home: Home) -> None:
    """Made by hand, or by something older than the note."""
    home.prepare()
    (home.env / environment.NOTE).write_text("{", "utf-8")
    home.new_template()
    assert home.prepare() == "nothing"


# -- extras ----------------------------------------------------------------------------------------


def test_extras_are_installed_again_in_the_version_they_had(home: Home) -> None:
    home.prepare()
    add_package(home.env, "numpy", "2.0")
    add_package(home.env, "Six_Pack.age", "1.0")
    assert environment.extra_packages(home.env) == {"numpy": "2.0", "six-pack-age": "1.0"}
    remove("site/notebook")(home.env)
    home.uv("exit 0")
    assert home.prepare() == "mended"
    assert home.uv_calls() == ["numpy==2.0 six-pack-age==1.0"]
    assert "with your 2 extra packages" in home.events[-1][1]
    assert not (site_of(home.env) / "numpy").exists(), "that would have been uv's to do"


def test_extras_that_cannot_be_had_are_told_and_the_rest_is_kept(home: Home) -> None:
    home.prepare()
    for name in ("bad", "good"):
        add_package(home.env, name, "1.0")
    remove("site/notebook")(home.env)
    home.uv('case "$*" in *bad*) exit 1;; esac')
    assert home.prepare() == "mended"
    assert home.uv_calls() == ["bad==1.0 good==1.0", "bad", "good"]
    message = home.events[-1][1]
    assert "with your 1 extra packages" in message and "Could not be kept: bad" in message
    assert home.works()


def test_without_uv_the_extras_are_lost_and_the_server_starts_all_the_same(home: Home) -> None:
    home.prepare()
    add_package(home.env, "numpy", "2.0")
    remove("site/notebook")(home.env)
    assert home.prepare() == "mended"
    assert "Could not be kept: numpy" in home.events[-1][1]
    assert home.works()


def test_extras_survive_a_change_of_python(home: Home) -> None:
    home.prepare()
    add_package(home.env, "numpy", "2.0")
    other_version(home.env)
    home.uv("exit 0")
    assert home.prepare() == "mended"
    assert home.uv_calls() == ["numpy==2.0"]


# -- what goes wrong -------------------------------------------------------------------------------


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
    with pytest.raises(FamilyError, match="the home folder .* is missing") as caught:
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
