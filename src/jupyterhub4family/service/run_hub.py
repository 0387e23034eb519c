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

from jupyterhub4family.common.errors import FamilyError, run_program
from jupyterhub4family.common.files import take_lock
from jupyterhub4family.common.paths import CURRENT_RELEASE, LIBRARY, STATE
from jupyterhub4family.common.programs import SAFE_PATH
from jupyterhub4family.common.settings_in_use import settings_of_service
from jupyterhub4family.service.builds import ensure, is_complete, system_python_version
from jupyterhub4family.service.database import mend_database, put_back_wanted_copy
from jupyterhub4family.service.progress import Reporter
from jupyterhub4family.service.releases import release_tree
from jupyterhub4family.service.run_proxy import renew_outdated_proxy, renew_proxy
from jupyterhub4family.service.spare_room import ensure_spare_room
from jupyterhub4family.service.tokens import MEMBERSHIP_TOKEN, PROXY_TOKEN, ROUTES_TOKEN, ensure_token

#: Seconds between two tries to build a release.
FIRST_PAUSE, LONGEST_PAUSE = 10, 300


def main() -> int:
    """Never returns normally: becomes JupyterHub, or is ended from outside."""
    os.umask(0o077)
    settings_of_service("hub")  # a mistake in the settings file is told now, not minutes later
    lock = take_lock(STATE / "hub.lock", wait=False)
    if lock is None:
        print("another hub is still running; waiting until it ends", flush=True)
        lock = take_lock(STATE / "hub.lock", wait=True)
    assert lock is not None
    renew_outdated_proxy()
    # Here and nowhere else: nobody else can have the database open now.
    put_back_wanted_copy()
    mend_database()
    if not usable_release():
        _build(Reporter())
    ensure_spare_room(STATE / "jupyterhub.sqlite")
    for token in (PROXY_TOKEN, ROUTES_TOKEN, MEMBERSHIP_TOKEN):
        ensure_token(token)
    # The lock has to outlive the exec: it then ends with JupyterHub.
    os.set_inheritable(lock, True)
    _become_jupyterhub()


def _build(reporter: Reporter) -> None:
    """Build until there is a release to run from."""
    pause = FIRST_PAUSE
    while True:
        try:
            if ensure(release_tree(reporter.tell)):
                renew_proxy()
            reporter.done()
            return
        except FamilyError as error:
            reporter.fail(error.message, error.hint)
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


def usable_release() -> bool:
    """Whether the current release can run: complete, and made for the Python that Debian has now."""
    made_for = CURRENT_RELEASE.resolve().name.partition("-")[0]
    return is_complete(CURRENT_RELEASE) and made_for == f"py{system_python_version()}"


def _become_jupyterhub() -> NoReturn:
    release = CURRENT_RELEASE.resolve()
    variables = {
        "PATH": f"{release}/venv/bin:{SAFE_PATH}",
        "HOME": str(STATE),
        "LANG": "C.UTF-8",
        # The hub's own code is compiled when the package is installed; nothing else is to be written.
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    configuration = LIBRARY / "jupyterhub4family" / "hub" / "jupyterhub_config.py"
    python = str(release / "venv" / "bin" / "python")
    os.chdir(STATE)
    os.execve(python, [python, str(release / "venv/bin/jupyterhub"), "-f", str(configuration)], variables)


if __name__ == "__main__":
    sys.exit(run_program(main))
