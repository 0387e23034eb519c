"""cli.checks.limits and cli.servers: what is not enforced is said, and what servers use is counted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from jupyterhub4family.cli.base import servers
from jupyterhub4family.cli.base.servers import Server
from jupyterhub4family.cli.doctor.base.finding import OK, WARNING, CheckContext
from jupyterhub4family.cli.doctor.checks import limits
from jupyterhub4family.common import paths
from jupyterhub4family.common.settings.model import parse_settings
from jupyterhub4family.common.system import cgroups


@pytest.fixture(autouse=True)
def _a_good_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "SYSTEMD_RUNS", tmp_path)
    monkeypatch.setattr(limits, "BUS", tmp_path)
    monkeypatch.setattr(limits, "BUSCTL", Path("/bin/sh"))
    monkeypatch.setattr(cgroups, "counts_memory", lambda: True)
    monkeypatch.setattr(cgroups, "counts_processes", lambda: True)
    monkeypatch.setattr(servers, "running_servers", lambda: [Server("anna", 50, confined=True)])


def sentences() -> str:
    found = list(limits.check_limits(CheckContext()))
    assert all(one.hint for one in found if one.state == WARNING)
    return "\n".join(f"{one.state}: {one.message}" for one in found)


def test_all_is_well() -> None:
    assert sentences().startswith(f"{OK}: Each server has its limits")


# As a text: the pytest of Debian 11 does not know the class.
Change = Callable[["pytest.MonkeyPatch"], None]


@pytest.mark.parametrize(
    ("change", "args"),
    [
        (lambda patch: patch.setattr(paths, "SYSTEMD_RUNS", Path("/nowhere")), "systemd is not running"),
        (lambda patch: patch.setattr(limits, "BUS", Path("/nowhere")), "D-Bus is not running"),
        (lambda patch: patch.setattr(limits, "BUSCTL", Path("/nowhere")), "D-Bus is not running"),
        (lambda patch: patch.setattr(cgroups, "counts_memory", lambda: False), "does not limit memory"),
        (lambda patch: patch.setattr(cgroups, "counts_processes", lambda: False), "number of processes"),
        (
            lambda patch: patch.setattr(servers, "running_servers", lambda: [Server("anna", 50, confined=False)]),
            "1 server runs without limits",
        ),
        (
            lambda patch: patch.setattr(
                servers, "running_servers", lambda: [Server("anna", 50, confined=True, killed=1)]
            ),
            "server of anna needed too much memory",
        ),
    ],
)
def test_what_is_not_enforced_is_said(monkeypatch: pytest.MonkeyPatch, change: Change, args: str) -> None:
    change(monkeypatch)
    found = sentences()
    assert found.startswith(f"{WARNING}: ") and args in found and f"{OK}: " not in found


def test_what_is_set_for_others_stays_in_the_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "running_servers", lambda: [Server("anna", 50, confined=True, killed=1)])
    own = ["anna.memory=1g", "anna.cpu=5", "annabel.memory=2G"]
    (found,) = limits.check_limits(CheckContext(settings=parse_settings({"member_limits": own}, "test")))
    assert found.hint.endswith(" config set member_limits anna.cpu=5 annabel.memory=2G anna.memory=75%")
