"""common.programs: the one place that runs other programs."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Optional

import pytest

from jupyterhub4family.common.system import programs
from jupyterhub4family.common.system.processes import start_time
from jupyterhub4family.common.system.programs import (
    Arg,
    ProgramError,
    as_account,
    last_lines,
    run,
    run_attached,
    stream,
)
from tests.unit.helpers import wait_until, write_program

SECRET = "correct horse battery staple"


def test_output_errors_and_status() -> None:
    done = run(["/bin/sh", "-c", "echo out; echo err >&2; exit 3"], check=False)
    assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\n")


def test_words_are_words_and_no_shell_sees_them() -> None:
    args = ["$(reboot)", "a b", "*", ";", "-n", "ä", ""]
    assert run(["/usr/bin/printf", "%s|", *args]).stdout == "".join(f"{word}|" for word in args)


def test_paths_are_words(tmp_path: Path) -> None:
    program = write_program(tmp_path / "a program", "import sys; print(sys.argv[1])")
    assert run([program, tmp_path]).stdout == f"{tmp_path}\n"


def test_nothing_of_our_environment_is_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", "/tmp/bad")
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    lines = run(["/usr/bin/env"], environment={"EXTRA": "1"}).stdout.split()
    assert sorted(lines) == ["EXTRA=1", "LC_ALL=C.UTF-8", f"PATH={programs.SAFE_PATH}"]


def test_programs_run_in_the_root_folder_unless_told_otherwise(tmp_path: Path) -> None:
    assert run(["/bin/pwd"]).stdout == "/\n"
    assert run(["/bin/pwd"], directory=tmp_path).stdout == f"{tmp_path}\n"


def test_a_program_without_input_does_not_wait_for_any() -> None:
    assert run(["/bin/cat"]).stdout == ""
    assert run(["/bin/cat"], text_input="Grüße").stdout == "Grüße"


def test_a_program_that_does_not_read_its_input_is_no_error() -> None:
    assert run(["/bin/true"], text_input="x" * 1_000_000).returncode == 0


def test_odd_bytes_are_no_traceback() -> None:
    assert run(["/usr/bin/printf", r"\377ok"]).stdout == "\ufffdok"


def test_a_missing_program_is_told() -> None:
    with pytest.raises(ProgramError, match="no-such could not be started: No such file or directory"):
        run(["/nowhere/no-such"])


def test_a_program_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello", "utf-8")
    with pytest.raises(ProgramError, match="text could not be started: Permission denied"):
        run([tmp_path / "text"])


def test_a_program_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    begin = time.monotonic()
    with pytest.raises(ProgramError, match=r"sh did not end within 0\.3 seconds"):
        run(["/bin/sh", "-c", f"echo $$ > {pid_file}; exec sleep 60"], timeout=0.3)
    assert time.monotonic() - begin < 5
    assert not Path(f"/proc/{pid_file.read_text('ascii').strip()}").exists()


def test_a_failure_says_the_last_lines_of_stderr() -> None:
    script = "echo nothing to see; for i in $(seq 1 20); do echo line $i >&2; echo >&2; done; exit 4"
    with pytest.raises(ProgramError) as caught:
        run(["/bin/sh", "-c", script])
    output = "\n".join(f"line {number}" for number in range(13, 21))
    assert caught.value.message == f"sh ended with status 4: {output}"


def test_a_failure_without_stderr_says_the_last_lines_of_stdout() -> None:
    with pytest.raises(ProgramError, match="status 1: only this"):
        run(["/bin/sh", "-c", "echo only this; exit 1"])
    with pytest.raises(ProgramError, match="it printed nothing"):
        run(["/bin/false"])


def test_a_signal_is_a_failure_too() -> None:
    with pytest.raises(ProgramError, match="status -9"):
        run(["/bin/sh", "-c", "kill -9 $$"])


@pytest.mark.parametrize(
    ("script", "timeout"), [("cat >/dev/null; exit 1", 10.0), ("cat >/dev/null; exec sleep 60", 0.3)]
)
def test_what_went_in_on_stdin_is_in_no_error(script: str, timeout: float) -> None:
    with pytest.raises(ProgramError) as caught:
        run(["/bin/sh", "-c", script], text_input=SECRET, timeout=timeout)
    error: BaseException | None = caught.value
    while error is not None:
        assert SECRET not in str(error) + repr(error) + repr(vars(error))
        error = error.__cause__ or error.__context__


def test_what_went_in_on_stdin_is_in_no_process_list(tmp_path: Path) -> None:
    program = write_program(
        tmp_path / "look",
        """
        import os, sys
        own = open("/proc/self/cmdline", "rb").read() + open("/proc/self/environ", "rb").read()
        print(sys.stdin.read() in own.decode())
        """,
    )
    assert run([program], text_input=SECRET).stdout == "False\n"


def test_no_descriptor_of_ours_reaches_the_program() -> None:
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    try:
        assert str(writer) not in run(["/bin/ls", "/proc/self/fd"]).stdout.split()
    finally:
        os.close(reader)
        os.close(writer)


@pytest.mark.parametrize(
    ("text", "count", "wanted"),
    [("", 3, ""), ("\n \n", 3, ""), ("a\n\nb\n", 3, "a\nb"), ("a\nb\nc", 2, "b\nc"), ("a", 1, "a")],
)
def test_last_lines(text: str, count: int, wanted: str) -> None:
    assert last_lines(text, count) == wanted


# -- a program that is listened to while it runs ----------------------------------------------------


class Listener:
    """What a program has written, as it came."""

    def __init__(self) -> None:
        self.stdout, self.stderr = bytearray(), bytearray()

    def run(self, *args: Arg, text_input: str = "", timeout: Optional[float] = 20.0) -> int:
        return stream(
            args, text_input=text_input, timeout=timeout, on_stdout=self.stdout.extend, on_stderr=self.stderr.extend
        )


def test_both_ends_and_the_status_are_passed_on() -> None:
    listener = Listener()
    assert listener.run("/bin/sh", "-c", "echo out; printf '\\377' >&2; exit 3") == 3
    assert (bytes(listener.stdout), bytes(listener.stderr)) == (b"out\n", b"\xff")
    assert listener.run("/bin/sh", "-c", "kill -9 $$") == -9


def test_it_gets_what_any_program_gets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", "/tmp/bad")
    listener = Listener()
    listener.run("/usr/bin/env")
    assert sorted(listener.stdout.decode().split()) == ["LC_ALL=C.UTF-8", f"PATH={programs.SAFE_PATH}"]
    listener = Listener()
    listener.run("/bin/sh", "-c", "pwd; cat", text_input="Grüße")
    assert listener.stdout.decode() == "/\nGrüße"


def test_what_is_written_is_passed_on_at_once(tmp_path: Path) -> None:
    """The program waits until its first line was told."""
    seen = tmp_path / "seen"

    def report(piece: bytes) -> None:
        if b"first" in piece:
            seen.touch()

    script = f"echo first; while [ ! -e {seen} ]; do sleep 0.01; done; exit 7"
    args = ["/bin/sh", "-c", script]
    assert stream(args, text_input="", timeout=20, on_stdout=report, on_stderr=report) == 7


def test_much_in_both_directions_blocks_nobody() -> None:
    listener = Listener()
    much = "x" * 1_000_000
    assert listener.run("/bin/sh", "-c", "tee /dev/stderr", text_input=much) == 0
    assert listener.stdout.decode() == listener.stderr.decode() == much


def test_what_nobody_reads_is_no_error() -> None:
    assert Listener().run("/bin/true", text_input="x" * 1_000_000) == 0


def test_one_that_cannot_be_started_is_told(tmp_path: Path) -> None:
    with pytest.raises(ProgramError, match="no-such could not be started: No such file or directory"):
        Listener().run("/nowhere/no-such")
    (tmp_path / "text").write_text("hello", "utf-8")
    with pytest.raises(ProgramError, match="text could not be started: Permission denied"):
        Listener().run(tmp_path / "text")


@pytest.mark.parametrize("script", ["exec sleep 60", "exec >&- 2>&-; sleep 60", "exec <&- >&- 2>&-; exec sleep 60"])
def test_one_that_takes_too_long_is_ended(tmp_path: Path, script: str) -> None:
    pid_file = tmp_path / "pid"
    begin = time.monotonic()
    with pytest.raises(ProgramError, match=r"sh did not end within 0\.5 seconds"):
        Listener().run("/bin/sh", "-c", f"echo $$ > {pid_file}; {script}", timeout=0.5, text_input="x" * 1_000_000)
    assert time.monotonic() - begin < 10
    assert start_time(int(pid_file.read_text("ascii"))) is None


def test_one_that_does_not_want_to_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "GRACE_PERIOD", 0.2)
    pid_file = tmp_path / "pid"
    with pytest.raises(ProgramError, match="did not end"):
        Listener().run(
            "/bin/sh", "-c", f"trap '' TERM; echo $$ > {pid_file}; while true; do sleep 0.1; done", timeout=0.5
        )
    assert start_time(int(pid_file.read_text("ascii"))) is None


def test_one_that_is_not_ours_to_end_keeps_nobody_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As sudo is, which runs as root; here the kernel's refusal is put in its place."""

    def refuse(_process: object, _number: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(programs, "GRACE_PERIOD", 0.2)
    monkeypatch.setattr(subprocess.Popen, "send_signal", refuse)
    pid_file = tmp_path / "pid"
    begin = time.monotonic()
    with pytest.raises(ProgramError, match="did not end"):
        Listener().run("/bin/sh", "-c", f"echo $$ > {pid_file}; exec sleep 60", timeout=0.5)
    assert time.monotonic() - begin < 10
    pid = int(pid_file.read_text("ascii"))
    assert start_time(pid) is not None
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_one_that_may_be_asked_to_end_can_tidy_up(tmp_path: Path) -> None:
    tidy = tmp_path / "tidy"
    with pytest.raises(ProgramError, match="did not end"):
        Listener().run("/bin/sh", "-c", f"trap 'touch {tidy}; exit 0' TERM; sleep 60 & wait", timeout=0.5)
    assert tidy.exists()


@pytest.mark.parametrize("to", ["", " >&2"])
def test_who_listens_can_break_it_off(tmp_path: Path, to: str) -> None:
    pid_file = tmp_path / "pid"

    def enough(piece: bytes) -> None:
        raise ValueError("enough")

    args = ["/bin/sh", "-c", f"echo $$ > {pid_file}; exec yes{to}"]
    with pytest.raises(ValueError, match="enough"):
        stream(args, text_input="", timeout=None, on_stdout=enough, on_stderr=enough)
    assert start_time(int(pid_file.read_text("ascii"))) is None


def test_what_it_has_started_in_its_session_ends_with_it(tmp_path: Path) -> None:
    def enough(piece: bytes) -> None:
        raise ValueError("enough")

    script = f"sleep 60 & echo $! > {tmp_path / 'pid'}; exec yes"
    with pytest.raises(ValueError):
        stream(
            ["/usr/bin/setsid", "--wait", "/bin/sh", "-c", script],
            text_input="",
            timeout=None,
            on_stdout=enough,
            on_stderr=enough,
        )
    child = int((tmp_path / "pid").read_text("ascii"))
    wait_until(lambda: start_time(child) is None, "the end of what the program has started")


def test_what_went_in_is_in_no_error_of_one_that_is_listened_to() -> None:
    with pytest.raises(ProgramError) as caught:
        Listener().run("/bin/sh", "-c", "cat >/dev/null; exec sleep 60", text_input=SECRET, timeout=0.3)
    error: BaseException | None = caught.value
    while error is not None:
        assert SECRET not in str(error) + repr(error) + repr(vars(error))
        error = error.__cause__ or error.__context__


# -- programs of somebody else on root's terminal ---------------------------------------------------


#: What goes to `stream` beside the words.
NOTHING = "text_input='', timeout=None, on_stdout=print, on_stderr=print"
#: The environment of another interpreter that imports what this one does.
WITH_OUR_PACKAGE = {"PYTHONPATH": os.pathsep.join(sys.path), "PATH": programs.SAFE_PATH}


def test_another_account_gets_a_session_of_its_own() -> None:
    assert as_account("anna") == ["/usr/bin/setsid", "--wait", "/usr/sbin/runuser", "-u", "anna", "--"]
    reported = run(
        ["/usr/bin/setsid", "--wait", "/usr/bin/env", "python3", "-c", "import os; print(os.getsid(0), os.getpid())"]
    )
    assert len(set(reported.stdout.split())) == 1


def test_show_passes_output_and_status_on(capfd: pytest.CaptureFixture[str]) -> None:
    assert run_attached(["/bin/sh", "-c", "echo hello; exit 3"]) == 3
    assert capfd.readouterr().out == "hello\n"
    with pytest.raises(ProgramError, match="no-such could not be started"):
        run_attached(["/nowhere/no-such"])


@pytest.mark.parametrize("call", ["run_attached({args})", "stream({args}, {nothing})"])
def test_ctrl_c_reaches_a_program_with_a_session_of_its_own(tmp_path: Path, call: str) -> None:
    pid_file = tmp_path / "pid"
    program = write_program(
        tmp_path / "program",
        f"import os, time; open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(60)",
    )
    args = repr(["/usr/bin/setsid", "--wait", str(program)])
    called = call.format(args=args, nothing=NOTHING)
    code = f"from jupyterhub4family.common.system.programs import run_attached, stream; {called}"
    # Whoever started the tests may have had this signal ignored, and programs inherit that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    outer = subprocess.Popen(
        [sys.executable, "-c", code],
        env=WITH_OUR_PACKAGE,
        stderr=subprocess.DEVNULL,
    )
    signal.signal(signal.SIGINT, before)
    wait_until(lambda: pid_file.exists() and pid_file.read_text() != "", "the start of the program")
    pid = int(pid_file.read_text())
    assert start_time(pid) is not None
    outer.send_signal(signal.SIGINT)
    outer.wait(20)
    wait_until(lambda: start_time(pid) is None, "the end of the program")


