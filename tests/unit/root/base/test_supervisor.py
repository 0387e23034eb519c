"""root.supervisor: what is started, stopped and left alone, with systemd and with cron."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from jupyterhub4family.common.state import supervision
from jupyterhub4family.common.system.programs import CompletedProcess
from jupyterhub4family.root.base import held_ports, supervisor
from tests.unit.fakes import Call, FakePrograms
from tests.unit.helpers import People

UNITS = "jupyterhub4family-proxy.service jupyterhub4family-hub.service"
HELD = "the ports are held"
AS_SERVICE = "/usr/bin/setsid --wait /usr/sbin/runuser -u jupyterhub -- /usr/lib/jupyterhub4family/ensure"


class Machine:
    """Remembers which programs were run, as lines."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, people: People) -> None:
        self.supervisor = "cron"
        self.lines: list[str] = []
        self.inputs: list[str] = []
        self.statuses: dict[str, int] = {}
        self.systemd = tmp_path / "systemd"
        self.crontab = tmp_path / "crontab"
        self.people = people
        people.add("jupyterhub", 998)
        monkeypatch.setattr(supervision, "SYSTEMD_RUNS", self.systemd)
        monkeypatch.setattr(supervisor, "CRONTAB", self.crontab)
        #: Whether others hold them than before.
        self.anew = False
        monkeypatch.setattr(held_ports, "ensure_held", self._hold)
        FakePrograms(monkeypatch).answer("*", self._run)
        monkeypatch.setattr(supervision, "chosen_supervisor", lambda: self.supervisor)

    def has_systemd(self) -> None:
        self.systemd.mkdir()
        self.supervisor = "systemd"

    def _hold(self, end: Callable[[], None]) -> bool:
        self.lines.append(HELD)
        anew, self.anew = self.anew, False
        if anew:
            end()
        return anew

    def _run(self, call: Call) -> CompletedProcess:
        arguments = call.args
        line = " ".join(map(str, arguments))
        self.lines.append(line)
        if call.stdin:
            self.inputs.append(call.stdin)
        return CompletedProcess(self.statuses.get(line, 0), "", "")

    def ensured(self) -> list[str]:
        """The words that `ensure` got, in order."""
        return [line.split()[-1] for line in self.lines if "/ensure " in line]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, people: People) -> Machine:
    return Machine(monkeypatch, tmp_path, people)


def test_start_without_systemd_never_calls_it(machine: Machine) -> None:
    supervisor.start()
    assert machine.lines == [HELD, f"{AS_SERVICE} --start"]


def test_start_with_systemd_ends_what_cron_may_have_started(machine: Machine) -> None:
    machine.has_systemd()
    supervisor.start()
    assert machine.lines == [f"{AS_SERVICE} --stop", HELD, f"systemctl start {UNITS}"]


def test_start_where_cron_was_chosen_on_a_machine_with_systemd(machine: Machine) -> None:
    machine.has_systemd()
    machine.supervisor = "cron"
    supervisor.start()
    stop, held, start = machine.lines
    assert stop.startswith("systemctl stop ") and held == HELD
    # Outside of the login session of whoever calls, and as the service.
    assert start.startswith("systemd-run ") and "KillMode=process" in start
    assert start.endswith("-p User=jupyterhub -- /usr/lib/jupyterhub4family/ensure --start")


def test_an_installation_renews_the_hub_and_leaves_the_proxy_alone(machine: Machine) -> None:
    machine.has_systemd()
    supervisor.start_after_install()
    proxy, hub = (line for line in machine.lines if line.startswith("systemctl"))
    assert proxy == "systemctl start --no-block jupyterhub4family-proxy.service"
    assert hub == "systemctl restart --no-block jupyterhub4family-hub.service"


def test_an_installation_without_systemd_does_the_same(machine: Machine) -> None:
    supervisor.start_after_install()
    assert machine.ensured() == ["--restart-hub", "--start"]


def test_restart_leaves_the_proxy_alone_unless_asked(machine: Machine) -> None:
    machine.has_systemd()
    supervisor.restart(with_proxy=False)
    assert machine.lines[:2] == [HELD, "systemctl restart jupyterhub4family-hub.service"]
    machine.lines.clear()
    supervisor.restart(with_proxy=True)
    assert machine.lines[:2] == [HELD, f"systemctl restart {UNITS}"]


def test_ports_that_are_held_anew_are_taken_by_both(machine: Machine) -> None:
    machine.anew = True
    supervisor.restart(with_proxy=False)
    assert machine.ensured() == ["--stop", "--start"], "not the hub alone"
    machine.lines.clear()
    machine.anew = True
    supervisor.start_after_install()
    assert machine.ensured() == ["--stop", "--start"]
    machine.has_systemd()
    machine.lines.clear()
    machine.anew = True
    supervisor.restart(with_proxy=False)
    held, stop, _cron, *_again, start = machine.lines
    assert held == HELD and stop.startswith("systemctl stop ") and start == f"systemctl start {UNITS}"


def test_restart_without_systemd(machine: Machine) -> None:
    supervisor.restart(with_proxy=False)
    assert machine.ensured() == ["--restart-hub", "--start"]
    machine.lines.clear()
    supervisor.restart(with_proxy=True)
    assert machine.ensured() == ["--stop", "--start"]


def test_stop_ends_what_either_supervisor_keeps(machine: Machine) -> None:
    machine.has_systemd()
    # A unit that is not there any more is no reason not to stop the rest.
    machine.statuses["systemctl stop jupyterhub4family-hub.service jupyterhub4family-proxy.service"] = 5
    supervisor.stop()
    assert machine.lines[0].startswith("systemctl stop ") and machine.ensured() == ["--stop"]


def test_without_the_account_there_is_nothing_to_do(machine: Machine) -> None:
    del machine.people.accounts["jupyterhub"]
    supervisor.stop()
    assert machine.lines == []


def test_an_upgrade_is_seen_through_by_a_process_of_its_own_and_ended_with_it(machine: Machine) -> None:
    supervisor.start_upgrade()
    supervisor.stop_upgrade()
    # Without systemd it detaches itself; transaction.end ends it by its pid.
    assert machine.lines == ["/usr/lib/jupyterhub4family/upgrade run --detach"]
    machine.lines.clear()
    machine.has_systemd()
    supervisor.start_upgrade()
    assert machine.lines == ["systemctl restart --no-block jupyterhub4family-upgrade.service"]
    # One that does not run is no error.
    machine.statuses["systemctl stop jupyterhub4family-upgrade.service"] = 5
    supervisor.stop_upgrade()
    assert machine.lines[1:] == ["systemctl stop jupyterhub4family-upgrade.service"]


def test_the_crontab_is_the_accounts(machine: Machine) -> None:
    machine.crontab.touch()
    supervisor.install_crontab("* * * * * x\n")
    assert machine.lines == [f"{machine.crontab} -u jupyterhub -"]
    assert machine.inputs == ["* * * * * x\n"]
    supervisor.remove_crontab()
    assert machine.lines[-1] == f"{machine.crontab} -u jupyterhub -r"


def test_a_crontab_that_is_not_there_is_not_removed(machine: Machine) -> None:
    machine.crontab.touch()
    machine.statuses[f"{machine.crontab} -u jupyterhub -l"] = 1
    supervisor.remove_crontab()
    assert machine.lines == [f"{machine.crontab} -u jupyterhub -l"]


def test_a_machine_without_cron_is_left_alone(machine: Machine) -> None:
    supervisor.install_crontab("x")
    supervisor.remove_crontab()
    assert machine.lines == []
