"""cli.doctor.checks.small_memory: compressed memory is suggested where it helps and can be had, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from jupyterhub4family.cli.doctor.base.finding import OK, WARNING, CheckContext
from jupyterhub4family.cli.doctor.checks import small_memory
from jupyterhub4family.common import paths
from jupyterhub4family.common.state import short_memory
from jupyterhub4family.common.system import cgroups, processes
from jupyterhub4family.common.system.programs import CompletedProcess
from tests.unit.fakes import FakePrograms
from tests.unit.helpers import ROOT

GIBIBYTE = 2**30
HEADLINE = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"


class Machine:
    """A small one, without swap, with systemd, in no container."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch, programs: FakePrograms) -> None:
        self.directory, self.programs, self.patch = directory, programs, monkeypatch
        monkeypatch.setattr(processes, "PROC", directory)
        monkeypatch.setattr(paths, "SYSTEMD_RUNS", directory)
        monkeypatch.setattr(small_memory, "OS_RELEASE", directory / "os-release")
        monkeypatch.setattr(short_memory, "stops", list)
        self.memory(2 * GIBIBYTE)
        self.swaps("")
        self.release('VERSION_ID="12"\n')
        self.container(False)

    def memory(self, size: int) -> None:
        self.patch.setattr(cgroups, "total_memory", lambda: size)

    def swaps(self, text: str) -> None:
        (self.directory / "swaps").write_text(HEADLINE + text, "ascii")

    def release(self, text: str) -> None:
        (self.directory / "os-release").write_text('ID=debian\nVERSION="x"\n' + text, "ascii")

    def container(self, is_one: bool) -> None:
        self.programs.answer("systemd-detect-virt", CompletedProcess(0 if is_one else 1, "", ""))


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, programs_run: FakePrograms) -> Machine:
    return Machine(tmp_path, monkeypatch, programs_run)


def found() -> list[tuple[str, str, str]]:
    return [(one.state, one.message, one.hint) for one in small_memory.check_small_memory(CheckContext())]


@pytest.mark.parametrize(
    ("release", "package"),
    [
        ('VERSION_ID="11"\n', "zram-tools"),
        ('VERSION_ID="12"\n', "systemd-zram-generator"),
        ("VERSION_ID=13\n", "systemd-zram-generator"),
        ("", "systemd-zram-generator"),  # a Debian that is not released yet
    ],
)
def test_zram_is_suggested_with_the_package_of_this_debian(small: Machine, release: str, package: str) -> None:
    small.release(release)
    ((state, message, hint),) = found()
    assert state == WARNING and "2048 MB" in message and "zram" in message
    assert f"sudo apt-get install {package}" in hint and "restart the computer" in hint
    assert ("PERCENT=50" in hint) is (package == "zram-tools")
    page = hint.partition("(more: ")[2].rstrip(")")
    for language in ("docs/", "docs/de/"):
        text = (ROOT / page.replace("docs/", language)).read_text("utf-8")
        assert package in text


def test_nor_where_it_does_not_help_or_cannot_be_had(small: Machine) -> None:
    nothing = [(OK, "No server had to be stopped lately because memory was short", "")]
    small.memory(4 * GIBIBYTE + 1)
    assert found() == nothing
    small.memory(4 * GIBIBYTE)
    assert found() != nothing
    small.swaps("/dev/zram0  partition  1024000  0  100\n")
    assert found() == nothing
    (small.directory / "swaps").unlink()
    assert found() == nothing
    small.swaps("")
    small.container(True)
    assert found() == nothing
    small.container(False)
    small.patch.setattr(paths, "SYSTEMD_RUNS", small.directory / "not there")
    assert found() == nothing


@pytest.mark.parametrize(("count", "says"), [(1, "1 server that nobody used"), (3, "3 servers that nobody used")])
def test_what_was_stopped_is_told(small: Machine, count: int, says: str) -> None:
    small.memory(16 * GIBIBYTE)
    small.patch.setattr(short_memory, "stops", lambda: [0.0] * count)
    ((state, message, hint),) = found()
    assert state == WARNING and says in message and small_memory.PAGE in hint
