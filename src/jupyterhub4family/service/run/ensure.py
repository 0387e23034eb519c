"""Runs as jupyterhub, called by its crontab every minute and at boot, and by `start`: starts what is not running.

Only where the account's crontab is the supervisor. Asks for nothing and prints nothing when all is well.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import FamilyError, UsageError, run_program
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.state import supervision
from jupyterhub4family.common.system import files, processes, programs
from jupyterhub4family.service.run import supervise

#: There after `stop`: nothing is started until `start` or the next boot.
STOPPED = paths.STATE / "stopped"
SCREEN = "/usr/bin/screen"
#: Made by Debian's screen at boot; without it (bare containers) sessions live in its state.
SCREEN_SOCKETS = Path("/run/screen")


def main() -> int:
    """Program `ensure [--boot|--start|--stop|--restart-hub]`."""
    args = sys.argv[1:]
    if args not in ([], ["--boot"], ["--start"], ["--stop"], ["--restart-hub"]):
        raise UsageError(
            _("{program} takes one of {args}", program="ensure", args="--boot, --start, --stop, --restart-hub")
        )
    word = args[0] if args else ""
    os.umask(0o077)
    paths.STATE.mkdir(mode=0o700, exist_ok=True)
    if word == "--stop":
        stop()
        return 0
    if word in ("--boot", "--start"):
        STOPPED.unlink(missing_ok=True)
    if word == "--restart-hub":
        _end_supervisor("hub")
    if supervision.chosen_supervisor() != supervision.CRON or STOPPED.exists():
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
    if not SCREEN_SOCKETS.is_dir():
        directory = paths.STATE / "screen"
        directory.mkdir(mode=0o700, exist_ok=True)
        result["SCREENDIR"] = str(directory)
    return result


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
