"""Runs as jupyterhub, under systemd or `supervise`: makes sure of a release, then becomes JupyterHub.

While a release is being built nothing of an older one is stopped. When building fails, an older release keeps
serving if there is one; else this waits and tries again, and the setup page tells why.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import NoReturn

from jupyterhub4family.common.errors import FamilyError, run_program
from jupyterhub4family.common.files import take_lock
from jupyterhub4family.common.paths import CURRENT_RELEASE, LIBRARY, STATE
from jupyterhub4family.common.programs import SAFE_PATH
from jupyterhub4family.common.settings import load_settings
from jupyterhub4family.service.builds import Tree, ensure, is_complete, system_python_version
from jupyterhub4family.service.progress import Reporter
from jupyterhub4family.service.releases import release_tree
from jupyterhub4family.service.run_proxy import running_proxy
from jupyterhub4family.service.tokens import MEMBERSHIP_TOKEN, PROXY_TOKEN, ROUTES_TOKEN, ensure_token

#: Seconds between two tries to build a release.
FIRST_PAUSE, LONGEST_PAUSE = 10, 300


def main() -> int:
    """Never returns normally: becomes JupyterHub, or is ended from outside."""
    os.umask(0o077)
    load_settings()  # a mistake in the settings file is told now, not minutes later
    lock = take_lock(STATE / "hub.lock", wait=False)
    if lock is None:
        print("another hub is still running; waiting until it ends", flush=True)
        lock = take_lock(STATE / "hub.lock", wait=True)
    assert lock is not None
    reporter = Reporter()
    tree = release_tree(reporter.tell)
    _build(tree, reporter)
    for token in (PROXY_TOKEN, ROUTES_TOKEN, MEMBERSHIP_TOKEN):
        ensure_token(token)
    # The lock has to outlive the exec: it then ends with JupyterHub.
    os.set_inheritable(lock, True)
    _become_jupyterhub()


def _build(tree: Tree, reporter: Reporter) -> None:
    """Build until there is a release to run from."""
    pause = FIRST_PAUSE
    while True:
        try:
            if ensure(tree):
                _renew_proxy()
            reporter.done()
            return
        except FamilyError as error:
            reporter.fail(error.message, error.hint)
            if _usable():
                print("the release in use stays in use", flush=True)
                return
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


def _usable() -> bool:
    """Whether the current release can still run: complete, and made for the Python that Debian has now."""
    made_for = CURRENT_RELEASE.resolve().name.partition("-")[0]
    return is_complete(CURRENT_RELEASE) and made_for == f"py{system_python_version()}"


def _renew_proxy() -> None:
    """End a proxy that runs from an older release: its supervisor starts it again from the new one."""
    proxy = running_proxy()
    if proxy is not None:
        os.kill(proxy, signal.SIGTERM)


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
