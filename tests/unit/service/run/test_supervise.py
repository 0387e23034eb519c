"""service.supervise: one process is kept running, shown and logged; when its keeper ends, it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jupyterhub4family.common.system.files import take_lock
from jupyterhub4family.common.system.processes import is_running, start_time, stat_fields
from jupyterhub4family.service.run import supervise
from jupyterhub4family.service.run.supervise import CappedLog
from tests.unit.helpers import PYTHON, TIMEOUT, wait_until, with_our_package, write_program

#: The real program, with its folders moved and its patience shortened.
SUPERVISE = """
import pathlib
from jupyterhub4family.common.errors import run_program
from jupyterhub4family.common import paths
from jupyterhub4family.service.run import supervise
folder = pathlib.Path(sys.argv.pop(1))
paths.LIBRARY = folder
paths.STATE = folder
paths.SERVICE_LOGS = folder / "log"
supervise.PAUSE = 0.05
supervise.GRACE_PERIOD = 0.5
sys.exit(run_program(supervise.main))
"""
TELLS_ITS_PID = """
import os, time
print("running", os.getpid(), flush=True)
"""


class Keeper:
    """Supervisors of small programs, in a folder of the test's own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.log = directory / "log" / "hub.log"
        self._started: list[subprocess.Popen[bytes]] = []

    def keeps(self, program: str) -> None:
        write_program(self.directory / "run-hub", program)

    def start(self, *args: str, program: str = SUPERVISE) -> subprocess.Popen[bytes]:
        command = [*PYTHON, "-c", with_our_package(program), str(self.directory), *args]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self._started.append(process)
        return process

    def pids(self) -> list[int]:
        """The pids that the program has told, one for each time it was started."""
        lines = self.log.read_text("utf-8").splitlines() if self.log.exists() else []
        return [int(line.split()[1]) for line in lines if line.startswith("running ")]

    def wait_for_start(self, number: int = 1) -> int:
        wait_until(lambda: len(self.pids()) >= number, f"start number {number}")
        return self.pids()[number - 1]

    def end(self) -> None:
        for process in self._started:
            process.kill()
            process.communicate(timeout=TIMEOUT)


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[Keeper]:
    made = Keeper(tmp_path)
    yield made
    made.end()


def test_a_process_that_ends_is_started_again(keeper: Keeper) -> None:
    keeper.keeps(TELLS_ITS_PID)
    keeper.start("hub")
    pids = [keeper.wait_for_start(number) for number in (1, 2, 3)]
    assert len(set(pids)) == 3
    assert "--- hub has ended; starting it again ---" in keeper.log.read_text("utf-8")


def test_a_process_that_is_killed_is_started_again(keeper: Keeper) -> None:
    keeper.keeps(TELLS_ITS_PID + "time.sleep(60)")
    keeper.start("hub")
    os.kill(keeper.wait_for_start(), signal.SIGKILL)
    assert is_running(keeper.wait_for_start(2), 0)


def test_a_program_that_is_missing_is_told_and_leaves_no_lock(keeper: Keeper) -> None:
    assert keeper.start("hub").wait(TIMEOUT) != 0
    lock = take_lock(keeper.directory / "supervise-hub.lock", wait=False)
    assert lock is not None
    os.close(lock)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_asked_to_end_both_end(keeper: Keeper, number: int) -> None:
    keeper.keeps(TELLS_ITS_PID + "time.sleep(60)")
    supervisor = keeper.start("hub")
    pid = keeper.wait_for_start()
    supervisor.send_signal(number)
    assert supervisor.wait(TIMEOUT) == 0
    assert not is_running(pid, 0)
    assert len(keeper.pids()) == 1


def test_a_process_that_will_not_end_is_killed(keeper: Keeper) -> None:
    keeper.keeps("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)" + TELLS_ITS_PID + "time.sleep(60)")
    supervisor = keeper.start("hub")
    pid = keeper.wait_for_start()
    supervisor.terminate()
    assert supervisor.wait(TIMEOUT) == 0
    assert not is_running(pid, 0)


def test_asked_to_end_just_before_it_waits_it_ends(keeper: Keeper) -> None:
    """One time in 1,500 a signal came between the last look and the waiting, which then lasted until the next line."""
    keeper.keeps(TELLS_ITS_PID + "time.sleep(60)")
    late = """
import os, select, signal
def waits(*arguments, real=select.select):
    if keeps.exists() and b"running" in keeps.read_bytes():
        os.kill(os.getpid(), signal.SIGTERM)
    return real(*arguments)
select.select = waits
"""
    supervisor = keeper.start(
        "hub", program=late + SUPERVISE.replace("\nsys.exit", "\nkeeps = folder / 'log/hub.log'\nsys.exit")
    )
    pid = keeper.wait_for_start()
    assert supervisor.wait(TIMEOUT) == 0
    assert not is_running(pid, 0)


def test_what_a_process_leaves_behind_does_not_keep_it_from_its_next_start(keeper: Keeper) -> None:
    keeper.keeps(
        "import os, time\nif not os.fork(): time.sleep(20); os._exit(0)\nprint('running', os.getpid(), flush=True)\n"
    )
    keeper.start("hub")
    keeper.wait_for_start(3)


