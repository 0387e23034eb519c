"""For tests of what runs inside JupyterHub: a machine in a temporary folder, and doors that are small real programs.

There is one seam: where hub/calling.py starts sudo, a program of door_program.py's is started instead. JupyterHub, its
database, pages and API are real, as are the processes of "servers"; they are real processes that belong to whoever runs
the tests, so the kernel's table of sockets is one that they write.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import os
import pkgutil
import shutil
import signal
import sys
import tempfile
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest

import jupyterhub4family.hub
from jupyterhub4family.common import paths
from jupyterhub4family.common.system import sockets
from jupyterhub4family.hub import calling
from tests.unit.helpers import DATA, MACHINE_ROOT, ROOT, People, write_program

PROGRAM = Path(__file__).with_name("door_program.py")
#: What doors and service programs are called; all lie in the folder of the package's programs.
PROGRAMS = ("authenticate", "build-release", "build-template", "mediator", "tell-hub")


def no_answer(_port: int) -> NoReturn:
    """In place of a question to the kernel, which would tell of real sockets: then its tables are looked through."""
    raise OSError("the kernel answers no such questions")


class Doors:
    """What the hub asks of doors, and what they do."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory = directory
        for name in PROGRAMS:
            write_program(directory / name, PROGRAM.read_text("utf-8").partition('"""\n')[2])
        (directory / "sockets").write_text("  sl  local_address ...\n", "ascii")
        #: Each start of a program as (account, program); root's without a name.
        self.opened: list[tuple[str, str]] = []
        #: The programs of others that were started, and by what some are to be replaced.
        self.others: list[str] = []
        self.replaced: dict[str, Path] = {}
        #: Does not start at all, as if sudo were gone.
        self.broken = False
        self._start_other = asyncio.create_subprocess_exec
        self._start = calling._start
        monkeypatch.setattr(asyncio, "create_subprocess_exec", self._start_other_instead)
        monkeypatch.setattr(calling, "_start", self._start_instead)
        monkeypatch.setattr(sockets, "TABLES", (directory / "sockets",))
        monkeypatch.setattr(sockets, "uid_of_listener", no_answer)

    async def _start_other_instead(self, *args: Any, **more: Any) -> asyncio.subprocess.Process:
        """Programs that are no doors."""
        self.others.append(str(args[0]))
        return await self._start_other(str(self.replaced.get(args[0], args[0])), *args[1:], **more)

    async def _start_instead(self, args: Sequence[str], exchange: Any) -> Any:
        account, program = _wanted(args)
        if self.broken:
            raise OSError(2, "No such file or directory")
        self.opened.append((account, program))
        return await self._start([str(self.directory / program)], exchange)

    def plan(self, key: str, *steps: dict[str, Any]) -> None:
        """What the door and action `key` ("mediator.spawn") does from now on, call by call; the last is repeated."""
        (self.directory / f"{key}.json").write_text(json.dumps(steps), "utf-8")

    def go_on(self, name: str) -> None:
        """Let go what holds until `name`."""
        (self.directory / name).touch()

    def asked(self, door: str = "mediator", action: str | None = None) -> list[dict[str, Any]]:
        """The requests that `door` has got, in their order; `start` and `ahead` only by their names."""
        notes = self.directory / "asked"
        lines = notes.read_text("utf-8").splitlines() if notes.exists() else []
        requests = [note["request"] for note in map(json.loads, lines) if note["door"] == door]
        if action is None:
            return [one for one in requests if one.get("action") not in ("start", "ahead")]
        return [one for one in requests if one.get("action") == action]

    def actions(self) -> list[str]:
        """What the mediator was asked for, in order, but for `start` and `ahead`."""
        return [str(request["action"]) for request in self.asked()]

    def servers(self) -> list[int]:
        """The pids of all servers that were started, also of those that have ended."""
        notes = self.directory / "servers"
        return [int(line) for line in notes.read_text("ascii").split()] if notes.exists() else []

    def close(self) -> None:
        """Nothing that the test has started stays behind."""
        for pid in self.servers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _wanted(args: Sequence[str]) -> tuple[str, str]:
    """Whom a command line of ours runs as, and which of our programs; root's without a name."""
    arguments = list(args)
    account = ""
    if arguments[:2] == ["/usr/bin/sudo", "-nH"]:
        arguments = arguments[2:]
        account = "root"
        if arguments[0] == "-u":
            account, arguments = arguments[1], arguments[2:]
    assert len(arguments) == 1 and arguments[0] in [str(paths.LIBRARY / name) for name in PROGRAMS], (
        f"unforeseen: {args}"
    )
    return account, Path(arguments[0]).name


