"""root.repair: what --fix does, and that it leaves alone what is as it should be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import FamilyError, RefusedError, UsageError
from jupyterhub4family.common.paths import SERVICE_HOME
from jupyterhub4family.common.system.programs import CompletedProcess
from jupyterhub4family.root.base import supervisor
from jupyterhub4family.root.setup import repair
from tests.unit.fakes import Call, FakePrograms
from tests.unit.helpers import DATA, People


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The programs that would have been run."""
    found: list[str] = []

    def run(call: Call) -> CompletedProcess:
        arguments = call.args
        found.append(" ".join(map(str, arguments)))
        return CompletedProcess(0, "", "")

    FakePrograms(monkeypatch).answer("*", run)
    monkeypatch.setattr(os, "chown", lambda *_args, **_more: None)
    return found


def test_steps_are_done_in_order_and_unknown_ones_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    steps = {name: (lambda name=name: done.append(name)) for name in repair.STEPS}
    monkeypatch.setattr(repair, "STEPS", steps)
    repair.repair(["start", "rights", "accounts"])
    assert done == ["accounts", "rights", "start"]
    with pytest.raises(UsageError):
        repair.repair(["start", "everything"])
    assert len(done) == 3, "nothing is done when a step is unknown"


def service(people: People, *groups: str, shell: str = "/bin/bash") -> None:
    people.group("nogroup", 65534)
    people.add("jupyterhub", 998, *groups, gid=65534, home=SERVICE_HOME, shell=shell)


def test_an_account_without_too_many_rights_keeps_its_groups(people: People, lines: list[str]) -> None:
    service(people)
    repair.repair_accounts()
    assert lines == ["/usr/sbin/usermod --password * jupyterhub"]


def test_foreign_groups_and_a_missing_shell(people: People, lines: list[str]) -> None:
    service(people, "sudo", shell="/usr/sbin/nologin")
    repair.repair_accounts()
    assert "/usr/sbin/usermod --gid nogroup --groups  jupyterhub" in lines
    assert "/usr/sbin/usermod --shell /bin/bash jupyterhub" in lines


@pytest.fixture
def etc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    originals = tmp_path / "originals"
    originals.mkdir()
    for name, where in (("sudoers", "SUDOERS"), ("pam", "PAM_FILE")):
        text = (DATA / f"etc/{name}.d/jupyterhub4family").read_text("utf-8")
        (originals / name).write_text(text)
        (tmp_path / name).write_text(text)
        monkeypatch.setattr(paths, where, tmp_path / name)
    monkeypatch.setattr(paths, "ORIGINALS", originals)
    return tmp_path


def test_rules_for_sudo_come_back_and_the_changed_ones_are_kept(etc: Path, lines: list[str]) -> None:
    packaged = (etc / "sudoers").read_text()
    repair.repair_rights()
    assert not (etc / "sudoers.dpkg-old").exists(), "what is right is not put aside"
    (etc / "sudoers").unlink()
    (etc / "sudoers").write_text("mine")
    repair.repair_rights()
    assert (etc / "sudoers").read_text() == packaged
    assert (etc / "sudoers").stat().st_mode & 0o777 == 0o440
    assert (etc / "sudoers.dpkg-old").read_text() == "mine"
    (etc / "sudoers").unlink()
    repair.repair_rights()
    assert (etc / "sudoers").read_text() == packaged


def test_a_pam_file_that_was_changed_stays_a_missing_one_comes_back(etc: Path, lines: list[str]) -> None:
    (etc / "pam").write_text("mine")
    (etc / "pam").chmod(0o666)
    repair.repair_rights()
    assert (etc / "pam").read_text() == "mine" and (etc / "pam").stat().st_mode & 0o777 == 0o644
    (etc / "pam").unlink()
    repair.repair_rights()
    assert "pam_unix" in (etc / "pam").read_text()


def test_files_that_others_could_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: list[str]) -> None:
    library, share = tmp_path / "library", tmp_path / "share"
    (library / "package").mkdir(parents=True)
    share.mkdir()
    door, module, outside = library / "door", library / "package/module.py", tmp_path / "outside"
    for file, mode in ((door, 0o666), (module, 0o664), (outside, 0o666)):
        file.touch()
        file.chmod(mode)
    (library / "link").symlink_to(outside)
    library.chmod(0o777)
    monkeypatch.setattr(paths, "LIBRARY", library)
    monkeypatch.setattr(paths, "SHARE", share)
    repair.repair_files()
    modes = {path.name: path.stat().st_mode & 0o777 for path in (library, door, module, outside)}
    assert modes == {"library": 0o755, "door": 0o755, "module.py": 0o644, "outside": 0o666}


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program that has been altered, with its original; both count as root's."""
    (tmp_path / "originals").mkdir()
    (tmp_path / "library").mkdir()
    (tmp_path / "originals/door").write_text("#!/usr/bin/python3 -I\n")
    (tmp_path / "library/door").write_text("#! /usr/bin/python3\n")
    monkeypatch.setattr(paths, "ORIGINAL_PROGRAMS", {tmp_path / "originals": tmp_path / "library"})
    monkeypatch.setattr(os, "fchown", lambda *_args: None)
    real = os.lstat

    def as_roots(path: Path) -> os.stat_result:
        values = list(real(path))
        values[4] = 0
        return os.stat_result(values)

    monkeypatch.setattr(os, "lstat", as_roots)
    return tmp_path / "library/door"


def test_programs_come_back_as_packaged(program: Path) -> None:
    for _time in range(2):
        repair.repair_programs()
        assert program.read_text() == "#!/usr/bin/python3 -I\n" and program.stat().st_mode & 0o7777 == 0o755
    program.unlink()
    repair.repair_programs()
    assert program.exists()


def test_what_others_could_write_becomes_no_program_of_roots(program: Path) -> None:
    original = program.parents[1] / "originals/door"
    original.chmod(0o666)
    with pytest.raises(RefusedError):
        repair.repair_programs()
    original.unlink()
    original.symlink_to(program)
    with pytest.raises(RefusedError):
        repair.repair_programs()
    assert program.read_text() == "#! /usr/bin/python3\n"


def test_a_release_that_cannot_be_fetched_restarts_nothing(
    monkeypatch: pytest.MonkeyPatch, programs_run: FakePrograms
) -> None:
    programs_run.answer("build-release", {"ok": False, "error": "no network", "status": 7})
    monkeypatch.setattr(supervisor, "restart", lambda **_more: pytest.fail("it goes on with what it has"))
    with pytest.raises(FamilyError, match="no network"):
        repair.fetch_release()
    assert programs_run.calls[0].program == [str(paths.LIBRARY / "build-release"), "--anew"]
