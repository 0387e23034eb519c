"""Runs as jupyterhub, under systemd or `supervise`: makes sure of a release, then becomes JupyterHub.

A release that can run is used as it is: when the package brings a newer one, the hub has it built while it
serves (hub/startup.py). Only without any release is one built here first; the setup page tells how far it is, or
why it does not work, and this tries again.
"""

from __future__ import annotations

import os
import resource
import socket
import sys
import time
from typing import NoReturn

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import FamilyError, run_program
from jupyterhub4family.common.settings import effective
from jupyterhub4family.common.state import ports
from jupyterhub4family.common.system import files, programs
from jupyterhub4family.service.hub_state import database, disk_reserve, tokens
from jupyterhub4family.service.releases import builds, contents
from jupyterhub4family.service.releases.progress import Reporter
from jupyterhub4family.service.run import handover, proxy

#: Seconds between two tries to build a release.
FIRST_PAUSE, LONGEST_PAUSE = 10, 300
#: Descriptors that the hub may have, as far as the hard limit goes: with the usual 1,024, twenty browsers that start
#: servers while a program of somebody's opens connections are too many.
OPEN_FILES = 16384


def main() -> int:
    """Never returns normally: becomes JupyterHub, or is ended from outside."""
    os.umask(0o077)
    # A mistake in the settings file is told now, not minutes later.
    settings = effective.settings_of_service("hub")
    lock = files.take_lock(paths.STATE / "hub.lock", wait=False)
    if lock is None:
        print("another hub is still running; waiting until it ends", flush=True)
        lock = files.take_lock(paths.STATE / "hub.lock", wait=True)
    assert lock is not None
    proxy.end_outdated_proxy()
    # Here and nowhere else: nobody else can have the database open now.
    disk_reserve.lend_reserve(database.DATABASE)
    database.restore_wanted_copy()
    database.repair_database()
    if not usable_release():
        _build(Reporter())
    disk_reserve.ensure_reserve(database.DATABASE)
    tokens.renew_tokens()
    raise_file_limit()
    paths.SOCKETS.mkdir(mode=0o700, exist_ok=True)
    port = handover.take(ports.HUB, settings)
    # Both have to outlive the exec: the lock then ends with JupyterHub.
    os.set_inheritable(lock, True)
    port.set_inheritable(True)
    _become_jupyterhub(port)


def raise_file_limit() -> None:
    """Let this process, and what it becomes, have more descriptors. Doors and servers set limits of their own."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _build(reporter: Reporter) -> None:
    """Build until there is a release to run from; with what the first members will want a moment later."""
    pause = FIRST_PAUSE
    while True:
        try:
            if builds.ensure(contents.release_tree(reporter.report, with_template=True)):
                proxy.end_proxy()
            reporter.done()
            return
        except FamilyError as error:
            reporter.fail(error.message, error.hint)
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


def usable_release() -> bool:
    """Whether the current release can run: complete, and made for the Python that Debian has now."""
    made_for = paths.CURRENT_RELEASE.resolve().name.partition("-")[0]
    return builds.is_complete(paths.CURRENT_RELEASE) and made_for == f"py{builds.system_python_version()}"


def _become_jupyterhub(port: socket.socket) -> NoReturn:
    release = paths.CURRENT_RELEASE.resolve()
    variables = {
        "PATH": f"{release}/venv/bin:{programs.SAFE_PATH}",
        "HOME": str(paths.STATE),
        "LANG": "C.UTF-8",
        # The hub's own code is compiled when the package is installed; nothing else is to be written.
        "PYTHONDONTWRITEBYTECODE": "1",
        handover.DESCRIPTOR: str(port.fileno()),
    }
    ours = paths.LIBRARY / "jupyterhub4family" / "hub"
    python = str(release / "venv" / "bin" / "python")
    os.chdir(paths.STATE)
    # Which begins JupyterHub's program in less memory, and is named so in the list of processes.
    args = [str(ours / "jupyterhub_program.py"), str(release / "venv/bin/jupyterhub"), "-f"]
    os.execve(python, [python, *args, str(ours / "jupyterhub_config.py")], variables)


if __name__ == "__main__":
    sys.exit(run_program(main))
