"""user.server: a server is started as nobody's child, with nothing of ours left open, and failures are told."""

from __future__ import annotations

import json
import os
import pwd
import resource
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import FamilyError, PermissionRefused, UsageError
from jupyterhub4family.common.i18n.messages import Message, _
from jupyterhub4family.common.paths import MEMBER_ENVIRONMENT
from jupyterhub4family.common.python import uv
from jupyterhub4family.common.system.processes import SERVER_MARKER, is_running, start_time
from jupyterhub4family.user import limit_server, server
from jupyterhub4family.user.server import Started, _start_detached, log_path, server_arguments, spawn
from tests.unit.helpers import account, wait_until, write_program

#: Writes what it finds around itself to the file that `REPORT` names, then waits to be ended.
PROGRAM = """
import json, os, resource, sys, time
fds = {}
for name in os.listdir("/proc/self/fd"):
    try:
        fds[name] = os.readlink("/proc/self/fd/" + name)
    except FileNotFoundError:
        pass  # that was the folder itself, while it was listed
found = {"pid": os.getpid(), "parent": os.getppid(), "session": os.getsid(0), "folder": os.getcwd(), "fds": fds,
         "words": sys.argv, "variables": dict(os.environ), "stdin": sys.stdin.read(),
         "files": resource.getrlimit(resource.RLIMIT_NOFILE)}
print("hello", flush=True); print("trouble", file=sys.stderr, flush=True)
path = os.environ["JUPYTERHUB_USER"]
with open(path + ".tmp", "w") as file:
    json.dump(found, file)
os.rename(path + ".tmp", path)
time.sleep(60)
"""


