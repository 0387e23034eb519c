"""cli.support: one archive, for its owner only, with everything redacted."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

from jupyterhub4family.cli.doctor import command as doctor
from jupyterhub4family.cli.doctor.base.finding import PROBLEM, Finding
from jupyterhub4family.cli.doctor.command import Result
from jupyterhub4family.cli.main import main
from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.common.state import supervision
from jupyterhub4family.common.system.programs import CompletedProcess, ProgramError
from tests.unit.fakes import Call, FakePrograms
from tests.unit.helpers import People

SECRET = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def directory(people: People, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    def run(call: Call) -> CompletedProcess:
        arguments = call.args
        if arguments[0] == "ss":
            raise ProgramError("ss could not be started")
        return CompletedProcess(0, f"anna did {arguments[0]} with {SECRET}\n", "")

    people.add("anna", 1001, "jupyterhub", gecos="Anna Example")
    FakePrograms(monkeypatch).answer("*", run)
    monkeypatch.setattr(supervision, "SYSTEMD_RUNS", tmp_path)
    finding = Finding(PROBLEM, "The home of anna is missing", "find it")
    monkeypatch.setattr(doctor, "examine", lambda _bar: [Result("homes", finding)])
    logs, here = tmp_path / "log", tmp_path / "here"
    logs.mkdir()
    here.mkdir()
    (logs / "hub.log").write_text(f"anna logged in with token={SECRET}\n")
    (tmp_path / "experts").mkdir()
    (tmp_path / "experts/x.py").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").write_text("not to be followed")
    monkeypatch.setattr(paths, "EXPERT_DIRECTORY", tmp_path / "experts")
    (tmp_path / "config.yaml").write_text("port: 8000\nfamily_name: Example\n")
    monkeypatch.setattr(paths, "SERVICE_HOME", tmp_path)
    monkeypatch.setattr(paths, "SERVICE_LOGS", logs)
    monkeypatch.setattr(paths, "SETTINGS_FILE", tmp_path / "config.yaml")
    monkeypatch.chdir(here)
    return here


def test_an_archive(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["support"]) == 0
    (path,) = directory.iterdir()
    assert str(path) in capsys.readouterr().out
    assert path.stat().st_mode & 0o777 == 0o600
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
        contents = {name: str(archive.extractfile(name).read(), "utf-8") for name in archive.getnames()}  # type: ignore[union-attr]
    assert {"README.txt", "doctor.json", "log/hub.log", "settings/config.yaml", "units.txt", "journal-hub.txt"} <= names
    everything = "\n".join(contents.values())
    for word in (SECRET, "anna", "Example", "not to be followed"):
        assert word not in everything, word
    assert "member1 logged in" in everything and "The home of member1" in everything
    assert "ss could not be started" in everything and "port: 8000" in everything


def test_a_folder_where_nothing_may_be_written(directory: Path) -> None:
    directory.chmod(0o500)
    try:
        if os.geteuid() != 0:
            with pytest.raises(FamilyError, match="cannot be written"):
                main(["support"])
    finally:
        directory.chmod(0o700)
