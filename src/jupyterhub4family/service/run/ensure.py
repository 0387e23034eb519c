"""Runs as jupyterhub, called by its crontab every minute and at boot, and by `start`: starts what is not running.

Only where the account's crontab is the supervisor. Asks for nothing and prints nothing when all is well.
"""

from __future__ import annotations

import os
import pwd
import signal
import stat
import sys
import time
from pathlib import Path

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import FamilyError, UsageError, run_program
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.state import supervision
from jupyterhub4family.common.system import files, processes, programs
from jupyterhub4family.service.run import hold_ports, supervise

#: There after `stop`: nothing is started until `start` or the next boot.
STOPPED = paths.STATE / "stopped"
WORDS = ("--boot", "--start", "--stop", "--restart-hub", "--hold-ports", "--release-ports")
SCREEN = "/usr/bin/screen"
#: Made by Debian's screen at boot; without it (bare containers) sessions live in its state.
SCREEN_SOCKETS = Path("/run/screen")


def main() -> int:
    """Program `ensure [--boot|--start|--stop|--restart-hub|--hold-ports|--release-ports]`."""
    args = sys.argv[1:]
    if args not in ([], *([word] for word in WORDS)):
        raise UsageError(_("{program} takes one of {args}", program="ensure", args=", ".join(WORDS)))
    word = args[0] if args else ""
    os.umask(0o077)
    paths.STATE.mkdir(mode=0o700, exist_ok=True)
    if word == "--stop":
        stop()
        return 0
    if word == "--release-ports":
        hold_ports.end()
        return 0
    if word in ("--boot", "--start"):
        STOPPED.unlink(missing_ok=True)
    if word == "--restart-hub":
        _end_supervisor("hub")
    if supervision.chosen_supervisor() != supervision.CRON:
        return 0
    # Also while hub and proxy are stopped: nobody else shall have their ports meanwhile.
    hold_ports.ensure_held()
    if STOPPED.exists() or word == "--hold-ports":
        return 0
    for name in supervise.PROCESSES:
        _ensure_running(name)
    return 0


def is_supervised(name: str) -> bool:
    """Whether a supervisor of `name` is alive."""
    lock = files.take_lock(supervise.lock_file(name), wait=False)
    if lock is None:
        return True
    os.close(lock)
    return False


def screen_environment() -> dict[str, str]:
    """Variables under which screen finds its sessions."""
    result = {"HOME": str(paths.STATE), "TERM": "screen", "SHELL": "/bin/sh"}
    if not _has_place_for_sockets():
        directory = paths.STATE / "screen"
        directory.mkdir(mode=0o700, exist_ok=True)
        result["SCREENDIR"] = str(directory)
    return result


def _has_place_for_sockets() -> bool:
    """Whether screen can have its sessions where `screen -r` finds them by itself.

    On Debian 11 anybody may make folders there: with one of our name a member's job at boot would keep screen, and so
    hub and proxy, from starting.
    """
    own = SCREEN_SOCKETS / f"S-{_name()}"
    try:
        own.mkdir(mode=0o700)
    except FileExistsError:
        status = own.lstat()
        return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()
    except PermissionError:
        return True  # it is screen alone that may make one, for whoever calls it
    except OSError:
        return False
    return True


def _name() -> str:
    return pwd.getpwuid(os.getuid()).pw_name


def _ensure_running(name: str) -> None:
    if is_supervised(name):
        return
    variables = screen_environment()
    # A killed screen leaves its socket behind, listed as dead for ever.
    programs.run([SCREEN, "-wipe", name], check=False, environment=variables)
    programs.run(
        [SCREEN, "-dmS", name, paths.LIBRARY / "supervise", name], environment=variables, directory=paths.STATE
    )


def stop() -> None:
    """End hub and proxy, and keep them from being started until `start` or the next boot."""
    STOPPED.touch(mode=0o600)
    for name in reversed(supervise.PROCESSES):
        _end_supervisor(name)


def _end_supervisor(name: str) -> None:
    try:
        pid, started = map(int, supervise.pid_file(name).read_text("ascii").split())
    except (OSError, ValueError):
        return
    if not is_supervised(name) or not processes.is_running(pid, started):
        return
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + 20
    while is_supervised(name):
        if time.monotonic() > deadline:
            raise FamilyError(
                _("{program} did not end within {seconds} seconds", program=name, seconds=20),
                _("look at its log: {command}", command=f"jupyterhub4family logs {name}"),
            )
        time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(run_program(main))