class Starter:
    """Starts real programs through the module, and ends them after the test."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.report = home / "report.json"
        self.program = write_program(home / "program", PROGRAM)
        self._started: list[Started] = []

    def start(self, *args: str, **variables: str) -> Started:
        log = os.open(self.home / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            given = {SERVER_MARKER: "/user/anna/", "JUPYTERHUB_USER": str(self.report), **variables}
            return self.remember(_start_detached(list(args) or [str(self.program)], given, self.home, log))
        finally:
            os.close(log)

    def remember(self, started: Started) -> Started:
        self._started.append(started)
        return started

    def reported(self) -> dict[str, Any]:
        wait_until(self.report.exists, "the report of the program")
        found = json.loads(self.report.read_text("utf-8"))
        assert isinstance(found, dict)
        return found

    def end(self) -> None:
        for one in self._started:
            if is_running(one.pid, one.start_time):
                os.kill(one.pid, signal.SIGKILL)


@pytest.fixture
def starter(tmp_path: Path) -> Iterator[Starter]:
    made = Starter(tmp_path)
    yield made
    made.end()


def test_pid_and_start_time_are_the_programs(starter: Starter) -> None:
    started = starter.start()
    assert starter.reported()["pid"] == started.pid
    assert start_time(started.pid) == started.start_time


def test_it_is_nobodys_child_and_has_its_own_session(starter: Starter) -> None:
    started = starter.start()
    reported = starter.reported()
    assert reported["parent"] != os.getpid()
    assert reported["session"] not in (os.getsid(0), started.pid), "a session's leader could take over a terminal"
    with pytest.raises(ChildProcessError):
        os.waitpid(started.pid, os.WNOHANG)


def test_no_child_is_left_to_wait_for(starter: Starter) -> None:
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text("ascii").split()
    starter.start()
    assert Path(f"/proc/self/task/{os.getpid()}/children").read_text("ascii").split() == children


def test_no_descriptor_leaks_in_either_direction(starter: Starter, tmp_path: Path) -> None:
    secret = os.open(tmp_path / "secret", os.O_RDWR | os.O_CREAT, 0o600)
    before = os.listdir("/proc/self/fd")
    handed_on = {number for number in before if is_handed_on(int(number))}
    assert str(secret) not in handed_on
    starter.start()
    assert os.listdir("/proc/self/fd") == before
    os.close(secret)
    reported = starter.reported()
    fds = reported["fds"]
    # It sees itself looking; and whoever started the tests may have left something open for everybody (sudo does not).
    own_directory = next((number for number, target in fds.items() if target == f"/proc/{reported['pid']}/fd"), "")
    log = str(tmp_path / "log")
    assert {fds[number] for number in ("1", "2")} == {log} and fds["0"] == "/dev/null"
    assert set(fds) - {"0", "1", "2"} <= handed_on | {own_directory}, fds


def is_handed_on(descriptor: int) -> bool:
    try:
        return os.get_inheritable(descriptor)
    except OSError:
        return False  # that was the folder itself, while it was listed


def test_it_gets_exactly_the_variables_words_and_folder(starter: Starter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", "/tmp/bad")
    starter.start(str(starter.program), "-x", "a b", JUPYTERHUB_SERVER_NAME="grün")
    reported = starter.reported()
    # Python itself may add LC_CTYPE (PEP 538).
    assert set(reported["variables"]) - {"LC_CTYPE"} == {SERVER_MARKER, "JUPYTERHUB_USER", "JUPYTERHUB_SERVER_NAME"}
    assert reported["words"] == [str(starter.program), "-x", "a b"]
    assert reported["folder"] == str(starter.home) and reported["stdin"] == ""


def test_what_it_prints_is_in_the_log(starter: Starter) -> None:
    starter.start()
    starter.reported()
    assert (starter.home / "log").read_text("utf-8") == "hello\ntrouble\n"


def test_a_signal_for_our_session_does_not_reach_it(starter: Starter) -> None:
    started = starter.start()
    starter.reported()
    assert os.getpgid(started.pid) != os.getpgid(0)


@pytest.mark.parametrize("kind", ["missing", "no program", "a folder", "missing interpreter"])
def test_a_program_that_cannot_be_executed_is_told(starter: Starter, kind: str) -> None:
    path = starter.home / "broken"
    if kind == "no program":
        path.write_text("text", "ascii")
    elif kind == "a folder":
        path.mkdir()
    elif kind == "missing interpreter":
        write_program(path, "", interpreter="/nowhere/python")
    with pytest.raises(FamilyError, match=r"the server could not be started: \[Errno"):
        starter.start(str(path))


def test_a_folder_that_is_missing_is_told(starter: Starter) -> None:
    log = os.open(starter.home / "log", os.O_WRONLY | os.O_CREAT, 0o600)
    with pytest.raises(FamilyError, match="No such file or directory"):
        _start_detached([str(starter.program)], {}, starter.home / "missing", log)
    os.close(log)


def test_a_mediator_that_is_ended_meanwhile_leaves_no_server(starter: Starter) -> None:
    """The hub has given it up, and asks anew: it would never hear of this one."""
    here, go = starter.home / "here", starter.home / "go"

    def confine() -> str:
        here.touch()
        while not go.exists():
            time.sleep(0.01)
        return ""

    log = os.open(starter.home / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    mediator = os.fork()
    if mediator == 0:
        try:
            _start_detached(
                [str(starter.program)], {"JUPYTERHUB_USER": str(starter.report)}, starter.home, log, confine
            )
        finally:
            os._exit(0)
    os.close(log)
    wait_until(here.exists, "the door")
    os.kill(mediator, signal.SIGTERM)
    os.waitpid(mediator, 0)
    go.touch()
    wait_until(lambda: "nobody waits" in (starter.home / "log").read_text("utf-8"), "the end of it")
    assert not starter.report.exists()


@pytest.mark.parametrize("value", ["\ud800", "a\0b"])
def test_a_value_that_no_program_can_get_is_told(starter: Starter, value: str) -> None:
    with pytest.raises(FamilyError, match="the server could not be started"):
        starter.start(JUPYTERHUB_SERVER_NAME=value)


def test_a_program_that_ends_at_once_was_started_all_the_same(starter: Starter) -> None:
    started = starter.start("/bin/false")
    wait_until(lambda: not is_running(started.pid, started.start_time), "its end")


# -- spawn -----------------------------------------------------------------------------------------


@pytest.fixture
def member(starter: Starter, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pwd.struct_passwd:
    """A member whose environment holds a program that reports; root has nothing against servers."""
    monkeypatch.setattr(limit_server, "confine_this_process", lambda: "")
    monkeypatch.setattr(server, "LOCALE_FILE", tmp_path / "none")
    monkeypatch.setattr(uv, "MACHINE_ENVIRONMENT", tmp_path / "none")
    bin_directory = starter.home / MEMBER_ENVIRONMENT / "bin"
    write_program(bin_directory / "jupyterhub-singleuser", PROGRAM, interpreter="/nowhere/python")
    write_program(bin_directory / "python", 'exec /usr/bin/env python3 "$@"', interpreter="/bin/sh")
    return account("anna", os.getuid(), home=starter.home)


def test_spawn_runs_the_members_own_program_with_their_own_python(starter: Starter, member: pwd.struct_passwd) -> None:
    sent = {
        SERVER_MARKER: "/user/anna/maths/",
        "JUPYTERHUB_USER": str(starter.report),
        "JUPYTERHUB_SERVER_NAME": "maths/../x",
        "LD_LIBRARY_PATH": "/tmp/bad",
        "BASH_ENV": "/tmp/bad",
    }
    started = starter.remember(spawn(member, [], sent))
    reported = starter.reported()
    assert reported["pid"] == started.pid
    program = str(starter.home / MEMBER_ENVIRONMENT / "bin" / "jupyterhub-singleuser")
    assert reported["words"] == [program, *server_arguments(starter.home)]
    assert reported["folder"] == str(starter.home)
    assert not {"LD_LIBRARY_PATH", "BASH_ENV"} & set(reported["variables"])
    assert "hello" in log_path(member, "maths/../x").read_text("utf-8")


# -- lean or plain (ADR 27) ------------------------------------------------------------------------------


@pytest.fixture
def lean_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Our first file, which is there; in its place one that runs what comes next."""
    start = tmp_path / "start.py"
    start.write_text(
        "import os, sys\nos.environ['STARTED'] = 'lean'\nos.execv('/usr/bin/env', ['env', 'python3', *sys.argv[1:]])\n"
    )
    monkeypatch.setattr(paths, "LEAN_START", start)
    monkeypatch.setattr(paths, "LAST_GOOD_SETTINGS", tmp_path / "settings.json")
    return start


