"""Runs as jupyterhub, under systemd or `supervise`: answers on the portal's port from the first second.

As long as there is no release it serves the setup page; then it becomes configurable-http-proxy.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any, NoReturn, Optional

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import run_program
from jupyterhub4family.common.i18n.messages import LANGUAGES, N_, _, translated
from jupyterhub4family.common.settings import effective
from jupyterhub4family.common.settings.model import Settings
from jupyterhub4family.common.state import ports
from jupyterhub4family.common.system import files, processes, programs
from jupyterhub4family.service.hub_state import tokens
from jupyterhub4family.service.releases import builds, setup_page
from jupyterhub4family.service.releases.setup_page import SetupPage
from jupyterhub4family.service.run import handover

PID_FILE = paths.STATE / "proxy.pid"
#: Tells of which program the running proxy is made.
PROGRAM_FILE = paths.STATE / "proxy.program"
LAUNCHER = paths.SHARE / "proxy" / "launch.js"
#: Looks whether the certificate is still good, and makes a new one if not. A program of its own: what it needs in
#: memory is gone when it ends.
CHECK_CERTIFICATES = (str(paths.LIBRARY / "certificates"), "ensure")
#: Node without its optimizing compilers: after load 58 instead of 103 MB, for 0.6 ms more of the processor per
#: request (docs/adr/0009-lean-processes.md). A family's machine has more time than memory.
NODE_OPTIONS = ["--lite-mode"]
#: Read in JupyterLab by somebody whose window has been open for weeks, or who is logged in no more.
REFUSED_AT_GATE = N_(
    "This browser may not use this server any more. Load the page again, and log in if you are asked to."
)


def main() -> int:
    """Never returns normally: becomes the proxy, or is ended from outside."""
    os.umask(0o077)
    settings = effective.settings_of_service("proxy")
    lock = files.take_lock(paths.STATE / "proxy.lock", wait=False)
    if lock is None:
        print("another proxy is still running; waiting until it ends", flush=True)
        lock = files.take_lock(paths.STATE / "proxy.lock", wait=True)
    assert lock is not None
    if settings.https:
        ensure_certificate()
    port = handover.take(ports.PORTAL, settings)
    if not builds.is_complete(paths.CURRENT_RELEASE):
        _serve_setup_page(settings, port)
    os.set_inheritable(lock, True)
    _become_proxy(settings, port)


def running_proxy() -> Optional[int]:
    """The pid of the proxy, if it is running."""
    try:
        pid, start_time = map(int, PID_FILE.read_text("ascii").split())
    except (OSError, ValueError):
        return None
    return pid if processes.is_running(pid, start_time) else None


def end_proxy() -> None:
    """End a proxy that runs from an older release: its supervisor starts it again from the current one."""
    proxy = running_proxy()
    if proxy is not None:
        os.kill(proxy, signal.SIGTERM)


def end_outdated_proxy() -> None:
    """As the above, for a proxy that was started before the package brought another program for it.

    Else a portal that has learned HTTPS, or whose proxy has been mended, would go on as before until the next boot.
    """
    try:
        known = PROGRAM_FILE.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        known = ""
    if running_proxy() is not None and known != _program():
        print("the proxy runs from an older version of the package; starting it again", flush=True)
        end_proxy()


def _program() -> str:
    """A word that changes with the proxy's program."""
    digest = hashlib.sha256()
    for file in sorted(LAUNCHER.parent.glob("*.js")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _serve_setup_page(settings: Settings, port: socket.socket) -> None:
    with SetupPage(settings, port):
        while not builds.is_complete(paths.CURRENT_RELEASE):
            time.sleep(0.2)


def _become_proxy(settings: Settings, port: socket.socket) -> NoReturn:
    """Execute node. The proxy's secret reaches it as a file's name, so that no process list shows it."""
    port.set_inheritable(True)
    paths.SOCKETS.mkdir(mode=0o700, exist_ok=True)
    pid = os.getpid()
    files.write_atomically(PID_FILE, f"{pid} {processes.start_time(pid)}\n", 0o600)
    files.write_atomically(PROGRAM_FILE, f"{_program()}\n", 0o600)
    for token in (tokens.PROXY_TOKEN, tokens.ROUTES_TOKEN, tokens.GATE_KEY):
        tokens.ensure_token(token)
    release = paths.CURRENT_RELEASE.resolve()
    node = str(release / "node" / "bin" / "node")
    args = [node, *NODE_OPTIONS, str(LAUNCHER), json.dumps(_configuration(settings, release, port.fileno()))]
    os.chdir(paths.STATE)
    os.execve(node, args, {"PATH": "/usr/bin:/bin", "HOME": str(paths.STATE), "LANG": "C.UTF-8"})


def _configuration(settings: Settings, release: Path, port: int) -> dict[str, Any]:
    """What launch.js is told; it stands in the process list, so secrets are named by their files."""
    return {
        "package": str(release / "proxy" / "node_modules" / "configurable-http-proxy"),
        "proxyTokenFile": str(tokens.PROXY_TOKEN),
        "routesTokenFile": str(tokens.ROUTES_TOKEN),
        "hubSocket": str(paths.HUB_SOCKET),
        "apiSocket": str(paths.PROXY_API_SOCKET),
        "ip": settings.bind_address,
        "port": settings.port,
        "descriptor": port,
        "ownerOfPort": str(paths.LIBRARY / "owner-of-port"),
        "errorPath": str(paths.SHARE / "proxy" / "errors"),
        "https": {"folders": [str(paths.OWN_TLS), str(paths.TLS)], "check": [*CHECK_CERTIFICATES]}
        if settings.https
        else None,
        "compressed": {"templates": str(paths.TEMPLATES), "release": str(release)},
        "gate": {
            "keyFile": str(tokens.GATE_KEY),
            "refused": {language: translated(_(REFUSED_AT_GATE), language) for language in LANGUAGES},
        },
        "plain": {"refused": {language: translated(setup_page.sent_in_clear(), language) for language in LANGUAGES}},
    }


def ensure_certificate() -> None:
    """Have a certificate made if there is none; one that has to be renewed is seen to by the running proxy."""
    if not all((paths.TLS / name).is_file() for name in ("portal.crt", "portal.key", "ca.crt")):
        print(programs.run(CHECK_CERTIFICATES, timeout=120).stdout, end="", flush=True)


if __name__ == "__main__":
    sys.exit(run_program(main))
