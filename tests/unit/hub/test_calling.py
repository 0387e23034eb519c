"""hub.calling: whatever is behind a door, the hub gets an answer or a sentence, and never waits for ever."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import time
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

import pytest

from jupyterhub4family.common import paths, records
from jupyterhub4family.common.protocol import doors
from jupyterhub4family.common.protocol.actions import Action, Program
from jupyterhub4family.common.protocol.responses import Bounds, ProgressCallback
from jupyterhub4family.common.system.processes import is_running
from jupyterhub4family.hub import calling
from jupyterhub4family.hub.calling import DoorError
from tests.unit.helpers import wait_until, write_program


@records.dataclass(frozen=True)
class Text:
    """A request."""

    text: str = ""


@records.dataclass(frozen=True)
class Got:
    """An answer."""

    got: str = ""
    names: list[str] = records.field(default_factory=list)


def action_of(door: Path, timeout: Optional[float] = 10, bounds: Bounds = doors.PREPARE.bounds) -> Action[Text, Got]:
    """What the program `door` can be asked for."""
    return Action(Program(door.name, "no.module"), "do", Text, Got, timeout=timeout, bounds=bounds)


def opened(
    door: Path,
    text: str = "",
    *,
    given_up: bool = False,
    on_progress: Optional[ProgressCallback] = None,
    **more: Any,
) -> Got:
    """Open the door in an event loop of its own; `given_up`: it will not have ended when the answer is there."""

    async def run() -> Got | DoorError:
        try:
            return await calling.call(action_of(door, **more), Text(text), on_progress=on_progress)
        except DoorError as error:
            return without_trace(error)

    async def run_and_tidy_up() -> Got | DoorError:
        result = await run()
        if given_up:
            # The hub's loop goes on; one that ends here complains of every pipe that is still open.
            gc.collect()
            await asyncio.sleep(0.05)
        return result

    result = asyncio.run(run_and_tidy_up())
    if isinstance(result, DoorError):
        raise result
    return result


def without_trace(error: DoorError) -> DoorError:
    """The error, without the frames that would keep a process and its pipes alive."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


@pytest.fixture
def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(paths, "LIBRARY", tmp_path)
    return tmp_path / "door"


def test_a_request_and_its_answer(door: Path) -> None:
    write_program(
        door,
        """
        import json, sys
        request = json.load(sys.stdin)
        assert list(request) == ["action", "text"] and request["action"] == "do"
        print(json.dumps({"ok": True, "got": request["text"], "of a newer edition": 1}))
        """,
    )
    # What no terminal could show is replaced where it comes in.
    assert opened(door, "ü\n\ud800") == Got("ü\n\ufffd")


def test_progress_is_told_while_the_door_works(door: Path, tmp_path: Path) -> None:
    write_program(
        door,
        """
        import json, pathlib, sys, time
        seen = pathlib.Path(json.load(sys.stdin)["text"])
        print('{"percent": 5, "message": "one"}', flush=True)
        while not seen.exists():
            time.sleep(0.01)
        print('{"percent": 9000}')
        print('{"ok": true, "got": "made"}')
        """,
    )
    reported: list[tuple[int, str]] = []

    def report(percent: int, message: str) -> None:
        reported.append((percent, message))
        (tmp_path / "seen").touch()

    answer = opened(door, str(tmp_path / "seen"), on_progress=report)
    assert answer == Got("made") and reported == [(5, "one"), (100, "")]


def test_progress_that_nobody_wants_is_no_answer(door: Path) -> None:
    write_program(door, """print('{"percent": 5, "ok": true}')""")
    with pytest.raises(DoorError, match="gave no answer"):
        opened(door)


def test_a_refusal_is_raised_with_its_hint(door: Path) -> None:
    write_program(door, """print('{"ok": false, "error": "no member", "hint": "add them"}'); raise SystemExit(3)""")
    with pytest.raises(DoorError, match="no member") as caught:
        opened(door)
    assert caught.value.hint == "add them"


@pytest.mark.parametrize("answer", ["{}", '{"ok": 0}', '{"ok": null}', '{"error": 1}'])
def test_an_answer_without_ok_is_a_refusal(door: Path, answer: str) -> None:
    write_program(door, f"print('''{answer}''')")
    with pytest.raises(DoorError):
        opened(door)


