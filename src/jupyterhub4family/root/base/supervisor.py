"""Runs as root: starts and stops hub and proxy, whoever supervises them."""

from __future__ import annotations

import pwd
from pathlib import Path

from jupyterhub4family.common import paths
from jupyterhub4family.common.settings import effective
from jupyterhub4family.common.state import supervision
from jupyterhub4family.common.system import accounts, programs
from jupyterhub4family.root.base import avahi, held_ports

CRONTAB = Path("/usr/bin/crontab")
ENSURE = paths.LIBRARY / "ensure"


def start() -> None:
    """Start hub and proxy where they do not run."""
    avahi.ensure_service_file(effective.settings_in_use()[0])
    if supervision.chosen_supervisor() == supervision.SYSTEMD:
        _ensure("--stop")
        held_ports.ensure_held(stop)
        programs.run(["systemctl", "start", *supervision.UNITS])
    else:
        _stop_units()
        held_ports.ensure_held(stop)
        _ensure("--start")


def start_after_install() -> None:
    """Start what does not run; a hub that does is restarted, so that it runs the new version.

    The proxy goes on as it is: open notebooks stay connected. The hub renews it when its release changes.
    """
    if supervision.chosen_supervisor() == supervision.SYSTEMD:
        _ensure("--stop")
        held_ports.ensure_held(stop)
        programs.run(["systemctl", "start", "--no-block", supervision.PROXY_UNIT])
        programs.run(["systemctl", "restart", "--no-block", supervision.HUB_UNIT])
    else:
        _stop_units()
        if not held_ports.ensure_held(stop):
            _ensure("--restart-hub")
        _ensure("--start")


def restart(with_proxy: bool) -> None:
    """Restart the hub and, if asked, the proxy."""
    # Ports that are held anew have ended both already.
    if not held_ports.ensure_held(stop):
        _end(with_proxy)
    start()


def _end(with_proxy: bool) -> None:
    """End what `start` then starts anew; systemd does both."""
    if supervision.chosen_supervisor() == supervision.SYSTEMD:
        programs.run(
            ["systemctl", "restart", *(supervision.UNITS if with_proxy else (supervision.HUB_UNIT,))], timeout=120
        )
    else:
        _ensure("--stop" if with_proxy else "--restart-hub")


def stop() -> None:
    """Stop hub and proxy; members' servers go on."""
    _stop_units()
    _ensure("--stop")


def end_holder() -> None:
    """End the account's own program that holds the ports."""
    _ensure("--release-ports")


def start_upgrade() -> None:
    """Have an upgrade, or the way back, seen through by a process of its own; it outlives whoever called."""
    if supervision.SYSTEMD_RUNS.is_dir():
        # One that is at work already is told by being started again: it goes on where it was.
        programs.run(["systemctl", "restart", "--no-block", supervision.UPGRADE_UNIT])
    else:
        programs.run([paths.LIBRARY / "upgrade", "run", "--detach"])


def stop_upgrade() -> None:
    """End the process that sees an upgrade through."""
    if supervision.SYSTEMD_RUNS.is_dir():
        programs.run(["systemctl", "stop", supervision.UPGRADE_UNIT], check=False, timeout=120)


def install_crontab(text: str) -> None:
    """Make `text` the account's crontab. Nothing to do, and no error, on a machine without cron."""
    if _has_crontab():
        programs.run([CRONTAB, "-u", accounts.SERVICE_ACCOUNT, "-"], text_input=text)


def remove_crontab() -> None:
    """Take the account's crontab away, if it has one."""
    if _has_crontab() and programs.run([CRONTAB, "-u", accounts.SERVICE_ACCOUNT, "-l"], check=False).returncode == 0:
        programs.run([CRONTAB, "-u", accounts.SERVICE_ACCOUNT, "-r"])


def _has_crontab() -> bool:
    return CRONTAB.exists()


def _stop_units() -> None:
    if supervision.SYSTEMD_RUNS.is_dir():
        programs.run(["systemctl", "stop", *reversed(supervision.UNITS)], check=False, timeout=120)


def _ensure(word: str) -> None:
    """Have the account's own program do it: root starts nothing in the service's name by itself."""
    try:
        pwd.getpwnam(accounts.SERVICE_ACCOUNT)
    except KeyError:
        return
    args = [*programs.as_account(accounts.SERVICE_ACCOUNT), str(ENSURE), word]
    if supervision.SYSTEMD_RUNS.is_dir() and word not in ("--stop", "--release-ports"):
        # Else the screens would belong to the login session from which root called, and end with it.
        own_unit = ["--quiet", "--wait", "--collect", "--pipe", "-p", "KillMode=process", "-p", "OOMPolicy=continue"]
        args = ["systemd-run", *own_unit, "-p", f"User={accounts.SERVICE_ACCOUNT}", "--", str(ENSURE), word]
    programs.run(args, timeout=120)
