"""cli.checks.installed: every program is what was packaged, and each defect is named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jupyterhub4family.cli.doctor.base.finding import OK, PROBLEM, CheckContext, Finding
from jupyterhub4family.cli.doctor.checks import installed
from jupyterhub4family.common import paths
from tests.unit.helpers import DATA

WRITTEN = "#!/usr/bin/python3 -I\nprint(1)\n"


class Programs:
    """Two programs and their originals; on disk they belong to whoever runs the tests, and count as root's."""

    def __init__(self, top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.door, self.command = top / "library/door", top / "bin/command"
        originals = {top / "originals/programs": top / "library", top / "originals/commands": top / "bin"}
        for directory, place in originals.items():
            directory.mkdir(parents=True)
            place.mkdir()
        for original, program in (
            (top / "originals/programs/door", self.door),
            (top / "originals/commands/command", self.command),
        ):
            original.write_text(WRITTEN)
            program.write_text(WRITTEN)
            program.chmod(0o755)
        monkeypatch.setattr(paths, "ORIGINAL_PROGRAMS", originals)
        self.owner = 0
        real = os.lstat
        monkeypatch.setattr(os, "lstat", lambda path: self._owned(real(path)))

    def _owned(self, status: os.stat_result) -> os.stat_result:
        values = list(status)
        values[4:6] = [self.owner, 0]
        return os.stat_result(values)


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    return Programs(tmp_path, monkeypatch)


def found() -> list[Finding]:
    return list(installed.check_programs(CheckContext(by_root=False)))


def one_problem() -> str:
    (finding,) = found()
    assert (finding.state, finding.repair) == (PROBLEM, "programs") and finding.hint
    return finding.message


def test_programs_as_packaged(two: Programs) -> None:
    assert [finding.state for finding in found()] == [OK]


def test_a_first_line_that_a_tool_has_rewritten(two: Programs) -> None:
    two.door.write_text(WRITTEN.replace("#!/usr/bin/python3 -I", "#! /usr/bin/python3"))
    message = one_problem()
    assert str(two.door) in message and "'#! /usr/bin/python3', not '#!/usr/bin/python3 -I'" in message


def test_a_first_line_is_shown_as_text(two: Programs) -> None:
    two.door.write_bytes(b"\x1b[2J\xff" + b"x" * 10_000)
    message = one_problem()
    assert "\x1b" not in message and len(message) < 300


def test_another_content_a_link_and_nothing_at_all(two: Programs) -> None:
    two.command.write_text(WRITTEN + "# more\n")
    assert str(two.command) in one_problem()
    two.command.rename(two.command.with_name("other"))
    assert "missing" in one_problem()
    two.command.symlink_to(two.door)
    assert "not the packaged one" in one_problem()


@pytest.mark.parametrize("mode", [0o775, 0o700, 0o644, 0o4755])
def test_modes(two: Programs, mode: int) -> None:
    two.door.chmod(mode)
    assert f"{mode:04o}" in one_problem()


def test_owners(two: Programs) -> None:
    two.owner = 1000
    assert [finding.repair for finding in found()] == ["programs", "programs"]


def test_without_originals_there_is_nothing_to_repair_from(two: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "ORIGINAL_PROGRAMS", {paths.ORIGINALS / "nowhere": two.door.parent})
    (finding,) = found()
    assert finding.state == PROBLEM and not finding.repair and "--reinstall" in finding.hint


def test_the_originals_are_those_that_make_install_lays() -> None:
    """Its two loops, and the folders that the check looks into."""
    makefile = (DATA.parent / "Makefile").read_text("utf-8")
    for directory, place in paths.ORIGINAL_PROGRAMS.items():
        assert f"for file in data{place}/*; do" in makefile
        assert f'"$(SHARE)/{directory.relative_to(paths.SHARE)}/$$(basename "$$file")"' in makefile
