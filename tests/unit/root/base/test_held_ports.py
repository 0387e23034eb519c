"""root.held_ports: systemd holds the ports that the settings want, and nobody gets one while they change."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import time
from pathlib import Path

import pytest

from jupyterhub4family.common.errors import ExitStatus, FamilyError
from jupyterhub4family.common.settings import effective
from jupyterhub4family.common.settings.model import Settings
from jupyterhub4family.common.state import ports, supervision
from jupyterhub4family.common.state.ports import Place
from jupyterhub4family.common.system import sockets
from jupyterhub4family.common.system.programs import CompletedProcess
from jupyterhub4family.root.base import adoption, held_ports
from tests.unit.fakes import Call, FakePrograms
from tests.unit.helpers import DATA, free_port

SOCKET = "jupyterhub4family-ports.socket"
#: What is noted when hub and proxy are ended.
END = "hub and proxy are ended"


class Machine:
    """Systemd as far as it is asked. The ports are real ones: those of the settings, listened at by the test itself."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.settings = Settings(port=free_port(), hub_port=free_port())
        self.defaults = (self.settings.port, self.settings.hub_port)
        self.active = False
        self.lines: list[str] = []
        #: Whether root listened at the ports as well, whenever something was done.
        self.reserved: list[bool] = []
        #: Another port that is looked at as well.
        self.watched = 0
        self.drop_in = directory / f"{SOCKET}.d/ports.conf"
        #: Whether hub and proxy opened ports by themselves; whether the account's own program holds them.
        self.by_themselves: list[object] = []
        self.holder = False
        monkeypatch.setattr(held_ports, "default_ports", lambda: self.defaults)
        self.former = directory / "run" / f"{SOCKET}.d/zz-former.conf"
        self.unit = directory / SOCKET
        self.unit.touch()
        monkeypatch.setattr(held_ports, "SOCKET_UNIT", self.unit)
        monkeypatch.setattr(held_ports, "DROP_IN", self.drop_in)
        monkeypatch.setattr(held_ports, "FORMER", self.former)
        self.mask = directory / "run" / SOCKET
        monkeypatch.setattr(held_ports, "MASK", self.mask)
        monkeypatch.setattr(supervision, "SYSTEMD_RUNS", directory)
        monkeypatch.setattr(supervision, "chosen_supervisor", lambda: self.settings.supervisor)
        monkeypatch.setattr(effective, "settings_in_use", lambda: (self.settings, None))
        monkeypatch.setattr(adoption, "sockets_of_service", lambda: self.by_themselves)
        monkeypatch.setattr(adoption, "service_listens", lambda _settings: bool(self.by_themselves))
        monkeypatch.setattr(ports, "are_held", lambda _settings: self.holder)
        monkeypatch.setattr(ports, "TIMEOUT", 0)
        FakePrograms(monkeypatch).answer("*", self._run)

    def _run(self, call: Call) -> CompletedProcess:
        line = " ".join(map(str, call.args))
        if "is-active" in line:
            active = self.active if line.endswith(SOCKET) else False
            return CompletedProcess(0 if active else 3, "", "")
        self._note(line)
        if line == f"systemctl restart {SOCKET}":
            self.active = True
        if line.endswith("control hold-ports"):
            self.holder = bool(self.by_themselves)
        return CompletedProcess(0, "", "")

    def _note(self, line: str) -> None:
        self.lines.append(line)
        wanted = [place.port for place in ports.places(self.settings).values()]
        self.reserved.append(all(is_listened_at(port) for port in (*wanted, *filter(None, [self.watched]))))

    def held(self) -> list[str]:
        """Have the ports held; what was done for it."""
        self.lines.clear()
        self.reserved.clear()
        held_ports.ensure_held(self._end)
        return self.lines

    def _end(self) -> None:
        self._note(END)


def is_listened_at(port: int) -> bool:
    return any(listener.port == port for listener in sockets.listeners())


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def test_what_is_held_is_left_alone(machine: Machine) -> None:
    machine.active = True
    assert machine.held() == ["systemctl start jupyterhub4family-ports.service"]


def test_while_systemd_takes_them_nobody_gets_in_between(machine: Machine) -> None:
    end, stop, restart, started = machine.held()
    assert end == END, "theirs are others"
    assert stop == "systemctl stop jupyterhub4family-hold-ports.service jupyterhub4family-ports.service"
    assert restart == f"systemctl restart {SOCKET}" and started.endswith("ports.service")
    assert machine.reserved == [True, True, True, False], "root listens there until systemd does"
    assert not machine.drop_in.exists(), "the ports are as packaged"


