"""The watchman of the unit tests is awake: nothing here may change the machine it runs on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Callable

import pytest

from jupyterhub4family.common import paths
from tests.unit.helpers import MACHINE_ROOT, ROOT, TIMEOUT, run_python
from tests.unit.watchman import check_group, check_process

Caught = pytest.fail.Exception


@pytest.mark.parametrize("program", ["sudo", "/usr/bin/sudo", "/usr/sbin/useradd", "systemctl", "/usr/bin/crontab"])
def test_a_program_that_acts_on_the_machine_is_not_started(program: str) -> None:
    with pytest.raises(Caught, match="a unit test starts"):
        subprocess.run([program, "--version"], check=False)
    with pytest.raises(Caught, match="a unit test starts"):
        os.execv(program, [program, "--version"])


@pytest.mark.parametrize("place", ["/etc/x", "/usr/lib/j4f/x", "/var/lib/x", f"{ROOT}/x", f"{ROOT}/src/x"])
def test_nothing_is_changed_outside_of_the_tests_own_folder(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    changes: list[Callable[[], object]] = [
        lambda: Path(place).write_text("x", "ascii"),
        lambda: os.open(place, os.O_RDWR | os.O_CREAT),
        lambda: os.mkdir(place),
        lambda: os.rename(tmp_path / "file", place),
        lambda: os.symlink("x", place),
        lambda: os.unlink(place),
        lambda: os.chmod(place, 0o600),
        lambda: shutil.rmtree(place),
    ]
    for change in changes:
        with pytest.raises(Caught, match="a unit test writes to"):
            change()
    assert not Path(place).exists()


def test_only_processes_of_the_tests_are_signalled() -> None:
    for pid in (1, os.getppid()):
        with pytest.raises(Caught, match="which it has not started"):
            check_process(pid)
    for pid in (0, -1, -os.getpid()):
        with pytest.raises(Caught, match="signals the group"):
            check_process(pid)
    check_process(os.getpid())
    with pytest.raises(Caught, match="which it has not started"):
        # Nobody minds this signal, should the watchman be asleep.
        os.kill(os.getppid(), signal.SIGURG)
    child = subprocess.Popen(["/bin/sleep", "60"])
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait(TIMEOUT) == -signal.SIGKILL


def test_only_groups_of_the_tests_are_signalled() -> None:
    for group in (0, 1, os.getpgrp(), os.getpgid(os.getppid())):
        with pytest.raises(Caught, match=r"which it has not started|signals the group"):
            check_group(group)
        with pytest.raises(Caught, match=r"which it has not started|signals the group"):
            os.killpg(group, signal.SIGURG)
    child = subprocess.Popen(["/bin/sleep", "60"], start_new_session=True)
    os.killpg(child.pid, signal.SIGKILL)
    assert child.wait(TIMEOUT) == -signal.SIGKILL
    with pytest.raises(Caught, match="signals the group"):
        check_group(child.pid)


def test_the_folders_of_an_installed_service_are_out_of_reach_here_and_in_other_interpreters() -> None:
    names = [name for name, value in vars(paths).items() if isinstance(value, Path)]
    here = [str(getattr(paths, name)) for name in names]
    code = """
    from jupyterhub4family.common import paths
    from jupyterhub4family.service.run.supervise import pid_file
    print(*(getattr(paths, name) for name in sys.argv[1:]), pid_file("hub"), sep="\\n")
    """
    there = run_python(code, *names).stdout.splitlines()
    assert len(there) == len(here) + 1 and there[:-1] == here
    for path in there:
        assert path.startswith((f"{MACHINE_ROOT}/", "/usr/", ".local/")), path
    assert not MACHINE_ROOT.exists()


def test_the_rest_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", "ascii")
    assert subprocess.run(["/bin/true"], check=False).returncode == 0
    with open("/etc/passwd", "rb") as file:
        assert file.read(1)
