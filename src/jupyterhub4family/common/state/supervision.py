"""Any identity: which supervisor keeps hub and proxy running on this machine."""

from __future__ import annotations

import sys

from jupyterhub4family.common import paths
from jupyterhub4family.common.settings import effective
from jupyterhub4family.common.settings.model import Settings
from jupyterhub4family.common.system import programs

SYSTEMD = "systemd"
CRON = "cron"

SYSTEMD_RUNS = paths.SYSTEMD_RUNS

PROXY_UNIT = "jupyterhub4family-proxy.service"
HUB_UNIT = "jupyterhub4family-hub.service"
UNITS = (PROXY_UNIT, HUB_UNIT)
#: Systemd's own: holds the service's TCP ports, whoever supervises. Where that is cron, the next unit hands them on.
PORTS_SOCKET = "jupyterhub4family-ports.socket"
HOLDER_UNIT = "jupyterhub4family-hold-ports.service"
#: There so that nobody's connection makes systemd start hub or proxy: it does nothing.
PORTS_UNIT = "jupyterhub4family-ports.service"
#: Root's: sees an upgrade through; started by one, and at boot if one was interrupted.
UPGRADE_UNIT = "jupyterhub4family-upgrade.service"
#: Asks every hour whether it is time for a backup; runs from `backup setup` on.
BACKUP_TIMER = "jupyterhub4family-backup.timer"
#: Runs `hold-ports` from an upgrade of 0.1.0 until the next boot.
ADOPTED_UNIT = "jupyterhub4family-adopted-ports.scope"
#: What starts at boot.
ENABLED = (PORTS_SOCKET, *UNITS, UPGRADE_UNIT)


def chosen_supervisor(settings: Settings | None = None) -> str:
    """`systemd` or `cron`: what the settings say, and for `auto` systemd where it is PID 1."""
    wanted = (settings or effective.settings_in_use()[0]).supervisor
    if wanted == "auto":
        return SYSTEMD if SYSTEMD_RUNS.is_dir() else CRON
    return wanted


def is_active(unit: str) -> bool:
    """Whether a unit of systemd's is active."""
    return programs.run(["systemctl", "is-active", "--quiet", unit], check=False).returncode == 0


def main() -> int:
    """Program `supervised-by systemd|cron`: exit status 0 if that is the chosen supervisor, else 1."""
    return 0 if sys.argv[1:] == [chosen_supervisor()] else 1