@pytest.mark.parametrize("text", ["", "print('Hello')", "print('[1]')", "print('1')", "print('\\\\xff\\\\x00')"])
def test_no_answer_is_told_with_status_and_the_last_words(door: Path, text: str) -> None:
    write_program(door, f"import sys\n{text}\nprint('sudo: a password is required', file=sys.stderr); sys.exit(9)")
    with pytest.raises(DoorError, match=r"gave no answer \(status 9\): sudo: a password is required"):
        opened(door)


def test_lines_that_are_no_json_are_passed_over(door: Path) -> None:
    write_program(door, """print("Last login: today"); print('{"ok": true}'); print("bye")""")
    assert opened(door) == Got()


def test_a_door_that_takes_too_long_is_asked_to_end(door: Path, tmp_path: Path) -> None:
    write_program(
        door, f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    )
    begin = time.monotonic()
    with pytest.raises(DoorError, match=r"door did not answer within 0\.5 seconds"):
        opened(door, given_up=True, timeout=0.5)
    assert time.monotonic() - begin < 10
    if (tmp_path / "pid").exists():
        pid = int((tmp_path / "pid").read_text("ascii"))
        wait_until(lambda: not is_running(pid, 0), "the end of the door")


def test_a_door_that_never_reads_does_not_block(door: Path) -> None:
    write_program(door, """import os; os.close(0); print('{"ok": true}')""")
    assert opened(door, "x" * 1_000_000) == Got()


def test_a_door_that_reads_nothing_and_says_nothing_is_ended(door: Path) -> None:
    write_program(door, "import time; time.sleep(60)")
    with pytest.raises(DoorError, match="did not answer"):
        opened(door, "x" * 1_000_000, given_up=True, timeout=0.3)


def test_chatter_on_stderr_does_not_block(door: Path) -> None:
    write_program(door, """import sys; sys.stderr.write("x" * 200_000); print('{"ok": true}')""")
    assert opened(door) == Got()


def test_a_line_that_is_too_long_is_an_error_and_no_traceback(door: Path) -> None:
    """A member can make their own mediator say anything."""
    write_program(door, f"""print('{{"ok": true, "x": "' + "x" * {doors.PREPARE.bounds.line} + '"}}')""")
    with pytest.raises(DoorError, match="too long"):
        opened(door, given_up=True)


@pytest.mark.parametrize(
    "flood",
    [
        "os.write(2, b'x' * 65536)",
        "os.write(1, b'x' * 65536)",
        "os.write(1, b'{}' + bytes([10]))",
        """os.write(1, b'{"percent": 1, "message": "' + b'x' * 60000 + b'"}' + bytes([10]))""",
    ],
    ids=["stderr", "a line", "lines", "progress"],
)
def test_a_flood_ends_the_door_and_fills_no_memory(door: Path, tmp_path: Path, flood: str) -> None:
    """400 MB of a member's program once made the hub grow by as much."""
    pid_file = tmp_path / "pid"
    write_program(door, f"import os; open({str(pid_file)!r}, 'w').write(str(os.getpid()))\nwhile True: {flood}")
    tracemalloc.start()
    try:
        with pytest.raises(DoorError, match="too long"):
            opened(door, given_up=True, on_progress=lambda _percent, _message: None)
        # What other threads of this process allocate meanwhile is counted, too: 4.3 MB, once. Usual is half a megabyte;
        # without bounds it is 60 MB and more.
        assert tracemalloc.get_traced_memory()[1] < 16_000_000
    finally:
        tracemalloc.stop()
    pid = int(pid_file.read_text("ascii"))
    wait_until(lambda: not is_running(pid, 0), "the end of the door")


def test_a_door_that_ignores_its_end_holds_nobody_up(door: Path, tmp_path: Path) -> None:
    """Through sudo the hub can only ask it to end; that it no longer reads ends it, as soon as it writes."""
    write_program(
        door,
        f"""
        import os, signal
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        open({str(tmp_path / "pid")!r}, "w").write(str(os.getpid()))
        while True: os.write(2, b"x" * 65536)
        """,
    )
    begin = time.monotonic()
    with pytest.raises(DoorError, match="too long"):
        opened(door, given_up=True)
    assert time.monotonic() - begin < 8
    wait_until(lambda: not is_running(int((tmp_path / "pid").read_text("ascii")), 0), "the end of the door")


