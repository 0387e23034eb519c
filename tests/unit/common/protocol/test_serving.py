"""common.protocol.serving: who may not is refused before anything is read, and whatever happens there is an answer."""

from __future__ import annotations

import errno
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Optional

import pytest

from jupyterhub4family.common import records
from jupyterhub4family.common.errors import ExitStatus, PermissionRefused, RefusedError
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.protocol import serving
from jupyterhub4family.common.protocol.actions import Action, Nothing, Program
from tests.unit.helpers import PYTHON, must_not_be_called, with_our_package


@records.dataclass(frozen=True)
class Question:
    """A text."""

    text: str
    times: int = 1


@records.dataclass(frozen=True)
class Reply:
    """The text again, and who has asked."""

    text: str
    caller: str = ""
    note: Optional[str] = None


DOOR = Program("door", "no.module")
REPEAT: Action[Question, Reply] = Action(DOOR, "repeat", Question, Reply)
REST: Action[Nothing, Nothing] = Action(DOOR, "rest", Nothing, Nothing)
ONLY: Action[Question, Reply] = Action(DOOR, "", Question, Reply)


def repeat(caller: str, request: Question) -> Reply:
    return Reply(request.text * request.times, caller)


def rest(_caller: str, _request: Nothing) -> Nothing:
    return Nothing()


HANDLERS = [serving.on(REPEAT, repeat), serving.on(REST, rest)]