@pytest.mark.parametrize("call", ["run_attached(words)", "stream(words, {nothing})"])
def test_ctrl_c_in_the_midst_of_a_start_leaves_no_program(tmp_path: Path, call: str) -> None:
    pid_file = tmp_path / "pid"
    program = write_program(tmp_path / "program", "import time; time.sleep(60)")
    code = f"""
import os, signal, subprocess
from jupyterhub4family.common.system.programs import run_attached, stream
class Early(subprocess.Popen):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        open({str(pid_file)!r}, "w").write(str(self.pid))
        os.kill(os.getpid(), signal.SIGINT)
signal.signal(signal.SIGINT, signal.default_int_handler)
subprocess.Popen = Early
words = ["/usr/bin/setsid", "--wait", {str(program)!r}]
{call.format(nothing=NOTHING)}
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env=WITH_OUR_PACKAGE, stderr=subprocess.PIPE, text=True, timeout=30, check=False
    )
    assert "KeyboardInterrupt" in done.stderr, done.stderr
    pid = int(pid_file.read_text())
    wait_until(lambda: start_time(pid) is None, "the end of the program")


# -- bounds ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("to", ["", " >&2"])
def test_a_program_that_writes_without_an_end_is_ended(tmp_path: Path, to: str) -> None:
    pid_file = tmp_path / "pid"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ProgramError, match="sh gave an answer that is too long"):
        run(["/bin/sh", "-c", f"echo $$ > {pid_file}; exec yes{to}"], timeout=None)
    assert start_time(int(pid_file.read_text("ascii"))) is None
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024, "kilobytes"


def test_the_bound_of_what_a_program_writes(tmp_path: Path) -> None:
    assert run(["/usr/bin/head", "-c", "1000", "/dev/zero"], maximum=1000).stdout == "\0" * 1000
    with pytest.raises(ProgramError, match="too long"):
        run(["/usr/bin/head", "-c", "1001", "/dev/zero"], maximum=1000)


def test_of_endless_complaints_beginning_and_end_are_kept() -> None:
    script = "echo first >&2; yes | head -c 5000000 >&2; echo last >&2; echo done"
    done = run(["/bin/sh", "-c", script], cut_errors_at=1000)
    assert done.returncode == 0 and done.stdout == "done\n"
    assert len(done.stderr) == 1000 and done.stderr.startswith("first\ny\n") and done.stderr.endswith("y\nlast\n")


def test_what_a_slow_program_has_started_ends_with_it(tmp_path: Path) -> None:
    script = f"sleep 60 & echo $! > {tmp_path / 'pid'}; wait"
    with pytest.raises(ProgramError, match="did not end"):
        run(["/usr/bin/setsid", "--wait", "/bin/sh", "-c", script], timeout=0.5)
    child = int((tmp_path / "pid").read_text("ascii"))
    wait_until(lambda: start_time(child) is None, "the end of what the program has started")


def test_what_a_program_says_of_its_failure_is_printable() -> None:
    with pytest.raises(ProgramError) as caught:
        run(["/usr/bin/printf", r"\033]0;evil\007\n%100000s", "x"], check=False, maximum=10**6) and run(
            ["/bin/sh", "-c", r"printf '\033]0;evil\007 %5000s' x >&2; exit 1"]
        )
    assert "\x1b" not in caught.value.message and len(caught.value.message) < 1200


def test_what_is_shown_goes_through_a_pipe_and_is_printable(capfd: pytest.CaptureFixture[str]) -> None:
    """Whoever has root's terminal open can read from it later what root types."""
    script = r"printf 'Gr\303'; sleep 0.2; printf '\274\303\237e \033[2J\n'; ls -l /proc/self/fd >&2"
    assert run_attached(["/bin/sh", "-c", script]) == 0
    shown = capfd.readouterr()
    assert shown.out == "Grüße \ufffd[2J\n"
    assert all(f" {number} -> pipe:" in shown.err for number in range(3)), shown.err
