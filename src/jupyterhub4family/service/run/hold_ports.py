"""Runs as jupyterhub, started by `ensure` or by root before cron: holds the service's TCP ports where systemd does not.

It never ends by itself, and hands both ports to whoever of the account asks at a socket that nobody else reaches: so
hub and proxy find them open after every restart and crash, and no other account can take them meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
import time
from typing import Callable, NoReturn, Optional

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import UsageError, run_program
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.settings import effective
from jupyterhub4family.common.state import ports, supervision
from jupyterhub4family.common.state.ports import Place
from jupyterhub4family.common.system import files, processes, programs
from jupyterhub4family.service.run import handover

LOCK = paths.STATE / "hold-ports.lock"
PID_FILE = paths.STATE / "hold-ports.pid"
#: Seconds between two tries to get a port that somebody else has.
RETRY = 0.2
#: Seconds after which it looks around also when nothing is to be done: a signal does not end its waiting.
IDLE = 5.0
#: Seconds that whoever asks may take to read the answer, and that a holder gets to begin or to end.
TIMEOUT = 5.0


def main() -> int:
    """Program `hold-ports`: reads the settings again at SIGHUP; ends at SIGTERM, or if another one is at work."""
    if sys.argv[1:]:
        raise UsageError(_("{program} takes no arguments", program="hold-ports"))
    os.umask(0o077)
    paths.STATE.mkdir(mode=0o700, exist_ok=True)
    if files.take_lock(LOCK, wait=False) is None:
        return 0
    files.write_atomically(PID_FILE, f"{os.getpid()} {processes.start_time(os.getpid())}\n", 0o600)
    holder = Holder(ports.places(effective.settings_in_use()[0]))
    signal.signal(signal.SIGHUP, lambda _number, _frame: holder.follow_settings())
    holder.hold()


class Holder:
    """Has the ports, or goes on trying to get them."""

    def __init__(self, wanted: dict[str, Place]) -> None:
        self._missing = dict(wanted)
        self._held: dict[str, tuple[Place, socket.socket]] = {}
        for one in (*handover.from_systemd(), *handover.from_root()):
            for name, place in wanted.items():
                if ports.is_at(one, place):
                    self._held[name] = (place, one)
                    self._missing.pop(name, None)
        self._door = open_door()

    def follow_settings(self) -> None:
        """Hold the ports that the settings want now; a portal's that they do not want any more is let go afterwards.

        The hub's former one is kept: members' servers that run know that one only, and shall not find somebody else.
        """
        wanted = ports.places(effective.settings_in_use()[0])
        former, self._held = self._held, {}
        for name, (place, one) in former.items():
            if place == wanted.get(name):
                self._held[name] = (place, one)
            elif name != ports.PORTAL:
                self._held[f"former {place.port}"] = (place, one)
        self._missing = {name: place for name, place in wanted.items() if name not in self._held}
        self._try_missing()
        if ports.PORTAL in former and former[ports.PORTAL][1] is not self._held.get(ports.PORTAL, (None, None))[1]:
            former[ports.PORTAL][1].close()

    def hold(self) -> NoReturn:
        """Hand over what is held, for ever."""
        while True:
            self._try_missing()
            ready, _writable, _broken = select.select([self._door], [], [], RETRY if self._missing else IDLE)
            if ready:
                with contextlib.suppress(OSError):
                    self._answer()

    def _try_missing(self) -> None:
        for name, place in list(self._missing.items()):
            with contextlib.suppress(OSError):
                self._held[name] = (place, ports.open_port(place, shared=True))
                del self._missing[name]

    def _answer(self) -> None:
        with contextlib.closing(self._door.accept()[0]) as asking:
            asking.settimeout(TIMEOUT)
            held = [one.fileno() for _place, one in self._held.values()]
            socket.send_fds(asking, [ports.described(self._held)], held)


def open_door() -> socket.socket:
    """The socket at which the ports are handed over. Raises OSError."""
    paths.SOCKETS.mkdir(mode=0o700, exist_ok=True)
    # Left by one that was killed; nobody else is at work, as this process has the lock.
    paths.HOLDER_SOCKET.unlink(missing_ok=True)
    door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    door.bind(str(paths.HOLDER_SOCKET))
    door.listen(ports.BACKLOG)
    return door


def ensure_held() -> None:
    """Have a holder for what the settings want: start one, or tell the one at work that they are others now.

    Where systemd is PID 1 it holds the ports, and starts the holder by itself.
    """
    settings = effective.settings_in_use()[0]
    if supervision.SYSTEMD_RUNS.is_dir() or ports.are_held(settings):
        return
    pid = holder()
    if pid is not None:
        os.kill(pid, signal.SIGHUP)
    else:
        programs.start_detached([paths.LIBRARY / "hold-ports"])
    _wait(lambda: ports.are_held(settings))


def end() -> None:
    """End the holder, if one is at work."""
    pid = holder()
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        _wait(lambda: not is_holding())


def holder() -> Optional[int]:
    """The pid of the program that holds the ports, if one is at work."""
    try:
        pid, started = map(int, PID_FILE.read_text("ascii").split())
    except (OSError, ValueError):
        return None
    return pid if processes.is_running(pid, started) and is_holding() else None


def is_holding() -> bool:
    """Whether a holder is at work."""
    lock = files.take_lock(LOCK, wait=False)
    if lock is None:
        return True
    os.close(lock)
    return False


def _wait(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + TIMEOUT
    while not condition() and time.monotonic() < until:
        time.sleep(0.02)


if __name__ == "__main__":
    sys.exit(run_program(main))
