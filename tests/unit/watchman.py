"""What unit tests may not do to the machine they run on; conftest.py has everything they do looked at by this."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any, Optional

import pytest

from tests.unit.helpers import ROOT

#: Programs that act on the machine. A unit test that starts one forgot to replace something.
FORBIDDEN_PROGRAMS = frozenset(
    """
    adduser crontab deluser gpasswd groupadd groupdel runuser screen su sudo systemctl systemd-run useradd userdel
    usermod visudo
    """.split()
)
#: Events of changes to a file system, with which of their arguments are paths (Python's table of audit events).
CHANGES = {
    "os.chmod": (0,),
    "os.chown": (0,),
    "os.link": (1,),
    "os.mkdir": (0,),
    "os.remove": (0,),
    "os.rename": (0, 1),
    "os.rmdir": (0,),
    "os.symlink": (1,),
    "os.truncate": (0,),
    "shutil.rmtree": (0,),
}
FORBIDDEN_DIRECTORIES = tuple(
    f"{directory}/" for directory in ("/boot", "/etc", "/home", "/root", "/run", "/srv", "/usr", "/var/lib", ROOT)
)


class Watchman:
    """Looks at audit events (PEP 578) while it is awake, and fails the test that causes a forbidden one."""

    def __init__(self, machine_root: Path) -> None:
        self._machine_root = f"{machine_root}/"
        self._allowed: Optional[tuple[str, ...]] = None

    def wake_up(self, tmp_path: Path) -> None:
        """A test begins, which may write below `tmp_path` and where others put their temporary files."""
        caches = [os.environ[name] for name in ("HYPOTHESIS_STORAGE_DIRECTORY",) if name in os.environ]
        self._allowed = (str(tmp_path), *caches)

    def allow(self, directory: Path) -> None:
        """This test may write below `directory` as well."""
        self._allowed = (*(self._allowed or ()), str(directory))

    def fall_asleep(self) -> None:
        """The test has ended; pytest itself may do what it likes."""
        self._allowed = None

    def watch(self, event: str, arguments: tuple[Any, ...]) -> None:
        """The audit hook."""
        if self._allowed is None:
            return
        if event in ("subprocess.Popen", "os.exec", "os.posix_spawn"):
            name = os.path.basename(os.fsdecode(arguments[0]))
            if name in FORBIDDEN_PROGRAMS:
                pytest.fail(f"a unit test starts {name}")
        elif event == "open" and isinstance(arguments[0], (str, bytes)):
            path, _mode, flags = arguments
            if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                self.check_place(os.path.abspath(os.fsdecode(path)))
        elif event in CHANGES:
            for path in (arguments[number] for number in CHANGES[event]):
                # A descriptor, or a path relative to one, leads to where a test has been allowed to open something.
                if not isinstance(path, int) and os.path.isabs(path):
                    self.check_place(os.fsdecode(path))
        elif event == "os.kill" and arguments[1] != 0:
            check_process(arguments[0])
        elif event == "os.killpg":
            check_group(arguments[0])

    def check_place(self, path: str) -> None:
        """Fail the test unless it may change `path`."""
        if path.startswith(self._allowed or ()) or "/__pycache__/" in path:
            return
        # The working tree itself may be a copy that lies among temporary files.
        forbidden = path.startswith(f"{ROOT}/") or not path.startswith(f"{tempfile.gettempdir()}/")
        if path.startswith(self._machine_root) or (forbidden and path.startswith(FORBIDDEN_DIRECTORIES)):
            pytest.fail(f"a unit test writes to {path}")


def check_process(pid: int) -> None:
    """Fail the test unless it may signal `pid`: what the tests have started is younger than they are."""
    if pid <= 0:
        pytest.fail(f"a unit test signals the group {pid}")
    begun = _begun(pid)
    # Not younger is also who started in the same clock tick: our parent.
    if pid != os.getpid() and begun is not None and begun <= (_begun(os.getpid()) or 0):
        pytest.fail(f"a unit test signals the process {pid}, which it has not started")


def check_group(group: int) -> None:
    """Fail the test unless it may signal all of `group`: its leader is somebody whom the tests have started."""
    if group <= 0 or group == os.getpgrp() or _begun(group) is None:
        pytest.fail(f"a unit test signals the group {group}")
    check_process(group)


def _begun(pid: int) -> Optional[int]:
    """When a process has started; read here as well, because the tests replace what the code has for this."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[19])
    except OSError:
        return None
