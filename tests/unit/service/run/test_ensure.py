"""service.ensure: once a minute, and only what does not run is started."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import FamilyError, UsageError
from jupyterhub4family.common.state import supervision
from jupyterhub4family.common.system.files import take_lock
from jupyterhub4family.common.system.processes import start_time
from jupyterhub4family.common.system.programs import CompletedProcess
from jupyterhub4family.service.run import ensure, hold_ports
from jupyterhub4family.service.run.ensure import is_supervised
from tests.unit.fakes import Call, FakePrograms
from tests.unit.helpers import PYTHON, TIMEOUT, run_python, wait_until, with_our_package


class Account:
    """The service's folders, and a `screen` that is only remembered."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.state = directory / "state"
        self.started: list[str] = []
        self.supervisor = "cron"
        self._monkeypatch = monkeypatch
        monkeypatch.setattr(paths, "STATE", self.state)
        monkeypatch.setattr(ensure, "STOPPED", self.state / "stopped")
        monkeypatch.setattr(ensure, "SCREEN_SOCKETS", directory / "no-sockets")
        monkeypatch.setattr(ensure, "_name", lambda: "jupyterhub")
        monkeypatch.setattr(paths, "STATE", self.state)
        #: How often somebody was asked to hold the ports.
        self.held = 0
        monkeypatch.setattr(hold_ports, "ensure_held", self._hold)
        FakePrograms(monkeypatch).answer("*", self._run)
        monkeypatch.setattr(supervision, "chosen_supervisor", lambda: self.supervisor)

    def call(self, *arguments: str) -> list[str]:
        """Run the program; returns what it started."""
        self.started.clear()
        self._monkeypatch.setattr(sys, "argv", ["ensure", *arguments])
        mask = os.umask(0o077)
        try:
            assert ensure.main() == 0
        finally:
            os.umask(mask)
        return list(self.started)

    def _hold(self) -> None:
        self.held += 1

    def _run(self, call: Call) -> CompletedProcess:
        arguments = call.args
        assert Path(arguments[0]).name == "screen"
        directory = Path(call.environment["SCREENDIR"])
        assert directory.stat().st_mode & 0o777 == 0o700, "screen refuses a folder that others may read"
        if arguments[1] == "-dmS":
            assert str(arguments[3]).endswith("/supervise") and arguments[4] == arguments[2]
            self.started.append(arguments[2])
        return CompletedProcess(0, "", "")


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Account:
    return Account(tmp_path, monkeypatch)


#: Stands in for a supervisor: holds the lock, writes the pid file, ends when asked.
SUPERVISOR = """
import os, pathlib, signal
from jupyterhub4family.common.system.files import take_lock
from jupyterhub4family.common.system.processes import start_time
folder = pathlib.Path(sys.argv[1])
lock = take_lock(folder / "supervise-hub.lock", wait=True)
(folder / "supervise-hub.pid").write_text(f"{os.getpid()} {start_time(os.getpid())}\\n")
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
print("ready", flush=True)
signal.pause()
"""


@pytest.fixture
def running_hub(service: Account) -> Iterator[subprocess.Popen[bytes]]:
    service.state.mkdir(mode=0o700)
    process = subprocess.Popen(
        [*PYTHON, "-c", with_our_package(SUPERVISOR), str(service.state)], stdout=subprocess.PIPE
    )
    assert process.stdout and process.stdout.readline() == b"ready\n"
    yield process
    process.kill()
    process.communicate(timeout=TIMEOUT)


