"""common.protocol.calling: real small programs are asked; whatever they do, there is an answer or an error in time."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from jupyterhub4family.common import paths, records
from jupyterhub4family.common.errors import ExitStatus, FamilyError
from jupyterhub4family.common.i18n.messages import Message
from jupyterhub4family.common.protocol.actions import Action, Program
from jupyterhub4family.common.protocol.calling import call
from jupyterhub4family.common.protocol.responses import Bounds, NoAnswer, ResponseError
from jupyterhub4family.common.system import programs
from jupyterhub4family.common.system.processes import start_time
from jupyterhub4family.common.system.programs import ProgramError
from tests.unit.helpers import wait_until, write_program


@records.dataclass(frozen=True)
class Question:
    """A text, and where to leave something."""

    text: str = ""
    place: str = ""


@records.dataclass(frozen=True)
class Reply:
    """What a test wants to know."""

    text: str
    names: list[str] = records.field(default_factory=list)


#: Alone in a session, as with another account.
IN_A_SESSION = ["/usr/bin/setsid", "--wait"]


class Door:
    """A program in a folder of the test."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory = directory
        monkeypatch.setattr(paths, "LIBRARY", directory)

    def does(self, text: str, *, interpreter: str = "", **more: Any) -> Action[Question, Reply]:
        """An action of a program that is this text."""
        write_program(self.directory / "door", text, **({"interpreter": interpreter} if interpreter else {}))
        return self.action(**more)

    def action(self, **more: Any) -> Action[Question, Reply]:
        """The action, whether the program is there or not."""
        more.setdefault("timeout", 20)
        return Action(Program("door", "no.module"), "ask", Question, Reply, **more)

    def pid(self, name: str = "pid") -> int:
        """What the program has written into this file."""
        return int((self.directory / name).read_text("ascii"))


@pytest.fixture
def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Door:
    return Door(tmp_path, monkeypatch)


def test_a_question_and_its_answer(door: Door) -> None:
    action = door.does(
        """
        import json, os, sys
        request = json.load(sys.stdin)
        assert os.getcwd() == "/" and sorted(os.environ) == ["LC_ALL", "PATH"], dict(os.environ)
        print(json.dumps({"ok": True, "text": request["text"], "names": [*sorted(request), *sys.argv[1:]], "new": 1}))
        """
    )
    assert call(action, Question("Grüße")) == Reply("Grüße", ["action", "place", "text"])
    assert call(action.with_args("--anew"), Question("x")).names[-1] == "--anew"
    assert call(action, Question("x"), become=IN_A_SESSION) == Reply("x", ["action", "place", "text"])


def test_progress_is_told_at_once_and_the_answer_is_the_last_object(door: Door) -> None:
    action = door.does(
        """
        import json, pathlib, sys, time
        request = json.load(sys.stdin)
        print('{"percent": 10, "message": "first"}', flush=True)
        seen = pathlib.Path(request["place"])
        while not seen.exists():  # made when the first line was told
            time.sleep(0.01)
        print("no JSON"); print("[]"); print('{"ok": false}')
        print('{"percent": 190}')
        print('{"ok": true, "text": "done"}')
        """
    )
    reported: list[tuple[int, str]] = []

    def report(percent: int, message: str) -> None:
        reported.append((percent, message))
        (door.directory / "seen").touch()

    assert call(action, Question(place=str(door.directory / "seen")), on_progress=report) == Reply("done")
    assert reported == [(10, "first"), (100, "")]


def test_progress_that_is_none_is_passed_over(door: Door) -> None:
    action = door.does(
        r"""
        for percent in ('"many"', "null", "[]", "1.5", "{}", "true"):
            print('{"percent": %s, "message": 1}' % percent)
        print('{"ok": true, "text": ""}')
        """
    )
    reported: list[int] = []
    assert call(action, Question(), on_progress=lambda number, _message: reported.append(number)) == Reply("")
    assert reported == []


@pytest.mark.parametrize("become", [[], IN_A_SESSION])
def test_a_refusal_keeps_its_sentence_hint_and_status(door: Door, become: list[str]) -> None:
    action = door.does(
        """
        import json, sys
        message = {"text": "anna is no member", "id": "{name} is not a member", "values": {"name": "anna"}}
        print(json.dumps({"ok": False, "error": message, "hint": "add her", "status": 3}))
        sys.exit(3)
        """
    )
    with pytest.raises(FamilyError) as caught:
        call(action, Question(), become=become)
    error = caught.value
    assert (error.message, error.hint, error.status) == ("anna is not a member", "add her", ExitStatus.REFUSED)
    assert isinstance(error.message, Message) and error.message.values == {"name": "anna"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "print('no JSON')",
        "print('[]')",
        "print('[' * 60_000)",
        """print('{"percent": 1}')""",
        "import sys; sys.exit(3)",
    ],
)
def test_no_answer_is_an_error(door: Door, text: str) -> None:
    with pytest.raises(NoAnswer, match=r"door gave no answer \(status [03]\)"):
        call(door.does(text), Question())


def test_what_it_said_instead_is_told(door: Door) -> None:
    action = door.does("import sys; sys.stderr.write('sudo: a password is required\\n'); sys.exit(1)")
    with pytest.raises(NoAnswer, match=r"door gave no answer \(status 1\): sudo: a password is required"):
        call(action, Question())


