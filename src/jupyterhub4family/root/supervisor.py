"""Runs as root: starts and stops hub and proxy, whoever supervises them."""

from __future__ import annotations

import pwd
from pathlib import Path

from jupyterhub4family.common.accounts import SERVICE_ACCOUNT
from jupyterhub4family.common.paths import LIBRARY
from jupyterhub4family.common.programs import as_account, run
from jupyterhub4family.common.settings_in_use import settings_in_use
from jupyterhub4family.common.supervision import (
    HUB_UNIT,
    PROXY_UNIT,
    SYSTEMD,
    SYSTEMD_RUNS,
    UNITS,
    UPGRADE_UNIT,
    chosen_supervisor,
)
from jupyterhub4family.root.announcement import ensure_announcement

CRONTAB = Path("/usr/bin/crontab")
ENSURE = LIBRARY / "ensure"


def start() -> None:
    """Start hub and proxy where they do not run."""
    ensure_announcement(settings_in_use()[0])
    if chosen_supervisor() == SYSTEMD:
        _ensure("--stop")
        run(["systemctl", "start", *UNITS])
    else:
        _stop_units()
        _ensure("--start")


def start_after_install() -> None:
    """Start what does not run; a hub that does is restarted, so that it runs the new version.

    The proxy goes on as it is: open notebooks stay connected. The hub renews it when its release changes.
    """
    if chosen_supervisor() == SYSTEMD:
        _ensure("--stop")
        run(["systemctl", "start", "--no-block", PROXY_UNIT])
        run(["systemctl", "restart", "--no-block", HUB_UNIT])
    else:
        _stop_units()
        _ensure("--restart-hub")
        _ensure("--start")


def restart(with_proxy: bool) -> None:
    """Restart the hub and, if asked, the proxy."""
    if chosen_supervisor() == SYSTEMD:
        run(["systemctl", "restart", *(UNITS if with_proxy else (HUB_UNIT,))], timeout=120)
    elif with_proxy:
        _ensure("--stop")
    else:
        _ensure("--restart-hub")
    start()


def stop() -> None:
    """Stop hub and proxy; members' servers go on."""
    _stop_units()
    _ensure("--stop")


def start_upgrade() -> None:
    """Have an upgrade, or the way back, seen through by a process of its own; it outlives whoever called."""
    if SYSTEMD_RUNS.is_dir():
        # One that is at work already is told by being started again: it goes on where it was.
        run(["systemctl", "restart", "--no-block", UPGRADE_UNIT])
    else:
        run([LIBRARY / "upgrade", "run", "--detach"])


def stop_upgrade() -> None:
    """End the process that sees an upgrade through."""
    if SYSTEMD_RUNS.is_dir():
        run(["systemctl", "stop", UPGRADE_UNIT], check=False, timeout=120)


def install_crontab(text: str) -> None:
    """Make `text` the account's crontab. Nothing to do, and no error, on a machine without cron."""
    if _has_crontab():
        run([CRONTAB, "-u", SERVICE_ACCOUNT, "-"], text_input=text)


def remove_crontab() -> None:
    """Take the account's crontab away, if it has one."""
    if _has_crontab() and run([CRONTAB, "-u", SERVICE_ACCOUNT, "-l"], check=False).status == 0:
        run([CRONTAB, "-u", SERVICE_ACCOUNT, "-r"])


def _has_crontab() -> bool:
    return CRONTAB.exists()


def _stop_units() -> None:
    if SYSTEMD_RUNS.is_dir():
        run(["systemctl", "stop", *reversed(UNITS)], check=False, timeout=120)


def _ensure(word: str) -> None:
    """Have the account's own program do it: root starts nothing in the service's name by itself."""
    try:
        pwd.getpwnam(SERVICE_ACCOUNT)
    except KeyError:
        return
    words = [*as_account(SERVICE_ACCOUNT), str(ENSURE), word]
    if SYSTEMD_RUNS.is_dir() and word != "--stop":
        # Else the screens would belong to the login session from which root called, and end with it.
        own_unit = ["--quiet", "--wait", "--collect", "--pipe", "-p", "KillMode=process", "-p", "OOMPolicy=continue"]
        words = ["systemd-run", *own_unit, "-p", f"User={SERVICE_ACCOUNT}", "--", str(ENSURE), word]
    run(words, timeout=120)