def test_a_port_of_somebody_else_is_refused_before_anything_is_touched(machine: Machine) -> None:
    machine.active = True
    other = free_port()
    with contextlib.closing(ports.open_port(Place("", other))):
        machine.settings = dataclasses.replace(machine.settings, port=other)
        with pytest.raises(FamilyError, match=f"port {other} is unavailable") as caught:
            machine.held()
    assert caught.value.status == ExitStatus.PORT_TAKEN
    assert machine.lines == ["systemctl daemon-reload"]


def test_two_sockets_share_a_port_only_if_both_say_so() -> None:
    with contextlib.closing(ports.open_port(Place("127.0.0.1", 0), shared=True)) as first:
        place = Place("127.0.0.1", first.getsockname()[1])
        ports.open_port(place, shared=True).close()
        with pytest.raises(OSError, match="in use"):
            ports.open_port(place)


def test_ports_that_hub_and_proxy_opened_by_themselves_are_taken_over(machine: Machine) -> None:
    machine.by_themselves = ["a socket"]
    run, mask = machine.held()
    assert mask == f"systemctl mask --runtime --quiet {SOCKET}", "hub and proxy want it, and it could not open"
    assert run.startswith("/usr/bin/setsid --fork systemd-run --scope ") and run.endswith(
        " -- /usr/lib/jupyterhub4family/control hold-ports"
    )
    assert machine.held() == [], "until the next boot"


