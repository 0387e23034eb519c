"""root.runtime: the doors' folder in /run is root's, or there is no work."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.root.base import run_dir


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(run_dir, "RUN_DIR", tmp_path / "run")
    return tmp_path / "run"


def owned_by(monkeypatch: pytest.MonkeyPatch, uid: int) -> None:
    """Make what lies there look as if `uid` owned it."""
    real = os.lstat

    def lstat(path: Path) -> os.stat_result:
        values = list(real(path))
        values[4] = uid
        return os.stat_result(values)

    monkeypatch.setattr(os, "lstat", lstat)


def test_it_is_made_and_kept(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_dir.ensure_run_dir()
    assert directory.stat().st_mode & 0o777 == 0o700
    (directory / "members.lock").touch()
    owned_by(monkeypatch, 0)
    run_dir.ensure_run_dir()
    assert (directory / "members.lock").exists()


def test_somebody_elses_folder_is_refused(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory.mkdir()
    owned_by(monkeypatch, 1001)
    with pytest.raises(FamilyError, match="does not belong to root"):
        run_dir.ensure_run_dir()


def test_a_file_or_a_link_is_refused(directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owned_by(monkeypatch, 0)
    directory.touch()
    with pytest.raises(FamilyError):
        run_dir.ensure_run_dir()
    directory.unlink()
    directory.symlink_to(tmp_path)
    with pytest.raises(FamilyError):
        run_dir.ensure_run_dir()