def _is_lean(starter: Starter, member: pwd.struct_passwd) -> bool:
    starter.report.unlink(missing_ok=True)
    starter.remember(spawn(member, [], {SERVER_MARKER: "/user/anna/", "JUPYTERHUB_USER": str(starter.report)}))
    reported = starter.reported()
    program = str(starter.home / MEMBER_ENVIRONMENT / "bin" / "jupyterhub-singleuser")
    assert reported["words"] == [program, *server_arguments(starter.home)]
    return "STARTED" in reported["variables"]


@pytest.mark.parametrize(
    ("noted", "lean"),
    [
        (None, True),
        ('{"port": 8000}', True),
        ('{"lean_servers": true}', True),
        ('{"lean_servers": false}', False),
        ('{"lean_servers": "no"}', True),
        ("[]", True),
        ("nonsense", True),
        ("{" * 100_000, True),
    ],
)
def test_a_server_starts_lean_unless_the_setting_says_otherwise(
    starter: Starter, member: pwd.struct_passwd, lean_start: Path, noted: str | None, lean: bool
) -> None:
    """The service's note could be anything; all it decides is which of two programs the member's server is."""
    if noted is not None:
        paths.LAST_GOOD_SETTINGS.write_text(noted, "ascii")
    assert _is_lean(starter, member) is lean


