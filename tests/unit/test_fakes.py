"""tests.unit.fakes: they are where nothing gets past them, and say what was asked of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jupyterhub4family.common import paths, records
from jupyterhub4family.common.paths import STATE
from jupyterhub4family.common.protocol import calling
from jupyterhub4family.common.protocol.actions import Action, Nothing, Program
from jupyterhub4family.common.protocol.responses import NoAnswer
from jupyterhub4family.common.state import upgrade
from jupyterhub4family.common.system import programs
from jupyterhub4family.common.system.programs import CompletedProcess, ProgramError, as_account, run, run_attached
from tests.unit.fakes import Call, FakePrograms


@records.dataclass(frozen=True)
class Number:
    """What the door is asked, and answers."""

    a: int


DOOR: Action[Number, Number] = Action(Program("door", "no.module"), "count", Number, Number)
REST: Action[Nothing, Nothing] = Action(Program("program", "no.module"), "", Nothing, Nothing, timeout=None)


def test_it_works_however_a_module_imports_run(programs_run: FakePrograms) -> None:
    programs_run.answer("useradd", "done\n")
    assert run(["/usr/sbin/useradd", Path("/x")], environment={"A": "1"}, text_input="secret").stdout == "done\n"
    assert programs.run(["/usr/sbin/useradd"], directory="/tmp", timeout=5, dies_with_us=True).returncode == 0
    assert programs_run.calls == [
        Call(["/usr/sbin/useradd", "/x"], "secret", {"A": "1"}, "/", 60, False),
        Call(["/usr/sbin/useradd"], "", {}, "/tmp", 5, True),
    ]


def test_what_nobody_expects_fails_the_test(programs_run: FakePrograms) -> None:
    programs_run.answer("useradd")
    with pytest.raises(pytest.fail.Exception, match="/usr/sbin/userdel anna"):
        run(["/usr/sbin/userdel", "anna"], check=False)


def test_a_status_is_an_error_as_with_a_real_program(programs_run: FakePrograms) -> None:
    programs_run.answer("userdel", CompletedProcess(6, "", "no such user\n"))
    with pytest.raises(ProgramError, match="userdel ended with status 6: no such user"):
        run(["/usr/sbin/userdel", "anna"])
    assert run(["/usr/sbin/userdel", "anna"], check=False).returncode == 6
    programs_run.answer("userdel", ProgramError("too long"))
    with pytest.raises(ProgramError, match="too long"):
        run(["/usr/sbin/userdel", "anna"], check=False)


def test_doors_are_asked_and_tell_their_progress(programs_run: FakePrograms) -> None:
    def decide(call: Call) -> dict[str, object]:
        call.progress(50, "half of it")
        assert call.request == {"action": "count", "a": 1}
        return {"ok": True, "a": 2}

    programs_run.answer("door", decide)
    seen: list[tuple[int, str]] = []
    answer = calling.call(DOOR, Number(1), on_progress=lambda percent, text: seen.append((percent, text)))
    assert answer == Number(2) and seen == [(50, "half of it")]
    (asked,) = programs_run.calls
    assert json.loads(asked.stdin or "") == {"action": "count", "a": 1}
    assert (asked.args, asked.environment, asked.directory, asked.timeout) == ([str(DOOR.program.path)], {}, "/", 60)
    programs_run.answer("door", "")
    with pytest.raises(NoAnswer, match="gave no answer"):
        calling.call(DOOR, Number(1))
    programs_run.answer("door", CompletedProcess(1, "", "sudo: no\n"))
    with pytest.raises(NoAnswer, match=r"gave no answer \(status 1\): sudo: no"):
        calling.call(DOOR, Number(1))


def test_one_that_fails_is_asked_once(programs_run: FakePrograms) -> None:
    programs_run.answer("door", ProgramError("too long"))
    with pytest.raises(ProgramError, match="too long"):
        calling.call(DOOR, Number(1))
    assert len(programs_run.calls) == 1


def test_what_is_shown_is_shown(programs_run: FakePrograms, capsys: pytest.CaptureFixture[str]) -> None:
    programs_run.answer("journalctl", CompletedProcess(3, "a line\n", ""))
    assert run_attached(["/usr/bin/journalctl"]) == 3
    assert capsys.readouterr().out == "a line\n" and programs_run.calls[0].stdin == ""


@pytest.mark.parametrize(
    "before",
    [
        [],
        as_account("anna"),
        ["/usr/bin/sudo", "-n"],
        ["/usr/bin/sudo", "-nH"],
        ["/usr/bin/setsid", "--wait"],
    ],
)
def test_a_program_is_known_by_its_name_whoever_runs_it(programs_run: FakePrograms, before: list[str]) -> None:
    programs_run.answer("program", "yes")
    assert run([*before, "/x/program", "-a", "b"]).stdout == "yes"
    assert programs_run.calls[0].program == ["/x/program", "-a", "b"]


def test_ctrl_c_signals_no_process_of_the_machine(programs_run: FakePrograms) -> None:
    programs_run.answer("program", KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        calling.call(REST, Nothing(), become=as_account("anna"))
    assert programs_run.calls[0].args == [*as_account("anna"), str(REST.program.path)]


def test_the_folders_are_real_however_a_module_knows_them(machine_root: Path) -> None:
    assert paths.STATE == STATE == machine_root / "var/lib/jupyterhub4family/state" and STATE.is_dir()
    assert upgrade.IN_PROGRESS.parent.is_dir(), "what modules make of them when they are imported, too"
    assert all(directory.is_dir() for directory in paths.SERVICE_DIRECTORIES)
    (STATE / "left").touch()


def test_and_only_for_who_uses_them() -> None:
    assert not STATE.exists()
    with pytest.raises(pytest.fail.Exception, match="a unit test writes to"):
        paths.SERVICE_HOME.mkdir(parents=True)


def test_nothing_is_left_of_the_test_before(machine_root: Path) -> None:
    assert list(STATE.iterdir()) == []
