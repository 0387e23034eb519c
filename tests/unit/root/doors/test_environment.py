"""root.environment: the door that hands over a linked template. Identities are changed on real machines only.

Here the child that would become the service account stays who it is, and nobody is given anything.
"""

from __future__ import annotations

import errno
import io
import json
import os
import pwd
import stat
import sys
import time
from pathlib import Path
from typing import Any, Callable

import pytest

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import ExitStatus, FamilyError, PermissionRefused
from jupyterhub4family.root.doors import environment as door
from tests.unit.helpers import People, must_not_be_called, run_python

ID = "py3.11-0123456789ab"


class Service:
    """Templates and the handover folder, in a folder of the test's own."""

    def __init__(self, directory: Path, people: People, monkeypatch: pytest.MonkeyPatch) -> None:
        self.templates = directory / "templates"
        self.handover = directory / "handover"
        self.env = self.templates / ID / "env"
        self.given: list[tuple[str, int]] = []
        (self.env / "bin").mkdir(parents=True)
        (self.env / "lib" / "deep" / "empty").mkdir(parents=True)
        (self.env / "bin" / "program").write_text("#!/bin/sh\n", "utf-8")
        (self.env / "bin" / "program").chmod(0o755)
        (self.env / "lib" / "deep" / "module.py").touch()
        (self.env / "bin" / "python").symlink_to("/usr/bin/python3")
        (self.env / "lib64").symlink_to("lib")
        self.point(ID)
        self.handover.mkdir()
        people.add("jupyterhub", os.getuid(), gid=os.getgid())
        self.anna = people.add("anna", 1001, "jupyterhub")
        monkeypatch.setattr(paths, "TEMPLATES", self.templates)
        monkeypatch.setattr(paths, "STAGING", self.handover)
        monkeypatch.setattr(door, "_as_account", self._as_account)
        monkeypatch.setattr(os, "chown", lambda path, uid, _gid, **_more: self.given.append((str(path), uid)))
        monkeypatch.setattr(os, "fchown", self._fchown)

    def point(self, name: str) -> None:
        link = self.templates / "current"
        link.unlink(missing_ok=True)
        link.symlink_to(name)

    def left(self) -> list[str]:
        return sorted(os.listdir(self.handover))

    def _as_account(self, _account: pwd.struct_passwd, work: Callable[[], None]) -> int:
        try:
            work()
        except OSError as error:
            return 2 if error.errno == errno.ENOSPC else 1
        return 0

    def _fchown(self, descriptor: int, uid: int, _gid: int) -> None:
        assert stat.S_ISDIR(os.fstat(descriptor).st_mode), "files are the service's, and stay so"
        self.given.append((os.readlink(f"/proc/self/fd/{descriptor}"), uid))


@pytest.fixture
def service(tmp_path: Path, people: People, monkeypatch: pytest.MonkeyPatch) -> Service:
    return Service(tmp_path, people, monkeypatch)


def test_a_tree_of_links_is_handed_over(service: Service) -> None:
    place = door.give(service.anna)
    assert place.parent == service.handover and place.name.startswith("1001.")
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    env = place / "env"
    for name in ("bin/program", "lib/deep/module.py"):
        assert os.path.samefile(env / name, service.env / name)
    assert os.readlink(env / "bin" / "python") == "/usr/bin/python3" and os.readlink(env / "lib64") == "lib"
    directories = {str(path) for path in (place, *place.rglob("*")) if path.is_dir() and not path.is_symlink()}
    assert {path for path, uid in service.given if uid == 1001} == directories
    assert (env / "lib" / "deep" / "empty").is_dir()
    assert {stat.S_IMODE(path.stat().st_mode) for path in (env, env / "lib" / "deep")} == {0o755}


def test_each_call_has_a_place_that_nobody_can_guess(service: Service) -> None:
    places = {door.give(service.anna).name for _ in range(3)}
    assert len(places) == 3 and all(len(name) > 20 for name in places)