def test_what_cannot_be_taken_over_is_ended_first(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.by_themselves = ["a socket"]
    monkeypatch.setattr(ports, "are_held", lambda _settings: False)
    _adopt, end, _again, stop, restart, _start = machine.held()
    assert end == END
    assert "ports.service" in stop and restart == f"systemctl restart {SOCKET}"


def test_what_was_left_to_a_program_of_the_accounts_is_systemds_again(machine: Machine) -> None:
    """While such a program held the ports, systemd was not to touch them; as is forgotten at the next boot."""
    machine.mask.parent.mkdir()
    machine.mask.symlink_to("/dev/null")
    _end, _stop, unmask, restart, _start = machine.held()
    assert unmask == f"systemctl unmask --runtime --quiet {SOCKET}" and restart == f"systemctl restart {SOCKET}"


def test_so_they_are_without_systemd(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "SYSTEMD_RUNS", tmp_path / "no")
    machine.by_themselves = ["a socket"]
    (start,) = machine.held()
    assert start == "/usr/bin/setsid --fork /usr/lib/jupyterhub4family/control hold-ports"
    assert machine.held() == []


def test_other_ports_are_told_and_taken_back(machine: Machine) -> None:
    machine.active = True
    machine.settings = Settings(port=(port := free_port()), hub_port=(inner := free_port()), listen="local")
    assert machine.held()[:3] == [
        "systemctl daemon-reload",
        END,
        "systemctl stop jupyterhub4family-hold-ports.service jupyterhub4family-ports.service",
    ]
    lines = machine.drop_in.read_text().splitlines()
    # An empty one first: else they would be added to those of the unit.
    assert lines[-3:] == ["ListenStream=", f"ListenStream=127.0.0.1:{port}", f"ListenStream=127.0.0.1:{inner}"]
    assert machine.held() == ["systemctl start jupyterhub4family-ports.service"]
    machine.settings = Settings(port=port, hub_port=inner)
    machine.held()
    assert f"ListenStream={port}\n" in machine.drop_in.read_text()
    machine.settings = Settings(port=machine.defaults[0], hub_port=machine.defaults[1])
    assert machine.held()[0] == "systemctl daemon-reload" and not machine.drop_in.exists()


def test_the_hubs_former_port_is_held_until_the_next_boot(machine: Machine) -> None:
    """Members' servers that run send their tokens there."""
    machine.active = True
    first, second, third = machine.settings.hub_port, free_port(), free_port()
    machine.held()
    assert not machine.former.exists()
    with contextlib.ExitStack() as kept:
        # As systemd does; else another test might have one of them meanwhile.
        for port in (first, second, third):
            kept.enter_context(contextlib.closing(ports.open_port(Place("127.0.0.1", port), shared=True)))
        for port in (second, third):
            machine.settings = dataclasses.replace(machine.settings, hub_port=port)
            machine.held()
        machine.held()
        assert machine.former.read_text().splitlines() == [
            "[Socket]",
            f"ListenStream=127.0.0.1:{first}",
            f"ListenStream=127.0.0.1:{second}",
        ]
        machine.settings = dataclasses.replace(machine.settings, hub_port=first)
        machine.held()
    # Twice in the unit it would be opened twice, and nobody take up half of the connections.
    assert held_ports._hub_ports(held_ports.FORMER) == [second, third]
    held_ports.release()
    assert not machine.former.parent.exists()


def test_a_former_port_is_held_through_a_change_or_given_up(machine: Machine) -> None:
    """With one that somebody else has, systemd would open none."""
    machine.active = True
    first, second = machine.settings.hub_port, free_port()
    machine.settings = dataclasses.replace(machine.settings, hub_port=second)
    machine.held()
    machine.settings = dataclasses.replace(machine.settings, port=free_port())
    with contextlib.closing(ports.open_port(Place("127.0.0.1", first))):
        assert machine.held().count("systemctl daemon-reload") == 2
    assert not machine.former.exists() and machine.active
    machine.settings = dataclasses.replace(machine.settings, hub_port=free_port())
    machine.watched = second
    machine.held()
    assert machine.former.read_text() == f"[Socket]\nListenStream=127.0.0.1:{second}\n"
    assert machine.reserved[1:-1] and all(machine.reserved[1:-1])


def test_on_the_way_back_to_a_version_without_them_nothing_is_done(machine: Machine) -> None:
    machine.unit.unlink()
    assert machine.held() == []


def test_where_cron_supervises_somebody_hands_them_on(machine: Machine) -> None:
    machine.settings = dataclasses.replace(machine.settings, supervisor="cron")
    assert machine.held()[-1] == "systemctl start jupyterhub4family-hold-ports.service"


def test_without_systemd_there_is_nothing_to_do(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "SYSTEMD_RUNS", tmp_path / "no")
    assert machine.held() == []
    held_ports.release()
    assert machine.lines == []


def test_letting_go_leaves_nothing(machine: Machine) -> None:
    machine.settings = Settings(port=free_port(), hub_port=free_port())
    machine.held()
    held_ports.release()
    assert SOCKET in machine.lines[-2] and not machine.drop_in.parent.exists()
    held_ports.release()


def test_the_packaged_unit_names_the_default_ports() -> None:
    text = (DATA / "usr/lib/systemd/system" / SOCKET).read_text("utf-8")
    listening = [line.partition("=")[2] for line in text.splitlines() if line.startswith("ListenStream=")]
    assert listening == [str(Settings().port), f"127.0.0.1:{Settings().hub_port}"]


def test_nobody_who_gets_the_sockets_makes_them_blocking_for_the_others() -> None:
    units = DATA / "usr/lib/systemd/system"
    about = {file.name: file.read_text("utf-8").splitlines() for file in units.glob("*.service")}
    given = {name for name, lines in about.items() if f"Sockets={SOCKET}" in lines}
    assert given == {*supervision.UNITS, supervision.HOLDER_UNIT}
    # What a connection would start is given them without being asked.
    assert f"Service={supervision.PORTS_UNIT}" in (units / SOCKET).read_text("utf-8").splitlines()
    for unit in (*given, supervision.PORTS_UNIT):
        # Systemd clears the flag at each start of a unit that does not say so, also under those who run.
        assert "NonBlocking=yes" in about[unit], unit


def test_no_number_of_starts_makes_systemd_close_the_ports() -> None:
    units = DATA / "usr/lib/systemd/system"
    assert "TriggerLimitIntervalSec=0" in (units / SOCKET).read_text("utf-8").splitlines()
    # A service that was started too often takes the socket along that would start it.
    for unit in (*supervision.UNITS, supervision.HOLDER_UNIT, supervision.PORTS_UNIT):
        assert "StartLimitIntervalSec=0" in (units / unit).read_text("utf-8").splitlines(), unit


def test_what_the_account_hands_over_keeps_root_not_waiting(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its last closer would wait for the account's own file system for as long as that likes."""

    def never(_settings: Settings) -> bool:
        (tmp_path / "pid").write_text(str(os.getpid()))
        time.sleep(600)
        return True

    monkeypatch.setattr(ports, "are_held", never)
    monkeypatch.setattr(held_ports, "ANSWER_WITHIN", 0.5)
    reader, writer = os.pipe()
    began = time.monotonic()
    assert held_ports._are_held(machine.settings) is False and time.monotonic() - began < 5
    # Nobody who waits for the end of our output waits for that one.
    os.close(writer)
    assert os.read(reader, 1) == b""
    os.close(reader)
    child = int((tmp_path / "pid").read_text())
    assert child != os.getpid() and os.waitpid(child, 0)[1] == signal.SIGKILL


@pytest.mark.parametrize("error", [OSError, KeyError, SystemExit])
def test_a_question_that_fails_is_no(machine: Machine, monkeypatch: pytest.MonkeyPatch, error: type) -> None:
    def fails(_settings: Settings) -> bool:
        raise error

    monkeypatch.setattr(ports, "are_held", fails)
    assert held_ports._are_held(machine.settings) is False
    machine.holder = True
    monkeypatch.setattr(ports, "are_held", lambda _settings: machine.holder)
    assert held_ports._are_held(machine.settings) is True
