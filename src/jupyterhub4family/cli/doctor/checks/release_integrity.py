"""Runs as the caller: release and template: complete, the wanted ones, and every file as it was fetched.

The files are the service's, so a program that runs as the service account reads them, never root.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jupyterhub4family.cli.doctor import minimum_versions
from jupyterhub4family.cli.doctor.finding import CheckContext, Finding, fine, problem, unknown, warning
from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.protocol import json_lines
from jupyterhub4family.common.system import programs


def check_release(context: CheckContext) -> Iterator[Finding]:
    """What hub and proxy run from."""
    yield from _tree(context, "release", _("JupyterHub's own programs"))


def check_template(context: CheckContext) -> Iterator[Finding]:
    """What members' environments are made from."""
    yield from _tree(context, "template", _("The template of the members' environments"))


def _tree(context: CheckContext, which: str, name: str) -> Iterator[Finding]:
    try:
        args = [*context.as_service(), str(paths.LIBRARY / "verify-tree"), which]
        answer = json_lines.unwrap(programs.call_json(args, {}, on_progress=context.tell))
    except FamilyError as error:
        yield unknown(_("{name}: could not be checked: {reason}", name=name, reason=error.message))
        return
    if answer.get("being_built"):
        yield warning(
            _("{name}: being fetched right now", name=name),
            _("wait a few minutes; servers started in the meantime wait for it, too"),
        )
        return
    findings = [*_condition(which, name, answer), *_versions(name, answer)]
    yield from findings
    if all(finding.state != "problem" for finding in findings):
        yield fine(_("{name}: all {count} files are as they were fetched", name=name, count=answer["files"]))


def _condition(which: str, name: str, answer: dict[str, Any]) -> Iterator[Finding]:
    fix = _("sudo jupyterhub4family doctor --fix   (fetches it again, which takes a few minutes)")
    if not answer["complete"]:
        yield problem(
            _("{name}: not there yet, or not complete", name=name),
            _("wait a few minutes, then: jupyterhub4family status; it says what the problem is"),
            which,
        )
        return
    spoilt = [*answer["missing"], *answer["changed"]]
    if spoilt:
        yield problem(
            _(
                "{name}: {count} files are missing or changed, among them {files}",
                name=name,
                count=len(spoilt),
                files=", ".join(spoilt[:3]),
            ),
            fix,
            which,
        )
    for program in answer["broken"]:
        yield problem(_("{name}: {program} does not start", name=name, program=program), fix, which)
    if not answer["wanted"]:
        yield warning(
            _("{name}: a newer one is needed and not there yet", name=name),
            _("sudo jupyterhub4family restart; then see: sudo jupyterhub4family logs hub"),
        )


def _versions(name: str, answer: dict[str, Any]) -> Iterator[Finding]:
    for package, version in sorted(answer["versions"].items()):
        try:
            floor = minimum_versions.below_floor(package, version)
        except FamilyError as error:
            yield unknown(error.message, error.hint)
            return
        if floor:
            yield warning(
                _(
                    "{name}: {package} {version} has a known security problem ({source}), fixed in {wanted}",
                    name=name,
                    package=package,
                    version=version,
                    source=floor.source,
                    wanted=floor.version,
                ),
                _("upgrade jupyterhub4family as soon as there is a newer version of it"),
            )
