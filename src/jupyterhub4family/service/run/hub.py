"""Runs as jupyterhub, under systemd or `supervise`: makes sure of a release, then becomes JupyterHub.

A release that can run is used as it is: when the package brings a newer one, the hub has it built while it
serves (hub/startup.py). Only without any release is one built here first; the setup page tells how far it is, or
why it does not work, and this tries again.
"""

from __future__ import annotations

import os
import sys
import time
from typing import NoReturn

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import FamilyError, run_program
from jupyterhub4family.common.settings import effective
from jupyterhub4family.common.system import files, programs
from jupyterhub4family.service.hub_state import database, disk_reserve, tokens
from jupyterhub4family.service.releases import builds, contents
from jupyterhub4family.service.releases.progress import Reporter
from jupyterhub4family.service.run import proxy

#: Seconds between two tries to build a release.
FIRST_PAUSE, LONGEST_PAUSE = 10, 300


def main() -> int:
    """Never returns normally: becomes JupyterHub, or is ended from outside."""
    os.umask(0o077)
    effective.settings_of_service("hub")  # a mistake in the settings file is told now, not minutes later
    lock = files.take_lock(paths.STATE / "hub.lock", wait=False)
    if lock is None:
        print("another hub is still running; waiting until it ends", flush=True)
        lock = files.take_lock(paths.STATE / "hub.lock", wait=True)
    assert lock is not None
    proxy.end_outdated_proxy()
    # Here and nowhere else: nobody else can have the database open now.
    database.restore_wanted_copy()
    database.repair_database()
    if not usable_release():
        _build(Reporter())
    disk_reserve.ensure_reserve(paths.STATE / "jupyterhub.sqlite")
    for token in (tokens.PROXY_TOKEN, tokens.ROUTES_TOKEN, tokens.MEMBERSHIP_TOKEN):
        tokens.ensure_token(token)
    # The lock has to outlive the exec: it then ends with JupyterHub.
    os.set_inheritable(lock, True)
    _become_jupyterhub()


def _build(reporter: Reporter) -> None:
    """Build until there is a release to run from."""
    pause = FIRST_PAUSE
    while True:
        try:
            if builds.ensure(contents.release_tree(reporter.report)):
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


def _become_jupyterhub() -> NoReturn:
    release = paths.CURRENT_RELEASE.resolve()
    variables = {
        "PATH": f"{release}/venv/bin:{programs.SAFE_PATH}",
        "HOME": str(paths.STATE),
        "LANG": "C.UTF-8",
        # The hub's own code is compiled when the package is installed; nothing else is to be written.
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    configuration = paths.LIBRARY / "jupyterhub4family" / "hub" / "jupyterhub_config.py"
    python = str(release / "venv" / "bin" / "python")
    os.chdir(paths.STATE)
    os.execve(python, [python, str(release / "venv/bin/jupyterhub"), "-f", str(configuration)], variables)


if __name__ == "__main__":
    sys.exit(run_program(main))