@pytest.mark.parametrize(
    ("number", "status"), [(errno.ENOSPC, ExitStatus.DISK_FULL), (errno.EMLINK, ExitStatus.FAILURE)]
)
def test_a_failure_leaves_nothing_behind(
    service: Service, monkeypatch: pytest.MonkeyPatch, number: int, status: ExitStatus
) -> None:
    def link(*_args: Any, **_more: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(FamilyError) as caught:
        door.give(service.anna)
    assert caught.value.status == status and service.left() == []


def test_a_folder_that_cannot_be_given_leaves_nothing_behind(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def fchown(*_args: Any) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "fchown", fchown)
    with pytest.raises(FamilyError, match="could not be handed over: Operation not permitted"):
        door.give(service.anna)
    assert service.left() == []


def test_the_member_gets_in_only_when_all_is_done(service: Service) -> None:
    place = door.give(service.anna)
    given = [path for path, uid in service.given if uid == 1001]
    assert given[-1] == str(place) and given[-2] == str(place / "env")


def test_nothing_is_given_away_that_is_not_the_services(service: Service, people: People) -> None:
    place = door.give(service.anna)
    service.given.clear()
    other = people.add("other", os.getuid() + 1)
    with pytest.raises(FamilyError, match="could not be linked"):
        door._chown_directories(place, other, service.anna)
    assert service.given == []


@pytest.mark.parametrize(
    "name",
    ["../../../etc", "/etc", "py3.11-0123456789AB", "py3.11-0123", "current", ".", "..", f"{ID}/../x", f"{ID}\n"],
)
def test_a_name_that_the_service_does_not_give_leads_nowhere(service: Service, name: str) -> None:
    service.point(name)
    with pytest.raises(FamilyError, match="a name that the service never gives"):
        door.current_template()


def test_without_a_template_there_is_a_sentence(service: Service) -> None:
    (service.templates / "current").unlink()
    with pytest.raises(FamilyError, match="no template yet"):
        door.give(service.anna)
    assert service.left() == []


def test_a_name_without_a_tree_is_an_error(service: Service) -> None:
    service.point("py3.11-ffffffffffff")
    with pytest.raises(FamilyError):
        door.give(service.anna)
    assert service.left() == []


def test_leftovers_go_in_time(service: Service) -> None:
    old = time.time() - door.STALE - 60
    for name in ("1001.empty", "1001.full", "1002.empty", "1002.full", "1002.fresh"):
        (service.handover / name).mkdir()
    for name in ("1001.full", "1002.full", "1002.fresh"):
        (service.handover / name / "env").mkdir()
    for name in ("1001.full", "1002.empty", "1002.full"):
        os.utime(service.handover / name, (old, old))
    owner = pwd.getpwnam("jupyterhub")
    door._remove_leftovers(owner, service.anna)
    assert service.left() == ["1002.fresh"]


def test_of_a_member_who_goes_nothing_stays(service: Service) -> None:
    for name in ("1001.full", "1001.empty", "1002.full", "10011.other"):
        (service.handover / name).mkdir()
    (service.handover / "1001.full" / "env").mkdir()
    door.forget(service.anna)
    assert service.left() == ["10011.other", "1002.full"]


# -- the child that works as somebody else -------------------------------------------------------


#: Notes what would be given up; {work} is what the child does then, {refuses} what the kernel refuses before.
CHILD = """
    import os, pathlib, sys, types
    from jupyterhub4family.root.doors import environment
    log = pathlib.Path(sys.argv[1])

    def noted(name):
        def note(*words):
            if name == {refuses!r}:
                raise PermissionError(1, "Operation not permitted")
            with open(log, "a") as file:
                print(name, *words, file=file)
        return note

    for name in ("setgroups", "setgid", "setuid"):
        setattr(os, name, noted(name))

    def work():
        noted("work")(os.getpid() != parent)
        {work}

    parent = os.getpid()
    status = environment._as_account(types.SimpleNamespace(pw_uid=998, pw_gid=997), work)
    noted("status")(status, os.getpid() == parent)
"""
GIVEN_UP = ["setgroups []", "setgid 997", "setuid 998", "work True"]


@pytest.mark.parametrize(
    ("work", "refuses", "lines"),
    [
        ("pass", "", [*GIVEN_UP, "status 0 True"]),
        ("raise OSError(1, 'no')", "", [*GIVEN_UP, "status 1 True"]),
        ("raise OSError(28, 'full')", "", [*GIVEN_UP, "status 2 True"]),
        ("raise ValueError('x')", "", [*GIVEN_UP, "status 1 True"]),
        # Whoever cannot give up root does nothing as root.
        ("pass", "setuid", [*GIVEN_UP[:2], "status 1 True"]),
        ("pass", "setgroups", ["status 1 True"]),
    ],
)
def test_the_child_gives_up_root_before_it_works(tmp_path: Path, work: str, refuses: str, lines: list[str]) -> None:
    done = run_python(CHILD.format(work=work, refuses=refuses), str(tmp_path / "log"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "log").read_text("utf-8").splitlines() == lines


# -- the program ---------------------------------------------------------------------------------


def call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], uid: str | None, request: bytes = b"{}"
) -> tuple[int, dict[str, Any]]:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.delenv("SUDO_UID", raising=False)
    if uid is not None:
        monkeypatch.setenv("SUDO_UID", uid)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(request)))
    status = door.main()
    answer = json.loads(capsys.readouterr().out)
    assert isinstance(answer, dict)
    return status, answer


def test_a_member_gets_a_place(
    service: Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, answer = call(monkeypatch, capsys, "1001")
    assert status == 0 and set(answer) == {"ok", "place"}
    assert Path(answer["place"], "env", "bin", "program").exists()


@pytest.mark.parametrize("uid", [None, "0", "998", "1002", "4711", "x"])
def test_nobody_else_gets_anything(
    service: Service,
    people: People,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    uid: str | None,
) -> None:
    people.add("root", 0)
    people.add("ben", 1002)
    people.add("daemon2", 998, "jupyterhub")
    status, answer = call(monkeypatch, capsys, uid)
    assert status == 4 and answer["ok"] is False and service.left() == []


@pytest.mark.parametrize("request_bytes", [b"", b"[]", b'{"member": "ben"}', b'{"place": "/etc"}', b"x" * 300_000])
def test_nothing_can_be_wished_for(
    service: Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], request_bytes: bytes
) -> None:
    status, answer = call(monkeypatch, capsys, "1001", request_bytes)
    assert status == 2 and answer["ok"] is False and service.left() == []


def test_only_root_can_do_it(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1001)
    monkeypatch.setattr(door, "give", must_not_be_called)
    assert door.main() == PermissionRefused.status
