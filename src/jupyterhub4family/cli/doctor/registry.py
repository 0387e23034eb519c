"""Runs as the caller: all checks and repairs that the modules of `checks` have, in the order that helps best."""

from __future__ import annotations

from jupyterhub4family.cli.doctor.base.finding import Check, Repair
from jupyterhub4family.cli.doctor.checks import (
    accounts,
    backup,
    certificates,
    database,
    installed,
    limits,
    machine,
    members,
    names,
    ports,
    release_integrity,
    rights,
    settings,
    small_memory,
    supervision,
    upgrade,
)

#: What rests on something comes after it.
MODULES = (
    settings,
    accounts,
    rights,
    installed,
    machine,
    small_memory,
    limits,
    names,
    release_integrity,
    upgrade,
    database,
    ports,
    supervision,
    certificates,
    backup,
    members,
)
#: By the names that the JSON has.
CHECKS: dict[str, Check] = {name: check for module in MODULES for name, check in module.CHECKS.items()}
#: By the names of root's steps, in the order in which they are done.
REPAIRS: dict[str, Repair] = {
    repair.step: repair
    for repair in sorted(
        (repair for module in MODULES for repair in getattr(module, "REPAIRS", ())), key=lambda repair: repair.place
    )
}
