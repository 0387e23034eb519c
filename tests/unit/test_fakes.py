"""tests.unit.fakes: they are where nothing gets past them, and say what was asked of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jupyterhub4family.common import paths
from jupyterhub4family.common.paths import STATE
from jupyterhub4family.common.state import upgrade
from jupyterhub4family.common.system import programs
from jupyterhub4family.common.system.programs import Finished, ProgramError, as_account, call_json, run, run_attached
from tests.unit.fakes import Call, FakePrograms


def test_it_works_however_a_module_imports_run(programs_run: FakePrograms) -> None:
    programs_run.answer("useradd", "done\n")
    assert run(["/usr/sbin/useradd", Path("/x")], environment={"A": "1"}, text_input="secret").output == "done\n"
    assert programs.run(["/usr/sbin/useradd"], directory="/tmp", timeout=5, dies_with_us=True).status == 0
    assert programs_run.calls == [
        Call(["/usr/sbin/useradd", "/x"], "secret", {"A": "1"}, "/", 60, False),
        Call(["/usr/sbin/useradd"], "", {}, "/tmp", 5, True),
    ]


def test_what_nobody_expects_fails_the_test(programs_run: FakePrograms) -> None:
    programs_run.answer("useradd")
    with pytest.raises(pytest.fail.Exception, match="/usr/sbin/userdel anna"):
        run(["/usr/sbin/userdel", "anna"], check=False)


def test_a_status_is_an_error_as_with_a_real_program(programs_run: FakePrograms) -> None:
    programs_run.answer("userdel", Finished(6, "", "no such user\n"))
    with pytest.raises(ProgramError, match="userdel ended with status 6: no such user"):
        run(["/usr/sbin/userdel", "anna"])
    assert run(["/usr/sbin/userdel", "anna"], check=False).status == 6
    programs_run.answer("userdel", ProgramError("too long"))
    with pytest.raises(ProgramError, match="too long"):
        run(["/usr/sbin/userdel", "anna"], check=False)


def test_json_programs_are_asked_and_tell_their_progress(programs_run: FakePrograms) -> None:
    def decide(call: Call) -> dict[str, object]:
        call.progress(50, "half of it")
        return {"ok": True, "asked": call.request}

    programs_run.answer("door", decide)
    seen: list[tuple[int, str]] = []
    answer = call_json(["/x/door"], {"a": 1}, on_progress=lambda percent, text: seen.append((percent, text)))
    assert answer == {"ok": True, "asked": {"a": 1}} and seen == [(50, "half of it")]
    assert json.loads(programs_run.calls[0].stdin or "") == {"a": 1}
    programs_run.answer("door", "")
    with pytest.raises(ProgramError, match="gave no answer"):
        call_json(["/x/door"], {})


def test_what_is_shown_is_shown(programs_run: FakePrograms, capsys: pytest.CaptureFixture[str]) -> None:
    programs_run.answer("journalctl", Finished(3, "a line\n", ""))
    assert run_attached(["/usr/bin/journalctl"]) == 3
    assert capsys.readouterr().out == "a line\n" and programs_run.calls[0].stdin is None


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
    assert run([*before, "/x/program", "-a", "b"]).output == "yes"
    assert programs_run.calls[0].program == ["/x/program", "-a", "b"]


def test_ctrl_c_signals_no_process_of_the_machine(programs_run: FakePrograms) -> None:
    programs_run.answer("program", KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        call_json([*as_account("anna"), "/x/program"], {})


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
