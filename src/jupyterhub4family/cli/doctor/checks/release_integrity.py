"""Runs as the caller: release and template: complete, the wanted ones, and every file as it was fetched.

The files are the service's, so a program that runs as the service account reads them, never root.
"""

from __future__ import annotations

from collections.abc import Iterator

from jupyterhub4family.cli.doctor.base import minimum_versions
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
from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.common.i18n.messages import N_, _, ngettext
from jupyterhub4family.common.protocol import calling, service_programs
from jupyterhub4family.common.protocol.actions import Nothing
from jupyterhub4family.common.protocol.service_programs import TreeReport


def check_release(context: CheckContext) -> Iterator[Finding]:
    """What hub and proxy run from."""
    yield from _tree(context, "release", _("JupyterHub's own programs"))


def check_template(context: CheckContext) -> Iterator[Finding]:
    """What members' environments are made from."""
    yield from _tree(context, "template", _("The template of the members' environments"))


def _tree(context: CheckContext, which: str, name: str) -> Iterator[Finding]:
    try:
        verify = service_programs.VERIFY_TREE.with_args(which)
        report = calling.call(verify, Nothing(), become=context.as_service(), on_progress=context.on_progress)
    except FamilyError as error:
        yield unknown(_("{name}: could not be checked: {reason}", name=name, reason=error.message))
        return
    if report.being_built:
        yield warning(
            _("{name}: being fetched right now", name=name),
            _("wait a few minutes; servers started in the meantime wait for it, too"),
        )
        return
    findings = [*_condition(which, name, report), *_versions(name, report)]
    yield from findings
    if all(finding.state != "problem" for finding in findings):
        yield fine(_("{name}: all {count} files are as they were fetched", name=name, count=report.files))


def _condition(which: str, name: str, report: TreeReport) -> Iterator[Finding]:
    fix = _("sudo jupyterhub4family doctor --fix   (fetches it again, which takes a few minutes)")
    if not report.complete:
        yield problem(
            _("{name}: not there yet, or not complete", name=name),
            _("wait a few minutes, then: jupyterhub4family status; it says what the problem is"),
            which,
        )
        return
    spoilt = [*report.missing, *report.changed]
    if spoilt:
        yield problem(
            ngettext(
                "{name}: {count} file is missing or changed: {files}",
                "{name}: {count} files are missing or changed, among them {files}",
                len(spoilt),
                name=name,
                files=", ".join(spoilt[:3]),
            ),
            fix,
            which,
        )
    for program in report.broken:
        yield problem(_("{name}: {program} does not start", name=name, program=program), fix, which)
    if not report.wanted:
        yield warning(
            _("{name}: a newer one is needed and not there yet", name=name),
            _("sudo jupyterhub4family restart; then see: sudo jupyterhub4family logs hub"),
        )


def _versions(name: str, report: TreeReport) -> Iterator[Finding]:
    for package, version in sorted(report.versions.items()):
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


#: By the names that the JSON has, which are never changed.
CHECKS = {
    "release": Check(N_("JupyterHub and the proxy"), check_release),
    "template": Check(N_("the template of environments"), check_template),
}
REPAIRS = (
    Repair("release", 60, N_("JupyterHub's own programs were fetched again")),
    Repair("template", 70, N_("The template of the members' environments was made again")),
)
