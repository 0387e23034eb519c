"""common.files: the old content or the new one, never half of one."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import subprocess
from pathlib import Path

import pytest

from jupyterhub4family.common.system import files
from jupyterhub4family.common.system.files import locked, point_link, take_lock, write_atomically
from tests.unit.helpers import PYTHON, TIMEOUT, run_python, wait_until, with_our_package


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.mark.parametrize("mode", [0o600, 0o644])
@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_content_and_mode_are_as_asked(tmp_path: Path, mode: int, mask: int) -> None:
    file = tmp_path / "file"
    old_mask = os.umask(mask)
    try:
        write_atomically(file, "old", mode)
        write_atomically(file, "Grüße\n", mode)
    finally:
        os.umask(old_mask)
    assert file.read_bytes() == "Grüße\n".encode()
    assert mode_of(file) == mode
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("step", ["fchmod", "fsync"])
def test_a_failure_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    file = tmp_path / "file"
    file.write_text("old", "utf-8")

    def fail(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(file, "new")
    assert file.read_text("utf-8") == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_text_that_cannot_be_written_leaves_the_old_content(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("old", "utf-8")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(file, "new \ud800")
    assert file.read_text("utf-8") == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_everything_is_on_the_disk_before_the_name_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_text("old", "utf-8")
    seen = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        kind = "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        seen.append((kind, file.read_text("utf-8")))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    write_atomically(file, "new")
    assert seen == [("file", "old"), ("folder", "new")]


def test_what_an_earlier_process_of_the_same_number_left_is_no_hindrance(tmp_path: Path) -> None:
    """After a power cut, pids start again from 1: sooner or later one meets its own leftovers."""
    (tmp_path / f".file.{os.getpid()}").write_text("half of so", "utf-8")
    write_atomically(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text("utf-8") == "new"
    assert os.listdir(tmp_path) == ["file"]


def test_a_link_is_replaced_not_followed(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("precious", "utf-8")
    for link in (tmp_path / "file", tmp_path / f".file.{os.getpid()}"):
        link.symlink_to(other)
    write_atomically(tmp_path / "file", "new")
    assert other.read_text("utf-8") == "precious"
    assert not (tmp_path / "file").is_symlink()


def test_point_link_makes_and_moves_a_link(tmp_path: Path) -> None:
    link = tmp_path / "current"
    point_link(link, "one")
    assert os.readlink(link) == "one"
    point_link(link, "two")
    assert os.readlink(link) == "two"
    # What a power cut left between making and renaming.
    (tmp_path / f".current.{os.getpid()}").symlink_to("older")
    point_link(link, "three")
    assert os.readlink(link) == "three"
    assert os.listdir(tmp_path) == ["current"]


def test_point_link_never_leaves_a_moment_without_the_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = tmp_path / "current"
    link.symlink_to("one")
    monkeypatch.setattr(os, "unlink", lambda path, **_more: pytest.fail("unlinked") if path == link else None)
    monkeypatch.setattr(files, "sync_directory", lambda _path: None)
    point_link(link, "two")
    assert os.readlink(link) == "two"


TRY_LOCK = """
import pathlib
from jupyterhub4family.common.system.files import take_lock
print(take_lock(pathlib.Path(sys.argv[1]), wait=False) is not None)
"""


def test_a_lock_keeps_another_process_out_until_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    lock = take_lock(path, wait=False)
    assert lock is not None
    assert run_python(TRY_LOCK, str(path)).stdout == "False\n"
    os.close(lock)
    assert run_python(TRY_LOCK, str(path)).stdout == "True\n"
    assert mode_of(path) == 0o600


def test_a_lock_ends_with_a_process_that_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    code = with_our_package(TRY_LOCK + "sys.stdout.flush()\nimport time\ntime.sleep(60)")
    process = subprocess.Popen([*PYTHON, "-c", code, str(path)], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"True\n"
        assert take_lock(path, wait=False) is None
    finally:
        process.kill()
        process.communicate(timeout=TIMEOUT)
    lock = take_lock(path, wait=False)
    assert lock is not None
    os.close(lock)


def test_a_lock_is_not_inherited_by_programs(tmp_path: Path) -> None:
    lock = take_lock(tmp_path / "lock", wait=False)
    assert lock is not None
    assert not os.get_inheritable(lock)
    os.close(lock)


def test_a_refused_lock_leaves_no_descriptor_open(tmp_path: Path) -> None:
    lock = take_lock(tmp_path / "lock", wait=False)
    assert lock is not None
    before = len(os.listdir("/proc/self/fd"))
    assert take_lock(tmp_path / "lock", wait=False) is None
    assert len(os.listdir("/proc/self/fd")) == before
    os.close(lock)


def test_a_lock_is_no_link_to_somewhere(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError):
        take_lock(tmp_path / "lock", wait=False)
    assert not (tmp_path / "elsewhere").exists()


def test_locked_waits_for_the_other(tmp_path: Path) -> None:
    code = """
    import pathlib
    from jupyterhub4family.common.system.files import locked
    with locked(pathlib.Path(sys.argv[1])):
        pathlib.Path(sys.argv[2]).touch()
    """
    args = [*PYTHON, "-c", with_our_package(code), str(tmp_path / "lock"), str(tmp_path / "had")]
    with locked(tmp_path / "lock"):
        process = subprocess.Popen(args)
        wait_until(lambda: waits_for_a_lock(process.pid), "the other process waiting")
        assert not (tmp_path / "had").exists()
    assert process.wait(TIMEOUT) == 0
    assert (tmp_path / "had").exists()


def waits_for_a_lock(pid: int) -> bool:
    """The kernel lists waiting processes with an arrow: `1: -> FLOCK  ADVISORY  WRITE 4711 …` (proc_locks(5))."""
    for line in Path("/proc/locks").read_text("ascii").splitlines():
        args = line.split()
        if args[1] == "->" and args[5] == str(pid):
            return True
    return False


def test_locked_lets_go_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(tmp_path / "lock"):
        raise ZeroDivisionError
    lock = take_lock(tmp_path / "lock", wait=False)
    assert lock is not None
    os.close(lock)


# -- what somebody else could have put there ---------------------------------------------------------


def planted(directory: Path) -> dict[str, Path]:
    """Everything that can lie in place of a file."""
    places = {name: directory / name for name in ("pipe", "zeros", "loop", "link", "folder", "socket", "gone")}
    (directory / "real").write_text('{"a": 1}')
    os.mkfifo(places["pipe"])
    places["zeros"].symlink_to("/dev/zero")
    places["loop"].symlink_to("loop")
    places["link"].symlink_to("real")
    places["folder"].mkdir()
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as server:
        server.bind(os.path.relpath(places["socket"]))
    return places


def test_only_a_plain_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, path in planted(tmp_path).items():
        assert files.read_untrusted(path, 100) is None, name
        assert files.read_json(path, 100) is None, name
    assert (
        files.read_untrusted(tmp_path / "real", 100) == b'{"a": 1}'
        and files.read_untrusted(tmp_path / "real", 7) is None
    )
    assert files.read_json(tmp_path / "real", 100) == {"a": 1}
    assert files.read_untrusted(tmp_path / "real", 100, owner=os.getuid()) is not None
    assert files.read_untrusted(tmp_path / "real", 100, owner=os.getuid() + 1) is None
    assert not [name for name in os.listdir("/proc/self/fd") if "real" in os.path.realpath(f"/proc/self/fd/{name}")]


def test_a_pipe_that_somebody_writes_to_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = os.open(tmp_path / "pipe", os.O_RDWR)
    os.write(writer, b"{}")
    assert files.read_json(tmp_path / "pipe", 100) is None
    os.close(writer)


def test_below_a_directory_no_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "top/inner").mkdir(parents=True)
    (tmp_path / "outer").mkdir()
    for directory in ("top/inner", "outer"):
        (tmp_path / directory / "file").write_text(directory)
    (tmp_path / "top/link").symlink_to("../outer")
    (tmp_path / "entry").symlink_to("top")
    top = tmp_path / "top"
    assert files.read_untrusted(top / "inner/file", 100, top=top) == b"top/inner"
    assert files.read_untrusted(top / "link/file", 100, top=top) is None
    # The way to the top is root's own.
    assert files.read_untrusted(tmp_path / "entry/inner/file", 100, top=tmp_path / "entry") == b"top/inner"
    for outside in (tmp_path / "outer/file", top, top / "inner/../../outer/file", top / "../outer/file"):
        assert files.read_untrusted(outside, 100, top=top) is None


@pytest.mark.parametrize("text", ["", "[" * 100_000, "9" * 5000, '{"a": NaN}', "{", "\xff", "-" + "9" * 30, "Infinity"])
def test_what_is_no_note_of_ours_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "note").write_text(text, "latin-1")
    assert files.read_json(tmp_path / "note", 2**20) is None


def test_where_a_link_leads(tmp_path: Path) -> None:
    link = tmp_path / "current"
    assert files.link_name(link) == "" and not files.is_marked(link, ".complete")
    for target in ("/etc", "../etc", ".", "..", ".hidden", "a/b", "a\x1b[31m", "a\n", "x" * 101, "ä"):
        link.symlink_to(target)
        assert files.link_name(link) == "" and not files.is_marked(link, ".complete"), target
        link.unlink()
    link.symlink_to("py3.11-0123456789ab")
    assert files.link_name(link) == "py3.11-0123456789ab" and not files.is_marked(link, ".complete")
    (tmp_path / "py3.11-0123456789ab").mkdir()
    marker = tmp_path / "py3.11-0123456789ab/.complete"
    marker.symlink_to("/etc/passwd")
    assert not files.is_marked(link, ".complete")
    marker.unlink()
    marker.touch()
    assert files.is_marked(link, ".complete")
    (tmp_path / "py3.11-0123456789ab").rename(tmp_path / "elsewhere")
    (tmp_path / "py3.11-0123456789ab").symlink_to("elsewhere")
    assert not files.is_marked(link, ".complete")
