"""What several unit tests need: accounts that exist nowhere, small real programs, free ports, time limits."""

from __future__ import annotations

import grp
import inspect
import os
import pwd
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable, NoReturn

import pytest

ROOT = Path(__file__).resolve().parents[2]
SRC = ROOT / "src"
DATA = ROOT / "data"

#: An interpreter with nothing but the standard library, which starts in a third of the time.
PYTHON = (sys.executable, "-I", "-S")

_outside = tempfile.TemporaryDirectory()
#: Below this lie the folders of common.paths for all tests of this process. Only the fixture `machine_root` makes it.
MACHINE_ROOT = Path(_outside.name) / "machine"

#: Seconds that anything a test waits for may take on a slow and busy machine.
TIMEOUT = 15.0


def account(name: str = "anna", uid: int = 1001, home: Path = Path("/nowhere"), **more: Any) -> pwd.struct_passwd:
    """An entry of the account database that is in no database."""
    gid = more.get("gid", uid)
    return pwd.struct_passwd((name, "x", uid, gid, more.get("gecos", ""), str(home), more.get("shell", "/bin/bash")))


class People:
    """An account database for one test, in place of the machine's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.accounts: dict[str, pwd.struct_passwd] = {}
        #: Name of each group: its number and the names of its members.
        self.groups: dict[str, tuple[int, list[str]]] = {}
        monkeypatch.setattr(pwd, "getpwnam", self._getpwnam)
        monkeypatch.setattr(pwd, "getpwuid", self._getpwuid)
        monkeypatch.setattr(pwd, "getpwall", lambda: list(self.accounts.values()))
        monkeypatch.setattr(grp, "getgrnam", self._getgrnam)
        monkeypatch.setattr(grp, "getgrgid", self._getgrgid)
        monkeypatch.setattr(grp, "getgrall", lambda: [self._getgrnam(name) for name in self.groups])
        monkeypatch.setattr(os, "getgrouplist", self._getgrouplist)
        self.group("jupyterhub", 200)
        self.group("jupyterhub_adm", 201)
        self.group("sudo", 27)

    def add(self, name: str, uid: int, *groups: str, **more: Any) -> pwd.struct_passwd:
        """A new account, in `groups` and in a primary group of its own name."""
        if "gid" not in more:
            self.group(name, uid)
        for group in groups:
            self.groups[group][1].append(name)
        self.accounts[name] = account(name, uid, **more)
        return self.accounts[name]

    def group(self, name: str, number: int) -> None:
        """A new, empty group."""
        self.groups[name] = (number, [])

    def _getpwnam(self, name: str) -> pwd.struct_passwd:
        # As the real one: these raise ValueError and UnicodeEncodeError.
        if b"\0" in os.fsencode(name):
            raise ValueError("embedded null byte")
        return self.accounts[name]

    def _getpwuid(self, uid: int) -> pwd.struct_passwd:
        for one in self.accounts.values():
            if one.pw_uid == uid:
                return one
        raise KeyError(uid)

    def _getgrnam(self, name: str) -> grp.struct_group:
        number, members = self.groups[name]
        return grp.struct_group((name, "x", number, list(members)))

    def _getgrgid(self, number: int) -> grp.struct_group:
        for name, (other, _members) in self.groups.items():
            if other == number:
                return self._getgrnam(name)
        raise KeyError(number)

    def _getgrouplist(self, name: str, gid: int) -> list[int]:
        return [gid] + [number for number, members in self.groups.values() if name in members and number != gid]


def set_free_space(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    """So many bytes are left on every disk, of a terabyte."""
    status = SimpleNamespace(f_frsize=1, f_blocks=10**12, f_bavail=free, f_files=0, f_favail=0)
    monkeypatch.setattr(os, "statvfs", lambda _path: status)


def must_not_be_called(*_args: Any, **_more: Any) -> NoReturn:
    """In place of a function that a test proves to be left alone."""
    pytest.fail("this must not be called here")


def write_program(path: Path, text: str, interpreter: str = f"{sys.executable} -IS") -> Path:
    """An executable program at `path`, in Python unless said otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!{interpreter}\n{textwrap.dedent(text)}", "utf-8")
    path.chmod(0o755)
    return path


def make_manual(where: str) -> str:
    """Call tools/manual as `make install` does; returns what it prints."""
    command = [sys.executable, "-B", "-m", "tools.manual", where]
    return subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, encoding="utf-8", timeout=TIMEOUT, check=True
    ).stdout


def run_python(code: str, *args: str, interpreter: tuple[str, ...] = PYTHON) -> subprocess.CompletedProcess[str]:
    """Run `code` in a new interpreter that knows our package."""
    command = [*interpreter, "-c", with_our_package(code), *args]
    return subprocess.run(command, capture_output=True, encoding="utf-8", timeout=TIMEOUT, check=False)


def with_our_package(code: str) -> str:
    """`code` as a program that finds our package, also in an isolated interpreter, and nothing of an installed one."""
    return "\n".join(
        (
            "import sys",
            "sys.dont_write_bytecode = True",
            f"sys.path.insert(0, {str(SRC)!r})",
            inspect.getsource(leave_the_machine_alone),
            f"leave_the_machine_alone({str(MACHINE_ROOT)!r})",
            textwrap.dedent(code),
        )
    )


def leave_the_machine_alone(root: str) -> None:
    """Put all folders of the service and of its settings below `root`, before anything of ours has read them.

    The machine that runs the tests may have the package installed, and a test that forgets to replace one such
    folder would act on the real service, as one once did. Also sent to other interpreters, so it needs nothing.
    """
    import pathlib

    from jupyterhub4family.common import paths

    def moved(path: pathlib.Path) -> pathlib.Path:
        return pathlib.Path(f"{root}{path}") if str(path).startswith(("/var/", "/etc/", "/run/")) else path

    for name, value in list(vars(paths).items()):
        if isinstance(value, pathlib.Path):
            setattr(paths, name, moved(value))
    paths.SERVICE_DIRECTORIES = {moved(path): what for path, what in paths.SERVICE_DIRECTORIES.items()}


def free_port() -> int:
    """A TCP port of 127.0.0.1 on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], Any], what: str) -> None:
    """Return as soon as `condition()` holds; fail after a long time."""
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"{what} did not happen within {TIMEOUT:g} seconds")
        time.sleep(0.01)