@pytest.mark.parametrize("end_of_output", ["", "os.close(1); os.close(2)"])
def test_waiting_costs_nothing(keeper: Keeper, end_of_output: str) -> None:
    keeper.keeps(TELLS_ITS_PID + end_of_output + "\ntime.sleep(60)")
    supervisor = keeper.start("hub")
    keeper.wait_for_start()
    time.sleep(0.3)
    before = _processor_time(supervisor.pid)
    time.sleep(1)
    assert _processor_time(supervisor.pid) - before <= 1


def _processor_time(pid: int) -> int:
    """Hundredths of a second (proc(5): utime and stime)."""
    fields = stat_fields(pid)
    assert fields is not None
    return int(fields[11]) + int(fields[12])


def test_a_keeper_that_is_killed_leaves_nothing_running(keeper: Keeper) -> None:
    keeper.keeps(TELLS_ITS_PID + "time.sleep(60)")
    supervisor = keeper.start("hub")
    pid = keeper.wait_for_start()
    supervisor.kill()
    wait_until(lambda: not is_running(pid, 0), "the end of the process")


def test_there_is_only_one_keeper(keeper: Keeper) -> None:
    keeper.keeps(TELLS_ITS_PID + "time.sleep(60)")
    keeper.start("hub")
    keeper.wait_for_start()
    assert keeper.start("hub").wait(TIMEOUT) == 0
    assert len(keeper.pids()) == 1


def test_the_pid_file_says_who_keeps(keeper: Keeper) -> None:
    keeper.keeps(TELLS_ITS_PID + "time.sleep(60)")
    supervisor = keeper.start("hub")
    keeper.wait_for_start()
    pid, started = map(int, (keeper.directory / "supervise-hub.pid").read_text("ascii").split())
    assert (pid, started) == (supervisor.pid, start_time(supervisor.pid))


def test_what_is_printed_goes_to_the_screen_and_into_the_log(keeper: Keeper) -> None:
    keeper.keeps(
        "import sys; print('out', flush=True); print('err', file=sys.stderr)" + TELLS_ITS_PID + "time.sleep(60)"
    )
    supervisor = keeper.start("hub")
    keeper.wait_for_start()
    assert keeper.log.read_text("utf-8").startswith("out\nerr\nrunning ")
    assert keeper.log.stat().st_mode & 0o777 == 0o600
    assert supervisor.stdout is not None
    assert supervisor.stdout.readline() == b"out\n"


def test_a_screen_that_is_closed_stops_nothing(keeper: Keeper) -> None:
    keeper.keeps(TELLS_ITS_PID)
    supervisor = keeper.start("hub")
    keeper.wait_for_start()
    assert supervisor.stdout is not None
    supervisor.stdout.close()
    keeper.wait_for_start(3)


def test_a_screen_that_takes_no_more_stops_nothing(keeper: Keeper) -> None:
    """As somebody leaves it who types Ctrl-S, or walks away from its copy mode."""
    keeper.keeps("print('line\\n' * 100_000)" + TELLS_ITS_PID + "time.sleep(60)")
    keeper.start("hub")
    keeper.wait_for_start()
    assert keeper.log.read_text("utf-8").count("line\n") == 100_000


@pytest.mark.parametrize("args", [[], ["hub", "proxy"], ["shell"], ["../hub"], ["--help"]])
def test_only_our_processes_are_kept(keeper: Keeper, args: list[str]) -> None:
    supervisor = keeper.start(*args)
    assert supervisor.wait(TIMEOUT) == 2
    assert os.listdir(keeper.directory) == []


# -- the log ---------------------------------------------------------------------------------------


def test_a_log_does_not_grow_beyond_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "LOG_LIMIT", 1000)
    with CappedLog(tmp_path / "hub.log") as log:
        for number in range(500):
            log.write(f"line {number:03}\n".encode())
    newest = (tmp_path / "hub.log").read_bytes() or (tmp_path / "hub.log.1").read_bytes()
    assert newest.endswith(b"line 499\n")
    assert sorted(os.listdir(tmp_path)) == ["hub.log", "hub.log.1"]
    assert all(path.stat().st_size <= 1000 + 9 for path in tmp_path.iterdir())
    both = (tmp_path / "hub.log.1").read_bytes() + (tmp_path / "hub.log").read_bytes()
    numbers = [int(line.split()[1]) for line in both.splitlines()]
    assert numbers == list(range(numbers[0], 500)), "lines were lost where the old log ended"


def test_a_log_of_an_earlier_run_is_continued_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "hub.log"
    path.write_bytes(b"old\n")
    with CappedLog(path) as log:
        log.write(b"new\n")
    assert path.read_bytes() == b"old\nnew\n"
    monkeypatch.setattr(supervise, "LOG_LIMIT", 5)
    with CappedLog(path) as log:
        log.write(b"newer\n")
        log.write(b"newest\n")
    assert path.read_bytes() == b"newest\n"


def test_a_log_that_cannot_be_written_is_no_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with CappedLog(tmp_path / "missing" / "hub.log") as log:
        log.write(b"line\n")
    assert capfd.readouterr().out == "line\n"
