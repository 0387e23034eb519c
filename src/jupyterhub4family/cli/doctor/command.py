"""Runs as the caller: `doctor [--fix] [--deep]`, which looks whether every promise is kept.

It only looks, as whoever calls it; what it may not see it says. `--fix` has root's own programs put right what can
be put right, and looks again.
"""

from __future__ import annotations

import argparse
import difflib
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jupyterhub4family import __version__
from jupyterhub4family.cli.base import snapshot, terminal
from jupyterhub4family.cli.base.terminal import Bar
from jupyterhub4family.cli.doctor import registry
from jupyterhub4family.cli.doctor.base.finding import (
    OK,
    PROBLEM,
    UNKNOWN,
    WARNING,
    CheckContext,
    Finding,
    fine,
    problem,
    unknown,
)
from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import ExitStatus, FamilyError, PermissionRefused, UsageError
from jupyterhub4family.common.i18n.messages import N_, _, ngettext
from jupyterhub4family.common.protocol import calling, service_programs
from jupyterhub4family.common.protocol.actions import Nothing
from jupyterhub4family.common.protocol.responses import ResponseError
from jupyterhub4family.common.settings import effective
from jupyterhub4family.common.state import supervision
from jupyterhub4family.common.system import programs
from jupyterhub4family.common.system.programs import ProgramError

#: Seconds that hub and proxy get to answer after they were mended.
TIMEOUT = 30
WORDS = {OK: N_("ok"), WARNING: N_("warning"), PROBLEM: N_("PROBLEM"), UNKNOWN: N_("unchecked")}
COLOURS = {OK: terminal.GREEN, WARNING: terminal.YELLOW, PROBLEM: terminal.RED, UNKNOWN: terminal.YELLOW}


@dataclass(frozen=True)
class Result:
    """What one check found."""

    check: str
    finding: Finding

    def as_json(self) -> dict[str, Any]:
        """What `--json` tells of it."""
        one = self.finding
        return {
            "check": self.check,
            "state": one.state,
            "sentence": str(one.message),
            "hint": str(one.hint),
            "repairable": bool(one.repair),
        }


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    names = parser.add_argument(
        "checks", nargs="*", metavar=_("CHECK"), help=_("run only these checks (names: doctor --json)")
    )
    terminal.completes(names, " ".join(registry.CHECKS))
    parser.add_argument(
        "--fix", action="store_true", help=_("repair what can be repaired, then check again (root only)")
    )
    parser.add_argument(
        "--deep", action="store_true", help=_("also log in, start a server and run a test cell (root only)")
    )
    parser.add_argument("--json", action="store_true", help=_("as JSON"))
    terminal.add_quiet(parser)
    parser.set_defaults(run=doctor)


def doctor(arguments: argparse.Namespace) -> int:
    """Check, repair if asked, and report; exit status 0 unless a problem is left, then 1."""
    if (arguments.fix or arguments.deep) and os.geteuid() != 0:
        args = " ".join(word for word in ("--fix", "--deep") if getattr(arguments, word[2:]))
        raise PermissionRefused(_("only root may do this"), _("sudo jupyterhub4family doctor {args}", args=args))
    bar = progress_bar(terminal.is_quiet(arguments))
    only = _check_named(arguments.checks)
    results = examine(bar, only)
    done: list[str] = []
    failed: list[str] = []
    if arguments.fix:
        done, failed = fix(results, bar)
        if done or failed:
            _wait_for_portal(bar)
            results = examine(bar, only)
    if arguments.deep:
        results += round_trip(bar)
    bar.end()
    if arguments.json:
        document = {"version": __version__, "state": worst(results), "findings": [one.as_json() for one in results]}
        print(json.dumps({**document, "fixed": done, "not_fixed": failed}, indent=1))
    else:
        _print(results, [_("Repaired: {message}", message=one) for one in done] + failed, terminal.is_quiet(arguments))
    return ExitStatus.FAILURE if worst(results) == PROBLEM else ExitStatus.OK


def _check_named(untrusted_names: list[str]) -> tuple[str, ...]:
    """The names of checks, in our order; all of them if none is named. Raises UsageError for another name."""
    for name in untrusted_names:
        if name not in registry.CHECKS:
            near = difflib.get_close_matches(name, registry.CHECKS, n=1, cutoff=0.0)[0]
            raise UsageError(_("there is no check {name}", name=repr(name)), _("the nearest name is {near}", near=near))
    return tuple(name for name in registry.CHECKS if not untrusted_names or name in untrusted_names)


def progress_bar(quiet: bool = False) -> Bar:
    """A bar on a terminal, nothing elsewhere: what was looked at is told afterwards anyway."""
    return Bar(quiet=quiet or not terminal.is_terminal(sys.stderr))