@pytest.mark.parametrize("arguments", [[], ["--boot"], ["--start"]])
def test_what_does_not_run_is_started(
    service: Account, arguments: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert service.call(*arguments) == ["proxy", "hub"]
    assert service.state.stat().st_mode & 0o777 == 0o700
    assert capfd.readouterr() == ("", ""), "cron would send it as a mail every minute"


def test_what_runs_is_left_alone(service: Account, running_hub: subprocess.Popen[bytes]) -> None:
    assert service.call() == ["proxy"]
    assert running_hub.poll() is None


def test_with_systemd_there_is_nothing_to_do(service: Account) -> None:
    service.supervisor = "systemd"
    for arguments in ([], ["--boot"], ["--start"]):
        assert service.call(*arguments) == []


def test_the_ports_are_held_also_while_nothing_runs(service: Account) -> None:
    service.call("--hold-ports")
    assert service.held == 1 and service.started == []
    service.call("--stop")
    service.call()
    assert service.held == 2 and service.started == [], "nobody else shall have them meanwhile"
    service.supervisor = "systemd"
    service.call()
    assert service.held == 2


def test_stopped_stays_stopped_until_start(service: Account) -> None:
    assert service.call("--stop") == []
    assert service.call() == []
    assert service.call() == []
    assert service.call("--start") == ["proxy", "hub"]
    assert service.call() == ["proxy", "hub"]


def test_a_boot_starts_again(service: Account) -> None:
    service.call("--stop")
    assert service.call("--boot") == ["proxy", "hub"]


def test_stop_ends_what_runs_and_returns_when_it_has_ended(
    service: Account, running_hub: subprocess.Popen[bytes]
) -> None:
    service.call("--stop")
    assert not is_supervised("hub")
    assert running_hub.wait(TIMEOUT) == 0


def test_restart_hub_ends_the_hub_and_starts_it(service: Account, running_hub: subprocess.Popen[bytes]) -> None:
    assert "hub" in service.call("--restart-hub")
    assert running_hub.wait(TIMEOUT) == 0


def test_restart_hub_does_not_start_what_was_stopped(service: Account) -> None:
    service.call("--stop")
    assert service.call("--restart-hub") == []


@pytest.mark.parametrize("arguments", [["--help"], ["hub"], ["--start", "--stop"], [""]])
def test_other_words_are_refused(service: Account, monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["ensure", *arguments])
    with pytest.raises(UsageError):
        ensure.main()
    assert service.started == [] and not service.state.exists()


@pytest.mark.parametrize("text", ["", "x y", "1", "1 2 3", "0 0", "1 0", "-1 0"])
def test_a_pid_file_that_makes_no_sense_ends_nobody(
    service: Account, running_hub: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    (service.state / "supervise-hub.pid").write_text(text, "ascii")
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(os, "kill", lambda pid, number: pytest.fail(f"signal {number} for {pid}"))
        service.call("--stop")


def test_a_pid_used_again_is_not_ended(
    service: Account, running_hub: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    started = start_time(running_hub.pid)
    assert started is not None
    (service.state / "supervise-hub.pid").write_text(f"{running_hub.pid} {started + 1}", "ascii")
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(os, "kill", lambda pid, number: pytest.fail(f"signal {number} for {pid}"))
        service.call("--stop")


def test_a_supervisor_that_does_not_end_is_told(
    service: Account, running_hub: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 10_000, 15))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(os, "kill", lambda _pid, _number: None)
        with pytest.raises(FamilyError, match="hub did not end within 20 seconds"):
            service.call("--stop")


def test_is_supervised_sees_a_lock_and_leaves_none(service: Account) -> None:
    service.state.mkdir()
    assert not is_supervised("hub")
    lock = take_lock(service.state / "supervise-hub.lock", wait=False)
    assert lock is not None, "is_supervised kept the lock that it tried"
    assert is_supervised("hub") and not is_supervised("proxy")
    os.close(lock)
    assert not is_supervised("hub")


def test_two_that_look_at_the_same_moment_do_not_hinder_the_supervisor(service: Account) -> None:
    """Looking takes the lock for a moment; a supervisor that starts just then must not give up."""
    service.state.mkdir()
    lock = take_lock(service.state / "supervise-hub.lock", wait=False)
    assert lock is not None
    code = """
    import pathlib
    from jupyterhub4family.common import paths
    from jupyterhub4family.service.run import supervise
    paths.STATE = pathlib.Path(sys.argv[1])
    (paths.STATE / "tried").touch()
    print(supervise._only_one("hub"))
    """
    arguments = [*PYTHON, "-c", with_our_package(code), str(service.state)]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE)
    wait_until((service.state / "tried").exists, "the first try")
    os.close(lock)
    assert process.communicate(timeout=TIMEOUT)[0] == b"True\n"


def test_the_program_itself_needs_nothing_but_its_folder(tmp_path: Path) -> None:
    code = """
    import pathlib
    from jupyterhub4family.common import paths
    from jupyterhub4family.service.run import ensure, hold_ports
    paths.STATE = pathlib.Path(sys.argv.pop(1))
    ensure.STOPPED = paths.STATE / "stopped"
    sys.argv[1:] = ["--stop"]
    sys.exit(ensure.main())
    """
    assert run_python(code, str(tmp_path / "state"), interpreter=(sys.executable, "-I")).returncode == 0
    assert (tmp_path / "state" / "stopped").stat().st_mode & 0o777 == 0o600


def test_where_screen_has_its_sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On Debian 11 anybody may make a folder of the service's name in /run/screen, and screen would refuse it."""
    monkeypatch.setattr(paths, "STATE", tmp_path / "state")
    monkeypatch.setattr(ensure, "SCREEN_SOCKETS", tmp_path)
    paths.STATE.mkdir()
    monkeypatch.setattr(ensure, "_name", lambda: "jupyterhub")
    own = tmp_path / "S-jupyterhub"
    assert "SCREENDIR" not in ensure.screen_environment() and own.stat().st_mode & 0o777 == 0o700
    assert "SCREENDIR" not in ensure.screen_environment(), "ours already"
    own.rmdir()
    own.touch()
    assert ensure.screen_environment()["SCREENDIR"] == str(paths.STATE / "screen")
    own.unlink()
    own.symlink_to(paths.STATE)
    assert "SCREENDIR" in ensure.screen_environment()
    own.unlink()
    own.mkdir()
    ours = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: ours + 1)
    assert "SCREENDIR" in ensure.screen_environment(), "somebody else's"

    def mkdir(_path: Path, mode: int) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "mkdir", mkdir)
    assert "SCREENDIR" not in ensure.screen_environment(), "only screen makes one"
