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
from jupyterhub4family.common.i18n.messages import N_

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

#: What each check is about, for the progress: the names above are English everywhere.
TITLES: dict[str, str] = {
    "settings": N_("the settings"),
    "groups": N_("the groups"),
    "account": N_("the service account"),
    "sudoers": N_("the rules for sudo"),
    "pam": N_("how passwords are checked"),
    "doors": N_("the doors"),
    "package": N_("the files of the package"),
    "folders": N_("the folders of the service"),
    "disk": N_("space on the disk"),
    "memory": N_("memory"),
    "limits": N_("limits of servers"),
    "clock": N_("the clock"),
    "names": N_("names of this computer"),
    "release": N_("JupyterHub and the proxy"),
    "template": N_("the template of environments"),
    "upgrade": N_("upgrades"),
    "database": N_("the hub's database"),
    "supervisor": N_("the supervisor"),
    "other-supervisor": N_("a second supervisor"),
    "ports": N_("ports"),
    "portal": N_("the portal"),
    "certificate": N_("the certificate"),
    "backup": N_("backups"),
    "members": N_("the members"),
    "homes": N_("the members' homes"),
    "environments": N_("the members' environments"),
}
