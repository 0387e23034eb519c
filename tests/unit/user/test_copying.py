"""user.copying: a whole and faithful copy of the template, by whatever means the machine offers."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from jupyterhub4family.common.errors import ExitStatus, FamilyError
from jupyterhub4family.common.python import venv
from jupyterhub4family.common.system.programs import CompletedProcess, ProgramError
from jupyterhub4family.user import copying
from tests.unit.fakes import Call, FakePrograms
from tests.unit.user.template import TEMPLATE_ID, Home


@pytest.fixture
def target(home: Home) -> Path:
    home.env.parent.mkdir(parents=True)
    return home.env.with_name("env.unfinished")


def nobody(_percent: int, _message: str) -> None:
    """Nobody listens."""


def test_a_copy_is_faithful(home: Home, target: Path) -> None:
    program = home.own_template() / "bin" / "jupyterhub-singleuser"
    os.utime(program, (1_000_000_000, 1_000_000_000))
    assert copying.copy_template(target, nobody) == copying.COPY
    copy = target / "bin" / "jupyterhub-singleuser"
    assert copy.read_bytes() == program.read_bytes()
    assert copy.stat().st_mtime == 1_000_000_000, "Python trusts a .pyc by the time of its source"
    assert stat.S_IMODE(copy.stat().st_mode) == stat.S_IMODE(program.stat().st_mode)
    assert os.readlink(target / "share" / "link") == "../pyvenv.cfg"
    assert not os.path.samefile(copy, program)


@pytest.mark.parametrize("size", [0, 1, 4095, 1_000_003])
@pytest.mark.parametrize("number", [None, errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP])
def test_a_file_is_copied_where_the_kernel_cannot_help(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, number: int | None
) -> None:
    content = os.urandom(size)
    (tmp_path / "one").write_bytes(content)

    def refuse(*_args: Any) -> int:
        assert number is not None
        raise OSError(number, os.strerror(number))

    if number is not None:
        monkeypatch.setattr(os, "copy_file_range", refuse)
    copying._copy_file(str(tmp_path / "one"), str(tmp_path / "two"))
    assert (tmp_path / "two").read_bytes() == content


@pytest.mark.parametrize("then", [0, errno.EXDEV])
def test_a_kernel_that_gives_up_halfway_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, then: int
) -> None:
    content = os.urandom(100_000)
    (tmp_path / "one").write_bytes(content)
    real = os.copy_file_range
    calls = 0

    def half(source: int, target: int, _count: int) -> int:
        nonlocal calls
        calls += 1
        if calls == 1:
            return real(source, target, 40_000)
        if then:
            raise OSError(then, os.strerror(then))
        return 0

    monkeypatch.setattr(os, "copy_file_range", half)
    copying._copy_file(str(tmp_path / "one"), str(tmp_path / "two"))
    assert (tmp_path / "two").read_bytes() == content


def test_a_kernel_that_copies_nothing_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of some file systems in user space."""
    calls = 0

    def nothing(*_args: Any) -> int:
        nonlocal calls
        calls += 1
        assert calls == 1
        return 0

    (tmp_path / "one").write_bytes(b"x" * 5000)
    monkeypatch.setattr(os, "copy_file_range", nothing)
    copying._copy_file(str(tmp_path / "one"), str(tmp_path / "two"))
    assert (tmp_path / "two").read_bytes() == b"x" * 5000


def test_another_error_is_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_args: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "one").write_bytes(b"x")
    monkeypatch.setattr(os, "copy_file_range", full)
    with pytest.raises(OSError, match="No space"):
        copying._copy_file(str(tmp_path / "one"), str(tmp_path / "two"))


def test_a_file_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).write_text(name, "ascii")
    with pytest.raises(FileExistsError):
        copying._copy_file(str(tmp_path / "one"), str(tmp_path / "two"))
    assert (tmp_path / "two").read_text("ascii") == "two"


# -- hard links through the door -------------------------------------------------------------------


