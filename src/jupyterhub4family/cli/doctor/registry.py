"""Runs as the caller: the list of all checks, in the order in which they help best."""

from __future__ import annotations

from jupyterhub4family.cli.doctor.checks import (
    accounts,
    backup,
    certificates,
    database,
    limits,
    machine,
    members,
    names,
    ports,
    release_integrity,
    rights,
    settings,
    supervision,
    upgrade,
)
from jupyterhub4family.cli.doctor.finding import Check

#: Name of each check (in the JSON; never changed), and what looks.
CHECKS: dict[str, Check] = {
    "settings": settings.check_settings,
    "groups": accounts.check_groups,
    "account": accounts.check_service_account,
    "sudoers": rights.check_sudoers,
    "pam": rights.check_pam,
    "doors": rights.check_doors,
    "package": rights.check_package,
    "folders": rights.check_directories,
    "disk": machine.check_disk,
    "memory": machine.check_memory,
    "limits": limits.check_limits,
    "clock": machine.check_clock,
    "names": names.check_names,
    "release": release_integrity.check_release,
    "template": release_integrity.check_template,
    "upgrade": upgrade.check_upgrade,
    "database": database.check_database,
    "supervisor": supervision.check_supervisor,
    "other-supervisor": supervision.check_other_supervisor,
    "ports": ports.check_ports,
    "portal": supervision.check_portal,
    "certificate": certificates.check_certificate,
    "backup": backup.check_backup,
    "members": members.check_who,
    "homes": members.check_homes,
    "environments": members.check_environments,
}
