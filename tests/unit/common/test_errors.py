"""common.errors: a person gets a sentence and an exit status, never a traceback."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest

from jupyterhub4family.common import errors
from jupyterhub4family.common.errors import ExitStatus, FamilyError, run_program
from tests.unit.helpers import PYTHON, TIMEOUT, run_python, with_our_package


def kinds_of_errors() -> list[type[FamilyError]]:
    found = [value for value in vars(errors).values() if isinstance(value, type)]
    return [kind for kind in found if issubclass(kind, FamilyError)]


def test_a_program_that_works_keeps_its_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program(lambda: 0) == 0
    assert run_program(lambda: 6) == 6
    assert run_program(lambda: ExitStatus.NETWORK) == 7
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("kind", kinds_of_errors())
def test_an_error_is_said_with_what_to_try_next(kind: type[FamilyError], capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> int:
        raise kind("it is raining", "take an umbrella")

    assert run_program(main) == kind.status != 0
    assert capsys.readouterr().err == "jupyterhub4family: it is raining\nTry: take an umbrella\n"


def test_without_a_hint_nothing_is_tried() -> None:
    assert str(FamilyError("it is raining")) == "it is raining"


def test_one_error_may_have_a_status_of_its_own() -> None:
    assert FamilyError("full", status=ExitStatus.DISK_FULL).status == 10
    assert FamilyError("other").status == 1


def test_control_c_is_no_traceback() -> None:
    def main() -> int:
        raise KeyboardInterrupt

    assert run_program(main) == 130


def test_a_reader_that_has_gone_is_no_traceback() -> None:
    code = """
    from jupyterhub4family.common.errors import run_program
    def main():
        while True:
            print("line", flush=True)
    sys.exit(run_program(main))
    """
    process = subprocess.Popen([*PYTHON, "-c", with_our_package(code)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout and process.stderr
    process.stdout.readline()
    process.stdout.close()
    assert b"Traceback" not in process.stderr.read()
    process.stderr.close()
    assert process.wait(TIMEOUT) == 141


def test_what_is_no_familys_error_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with pytest.raises(ZeroDivisionError):
        run_program(lambda: 1 // 0)


def test_a_locale_that_lacks_a_character_is_no_traceback() -> None:
    done = run_python("""
        import io
        from jupyterhub4family.common.errors import run_program
        sys.stdout = io.TextIOWrapper(sys.stdout.buffer, encoding="iso8859-1")
        sys.exit(run_program(lambda: print("Geht \u2026 gut") or 0))
    """)
    assert (done.returncode, done.stdout, done.stderr) == (0, "Geht ? gut\n", "")


@pytest.mark.parametrize(
    ("main", "status", "out", "err"),
    [
        ("lambda: print('done') or 0", 0, "done\n", ""),
        ("lambda: sys.stdout.write('no end of a line') and 7", 7, "no end of a line", ""),
        ("fail", 3, "before\n", "jupyterhub4family: not so\nTry: so\n"),
        ("lambda: sys.exit(2)", 2, "", ""),
    ],
)
def test_what_ends_at_once_has_said_everything(main: str, status: int, out: str, err: str) -> None:
    done = run_python(f"""
        from jupyterhub4family.common.errors import RefusedError, run_and_end
        def fail():
            print("before")
            raise RefusedError("not so", "so")
        run_and_end({main})
    """)
    assert (done.returncode, done.stdout, done.stderr) == (status, out, err)


def test_what_ends_at_once_does_not_hide_what_is_no_familys_error() -> None:
    done = run_python("""
        from jupyterhub4family.common.errors import run_and_end
        run_and_end(lambda: 1 // 0)
    """)
    assert done.returncode == 1 and "ZeroDivisionError" in done.stderr


def test_python_is_not_waited_for() -> None:
    done = run_python("""
        import atexit
        from jupyterhub4family.common.errors import run_and_end
        atexit.register(print, "tidied up")
        run_and_end(lambda: 0)
    """)
    assert (done.returncode, done.stdout) == (0, "")
