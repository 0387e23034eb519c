"""Runs as the caller: the last upgrade, and whether those to come will come by themselves."""

from __future__ import annotations

import email.utils
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Optional
from urllib.parse import urlsplit

from jupyterhub4family.cli.doctor.base.finding import Check, CheckContext, Finding, fine, problem, warning
from jupyterhub4family.common import paths
from jupyterhub4family.common.i18n.messages import N_, _
from jupyterhub4family.common.state import upgrade
from jupyterhub4family.common.system import programs

UNATTENDED = Path("/usr/bin/unattended-upgrade")
#: What apt has fetched, one file for each source.
LISTS = Path("/var/lib/apt/lists")
_VALID_UNTIL = re.compile(r"^Valid-Until: *(.+)$", re.MULTILINE)


def check_upgrade(context: CheckContext) -> Iterator[Finding]:
    """The last upgrade has worked; if newer versions shall come by themselves, everything is there for that."""
    findings = [*_last(), *_by_itself(context), *_expired(context.settings.upgrade_source)]
    yield from findings
    if not findings:
        yield fine(
            _("The last upgrade worked, and newer versions are installed automatically")
            if context.settings.auto_upgrade
            else _("No upgrade has failed")
        )


def _last() -> Iterator[Finding]:
    failed, now = upgrade.failed_upgrade(), upgrade.upgrade_in_progress()
    if now is not None:
        yield warning(
            _("An upgrade is under way: {message}", message=now.message or _("it has just begun")),
            "jupyterhub4family status",
        )
    elif failed is not None:
        yield problem(
            failed.message(),
            _("wait for the next version, or find the reason and: sudo jupyterhub4family upgrade --again"),
        )


def _by_itself(context: CheckContext) -> Iterator[Finding]:
    settings = context.settings
    if (
        bool(settings.upgrade_source) != paths.SOURCE_LIST.exists()
        or bool(settings.upgrade_source) != paths.SOURCE_PIN.exists()
        or settings.auto_upgrade != paths.AUTO_UPGRADE.exists()
    ):
        yield problem(_("apt's files do not match the settings"), "sudo jupyterhub4family restart")
    elif settings.auto_upgrade and not UNATTENDED.exists():
        yield problem(
            _("Nothing is upgraded automatically: the package unattended-upgrades is missing"),
            _("sudo apt-get install unattended-upgrades"),
        )
    elif settings.auto_upgrade:
        value = programs.run(["apt-config", "dump", "--format", "%v", "APT::Periodic::Unattended-Upgrade"], check=False)
        if value.stdout.strip() in ("", "0"):
            yield problem(
                _("Nothing is upgraded automatically: unattended-upgrades is switched off on this machine"),
                _("sudo dpkg-reconfigure unattended-upgrades"),
            )


def _expired(source: str) -> Iterator[Finding]:
    """Apt takes nothing from a source whose list nobody has signed anew; unattended-upgrades says so in a log only."""
    until = _valid_until(source) if source else None
    if until is not None and until < time.time():
        yield warning(
            _(
                "The list of newer versions has expired on {date}: until it is renewed, nothing newer comes",
                date=time.strftime("%Y-%m-%d", time.localtime(until)),
            ),
            _("sudo jupyterhub4family upgrade --check   (fetches it; says whom to ask if it is old there, too)"),
        )


def _valid_until(source: str) -> Optional[float]:
    """Until when the list of this source counts that apt has here, in seconds; None if it has none, or says nothing."""
    address = urlsplit(source)
    name = re.sub("[~_%]", lambda found: f"%{ord(found[0]):02x}", f"{address.netloc}{address.path.rstrip('/')}/./")
    try:
        text = (LISTS / f"{name.replace('/', '_')}InRelease").read_text("utf-8", "replace")
        found = _VALID_UNTIL.search(text)
        return email.utils.parsedate_to_datetime(found[1]).timestamp() if found else None
    except (OSError, ValueError, TypeError):
        return None


#: By the names that the JSON has, which are never changed.
CHECKS = {
    "upgrade": Check(N_("upgrades"), check_upgrade),
}
