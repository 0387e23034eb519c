"""Runs as root: sees to it that the service's TCP ports are held, so that no other account can take them.

On a machine with systemd, systemd itself holds them from early at boot on, whoever supervises hub and proxy. Elsewhere
the account's program `hold-ports` does, started before cron.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Callable, NoReturn

from jupyterhub4family.common import paths
from jupyterhub4family.common.settings import effective
from jupyterhub4family.common.settings.model import Settings
from jupyterhub4family.common.state import ports, supervision
from jupyterhub4family.common.state.ports import Place
from jupyterhub4family.common.system import files, programs
from jupyterhub4family.root.base import adoption

#: The unit as it is packaged, for ports as they are unless a setting says otherwise; and what else they are.
SOCKET_UNIT = Path("/usr/lib/systemd/system") / supervision.PORTS_SOCKET
DROP_IN = Path("/etc/systemd/system") / f"{supervision.PORTS_SOCKET}.d" / "ports.conf"
#: Ports that a setting has changed since the last boot.
FORMER = Path("/run/systemd/system") / f"{supervision.PORTS_SOCKET}.d" / "zz-former.conf"
#: That the socket is masked until the next boot (systemctl(1)).
MASK = Path("/run/systemd/system") / supervision.PORTS_SOCKET
#: How a port of the hub's stands there.
LISTENS = r"^ListenStream=127\.0\.0\.1:([0-9]+)$"
CONTROL = paths.LIBRARY / "control"
#: Seconds that the account's program may take to show what it has; it has five to begin with.
ANSWER_WITHIN = 10.0
#: Seconds that stopping a unit may take.
TIMEOUT = 120


def ensure_held(end: Callable[[], None]) -> bool:
    """Have the ports held that the settings want; hub and proxy take them when they start.

    Returns whether they are held by new sockets: then hub and proxy have been ended by `end`, as the former ones would
    get some of the connections. Raises FamilyError that says whose program has a port, if it cannot be had.
    """
    if not SOCKET_UNIT.exists() and supervision.SYSTEMD_RUNS.is_dir():
        return False  # on the way back to a version that opens its ports by itself
    settings = effective.settings_in_use()[0]
    if not supervision.SYSTEMD_RUNS.is_dir():
        if not _are_held(settings) and adoption.service_listens(settings):
            programs.start_detached([CONTROL, "hold-ports"])
            _wait_until_held(settings)
        return False
    changed = _write_drop_in(settings)
    if changed:
        programs.run(["systemctl", "daemon-reload"])
    if not supervision.is_active(supervision.PORTS_SOCKET) and (_are_held(settings) or _adopted(settings)):
        # From the next boot on systemd holds them.
        return False
    anew = changed or not supervision.is_active(supervision.PORTS_SOCKET)
    if anew:
        if adoption.service_listens(settings):
            # What could not be taken over has to be given up first: for a moment the ports are free. So it is with a
            # new port, which a hub that had to start just then has opened by itself.
            end()
        with _reserved(settings):
            end()
            # Systemd opens no sockets while it thinks that somebody uses them.
            programs.run(["systemctl", "stop", supervision.HOLDER_UNIT, supervision.PORTS_UNIT], timeout=TIMEOUT)
            if MASK.is_symlink():
                programs.run(["systemctl", "unmask", "--runtime", "--quiet", supervision.PORTS_SOCKET])
            programs.run(["systemctl", "restart", supervision.PORTS_SOCKET])
    programs.run(["systemctl", "start", supervision.PORTS_UNIT])
    if supervision.chosen_supervisor() == supervision.CRON:
        programs.run(["systemctl", "start", supervision.HOLDER_UNIT])
    return anew


@contextlib.contextmanager
def _reserved(settings: Settings) -> Iterator[None]:
    """Listen at the ports, too, until systemd does: two sockets of root's may share a port, nobody else's may.

    Raises FamilyError.
    """
    with contextlib.ExitStack() as opened:
        for place in ports.places(settings).values():
            try:
                opened.enter_context(contextlib.closing(ports.open_port(place, shared=True)))
            except OSError as error:
                raise ports.taken(place, error) from error
        had = []
        for port in (former := _hub_ports(FORMER)):
            with contextlib.suppress(OSError):
                opened.enter_context(contextlib.closing(ports.open_port(Place("127.0.0.1", port), shared=True)))
                had.append(port)
        if had != former:
            # Somebody else's since it was let go of: with it systemd would open none of them.
            _write_former(had)
            programs.run(["systemctl", "daemon-reload"])
        yield


def _adopted(settings: Settings) -> bool:
    """Have the ports of a hub and a proxy that opened them by themselves taken over, if such run."""
    if supervision.is_active(supervision.ADOPTED_UNIT):
        programs.run(["systemctl", "kill", "--signal=HUP", supervision.ADOPTED_UNIT])
        return _wait_until_held(settings)
    if not adoption.service_listens(settings):
        return False
    # Not by this process, which somebody waits for: to look into the account's programs may last.
    # In a scope, which goes on when whoever upgrades has ended.
    about = ["--scope", "--quiet", "--collect", f"--unit={supervision.ADOPTED_UNIT}"]
    programs.start_detached(["systemd-run", *about, "--", CONTROL, "hold-ports"])
    if not _wait_until_held(settings):
        return False
    # Else each start of hub and proxy would have systemd try to open what is open. Forgotten at the next boot.
    programs.run(["systemctl", "mask", "--runtime", "--quiet", supervision.PORTS_SOCKET])
    return True


def _are_held(settings: Settings) -> bool:
    """As `ports.are_held`, asked by a process for which nobody waits too long.

    Whoever closes a file last waits for its file system, which may be a program of the account's (FUSE).
    """
    child = os.fork()
    if child == 0:
        _ask_and_end(settings)
    until = time.monotonic() + ANSWER_WITHIN
    while (ended := os.waitpid(child, os.WNOHANG))[0] == 0:
        if time.monotonic() > until:
            os.kill(child, signal.SIGKILL)
            return False
        time.sleep(0.002)
    return os.WIFEXITED(ended[1]) and os.WEXITSTATUS(ended[1]) == 0


def _ask_and_end(settings: Settings) -> NoReturn:
    """In the child. It keeps nothing of ours open: no pipe whose end somebody waits for, and no lock."""
    status = 1
    try:
        nothing = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(nothing, number)
        for number in [int(name) for name in os.listdir("/proc/self/fd")]:
            if number > 2:
                with contextlib.suppress(OSError):  # the one by which the list was read
                    os.close(number)
        status = 0 if ports.are_held(settings) else 1
    finally:
        os._exit(status)


def _wait_until_held(settings: Settings) -> bool:
    until = time.monotonic() + ports.TIMEOUT
    while not _are_held(settings):
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def release() -> None:
    """Let go of the ports: the package goes, or one comes that opens them by itself."""
    if supervision.SYSTEMD_RUNS.is_dir():
        units = [supervision.ADOPTED_UNIT, supervision.HOLDER_UNIT, supervision.PORTS_SOCKET, supervision.PORTS_UNIT]
        programs.run(["systemctl", "stop", *units], check=False, timeout=TIMEOUT)
        programs.run(["systemctl", "unmask", "--runtime", "--quiet", supervision.PORTS_SOCKET], check=False)
    for file in (DROP_IN, FORMER):
        file.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            file.parent.rmdir()


def _write_drop_in(settings: Settings) -> bool:
    """Tell systemd of ports that are other than packaged; returns whether that changes anything."""
    text = drop_in(settings)
    _keep_former(settings)
    if text == _content(DROP_IN):
        return False
    if not text:
        DROP_IN.unlink()
        return True
    DROP_IN.parent.mkdir(mode=0o755, exist_ok=True)
    files.write_atomically(DROP_IN, text, 0o644)
    return True


def _keep_former(settings: Settings) -> None:
    """Have systemd hold the hub's former port as well, if a setting has changed it, until the next boot.

    Members' servers that run know that one only: they shall not send their tokens to somebody who takes it.
    """
    latest = (_hub_ports(DROP_IN) or [default_ports()[1]])[-1]
    known = _hub_ports(FORMER)
    # What is the service's again would be opened twice, and nobody would take up half of its connections.
    former = [port for port in {**dict.fromkeys(known), latest: None} if port not in (settings.port, settings.hub_port)]
    if former != known:
        _write_former(former)


def _hub_ports(file: Path) -> list[int]:
    return [int(port) for port in re.findall(LISTENS, _content(file), re.MULTILINE)]


def _content(file: Path) -> str:
    return file.read_text("utf-8") if file.exists() else ""


def _write_former(former: list[int]) -> None:
    if not former:
        FORMER.unlink(missing_ok=True)
        return
    FORMER.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    lines = "".join(f"ListenStream=127.0.0.1:{port}\n" for port in former)
    files.write_atomically(FORMER, f"[Socket]\n{lines}", 0o644)


def drop_in(settings: Settings) -> str:
    """What systemd is told beside the packaged unit; empty if that is right as it is."""
    if (settings.bind_address, settings.port, settings.hub_port) == ("", *default_ports()):
        return ""
    portal = f"{settings.bind_address}:{settings.port}" if settings.bind_address else str(settings.port)
    return (
        "# Follows /etc/jupyterhub4family/config.yaml; written by jupyterhub4family.\n[Socket]\nListenStream=\n"
        f"ListenStream={portal}\nListenStream=127.0.0.1:{settings.hub_port}\n"
    )


def default_ports() -> tuple[int, int]:
    """The ports that the packaged unit names: the portal's and the hub's."""
    return Settings().port, Settings().hub_port