def test_a_note_that_is_a_pipe_keeps_nobody_waiting(
    starter: Starter, member: pwd.struct_passwd, lean_start: Path
) -> None:
    os.mkfifo(paths.LAST_GOOD_SETTINGS)
    assert _is_lean(starter, member)


@pytest.mark.parametrize("kind", ["file", "link", "directory"])
def test_a_member_chooses_plain_servers(
    starter: Starter, member: pwd.struct_passwd, lean_start: Path, kind: str
) -> None:
    assert _is_lean(starter, member)
    choice = starter.home / server.PLAIN_SERVER
    choice.parent.mkdir(parents=True)
    {"file": choice.touch, "link": lambda: choice.symlink_to("/nowhere"), "directory": choice.mkdir}[kind]()
    assert not _is_lean(starter, member)


def test_without_our_file_servers_are_plain(starter: Starter, member: pwd.struct_passwd, lean_start: Path) -> None:
    lean_start.unlink()
    assert not _is_lean(starter, member)


def test_a_server_has_the_usual_number_of_descriptors(
    starter: Starter, member: pwd.struct_passwd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the hub has for itself; it may take more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    monkeypatch.setattr(server, "OPEN_FILES", soft - 1)
    starter.remember(spawn(member, [], {SERVER_MARKER: "/user/anna/", "JUPYTERHUB_USER": str(starter.report)}))
    assert starter.reported()["files"] == [soft - 1, hard]


def test_a_server_without_limits_says_so_in_its_log_and_runs(
    starter: Starter, member: pwd.struct_passwd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limit_server, "confine_this_process", lambda: "systemd is\nasleep")
    started = starter.remember(
        spawn(member, [], {SERVER_MARKER: "/user/anna/", "JUPYTERHUB_USER": str(starter.report)})
    )
    assert starter.reported()["pid"] == started.pid
    first, *rest = log_path(member, "").read_text("utf-8").splitlines()
    assert first.endswith("jupyterhub4family] this server has no limits: systemd is asleep") and "hello" in rest


def test_what_root_refuses_does_not_start(
    starter: Starter, member: pwd.struct_passwd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason arrives as a sentence that can be told in another language."""

    def refuse() -> str:
        raise PermissionRefused(_("{name} is not a member", name="anna"))

    monkeypatch.setattr(limit_server, "confine_this_process", refuse)
    with pytest.raises(FamilyError, match="anna is not a member") as caught:
        spawn(member, [], {SERVER_MARKER: "/user/anna/", "JUPYTERHUB_USER": str(starter.report)})
    assert isinstance(caught.value.message, Message)
    assert caught.value.message.values["reason"].id == "{name} is not a member"
    assert not starter.report.exists()


@pytest.mark.parametrize("arguments", [["--config=/tmp/x.py"], [""], [1]])
def test_arguments_are_refused(member: pwd.struct_passwd, arguments: list[Any]) -> None:
    with pytest.raises(UsageError, match="no arguments"):
        spawn(member, arguments, {})


def test_without_an_environment_nothing_is_started(tmp_path: Path) -> None:
    with pytest.raises(FamilyError, match="no environment yet"):
        spawn(account(home=tmp_path), [], {})
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["\ud800", "x" * 100_000])
def test_a_name_that_makes_no_sense_is_an_error_and_no_traceback(member: pwd.struct_passwd, name: str) -> None:
    before = os.listdir("/proc/self/fd")
    try:
        started = spawn(member, [], {"JUPYTERHUB_SERVER_NAME": name, "JUPYTERHUB_USER": "/nowhere/x"})
    except FamilyError:
        pass
    else:
        wait_until(lambda: not is_running(started.pid, started.start_time), "its end")
    assert os.listdir("/proc/self/fd") == before
