"""cli.checks.upgrades: what became of the last upgrade, and what is missing for the next to come by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from jupyterhub4family.cli.doctor.base.finding import CheckContext, Finding
from jupyterhub4family.cli.doctor.checks import upgrade as checks
from jupyterhub4family.common import paths
from jupyterhub4family.common.settings.model import Settings
from jupyterhub4family.common.state import upgrade as upgrade_state
from jupyterhub4family.common.state.upgrade import Edition, Failure, Upgrade
from jupyterhub4family.common.system.programs import CompletedProcess
from tests.unit.fakes import Call, FakePrograms

AUTO = Settings(upgrade_source="https://example.org/x/", upgrade_key="/k.asc", auto_upgrade=True)


class Machine:
    """Apt's files and the notes of upgrades."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory = directory
        self.periodic = "1\n"
        monkeypatch.setattr(upgrade_state, "IN_PROGRESS", directory / "under-way")
        monkeypatch.setattr(upgrade_state, "FAILED", directory / "failed")
        monkeypatch.setattr(checks, "LISTS", directory / "lists")
        for name in ("SOURCE_LIST", "SOURCE_PIN", "AUTO_UPGRADE"):
            monkeypatch.setattr(paths, name, directory / name)
        monkeypatch.setattr(checks, "UNATTENDED", directory / "UNATTENDED")
        FakePrograms(monkeypatch).answer("*", self._run)

    def lay(self, *names: str) -> None:
        for name in names:
            (self.directory / name).touch()

    def look(self, settings: Settings | None = None) -> list[Finding]:
        return list(checks.check_upgrade(CheckContext(settings=settings or Settings())))

    def _run(self, call: Call) -> CompletedProcess:
        return CompletedProcess(0, self.periodic, "")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def test_all_is_well(machine: Machine) -> None:
    assert [one.state for one in machine.look()] == ["ok"]
    machine.lay("SOURCE_LIST", "SOURCE_PIN", "AUTO_UPGRADE", "UNATTENDED")
    (found,) = machine.look(AUTO)
    assert found.state == "ok" and "automatically" in found.message


def test_a_failure_and_one_under_way(machine: Machine) -> None:
    at = "2026-11-23T04:30:00+00:00"
    upgrade_state.write_state(
        upgrade_state.FAILED, Failure("1.0", "1.1", "r", at, "nobody answered", "1.0 is back in service.")
    )
    (found,) = machine.look()
    assert found.state == "problem" and "1.1" in found.message and "nobody answered" in found.message
    assert "--again" in found.hint
    upgrade_state.write_state(upgrade_state.IN_PROGRESS, Upgrade(Edition("1.0", "r"), "1.2", message="Switching over"))
    (found,) = machine.look()
    assert found.state == "warning" and "Switching over" in found.message


@pytest.mark.parametrize(
    ("files", "periodic", "args"),
    [
        (["SOURCE_PIN", "AUTO_UPGRADE", "UNATTENDED"], "1", "do not match the settings"),
        (["SOURCE_LIST", "AUTO_UPGRADE", "UNATTENDED"], "1", "do not match the settings"),
        (["SOURCE_LIST", "SOURCE_PIN", "UNATTENDED"], "1", "do not match the settings"),
        (["SOURCE_LIST", "SOURCE_PIN", "AUTO_UPGRADE"], "1", "is missing"),
        (["SOURCE_LIST", "SOURCE_PIN", "AUTO_UPGRADE", "UNATTENDED"], "0", "switched off"),
        (["SOURCE_LIST", "SOURCE_PIN", "AUTO_UPGRADE", "UNATTENDED"], "", "switched off"),
    ],
)
def test_what_is_missing_for_upgrades_by_themselves(
    machine: Machine, files: list[str], periodic: str, args: str
) -> None:
    machine.lay(*files)
    machine.periodic = periodic + "\n"
    (found,) = machine.look(AUTO)
    assert found.state == "problem" and args in found.message and found.hint


def test_files_that_nobody_wants_any_more(machine: Machine) -> None:
    machine.lay("AUTO_UPGRADE")
    assert [one.state for one in machine.look()] == ["problem"]


LIST = "Origin: jupyterhub4family\nDate: Sun, 15 Nov 2020 11:00:00 +0000\n"


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("https://example.org/x/", "example.org_x_._InRelease"),
        ("http://example.org:8080/a_b", "example.org:8080_a%5fb_._InRelease"),
        ("file:/srv/repository/", "_srv_repository_._InRelease"),
    ],
)
def test_a_list_that_has_expired_is_told(machine: Machine, source: str, name: str) -> None:
    """tests/machine/test_sources.py shows these names with apt itself."""
    machine.lay("SOURCE_LIST", "SOURCE_PIN")
    settings = Settings(upgrade_source=source, upgrade_key="/k.asc")
    lists = machine.directory / "lists"
    lists.mkdir()
    for until, state in (
        ("", "ok"),
        ("Valid-Until: nonsense\n", "ok"),
        ("Valid-Until: Tue, 01 Jan 2999 11:00:00 +0000\n", "ok"),
        ("Valid-Until: Sun, 15 Nov 2020 11:00:00 UTC\n", "warning"),
        ("Valid-Until: Sun, 15 Nov 2020 11:00:00 +0000\n", "warning"),
    ):
        (lists / name).write_text(LIST + until)
        (found,) = machine.look(settings)
        assert found.state == state and (state == "ok" or "2020-11-1" in found.message), until