def examine(bar: Bar, only: Sequence[str] = ()) -> list[Result]:
    """Run every check, or those named in `only`. One that cannot be done says why; it never ends the others."""
    # Of a bad settings file the check of the settings tells; the others look at what counts in its place.
    settings, _problem = effective.settings_in_use()
    context = CheckContext(settings=settings, supervisor=supervision.chosen_supervisor(settings), on_progress=bar.show)
    results = []
    names = list(only or registry.CHECKS)
    for number, name in enumerate(names):
        bar.show(100 * number // len(names), _("Checking: {check}", check=_(registry.CHECKS[name].title)))
        try:
            results += [Result(name, finding) for finding in registry.CHECKS[name].find(context)]
        except FamilyError as error:
            results.append(Result(name, unknown(error.message, error.hint)))
        except OSError as error:
            results.append(Result(name, unknown(_os_error(error))))
    return results


def _os_error(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return _("Only root can check {file}", file=error.filename or "?")
    return _("{file} could not be checked: {reason}", file=error.filename or "?", reason=error.strerror or "?")


def fix(results: list[Result], bar: Bar) -> tuple[list[str], list[str]]:
    """Repair what can be repaired; returns sentences about what was done, and about what was not and why."""
    steps = sorted({one.finding.repair for one in results if one.finding.repair})
    done, failed = [], []
    for step in sorted(steps, key=_order):
        try:
            done.append(str(_fix_one(step, bar)))
        except FamilyError as error:
            failed.append(str(_("Could not be repaired ({step}): {reason}", step=step, reason=error.message)))
    return done, failed


def _wait_for_portal(bar: Bar) -> None:
    """Hub and proxy may just have been started: give them the time that they need before looking again."""
    deadline = time.monotonic() + TIMEOUT
    while (
        snapshot.take_snapshot(effective.settings_in_use()[0]).portal in ("starting", "not running")
        and time.monotonic() < deadline
    ):
        bar.show(100, _("Waiting for the portal"))
        time.sleep(0.5)


def _order(step: str) -> int:
    """The place of a step: starting comes after what it needs, members' environments last."""
    names = list(registry.REPAIRS)
    return names.index(step) if step in names else len(names)


def _fix_one(step: str, bar: Bar) -> str:
    kind, _colon, name = step.partition(":")
    if kind == "environment":
        become = programs.as_account(name)
        calling.call(service_programs.REPAIR_ENVIRONMENT, Nothing(), become=become, on_progress=bar.show)
        return _("The environment of {name} was repaired", name=name)
    # Not by its own first line and mode: these may be what is to be repaired.
    isolated = [str(paths.SYSTEM_PYTHON), "-I"]
    calling.call(service_programs.REPAIR.with_args(step), Nothing(), become=isolated, on_progress=bar.show)
    return _(registry.REPAIRS[step].done)


def round_trip(bar: Bar) -> list[Result]:
    """Log in as a throw-away member, start a server, calculate, and take everything away again."""
    logs = _("sudo jupyterhub4family logs hub")
    try:
        trip = calling.call(service_programs.SMOKE_TEST, Nothing(), on_progress=bar.show)
    except (ProgramError, ResponseError) as error:
        return [Result("round-trip", problem(error.message, logs))]
    except FamilyError as error:
        message = _("A trial login failed: {reason}", reason=error.message)
        return [Result("round-trip", problem(message, error.hint or logs))]
    message = _(
        "A trial member logged in, started a server and ran a test cell, in {seconds} seconds",
        seconds=trip.seconds,
    )
    return [Result("round-trip", fine(message))]


def worst(results: list[Result]) -> str:
    """The worst state of all findings; what could not be looked at does not count."""
    states = {one.finding.state for one in results}
    return next((state for state in (PROBLEM, WARNING) if state in states), OK)


def _print(results: list[Result], repairs: list[str], quiet: bool) -> None:
    for message in repairs:
        print(message)
    labels = {state: _(word) for state, word in WORDS.items()}
    width = max(map(len, labels.values()))
    for result in results:
        finding = result.finding
        if quiet and finding.state != PROBLEM:
            continue
        label = terminal.coloured(f"{labels[finding.state]:{width}}", COLOURS[finding.state])
        terminal.print_parts(label, "  ", finding.message)
        if finding.hint:
            print(f"{'':{width}}  {_('Try: {hint}', hint=finding.hint)}")
    if not quiet:
        print()
        print(_summary(results))


def _summary(results: list[Result]) -> str:
    count = {state: sum(one.finding.state == state for one in results) for state in (PROBLEM, WARNING, UNKNOWN)}
    # A command on a line of its own: it is copied.
    last = ""
    if count[PROBLEM]:
        parts = [ngettext("{count} problem", "{count} problems", count[PROBLEM])]
        if any(one.finding.repair for one in results):
            last = "\n" + _("Try: sudo jupyterhub4family doctor --fix")
    else:
        parts = [str(_("No problems"))]
    if count[WARNING]:
        parts.append(ngettext("{count} warning", "{count} warnings", count[WARNING]))
    summary = ", ".join(parts) + "."
    if count[UNKNOWN]:
        unseen = ngettext("{count} check was not possible", "{count} checks were not possible", count[UNKNOWN])
        more = _("; root sees more: sudo jupyterhub4family doctor") if os.geteuid() != 0 else "."
        summary += f" {unseen}{more}"
    return summary + last