@pytest.mark.parametrize("answer", ['{"ok": true, "got": 1}', '{"ok": true, "names": "anna"}'])
def test_an_answer_that_makes_no_sense_is_an_error(door: Path, answer: str) -> None:
    write_program(door, f"print('{answer}')")
    with pytest.raises(DoorError, match="makes no sense"):
        opened(door)


def test_a_door_that_is_missing_is_an_error_and_no_traceback(door: Path) -> None:
    with pytest.raises(DoorError, match="door could not be opened"):
        opened(door)


def test_a_door_that_is_killed_is_an_error(door: Path) -> None:
    write_program(door, f"import os; os.kill(os.getpid(), {int(signal.SIGKILL)})")
    with pytest.raises(DoorError, match=r"status -9"):
        opened(door)


def test_others_go_on_while_a_door_works(door: Path) -> None:
    write_program(door, """import time; time.sleep(0.3); print('{"ok": true}')""")

    async def both() -> list[Got]:
        return await asyncio.gather(*(calling.call(action_of(door), Text()) for _ in range(4)))

    begin = time.monotonic()
    assert asyncio.run(both()) == [Got()] * 4
    assert time.monotonic() - begin < 4 * 0.3 + 2


def test_who_no_longer_wants_the_answer_ends_the_door(door: Path, tmp_path: Path) -> None:
    write_program(
        door, f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    )

    async def give_up() -> None:
        task = asyncio.ensure_future(calling.call(action_of(door, 30), Text()))
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text("ascii"):
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        del task
        pid = int((tmp_path / "pid").read_text("ascii"))
        while is_running(pid, 0):
            await asyncio.sleep(0.01)
        gc.collect()
        await asyncio.sleep(0.05)

    asyncio.run(asyncio.wait_for(give_up(), 15))


def test_nothing_of_the_hubs_environment_goes_through(door: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONFIGPROXY_AUTH_TOKEN", "secret")
    write_program(door, "import json, os; print(json.dumps({'ok': True, 'names': sorted(os.environ)}))")
    assert set(opened(door).names) <= {"PATH", "LC_ALL", "LC_CTYPE"}


@pytest.mark.parametrize(
    ("member", "wanted"),
    [
        (None, ["/usr/bin/sudo", "-nH", "/usr/lib/jupyterhub4family/mediator"]),
        ("anna", ["/usr/bin/sudo", "-nH", "-u", "anna", "/usr/lib/jupyterhub4family/mediator"]),
    ],
)
def test_doors_are_opened_through_sudo_without_arguments(
    monkeypatch: pytest.MonkeyPatch, member: str | None, wanted: list[str]
) -> None:
    started: list[Any] = []

    async def start(args: Sequence[str], exchange: Any) -> Any:
        started.append((list(args), exchange._request))
        raise OSError(2, "No such file or directory")

    monkeypatch.setattr(calling, "_start", start)
    with pytest.raises(DoorError, match="mediator could not be opened"):
        asyncio.run(calling.open_door(doors.PREPARE, doors.Prepare(), member=member))
    assert started == [(wanted, b'{"action": "prepare", "thorough": false}')]


def test_no_descriptor_stays_open(door: Path) -> None:
    write_program(door, """print('{"ok": true}')""")

    async def many() -> tuple[int, int]:
        await calling.call(action_of(door), Text())
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            await calling.call(action_of(door), Text())
        await asyncio.sleep(0.1)
        return before, len(os.listdir("/proc/self/fd"))

    before, after = asyncio.run(many())
    assert after <= before


def test_a_cancellation_in_the_same_turn_as_the_answer_is_not_lost(door: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when the hub stops: whoever waited would go on with its work, and hold the end up."""
    write_program(door, """print('{"ok": true}')""")
    ended: list[asyncio.Future[None]] = []
    real = calling._start

    async def start(args: Sequence[str], exchange: Any) -> Any:
        ended.append(exchange.ended)
        return await real(args, exchange)

    async def work() -> None:
        task = asyncio.ensure_future(calling.call(action_of(door), Text()))
        while not ended:
            await asyncio.sleep(0)
        # The first to hear of the answer; the task itself wakes up a turn later.
        ended[0].add_done_callback(lambda _ended: task.cancel())
        with pytest.raises(asyncio.CancelledError):
            await task

    monkeypatch.setattr(calling, "_start", start)
    asyncio.run(asyncio.wait_for(work(), 15))
