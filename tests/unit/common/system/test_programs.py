"""common.programs: the one place that runs other programs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jupyterhub4family.common.system import programs
from jupyterhub4family.common.system.processes import start_time
from jupyterhub4family.common.system.programs import ProgramError, as_account, call_json, last_lines, run, run_attached
from tests.unit.helpers import wait_until, write_program

SECRET = "correct horse battery staple"


def test_output_errors_and_status() -> None:
    done = run(["/bin/sh", "-c", "echo out; echo err >&2; exit 3"], check=False)
    assert (done.status, done.output, done.errors) == (3, "out\n", "err\n")


def test_words_are_words_and_no_shell_sees_them() -> None:
    words = ["$(reboot)", "a b", "*", ";", "-n", "ä", ""]
    assert run(["/usr/bin/printf", "%s|", *words]).output == "".join(f"{word}|" for word in words)


def test_paths_are_words(tmp_path: Path) -> None:
    program = write_program(tmp_path / "a program", "import sys; print(sys.argv[1])")
    assert run([program, tmp_path]).output == f"{tmp_path}\n"


def test_nothing_of_our_environment_is_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", "/tmp/bad")
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    lines = run(["/usr/bin/env"], environment={"EXTRA": "1"}).output.split()
    assert sorted(lines) == ["EXTRA=1", "LC_ALL=C.UTF-8", f"PATH={programs.SAFE_PATH}"]


def test_programs_run_in_the_root_folder_unless_told_otherwise(tmp_path: Path) -> None:
    assert run(["/bin/pwd"]).output == "/\n"
    assert run(["/bin/pwd"], directory=tmp_path).output == f"{tmp_path}\n"


def test_a_program_without_input_does_not_wait_for_any() -> None:
    assert run(["/bin/cat"]).output == ""
    assert run(["/bin/cat"], text_input="Grüße").output == "Grüße"


def test_a_program_that_does_not_read_its_input_is_no_error() -> None:
    assert run(["/bin/true"], text_input="x" * 1_000_000).status == 0


def test_odd_bytes_are_no_traceback() -> None:
    assert run(["/usr/bin/printf", r"\377ok"]).output == "\ufffdok"


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
    said = "\n".join(f"line {number}" for number in range(13, 21))
    assert caught.value.message == f"sh ended with status 4: {said}"


def test_a_failure_without_stderr_says_the_last_lines_of_stdout() -> None:
    with pytest.raises(ProgramError, match="status 1: only this"):
        run(["/bin/sh", "-c", "echo only this; exit 1"])
    with pytest.raises(ProgramError, match="it said nothing"):
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
    assert run([program], text_input=SECRET).output == "False\n"


def test_no_descriptor_of_ours_reaches_the_program() -> None:
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    try:
        assert str(writer) not in run(["/bin/ls", "/proc/self/fd"]).output.split()
    finally:
        os.close(reader)
        os.close(writer)


@pytest.mark.parametrize(
    ("text", "count", "wanted"),
    [("", 3, ""), ("\n \n", 3, ""), ("a\n\nb\n", 3, "a\nb"), ("a\nb\nc", 2, "b\nc"), ("a", 1, "a")],
)
def test_last_lines(text: str, count: int, wanted: str) -> None:
    assert last_lines(text, count) == wanted


# -- a program that speaks JSON lines --------------------------------------------------------------


def test_progress_is_told_at_once_and_the_answer_is_the_last_object(tmp_path: Path) -> None:
    program = write_program(
        tmp_path / "door",
        """
        import json, pathlib, sys, time
        request = json.load(sys.stdin)
        print('{"percent": 10, "message": "first"}', flush=True)
        seen = pathlib.Path(request["seen"])
        while not seen.exists():  # written when the first line was told
            time.sleep(0.01)
        print("no JSON"); print("[]"); print('{"ok": false}')
        print('{"percent": 90}')
        print('{"ok": true}')
        """,
    )
    told: list[tuple[int, str]] = []

    def tell(percent: int, message: str) -> None:
        told.append((percent, message))
        (tmp_path / "seen").touch()

    assert call_json([program], {"seen": str(tmp_path / "seen")}, on_progress=tell) == {"ok": True}
    assert told == [(10, "first"), (90, "")]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "print('no JSON')",
        "print('[]')",
        "print('[' * 200_000)",
        """print('{"percent": 1}')""",
        "import sys; sys.exit(3)",
    ],
)
def test_no_answer_is_an_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(ProgramError, match="door gave no answer"):
        call_json([write_program(tmp_path / "door", text)], {})


def test_a_door_that_does_not_read_its_request_may_still_answer(tmp_path: Path) -> None:
    program = write_program(tmp_path / "door", """import os; os.close(0); print('{"ok": false, "error": "no"}')""")
    assert call_json([program], {"long": "x" * 200_000}) == {"ok": False, "error": "no"}


def test_a_door_that_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(ProgramError, match="door could not be started"):
        call_json([tmp_path / "door"], {})


# -- programs of somebody else on root's terminal ---------------------------------------------------


#: The environment of another interpreter that imports what this one does.
WITH_OUR_PACKAGE = {"PYTHONPATH": os.pathsep.join(sys.path), "PATH": programs.SAFE_PATH}


def test_another_account_gets_a_session_of_its_own() -> None:
    assert as_account("anna") == ["/usr/bin/setsid", "--wait", "/usr/sbin/runuser", "-u", "anna", "--"]
    told = run(
        ["/usr/bin/setsid", "--wait", "/usr/bin/env", "python3", "-c", "import os; print(os.getsid(0), os.getpid())"]
    )
    assert len(set(told.output.split())) == 1


def test_show_passes_output_and_status_on(capfd: pytest.CaptureFixture[str]) -> None:
    assert run_attached(["/bin/sh", "-c", "echo hello; exit 3"]) == 3
    assert capfd.readouterr().out == "hello\n"
    with pytest.raises(ProgramError, match="no-such could not be started"):
        run_attached(["/nowhere/no-such"])


@pytest.mark.parametrize("call", ["run_attached({words})", "call_json({words}, {{}})"])
def test_ctrl_c_reaches_a_program_with_a_session_of_its_own(tmp_path: Path, call: str) -> None:
    pid_file = tmp_path / "pid"
    program = write_program(
        tmp_path / "program",
        f"import os, time; open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(60)",
    )
    words = repr(["/usr/bin/setsid", "--wait", str(program)])
    code = f"from jupyterhub4family.common.system.programs import call_json, run_attached; {call.format(words=words)}"
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


@pytest.mark.parametrize("call", ["run_attached(words)", "call_json(words, {})"])
def test_ctrl_c_in_the_midst_of_a_start_leaves_no_program(tmp_path: Path, call: str) -> None:
    pid_file = tmp_path / "pid"
    program = write_program(tmp_path / "program", "import time; time.sleep(60)")
    code = f"""
import os, signal, subprocess
from jupyterhub4family.common.system.programs import call_json, run_attached
class Early(subprocess.Popen):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        open({str(pid_file)!r}, "w").write(str(self.pid))
        os.kill(os.getpid(), signal.SIGINT)
signal.signal(signal.SIGINT, signal.default_int_handler)
subprocess.Popen = Early
words = ["/usr/bin/setsid", "--wait", {str(program)!r}]
{call}
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env=WITH_OUR_PACKAGE, stderr=subprocess.PIPE, text=True, timeout=30, check=False
    )
    assert "KeyboardInterrupt" in done.stderr, done.stderr
    pid = int(pid_file.read_text())
    wait_until(lambda: start_time(pid) is None, "the end of the program")


@pytest.mark.parametrize("percent", ['"many"', "null", "[]", "1.5", "{}"])
def test_progress_that_is_none_is_passed_over(tmp_path: Path, percent: str) -> None:
    program = write_program(
        tmp_path / "p", f'print(\'{{"percent": {percent}, "message": 1}}\'); print(\'{{"ok": true}}\')'
    )
    told: list[int] = []
    assert call_json([program], {}, on_progress=lambda number, _message: told.append(number)) == {"ok": True}
    assert told == []