class Served:
    """Serves requests, and keeps what was answered."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def ask(
        self,
        request: Any,
        *,
        admit: Callable[[], str] = lambda: "anna",
        handlers: Any = HANDLERS,
        always_end_with_0: bool = False,
    ) -> tuple[int, list[dict[str, Any]]]:
        """The exit status, and all lines."""
        data = request if isinstance(request, bytes) else json.dumps(request).encode()
        self._monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        if always_end_with_0:
            program = records.replace(DOOR, always_ends_with_0=True)
            handlers = [serving.on(records.replace(one.action, program=program), one.function) for one in handlers]
        status = serving.serve(admit, handlers)
        return status, [json.loads(line) for line in self._capsys.readouterr().out.splitlines()]

    def raising(self, error: BaseException) -> tuple[int, dict[str, Any]]:
        """The exit status and the answer of an action that raises that."""

        def fail(_caller: str, _request: Question) -> Reply:
            raise error

        status, (answer,) = self.ask({"text": "x"}, handlers=[serving.on(ONLY, fail)])
        return status, answer


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Served:
    return Served(monkeypatch, capsys)


def test_the_action_gets_who_calls_and_the_request(served: Served) -> None:
    assert served.ask({"action": "repeat", "text": "a", "times": 3}) == (
        0,
        [{"ok": True, "text": "aaa", "caller": "anna"}],
    )
    assert served.ask({"action": "rest"}) == (0, [{"ok": True}])


def test_a_program_that_does_one_thing_needs_no_name_for_it(served: Served) -> None:
    handlers = [serving.on(ONLY, repeat)]
    assert served.ask({"text": "a"}, handlers=handlers) == (0, [{"ok": True, "text": "a", "caller": "anna"}])
    status, (answer,) = served.ask({"action": "repeat", "text": "a"}, handlers=handlers)
    assert status == 2 and "unknown key 'action'" in json.dumps(answer)


def test_who_may_not_is_refused_before_anything_is_read(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def admit() -> str:
        raise PermissionRefused(_("only the hub may"), _("ask it"))

    monkeypatch.setattr(sys, "stdin", None)
    handlers = [serving.on(REPEAT, must_not_be_called)]
    assert serving.serve(admit, handlers) == 4
    answer = json.loads(capsys.readouterr().out)
    assert (answer["ok"], answer["status"]) == (False, 4)
    assert (answer["error"]["id"], answer["hint"]["id"]) == ("only the hub may", "ask it")


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({}, "must be one of repeat, rest"),
        ({"text": "a"}, "must be one of repeat, rest"),
        ({"action": ""}, "must be one of repeat, rest"),
        ({"action": "REPEAT", "text": "a"}, "must be one of repeat, rest"),
        ({"action": "repeat ", "text": "a"}, "must be one of repeat, rest"),
        ({"action": ["repeat"], "text": "a"}, "must be one of repeat, rest"),
        ({"action": None}, "must be one of repeat, rest"),
        ({"action": "repeat"}, "'text' is missing"),
        ({"action": "repeat", "text": 1}, "'text' must be of type str"),
        ({"action": "repeat", "text": "a", "times": True}, "'times' must be of type int"),
        ({"action": "repeat", "text": "a", "shell": "sh"}, "unknown key 'shell'"),
        ({"action": "rest", "text": "a"}, "unknown key 'text'"),
        (b"", "not a JSON object"),
        (b"[]", "not a JSON object"),
        (b'{"action": "rest", "action": "repeat"}', "not a JSON object"),
        (b" " * 300_000, "longer than"),
    ],
)
def test_requests_that_are_off_reach_no_action(served: Served, request_: Any, message: str) -> None:
    handlers = [serving.on(REPEAT, must_not_be_called), serving.on(REST, must_not_be_called)]
    status, (answer,) = served.ask(request_, handlers=handlers)
    assert status == 2 == answer["status"] and answer["ok"] is False
    assert message in answer["error"]["text"]


def test_a_refusal_keeps_its_sentence_hint_and_status(served: Served) -> None:
    status, answer = served.raising(RefusedError("no", "ask"))
    assert status == 3 and answer == {"ok": False, "error": "no", "hint": "ask", "status": 3}


@pytest.mark.parametrize(
    ("error", "message", "status"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "/x/file"), "/x/file: Permission denied", 1),
        (OSError(errno.ENOSPC, "No space left on device", "/x/file"), "/x/file: No space left on device", 10),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "/x"), "/x: Disk quota exceeded", 10),
        (OSError(errno.ENOSPC, "No space left on device"), "the system: No space left on device", 10),
        (OSError("odd"), "the system: odd", 1),
    ],
)
def test_what_the_kernel_refuses_becomes_a_sentence(served: Served, error: OSError, message: str, status: int) -> None:
    got, answer = served.raising(error)
    assert got == status == answer["status"] and answer["ok"] is False
    assert answer["error"]["text"] == message


def test_the_same_without_a_request(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert serving.answer(lambda: Reply((tmp_path / "none").read_text())) == 1
    assert json.loads(capsys.readouterr().out)["error"]["text"] == f"{tmp_path}/none: No such file or directory"
    assert serving.answer(lambda: Reply("a", note="n")) == 0
    assert json.loads(capsys.readouterr().out) == {"ok": True, "text": "a", "caller": "", "note": "n"}


def test_a_fault_of_ours_is_no_refusal(served: Served) -> None:
    with pytest.raises(ZeroDivisionError):
        served.raising(ZeroDivisionError())


@pytest.mark.parametrize("request_", [{"action": "rest"}, {"action": "none"}, b"["])
def test_some_always_end_with_0(served: Served, request_: Any) -> None:
    reported, (answer,) = served.ask(request_)
    status, lines = served.ask(request_, always_end_with_0=True)
    assert status == 0 and lines == [answer] and answer["ok"] is (reported == 0)


def test_also_when_nobody_is_let_in(served: Served) -> None:
    def admit() -> str:
        raise PermissionRefused("no")

    status, (answer,) = served.ask({}, admit=admit, always_end_with_0=True)
    assert status == 0 and answer["status"] == ExitStatus.PERMISSION


def test_progress_comes_before_the_answer(served: Served) -> None:
    def work(_caller: str, _request: Question) -> Reply:
        serving.report(10, _("{name} is a member", name="anna"))
        serving.report(90, "plain")
        return Reply("done")

    status, lines = served.ask({"text": "x"}, handlers=[serving.on(ONLY, work)])
    assert status == 0 and [line.get("percent") for line in lines] == [10, 90, None]
    assert lines[0]["message"]["values"] == {"name": "anna"} and lines[1]["message"] == "plain"
    assert lines[2]["text"] == "done"


def test_what_has_begun_goes_on_when_nobody_listens_any_more(tmp_path: Path) -> None:
    code = f"""
        import pathlib, time
        from jupyterhub4family.common.protocol import serving
        from jupyterhub4family.common.protocol.actions import Nothing

        def work():
            serving.report(1, "begun")
            while not pathlib.Path({str(tmp_path / "gone")!r}).exists():
                time.sleep(0.01)
            for percent in range(2, 50):
                serving.report(percent, "x" * 1000)
            pathlib.Path({str(tmp_path / "done")!r}).touch()
            return Nothing()

        serving.answer(work)
        """
    process = subprocess.Popen(
        [*PYTHON, "-c", with_our_package(code)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    with process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline()) == {"percent": 1, "message": "begun"}
        process.stdout.close()
        (tmp_path / "gone").touch()
        process.wait(20)
    assert (tmp_path / "done").exists()


@pytest.mark.parametrize("stdout", ["1</dev/null", "1>/dev/full"])
def test_a_stdout_that_takes_nothing_stops_no_work_and_is_said_on_stderr(tmp_path: Path, stdout: str) -> None:
    """Not for writing, as sudo makes of a closed one, or full: both are the caller's doing."""
    code = f"""
        import pathlib, sys
        from jupyterhub4family.common.errors import run_program
        from jupyterhub4family.common.protocol import serving
        from jupyterhub4family.common.protocol.actions import Nothing

        def work():
            serving.report(5, "x")
            pathlib.Path({str(tmp_path / "done")!r}).touch()
            return Nothing()

        sys.exit(run_program(lambda: serving.answer(work)))
        """
    shell = f'exec "$@" {stdout}'
    args = ["/bin/sh", "-c", shell, "sh", *PYTHON, "-c", with_our_package(code)]
    done = subprocess.run(args, capture_output=True, encoding="utf-8", timeout=20, check=False)
    assert (tmp_path / "done").exists() and done.returncode in (1, 10), done
    assert done.stderr.startswith("jupyterhub4family: ") and "Traceback" not in done.stderr, done