class Door:
    """The door `environment`, which hands over a tree or says why not."""

    def __init__(self, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
        self.place = home.service / "handover" / "1001.abc"
        self.answer: str | None = None
        self.place.mkdir(parents=True)
        FakePrograms(monkeypatch).answer("*", self._run)

    def _run(self, call: Call) -> CompletedProcess:
        arguments = call.args
        assert [str(word) for word in arguments] == ["/usr/bin/sudo", "-n", "/usr/lib/jupyterhub4family/environment"]
        assert (call.stdin or "") == "{}"
        if self.answer is not None:
            return CompletedProcess(1, self.answer, "sudo: a password is required")
        (self.place / "env").mkdir()
        (self.place / "env" / "by-door").touch()
        return CompletedProcess(0, json.dumps({"ok": True, "place": str(self.place)}) + "\n", "")


@pytest.fixture
def door(home: Home, monkeypatch: pytest.MonkeyPatch) -> Door:
    return Door(home, monkeypatch)


def test_what_the_door_hands_over_is_moved_in(door: Door, target: Path) -> None:
    assert copying.copy_template(target, nobody) == copying.HARD_LINKS
    assert (target / "by-door").exists() and list(door.place.iterdir()) == []


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("", "environment gave no answer (status 1): sudo: a password is required"),
        ("no JSON", "environment gave no answer (status 1): sudo: a password is required"),
        ('{"ok": true}', "environment gave an answer that makes no sense"),
        ('{"ok": false, "error": "the disk is full"}', "the disk is full"),
    ],
)
def test_a_door_that_refuses_means_a_copy(door: Door, target: Path, answer: str, reason: str) -> None:
    door.answer = answer
    reported: list[str] = []
    assert copying.copy_template(target, lambda _percent, message: reported.append(message)) == copying.COPY
    assert (target / "pyvenv.cfg").exists()
    assert reported[0].startswith(f"Hard links are not possible ({reason})")


def test_a_door_that_does_not_open_means_a_copy(door: Door, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(call: Call) -> CompletedProcess:
        raise ProgramError("sudo did not end within 300 seconds")

    FakePrograms(monkeypatch).answer("*", run)
    assert copying.copy_template(target, nobody) == copying.COPY


def test_a_tree_that_cannot_be_moved_in_is_not_left_lying_about(
    door: Door, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rename(*_args: Any) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "rename", rename)
    assert copying.copy_template(target, nobody) == copying.COPY
    assert list(door.place.iterdir()) == []


def test_on_another_disk_the_door_is_not_even_asked(door: Door, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "_same_disk", lambda _directory: False)
    FakePrograms(monkeypatch)
    assert copying.copy_template(target, nobody) == copying.COPY


# -- without a template ------------------------------------------------------------------------------


def test_without_a_template_everything_is_fetched(home: Home, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def make(*arguments: Any, **_more: Any) -> None:
        asked.extend(arguments)
        (target.parent / "cache.unfinished").mkdir()

    def compile_it(*arguments: Any) -> None:
        asked.append(arguments)

    home.point("nowhere")
    home.uv("exit 0")
    monkeypatch.setattr(venv, "make_environment", make)
    monkeypatch.setattr(venv, "compile_bytecode", compile_it)
    assert copying.copy_template(target, nobody) == copying.FETCHED
    assert asked[1] == target and str(asked[2]).endswith("member.txt")
    assert asked[-1][1] == target, "and compiled, as a copy would be"
    assert not (target.parent / "cache.unfinished").exists()


def test_without_a_network_either_there_is_a_sentence(
    home: Home, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(*_args: Any, **_more: Any) -> None:
        raise ProgramError("JupyterLab could not be fetched: dns error")

    home.point("nowhere")
    home.uv("exit 0")
    monkeypatch.setattr(venv, "make_environment", make)
    with pytest.raises(FamilyError, match="dns error") as caught:
        copying.copy_template(target, nobody)
    assert "internet" in caught.value.hint


# -- small ones --------------------------------------------------------------------------------------


def test_the_id_of_the_template(home: Home) -> None:
    assert copying.template_id() == TEMPLATE_ID
    (home.own_template() / "bin" / "python").unlink()
    assert copying.template_id() == ""
    home.point("nowhere")
    assert copying.template_id() == ""


@pytest.mark.parametrize(("text", "size"), [("1234", 1234), ("", 500 * 2**20), ("x", 500 * 2**20), (None, 500 * 2**20)])
def test_the_size_of_the_template(tmp_path: Path, text: str | None, size: int) -> None:
    if text is not None:
        (tmp_path / "size").write_text(text, "ascii")
    assert copying.size_of(tmp_path / "env") == size


def test_a_full_disk_has_an_exit_status_of_its_own() -> None:
    assert copying.disk_full(Path("/home/anna"), "x").status == ExitStatus.DISK_FULL


def test_removing_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").touch()
    (tmp_path / "link").symlink_to("precious")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "link").symlink_to("../precious")
    for name in ("link", "tree", "missing"):
        copying.remove_tree(tmp_path / name)
        assert not (tmp_path / name).exists()
    assert (tmp_path / "precious" / "file").exists()
