"""Runs as the caller: that hub and proxy run, that they are kept running, and that they will be after a reboot."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from jupyterhub4family.cli.base import accounts as membership
from jupyterhub4family.cli.base import snapshot
from jupyterhub4family.cli.doctor.base.finding import (
    Check,
    CheckContext,
    Finding,
    Repair,
    fine,
    problem,
    unknown,
    warning,
)
from jupyterhub4family.common import paths
from jupyterhub4family.common.i18n.messages import N_, _
from jupyterhub4family.common.state import supervision
from jupyterhub4family.common.system import accounts, processes, programs

CRONTAB = Path("/usr/bin/crontab")
CRON_PID = Path("/run/crond.pid")
#: There after `stop` where the crontab supervises.
STOPPED = paths.STATE / "stopped"
#: So many restarts since the last start by hand say that something keeps ending.
RESTARTS = 10


def check_portal(context: CheckContext) -> Iterator[Finding]:
    """People can log in, as `status` finds out."""
    now = snapshot.take_snapshot(context.settings)
    logs = _("sudo jupyterhub4family logs hub")
    if now.portal == "running":
        yield fine(_("The portal answers at {address}", address=now.addresses[0]))
    elif now.portal == "setting up":
        yield warning(
            _("JupyterHub is still being set up: {message}", message=str(now.setup.get("message", ""))),
            str(now.setup.get("hint") or _("wait a few minutes, then: jupyterhub4family status")),
        )
    elif now.portal == "taken":
        yield problem(
            _("Something else answers on JupyterHub's port {port}", port=context.settings.port),
            _("see which program it is (sudo ss -ltnp), or choose another port"),
        )
    elif now.portal == "starting" or now.hub_running:
        yield problem(_("The portal answers, but nobody can log in"), logs, "start")
    else:
        yield problem(_("The portal does not answer"), _("sudo jupyterhub4family start"), "start")


def check_supervisor(context: CheckContext) -> Iterator[Finding]:
    """Whoever is chosen to keep hub and proxy running does so, now and after a reboot."""
    if context.supervisor == supervision.SYSTEMD:
        yield from _units(context)
    else:
        yield from _crontab(context)


def _units(_context: CheckContext) -> Iterator[Finding]:
    if not supervision.SYSTEMD_RUNS.is_dir():
        yield problem(
            _("The settings ask for systemd as supervisor, but it is not running here"),
            _("set supervisor: auto in /etc/jupyterhub4family/config.yaml"),
        )
        return
    well = True
    for unit in supervision.UNITS:
        for finding in _unit(unit):
            well = False
            yield finding
    if well:
        yield fine(_("systemd keeps hub and proxy running, and starts them at boot"))


def _unit(unit: str) -> Iterator[Finding]:
    shown = programs.run(
        ["systemctl", "show", "-p", "ActiveState,UnitFileState,NRestarts,LoadState", unit], check=False
    )
    about = dict(line.partition("=")[::2] for line in shown.stdout.splitlines())
    start = _("sudo jupyterhub4family start")
    if about.get("UnitFileState") == "masked" or about.get("LoadState") == "masked":
        yield problem(
            _("{unit} is masked, so it can never start", unit=unit), _("sudo systemctl unmask {unit}", unit=unit)
        )
        return
    if about.get("LoadState") == "not-found":
        yield problem(
            _("systemd does not know {unit}", unit=unit), _("sudo apt-get install --reinstall jupyterhub4family")
        )
        return
    if about.get("ActiveState") not in ("active", "reloading"):
        yield problem(
            _("{unit} is not running (it is {state})", unit=unit, state=about.get("ActiveState", "?")), start, "start"
        )
    if about.get("UnitFileState") != "enabled":
        yield problem(
            _("{unit} is not started at boot", unit=unit),
            _("sudo systemctl enable {unit}", unit=unit),
            "supervision",
        )
    if int(about.get("NRestarts") or 0) >= RESTARTS:
        yield warning(
            _("{unit} has ended unexpectedly and been restarted {count} times", unit=unit, count=about["NRestarts"]),
            _("sudo jupyterhub4family logs hub"),
        )


def _crontab(context: CheckContext) -> Iterator[Finding]:
    findings = [*_cron_daemon(), *_crontab_text(context), *_supervisors(context)]
    yield from findings
    if all(finding.state == "not checkable" for finding in findings):
        yield fine(_("cron and screen keep hub and proxy running, and start them at boot"))


def _cron_daemon() -> Iterator[Finding]:
    try:
        runs = (processes.PROC / CRON_PID.read_text("ascii").strip()).exists()
    except (OSError, ValueError):
        runs = False
    if not CRONTAB.exists() or not runs:
        yield problem(
            _("cron is not running, so nobody restarts JupyterHub after a reboot or a crash"),
            _("sudo apt-get install cron; sudo service cron start"),
        )


def _crontab_text(context: CheckContext) -> Iterator[Finding]:
    if not CRONTAB.exists():
        return
    if not context.by_root:
        yield unknown(_("Only root can see the crontab of {name}", name=accounts.SERVICE_ACCOUNT))
        return
    has = programs.run([CRONTAB, "-u", accounts.SERVICE_ACCOUNT, "-l"], check=False).stdout
    wanted = (paths.SHARE / "crontab").read_text("utf-8")
    lines = [line for line in wanted.splitlines() if line and not line.startswith("#")]
    if not set(lines) <= set(has.splitlines()):
        yield problem(
            _("The crontab that starts JupyterHub is missing or changed"),
            _("sudo jupyterhub4family doctor --fix"),
            "supervision",
        )


def _supervisors(context: CheckContext) -> Iterator[Finding]:
    if context.by_root and os.path.lexists(STOPPED):
        yield problem(_("JupyterHub was stopped by hand"), _("sudo jupyterhub4family start"), "start")
        return
    account = membership.service_account()
    running = " ".join(_commands(account.pw_uid)) if account else ""
    for name in ("proxy", "hub"):
        if f"/supervise {name}" not in running:
            yield problem(_("The {name} is not supervised", name=name), _("sudo jupyterhub4family start"), "start")


def _commands(uid: int) -> Iterator[str]:
    """The command lines of all processes of `uid`."""
    for entry in processes.PROC.iterdir():
        try:
            if entry.name.isdigit() and entry.stat().st_uid == uid:
                yield " ".join(processes.arguments(int(entry.name)))
        except OSError:
            continue


def check_other_supervisor(context: CheckContext) -> Iterator[Finding]:
    """The supervisor that is not chosen does nothing: two would fight."""
    if context.supervisor == supervision.CRON or not CRONTAB.exists() or os.geteuid() != 0:
        return
    if "jupyterhub4family" in programs.run([CRONTAB, "-u", accounts.SERVICE_ACCOUNT, "-l"], check=False).stdout:
        yield warning(
            _("systemd is the supervisor, and the crontab of {name} is still there", name=accounts.SERVICE_ACCOUNT),
            _("sudo jupyterhub4family doctor --fix"),
            "supervision",
        )


#: By the names that the JSON has, which are never changed.
CHECKS = {
    "supervisor": Check(N_("the supervisor"), check_supervisor),
    "other-supervisor": Check(N_("a second supervisor"), check_other_supervisor),
    "portal": Check(N_("the portal"), check_portal),
}
REPAIRS = (
    Repair("supervision", 50, N_("Hub and proxy start at boot again")),
    Repair("start", 80, N_("Hub and proxy were started")),
)
