"""common.processes: a pid that is used again is not taken for the old process."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jupyterhub4family.common.system import processes
from jupyterhub4family.common.system.processes import environment_value, is_running, start_time
from tests.unit.helpers import PYTHON, TIMEOUT, wait_until, with_our_package

#: What /proc/PID/stat would misread if it were split at spaces or at the first parenthesis.
ODD_NAMES = ["a b c", "a) S 1 (b", ")", "(((", "x) Z 0 0", "ä\n1 2", "R 1 2 3 4"]


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process that does nothing for a while."""
    process = subprocess.Popen(["/bin/sleep", "60"], env={"MARK": "täst", "MARKED": "no", "EMPTY": ""})
    wait_until(lambda: environment_value(process.pid, "MARK"), "the child's start")
    yield process
    process.kill()
    process.wait(TIMEOUT)


def seconds_since_boot(ticks: int) -> float:
    return ticks / os.sysconf("SC_CLK_TCK")


def test_our_own_start_time_is_a_moment_ago() -> None:
    ticks = start_time(os.getpid())
    assert ticks is not None
    assert 0 < seconds_since_boot(ticks) <= time.clock_gettime(time.CLOCK_BOOTTIME) + 1


@pytest.mark.parametrize("name", ODD_NAMES)
def test_names_with_spaces_and_parentheses(name: str) -> None:
    code = """
    import ctypes
    ctypes.CDLL(None).prctl(15, sys.argv[1].encode())  # PR_SET_NAME
    print("ready", flush=True)
    sys.stdin.read()
    """
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    process = subprocess.Popen(
        [*PYTHON, "-c", with_our_package(code), name], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout and process.stdout.readline() == b"ready\n"
        assert Path(f"/proc/{process.pid}/comm").read_bytes() == name.encode()[:15] + b"\n"
        ticks = start_time(process.pid)
        assert ticks is not None
        assert before - 0.1 < seconds_since_boot(ticks) < time.clock_gettime(time.CLOCK_BOOTTIME) + 0.1
        assert is_running(process.pid, ticks)
    finally:
        process.communicate(timeout=TIMEOUT)


def test_a_zombie_is_gone() -> None:
    process = subprocess.Popen(["/bin/true"])
    stat = Path(f"/proc/{process.pid}/stat")
    wait_until(lambda: " Z " in stat.read_text("ascii"), "the child's end")
    assert start_time(process.pid) is None
    assert not is_running(process.pid, 0)
    assert environment_value(process.pid, "PATH") is None
    process.wait(TIMEOUT)
    assert start_time(process.pid) is None


def test_running_is_the_one_that_was_started(child: subprocess.Popen[bytes]) -> None:
    ticks = start_time(child.pid)
    assert ticks is not None
    assert is_running(child.pid, ticks)
    assert is_running(child.pid, 0)


@pytest.mark.parametrize("difference", [-1, 1, 100_000])
def test_a_pid_used_again_is_another_process(child: subprocess.Popen[bytes], difference: int) -> None:
    ticks = start_time(child.pid)
    assert ticks is not None
    assert not is_running(child.pid, ticks + difference)


def test_a_process_that_has_ended_does_not_run() -> None:
    process = subprocess.Popen(["/bin/true"])
    process.wait(TIMEOUT)
    assert not is_running(process.pid, 0)
    assert not is_running(process.pid, 12345)


@pytest.mark.parametrize("pid", [1, 0, -1, -2, 2**22 + 1, 2**31, 2**40, 2**70, -(2**70)])
def test_numbers_that_are_no_servers_pid(pid: int) -> None:
    assert not is_running(pid, 0)
    assert environment_value(pid, "PATH") is None or pid == 1


def test_another_accounts_process_that_proc_hides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With hidepid=2, /proc does not show it, and the kernel refuses the signal: so it is there."""

    def kill(_pid: int, number: int) -> None:
        assert number == 0
        raise PermissionError

    monkeypatch.setattr(processes, "PROC", tmp_path)
    monkeypatch.setattr(os, "kill", kill)
    assert is_running(4711, 12345)


def test_a_server_that_ended_where_proc_hides_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def kill(_pid: int, _number: int) -> None:
        raise ProcessLookupError

    monkeypatch.setattr(processes, "PROC", tmp_path)
    monkeypatch.setattr(os, "kill", kill)
    assert not is_running(4711, 12345)


def test_values_in_the_environment_of_a_process(child: subprocess.Popen[bytes]) -> None:
    assert environment_value(child.pid, "MARK") == "täst"
    assert environment_value(child.pid, "EMPTY") == ""
    for absent in ("MAR", "ARK", "MARK=", "", "HOME"):
        assert environment_value(child.pid, absent) is None


def test_a_child_ends_with_its_parent() -> None:
    code = """
    import subprocess, time
    from jupyterhub4family.common.system.processes import die_with_parent
    print(subprocess.Popen(["/bin/sleep", "60"], preexec_fn=die_with_parent).pid, flush=True)
    time.sleep(60)
    """
    parent = subprocess.Popen([*PYTHON, "-c", with_our_package(code)], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    grandchild = int(parent.stdout.readline())
    ticks = start_time(grandchild)
    assert ticks is not None and is_running(grandchild, ticks)
    parent.send_signal(signal.SIGKILL)
    parent.communicate(timeout=TIMEOUT)
    wait_until(lambda: not is_running(grandchild, ticks or 0), "the grandchild's end")


def test_arguments_of_any_length_are_read_within_bounds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whose process it is can make them seem as long as its memory (PR_SET_MM_MAP): here a file without an end does."""
    monkeypatch.setattr(processes, "PROC", tmp_path)
    (tmp_path / "7").mkdir()
    for name in ("cmdline", "environ"):
        with open(tmp_path / "7" / name, "wb") as file:
            file.truncate(5 * 2**30)
    assert len(processes.read(7, "cmdline")) == processes.MAXIMUM_SIZE
    assert processes.environment_value(7, "A") is None
    (tmp_path / "7/cmdline").write_bytes(b"python\0-c\0")
    assert processes.arguments(7) == ["python", "-c", ""]


def test_a_server_is_to_end_before_others_when_memory_runs_out() -> None:
    child = subprocess.Popen(["/bin/sleep", "60"])
    try:
        score = Path(f"/proc/{child.pid}/oom_score_adj")
        for before, wanted in ((0, processes.SERVER_OOM_SCORE), (processes.SERVER_OOM_SCORE + 100,) * 2):
            score.write_text(str(before))
            processes.prefer_to_end(child.pid)
            assert int(score.read_text()) == wanted
    finally:
        child.kill()
        child.wait()


def test_without_a_descriptor_nobody_is_taken_for_gone(child: subprocess.Popen[bytes]) -> None:
    began = start_time(child.pid)
    assert began is not None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            is_running(child.pid, began)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert is_running(child.pid, began)


def test_a_file_that_never_answers_is_waited_for_no_longer_than_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the kernel does with a process that cannot become another program: here a pipe that nobody writes."""
    monkeypatch.setattr(processes, "PROC", tmp_path)
    monkeypatch.setattr(processes, "ANSWER_WITHIN", 0.3)
    for pid in (4_000_001, 4_000_002):
        (tmp_path / str(pid)).mkdir()
    os.mkfifo(tmp_path / "4000001/stat")
    os.mkfifo(tmp_path / "4000001/environ")
    (tmp_path / "4000002/stat").write_text("4000002 (x) S 1 " + "7 " * 48)
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        is_running(4_000_001, 5)
    with pytest.raises(TimeoutError):
        environment_value(4_000_001, "X")
    with pytest.raises(TimeoutError):
        processes.all_stat_fields()
    waited = time.monotonic() - began
    for _time in range(100):
        with pytest.raises(TimeoutError):
            is_running(4_000_001, 5)
    assert waited < 3 and time.monotonic() - began - waited < 1, "those who wait already are not joined by others"
    assert start_time(4_000_002) == 7
    for name in ("stat", "environ"):
        pipe = tmp_path / "4000001" / name
        pipe.rename(tmp_path / name)
        pipe.write_bytes(b"4000001 (x) S 1 " + b"7 " * 48)
        os.close(os.open(tmp_path / name, os.O_WRONLY))  # the end of those who wait
    wait_until(lambda: not any(thread.is_alive() for thread in processes._unanswered.values()), "the answers")
    assert is_running(4_000_001, 7) and set(processes.all_stat_fields()) == {4_000_001, 4_000_002}


def test_what_goes_wrong_is_told_as_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "PROC", tmp_path)
    with pytest.raises(FileNotFoundError):
        processes.read(4_000_003, "stat")
    assert start_time(4_000_003) is None and environment_value(4_000_003, "X") is None