class MachineDirectory:
    """The service's folders, in a temporary one, as `setup` and the first builds leave them."""

    def __init__(self, directory: Path, people: People, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory = directory
        self.people = people
        _import_everything()
        _relocate(directory, monkeypatch)
        _forget_everything(monkeypatch)
        # A socket's path has at most 107 bytes (unix(7)), and tests have long names.
        self.sockets = Path(tempfile.mkdtemp(prefix="hub-"))
        for name in ("HUB_SOCKET", "PROXY_API_SOCKET"):
            monkeypatch.setattr(paths, name, self.sockets / getattr(paths, name).name)
        for path in ("etc/jupyterhub4family", "var/lib/jupyterhub4family/public", "var/lib/jupyterhub4family/state"):
            (directory / path).mkdir(parents=True)
        for tree in _trees():
            build = tree.parent / tree.wanted_id()
            build.mkdir(parents=True)
            (build / paths.COMPLETE_MARKER).touch()
            tree.current.symlink_to(build.name)

    @property
    def state(self) -> Path:
        """The hub's own folder."""
        return self.directory / "var/lib/jupyterhub4family/state"

    @property
    def public(self) -> Path:
        """What the service shows everybody."""
        return self.directory / "var/lib/jupyterhub4family/public"

    def settings(self, text: str) -> None:
        """Write the settings file."""
        (self.directory / "etc/jupyterhub4family/config.yaml").write_text(text, "utf-8")

    def expert_file(self, name: str, text: str) -> None:
        """Write a file of jupyterhub_config.d."""
        path = self.directory / "etc/jupyterhub4family/jupyterhub_config.d" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")

    def member(self, name: str, uid: int = 1001, *groups: str, **more: Any) -> None:
        """An account that is a member's."""
        home = self.directory / "home" / name
        home.mkdir(parents=True)
        self.people.add(name, uid, "jupyterhub", *groups, home=home, **more)

    def runs_systemd(self) -> None:
        """From now on systemd is PID 1 here."""
        (self.directory / "run/systemd/system").mkdir(parents=True)


def _trees() -> Iterator[Any]:
    from jupyterhub4family.service.releases import contents

    for make in (contents.release_tree, contents.template_tree):
        yield make(lambda _percent, _message: None)


def _import_everything() -> None:
    """All modules that run inside JupyterHub, so that none reads a folder's name later than `_relocate`."""
    for module in pkgutil.iter_modules(jupyterhub4family.hub.__path__, "jupyterhub4family.hub."):
        if not module.name.endswith((".jupyterhub_config", ".jupyterhub_program")):
            importlib.import_module(module.name)


def _forget_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a new process: nobody has typed a wrong password, no port is being used, no template was built."""
    from jupyterhub.handlers.base import BaseHandler

    from jupyterhub4family.hub import (
        authenticator,
        short_memory,
        spawner,
        startup,
        template,
        throttle,
        trust,
        waiting_servers,
    )

    # What hub/pages.py extends, with the settings of the first hub that it meets.
    for name in ("template_namespace", "content_security_policy", "_xsrf_safe_methods"):
        monkeypatch.setattr(BaseHandler, name, vars(BaseHandler)[name])
    monkeypatch.setattr(authenticator, "throttle", throttle.Throttle())
    for name, value in vars(template.TemplateKeeper()).items():
        monkeypatch.setattr(spawner.template, name, value)
    monkeypatch.setattr(spawner.FamilySpawner, "_ports_of_starts", set())
    monkeypatch.setattr(short_memory, "watcher", short_memory.Watcher())
    monkeypatch.setattr(waiting_servers, "keeper", waiting_servers.Keeper())
    monkeypatch.setattr(startup, "_tasks", [])
    monkeypatch.setattr(trust, "_drawings", {})


def _relocate(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Move every path of the machine that any module of ours holds, however it was imported, into `directory`."""
    places = {
        f"{MACHINE_ROOT}/": directory,
        "/usr/share/jupyterhub4family/locks": ROOT / "locks",
        "/usr/share/jupyterhub4family": DATA / "usr/share/jupyterhub4family",
    }

    def relocated(value: Any) -> Any:
        if isinstance(value, Path):
            for old, new in places.items():
                if f"{value}/".startswith(f"{old.rstrip('/')}/"):
                    return new / str(value)[len(old) :].lstrip("/")
        return value

    for name, module in list(sys.modules.items()):
        if not name.startswith("jupyterhub4family."):
            continue
        for key, value in list(vars(module).items()):
            if relocated(value) is not value:
                monkeypatch.setattr(module, key, relocated(value))
            elif isinstance(value, types.FunctionType) and value.__module__ == name and value.__defaults__:
                defaults = tuple(map(relocated, value.__defaults__))
                if defaults != value.__defaults__:
                    monkeypatch.setattr(value, "__defaults__", defaults)


def compile_german(directory: Path) -> Path:
    """The German catalogue, as `make install` lays it; returns the folder of catalogues."""
    import subprocess

    source = ROOT / "locale/de/LC_MESSAGES/jupyterhub4family.po"
    target = directory / "de/LC_MESSAGES/jupyterhub4family.mo"
    target.parent.mkdir(parents=True)
    subprocess.run(["msgfmt", "-o", target, source], check=True)
    assert shutil.which("msgfmt")
    return directory