@pytest.mark.parametrize(
    "answer", ["{}", '{"text": 5}', '{"text": null}', '{"names": []}', '{"text": "", "names": [1]}']
)
def test_an_answer_that_makes_no_sense_is_an_error(door: Door, answer: str) -> None:
    action = door.does(f"import json; print(json.dumps(dict(json.loads({answer!r}), ok=True)))")
    with pytest.raises(ResponseError, match="door gave an answer that makes no sense") as caught:
        call(action, Question())
    assert not isinstance(caught.value, NoAnswer)


def test_a_door_that_is_missing_is_told(door: Door) -> None:
    with pytest.raises(ProgramError, match="door could not be started: No such file or directory"):
        call(door.action(), Question())


def test_a_door_that_does_not_read_its_request_may_still_answer(door: Door) -> None:
    big = Question("x" * 1_000_000)
    closes = door.does("""import os; os.close(0); print('{"ok": true, "text": "done"}')""")
    assert call(closes, big) == Reply("done")
    ignores = door.does("""print('{"ok": true, "text": "done"}')""")
    assert call(ignores, big) == Reply("done")
    refuses = door.does("""print('{"ok": false, "error": "no"}')""")
    with pytest.raises(FamilyError, match=r"^no$"):
        call(refuses, big)


def test_one_that_never_reads_a_big_request_blocks_nobody_for_ever(door: Door) -> None:
    action = door.does(f"echo $$ > {door.directory / 'pid'}; exec sleep 60", interpreter="/bin/sh", timeout=0.5)
    begin = time.monotonic()
    with pytest.raises(ProgramError, match=r"door did not end within 0\.5 seconds"):
        call(action, Question("x" * 1_000_000))
    assert time.monotonic() - begin < 10 and start_time(door.pid()) is None


@pytest.mark.parametrize("become", [[], IN_A_SESSION])
@pytest.mark.parametrize(
    "flood",
    [
        "exec yes | tr -d '\\n'",
        "exec yes",
        "exec yes '{\"percent\": 1}'",
        "exec yes >&2",
        "exec cat /dev/zero",
    ],
    ids=["one line", "many lines", "progress", "stderr", "zeros"],
)
def test_one_that_floods_is_ended_and_does_not_outlive_the_call(door: Door, become: list[str], flood: str) -> None:
    action = door.does(f"echo $$ > {door.directory / 'pid'}\n{flood}\n", interpreter="/bin/sh", timeout=None)
    with pytest.raises(ResponseError, match="door gave an answer that is too long"):
        call(action, Question(), become=become)
    wait_until(lambda: start_time(door.pid()) is None, "the end of the program")


def test_one_that_does_not_want_to_end_is_killed(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "GRACE_PERIOD", 0.2)
    action = door.does(
        f"""
        import os, signal, sys, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        open({str(door.directory / "pid")!r}, "w").write(str(os.getpid()))
        while True:
            try:
                os.write(1, b"x" * 10_000)
            except OSError:
                time.sleep(0.01)
        """,
        timeout=None,
    )
    with pytest.raises(ResponseError, match="too long"):
        call(action, Question())
    assert start_time(door.pid()) is None


def test_bounds_are_the_actions_own(door: Door) -> None:
    text = """print('{"ok": true, "text": "%s"}' % ("x" * 100_000))"""
    with pytest.raises(ResponseError, match="too long"):
        call(door.does(text), Question())
    assert len(call(door.does(text, bounds=Bounds(line=200_000)), Question()).text) == 100_000


@pytest.mark.parametrize("become", [[], IN_A_SESSION])
def test_one_that_takes_too_long_is_ended(door: Door, become: list[str]) -> None:
    action = door.does(
        f"""
        echo $$ > {door.directory / "pid"}
        echo '{{"percent": 5}}'
        sleep 60 & echo $! > {door.directory / "child"}
        wait
        """,
        interpreter="/bin/sh",
        timeout=1.5,
    )
    begin = time.monotonic()
    with pytest.raises(ProgramError, match=r"door did not end within 1\.5 seconds"):
        call(action, Question(), become=become)
    assert time.monotonic() - begin < 10
    wait_until(lambda: start_time(door.pid()) is None, "the end of the program")
    if become:
        wait_until(lambda: start_time(door.pid("child")) is None, "the end of what it had started")


def test_an_answer_that_comes_too_late_is_none(door: Door) -> None:
    action = door.does(
        """
        echo '{"ok": true, "text": "done"}'
        exec sleep 60
        """,
        interpreter="/bin/sh",
        timeout=0.5,
    )
    with pytest.raises(ProgramError, match="did not end within"):
        call(action, Question())


def test_who_listens_to_progress_can_break_it_off(door: Door) -> None:
    def report(_percent: int, _message: str) -> None:
        raise KeyError("enough")

    action = door.does(
        f"""
        echo $$ > {door.directory / "pid"}
        echo '{{"percent": 5}}'
        exec sleep 60
        """,
        interpreter="/bin/sh",
        timeout=None,
    )
    with pytest.raises(KeyError, match="enough"):
        call(action, Question(), on_progress=report)
    assert start_time(door.pid()) is None
