"""cli.checks.rights: sudo's rules, PAM, doors, folders, the package's own files."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from jupyterhub4family.cli.doctor.base.finding import OK, PROBLEM, UNKNOWN, WARNING, CheckContext, Finding
from jupyterhub4family.cli.doctor.checks import rights
from jupyterhub4family.common import paths
from jupyterhub4family.common.system.programs import CompletedProcess
from tests.unit.fakes import Call, FakePrograms
from tests.unit.helpers import DATA, People

LISTING = """User jupyterhub may run the following commands on box:
    (%jupyterhub, !root) NOSETENV: NOPASSWD: /usr/lib/jupyterhub4family/mediator ""
    (root) NOSETENV: NOPASSWD: /usr/lib/jupyterhub4family/authenticate ""
"""
ROOT = CheckContext(by_root=True)


class Etc:
    """sudo's and PAM's files in a folder of the test; it all belongs to whoever runs the tests."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sudoers, self.pam = directory / "sudoers.d", directory / "pam.d"
        originals = directory / "originals"
        originals.mkdir()
        for file, name in ((self.sudoers, "sudoers"), (self.pam, "pam")):
            text = (DATA / "etc" / file.name / "jupyterhub4family").read_text("utf-8")
            file.write_text(text)
            (originals / name).write_text(text)
        self.sudoers.chmod(0o440)
        self.visudo, self.listing = 0, LISTING
        monkeypatch.setattr(paths, "SUDOERS", self.sudoers)
        monkeypatch.setattr(paths, "PAM_FILE", self.pam)
        monkeypatch.setattr(paths, "ORIGINALS", originals)
        FakePrograms(monkeypatch).answer("*", self._run)
        monkeypatch.setattr(rights, "_has_module", lambda name: name != "pam_gone.so")
        real = os.lstat
        monkeypatch.setattr(os, "lstat", lambda path: _roots(real(path)))

    def _run(self, call: Call) -> CompletedProcess:
        arguments = call.args
        return (
            CompletedProcess(self.visudo, "", "")
            if "visudo" in str(arguments[0])
            else CompletedProcess(0, self.listing, "")
        )

    def replace(self, file: Path, text: str) -> None:
        """Write a file that may be read-only."""
        mode = file.stat().st_mode
        file.chmod(0o640)
        file.write_text(text)
        file.chmod(mode)


def _roots(status: os.stat_result) -> os.stat_result:
    values = list(status)
    values[4] = 0
    return os.stat_result(values)


@pytest.fixture
def etc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Etc:
    return Etc(tmp_path, monkeypatch)


def sudoers(context: CheckContext = ROOT) -> list[Finding]:
    return list(rights.check_sudoers(context))


def test_rules_as_packaged(etc: Etc) -> None:
    assert [one.state for one in sudoers()] == [OK]
    assert [one.state for one in rights.check_pam(ROOT)] == [OK]


def test_what_can_be_wrong_with_sudos_rules(etc: Etc) -> None:
    etc.sudoers.chmod(0o640)
    (found, _rest) = sudoers()
    assert found.state == PROBLEM and "0640" in found.message and found.repair == "rights"
    etc.sudoers.chmod(0o440)
    etc.replace(etc.sudoers, "jupyterhub ALL = (ALL) NOPASSWD: ALL\n")
    assert [(one.state, one.repair) for one in sudoers()] == [(PROBLEM, "rights")]
    etc.visudo = 1
    assert "does not accept" in sudoers()[0].message
    etc.sudoers.unlink()
    assert "missing" in sudoers()[0].message


@pytest.mark.parametrize("more", ["", '    (root) NOPASSWD: /usr/bin/apt, /usr/lib/jupyterhub4family/members ""\n'])
def test_rules_that_are_not_in_force_or_not_the_only_ones(etc: Etc, more: str) -> None:
    etc.listing = LISTING + more if more else "User jupyterhub is not allowed to run sudo on box.\n"
    (found,) = sudoers()
    assert found.state == PROBLEM and not found.repair
    assert ("/usr/bin/apt" in found.message) is bool(more)


def test_without_root_only_mode_and_owner(etc: Etc) -> None:
    assert [one.state for one in sudoers(CheckContext(by_root=False))] == [UNKNOWN]


def test_pam(etc: Etc) -> None:
    etc.replace(etc.pam, etc.pam.read_text() + "# mine\n")
    (found,) = rights.check_pam(ROOT)
    assert found.state == WARNING and not found.repair, "the machine's administrator may change it"
    etc.replace(etc.pam, "auth required pam_gone.so\n")
    (found,) = rights.check_pam(ROOT)
    assert found.state == PROBLEM and "pam_gone.so" in found.message
    etc.pam.chmod(0o666)
    (found,) = rights.check_pam(ROOT)
    assert found.state == PROBLEM and found.repair == "rights"
    etc.pam.unlink()
    (found,) = rights.check_pam(ROOT)
    assert found.state == PROBLEM and found.repair == "rights"


def test_the_packages_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rights, "SUMS", tmp_path / "sums")
    assert [one.state for one in rights.check_package(ROOT)] == [UNKNOWN]
    file = tmp_path / "file"
    file.write_text("as packaged")
    digest = hashlib.md5(b"as packaged", usedforsecurity=False).hexdigest()
    (tmp_path / "sums").write_text(f"{digest}  {str(file)[1:]}\n")
    assert [one.state for one in rights.check_package(ROOT)] == [OK]
    file.write_text("changed")
    (found,) = rights.check_package(ROOT)
    assert found.state == PROBLEM and str(file) in found.message
    file.unlink()
    assert [one.state for one in rights.check_package(ROOT)] == [PROBLEM]


def test_doors(etc: Etc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = tmp_path / "library"
    library.mkdir()
    monkeypatch.setattr(paths, "LIBRARY", library)
    for name in ("mediator", "authenticate", "environment", "confine", "members"):
        (library / name).touch(0o755)
    monkeypatch.setattr(rights, "_all_paths", lambda: iter([library, *library.iterdir()]))
    for path in (library, *library.iterdir()):
        path.chmod(0o755)
    assert [one.state for one in rights.check_doors(ROOT)] == [OK]
    (library / "members").chmod(0o775)
    (found,) = rights.check_doors(ROOT)
    assert found.state == PROBLEM and str(library / "members") in found.message and found.repair == "files"
    (library / "members").chmod(0o644)
    assert [one.state for one in rights.check_doors(ROOT)] == [PROBLEM]
    (library / "members").unlink()
    (found,) = rights.check_doors(ROOT)
    assert found.state == PROBLEM and not found.repair


def test_folders(people: People, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    people.group("nogroup", 65534)
    people.add("jupyterhub", os.getuid(), gid=65534)
    state = tmp_path / "state"
    monkeypatch.setattr(paths, "SERVICE_DIRECTORIES", {state: (0o700, False)})
    assert [one.repair for one in rights.check_directories(ROOT)] == ["folders"]
    state.mkdir(0o755)
    assert [one.state for one in rights.check_directories(ROOT)] == [PROBLEM]
    state.chmod(0o700)
    assert [one.state for one in rights.check_directories(ROOT)] == [OK]
    people.accounts.clear()
    assert [one.state for one in rights.check_directories(ROOT)] == [PROBLEM]
