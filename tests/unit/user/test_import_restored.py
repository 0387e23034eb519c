"""user.take_restored: what comes into a home, what makes room for it, and what links in it can do."""

from __future__ import annotations

import io
import json
import os
import pwd
import sys
from pathlib import Path
from typing import Any

import pytest

from jupyterhub4family.common.paths import MEMBER_PENDING_PACKAGES
from jupyterhub4family.user import import_restored
from jupyterhub4family.user.import_restored import Import
from tests.unit.helpers import account


class Home:
    """A home, and beside it what a restore has prepared."""

    def __init__(self, directory: Path) -> None:
        self.home, self.fresh, self.outside = directory / "home", directory / "fresh", directory / "outside"
        for place in (self.home, self.fresh, self.outside):
            place.mkdir()
        self.aside = self.home / "before-restore-1"

    def take(self) -> Import:
        taking = Import(self.aside)
        taking.merge(self.fresh, self.home)
        return taking


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def test_what_is_missing_comes_and_what_is_the_same_stays(home: Home) -> None:
    same = write(home.home / "school/same", "1")
    write(home.home / "school/later", "2")
    for name, text in (("school/same", "1"), ("school/new", "3"), ("all/of/it", "4")):
        write(home.fresh / name, text)
    os.utime(home.fresh / "school/new", (1000, 1000))
    before = same.stat().st_ino
    taking = home.take()
    assert (taking.taken, taking.kept) == (2, 0) and not home.aside.exists()
    assert same.stat().st_ino == before and (home.home / "school/later").read_text() == "2"
    assert (home.home / "school/new").stat().st_mtime == 1000 and (home.home / "all/of/it").read_text() == "4"
    assert home.take().taken == 0, "a second time there is nothing to do"


def test_what_differs_is_kept_aside(home: Home) -> None:
    write(home.home / "a/b", "now")
    write(home.fresh / "a/b", "then")
    write(home.home / "c/d", "a folder now")
    write(home.fresh / "c", "a file then")
    taking = home.take()
    assert (taking.taken, taking.kept) == (2, 2)
    assert (home.home / "a/b").read_text() == "then" and (home.aside / "a/b").read_text() == "now"
    assert (home.home / "c").read_text() == "a file then" and (home.aside / "c/d").read_text() == "a folder now"


def test_nothing_is_written_through_a_link(home: Home) -> None:
    write(home.outside / "x", "theirs")
    (home.home / "school").symlink_to(home.outside)
    (home.home / "file").symlink_to(home.outside / "x")
    write(home.fresh / "school/x", "mine")
    write(home.fresh / "file", "mine")
    (home.fresh / "link").symlink_to(home.outside)
    home.take()
    assert os.listdir(home.outside) == ["x"] and (home.outside / "x").read_text() == "theirs"
    assert (home.home / "school/x").read_text() == "mine" and not (home.home / "school").is_symlink()
    assert (home.aside / "school").is_symlink() and (home.home / "link").is_symlink()
    assert home.take().kept == 0


def test_a_folder_that_must_not_be_written_to_comes_as_it_was(home: Home) -> None:
    write(home.fresh / "done/file", "x")
    (home.fresh / "done").chmod(0o555)
    home.take()
    assert (home.home / "done").stat().st_mode & 0o777 == 0o555


def test_from_another_disk(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = os.rename

    def across(source: Any, target: Any) -> None:
        if ".unfinished" not in str(source):
            raise OSError(18, "Invalid cross-device link")
        rename(source, target)

    write(home.fresh / "a/b", "x")
    write(home.fresh / "c", "y")
    monkeypatch.setattr(os, "rename", across)
    home.take()
    assert (home.home / "a/b").read_text() == "x" and (home.home / "c").read_text() == "y"
    assert os.listdir(home.fresh) == [] and sorted(os.listdir(home.home)) == ["a", "c"]


@pytest.fixture
def ask(home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.setattr(os, "geteuid", lambda: 1001)
    monkeypatch.setattr(pwd, "getpwuid", lambda _uid: account(home=home.home))
    mask = os.umask(0)
    os.umask(mask)

    def ask(request: Any) -> tuple[int, dict[str, Any]]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(json.dumps(request).encode())))
        status = import_restored.main()
        return status, json.loads(capsys.readouterr().out.splitlines()[-1])

    yield ask
    os.umask(mask)


def test_packages_become_wishes(home: Home, ask: Any) -> None:
    write(home.fresh / "a", "x")
    request = {"place": str(home.fresh), "aside": "before-restore-20260101-000000", "packages": {"iniconfig": "2.0"}}
    assert ask(request) == (0, {"ok": True, "taken": 1, "kept": 0})
    assert json.loads((home.home / MEMBER_PENDING_PACKAGES).read_text()) == {
        "packages": {"iniconfig": "2.0"},
        "tries": 0,
    }


def test_what_is_refused(home: Home, ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for aside in ("../x", "/etc", "before-restore-../x", ""):
        assert ask({"place": str(home.fresh), "aside": aside})[0] == 2
    status, answer = ask({"place": str(home.outside / "nothing"), "aside": "before-restore-1"})
    assert status == 1 and "nothing" in json.dumps(answer)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert ask({"place": str(home.fresh), "aside": "before-restore-1"})[0] == 4


def test_a_link_that_leads_where_the_other_leads_is_the_same(home: Home) -> None:
    for place in (home.home, home.fresh):
        (place / "same").symlink_to("school/a")
    (home.home / "other").symlink_to("school/a")
    (home.fresh / "other").symlink_to("school/b")
    taking = home.take()
    assert (taking.taken, taking.kept) == (1, 1), "only the one that leads elsewhere"
    assert os.readlink(home.home / "same") == "school/a" and os.readlink(home.home / "other") == "school/b"
    assert os.listdir(home.aside) == ["other"] and os.readlink(home.aside / "other") == "school/a"


def test_a_link_is_no_file_though_both_read_the_same(home: Home) -> None:
    write(home.home / "target", "x")
    (home.home / "file").symlink_to("target")
    write(home.fresh / "file", "x")
    assert home.take().kept == 1 and not (home.home / "file").is_symlink()
