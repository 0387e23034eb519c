"""Stand-ins for what is outside a process: the programs it starts, and the folders of the machine.

Both are put where there is no way around them, so they work however a module imports what it uses: programs below
everything that common.system.programs offers, folders before any of our modules has read common.paths.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Optional, Union

import pytest

from jupyterhub4family.common import paths
from jupyterhub4family.common.system import processes, programs
from jupyterhub4family.common.system.programs import CompletedProcess


@dataclass(frozen=True)
class Call:
    """One program that was started, and how."""

    args: list[str]
    #: None for one that gets nothing.
    stdin: Optional[str]
    #: What it got beside the plain environment.
    environment: dict[str, str]
    directory: str
    #: For how many seconds it may run; None for ever.
    timeout: Optional[float] = None
    #: Whether it is ended when this process is killed.
    dies_with_us: bool = False
    #: What has been printed before the answer: percentages and messages.
    events: list[dict[str, Any]] = field(default_factory=list)

    def progress(self, percent: int, message: str) -> None:
        """Have it print this before its answer."""
        self.events.append({"percent": percent, "message": message})

    @property
    def line(self) -> str:
        """Its words in one line."""
        return " ".join(self.args)

    @property
    def name(self) -> str:
        """The name of the program, whoever it is to run as."""
        return Path(self.program[0]).name

    @property
    def program(self) -> list[str]:
        """The words without those that say as whom."""
        rest = self.args
        while rest and Path(rest[0]).name in ("setsid", "runuser", "sudo"):
            if Path(rest[0]).name == "runuser":
                rest = rest[rest.index("--") + 1 :]
                continue
            arguments = iter(rest[1:])
            rest = next(([word, *arguments] for word in arguments if not word.startswith("-")), [])
        return rest or self.args

    @property
    def request(self) -> Any:
        """The JSON on its stdin."""
        return json.loads(self.stdin or "null")


#: What a program does: how it ends, the object that it answers with, or an error in place of that.
Answer = Union[CompletedProcess, Mapping[str, Any], BaseException]
#: Decides that when it is called.
Decides = Callable[[Call], Answer]


class FakePrograms:
    """Every program that common.system.programs starts; one that no test has answered for fails the test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[Call] = []
        self._answers: dict[str, Union[Answer, Decides]] = {}
        self._let_run: set[str] = set()
        self._real, self._real_exchange = programs._start, programs._exchange
        monkeypatch.setattr(programs, "_start", self._start)
        monkeypatch.setattr(programs, "_exchange", self._exchange)

    def let_run(self, name: str) -> None:
        """Run the real `name`, which a test has written itself."""
        self._let_run.add(name)

    def answer(self, name: str, answer: Union[Answer, Decides, str] = "") -> None:
        """Have the program `name`, or every other one for "*", answer so; text is what it prints."""
        self._answers[name] = CompletedProcess(0, answer, "") if isinstance(answer, str) else answer

    @property
    def lines(self) -> list[str]:
        """All calls, one line each."""
        return [call.line for call in self.calls]

    def _start(self, args: list[Any], **options: Any) -> Any:
        if Path(args[0]).name in self._let_run:
            return self._real(args, **options)
        return FakeProcess(self, [str(word) for word in args], options)

    def _exchange(self, process: Any, data: bytes, timeout: Any, on_stdout: Any, on_stderr: Any) -> None:
        """Have what a program reads and writes go through its pipes, or at once if it is none."""
        if not isinstance(process, FakeProcess):
            self._real_exchange(process, data, timeout, on_stdout, on_stderr)
            return
        try:
            output, errors = process.communicate(data.decode(), timeout)
        except subprocess.TimeoutExpired:
            raise TimeoutError from None
        on_stdout(output.encode())
        on_stderr(errors.encode())

    def decide(self, call: Call) -> CompletedProcess:
        """How a program ends that has been called so."""
        self.calls.append(call)
        answer = self._answers.get(call.name, self._answers.get("*"))
        if answer is None:
            pytest.fail(f"a program that nobody expected: {call.line}")
        decided = answer(call) if callable(answer) else answer
        if isinstance(decided, BaseException):
            raise decided
        if isinstance(decided, CompletedProcess):
            return decided
        return CompletedProcess(0, "".join(f"{json.dumps(event)}\n" for event in [*call.events, decided]), "")


class FakeProcess:
    """In place of subprocess.Popen: it ends as soon as anybody waits for it or reads what it prints."""

    def __init__(self, owner: FakePrograms, args: list[str], options: dict[str, Any]) -> None:
        self.args, self._owner, self._options = args, owner, options
        self.returncode: Optional[int] = None
        self._written = ""
        self._timeout: Optional[float] = None
        self._finished: Optional[CompletedProcess] = None
        self._broken_off = False
        self.stdin = self if options.get("stdin") == subprocess.PIPE else None
        self.stdout = self if options.get("stdout") == subprocess.PIPE else None
        self.stderr = self if options.get("stderr") == subprocess.PIPE else None

    def __enter__(self) -> FakeProcess:
        return self

    def __exit__(self, *_error: object) -> None:
        """All has been waited for."""

    @property
    def pid(self) -> int:
        """No process of the machine, so there is none to signal."""
        raise ProcessLookupError

    def communicate(self, text: Optional[str] = None, timeout: Optional[float] = None) -> tuple[str, str]:
        """As Popen's."""
        self.write(text or "")
        self._timeout = timeout
        finished = self._end()
        return finished.stdout, finished.stderr

    def terminate(self) -> None:
        """As Popen's."""

    def wait(self, _timeout: Optional[float] = None) -> int:
        """As Popen's."""
        return self._end().returncode

    def poll(self) -> Optional[int]:
        """As Popen's."""
        return self.returncode

    def kill(self) -> None:
        """As Popen's."""

    def write(self, text: str) -> None:
        """Of its stdin."""
        self._written += text

    def close(self) -> None:
        """Of its stdin."""

    def _end(self) -> CompletedProcess:
        if self._broken_off:
            # It was killed after that: nobody is asked twice.
            return CompletedProcess(-signal.SIGKILL, "", "")
        if self._finished is None:
            plain = programs.plain_environment()
            environment = dict(self._options.get("env") or {})
            more = {name: value for name, value in environment.items() if plain.get(name) != value}
            call = Call(
                self.args,
                self._written if self.stdin else None,
                more,
                self._options.get("cwd", "."),
                self._timeout,
                self._options.get("preexec_fn") is processes.die_with_parent,
            )
            self._broken_off = True
            self._finished = self._owner.decide(call)
            self._broken_off = False
            self.returncode = self._finished.returncode
            if self.stdout is None:
                sys.stdout.write(self._finished.stdout)
        return self._finished


class MachineRoot:
    """The folders of common.paths below one of this process, which is there only while a test uses it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def make(self) -> None:
        """As on a machine on which the package is installed, and nothing has been started yet."""
        for directory in (*paths.SERVICE_DIRECTORIES, paths.CONFIGURATION):
            directory.mkdir(parents=True, exist_ok=True)
        for file in (paths.SUDOERS, paths.PAM_FILE, paths.SOURCE_LIST, paths.AUTO_UPGRADE, paths.PIN, paths.SOURCE_PIN):
            file.parent.mkdir(parents=True, exist_ok=True)

    def remove(self) -> None:
        """With all that the test has left there."""
        shutil.rmtree(self.path, ignore_errors=True)
