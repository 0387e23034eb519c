"""Runs as the caller: what became of the hub's database, which only the service can open."""

from __future__ import annotations

from collections.abc import Iterator

from jupyterhub4family.cli.doctor.base.finding import Check, CheckContext, Finding, fine, warning
from jupyterhub4family.common.i18n.messages import N_, _
from jupyterhub4family.common.state import database


def check_database(_context: CheckContext) -> Iterator[Finding]:
    """The hub's database has not been damaged lately; run-hub looks at each start, and copies it once a day."""
    repaired = database.repaired_database()
    if repaired is None:
        yield fine(_("The hub's database is intact"))
    else:
        yield warning(
            repaired.message(),
            _(
                "check the disk: power cuts do not damage the database, failing disks do: sudo apt-get install "
                "smartmontools"
            ),
        )


#: By the names that the JSON has, which are never changed.
CHECKS = {
    "database": Check(N_("the hub's database"), check_database),
}
