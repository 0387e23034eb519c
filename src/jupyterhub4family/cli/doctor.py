"""Runs as the caller: `doctor [--fix] [--deep]`, which looks whether every promise is kept.

It only looks, as whoever calls it; what it may not see it says. `--fix` has root's own programs put right what can
be put right, and looks again.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import dataclass
from typing import Any

from jupyterhub4family import __version__
from jupyterhub4family.cli.checks.finding import OK, PROBLEM, UNKNOWN, WARNING, Finding, Situation, unknown
from jupyterhub4family.cli.checks.registry import CHECKS
from jupyterhub4family.common.errors import ConfigurationError, ExitStatus, FamilyError, PermissionRefused
from jupyterhub4family.common.messages import N_, _, ngettext
from jupyterhub4family.common.paths import LIBRARY
from jupyterhub4family.common.programs import converse
from jupyterhub4family.common.settings import Settings, load_settings
from jupyterhub4family.common.supervision import chosen_supervisor

#: What `--fix` says about each of root's steps, once done.
DONE = {
    "accounts": N_("Groups and service account are as at installation: no password, no foreign groups"),
    "folders": N_("The service's folders have their owners and modes again"),
    "files": N_("The programs are root's again, and nobody else can write to them"),
    "rights": N_("The rules for sudo and PAM are the packaged ones; changed ones are kept as *.dpkg-old"),
    "supervision": N_("Hub and proxy are started with the machine again"),
    "release": N_("JupyterHub's own programs were fetched again"),
    "template": N_("The template of the members' environments was made again"),
    "start": N_("Hub and proxy were started"),
}
WORDS = {OK: N_("ok"), WARNING: N_("warning"), PROBLEM: N_("PROBLEM"), UNKNOWN: N_("unseen")}


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
            "sentence": str(one.sentence),
            "hint": str(one.hint),
            "repairable": bool(one.repair),
        }


def add_to(commands: Any) -> None:
    """Add this command to the command line."""
    parser = commands.add_parser("doctor", help="look whether everything is as it should be, and mend what is not")
    parser.add_argument("--fix", action="store_true", help="mend what can be mended, then look again (root only)")
    parser.add_argument("--deep", action="store_true", help="also log in, start a server and calculate (root only)")
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.set_defaults(run=doctor)


def doctor(arguments: argparse.Namespace) -> int:
    """Look, mend if asked, and tell; exit status 0 unless a problem is left, then 1."""
    if (arguments.fix or arguments.deep) and os.geteuid() != 0:
        words = " ".join(word for word in ("--fix", "--deep") if getattr(arguments, word[2:]))
        raise PermissionRefused(_("only root may do this"), _("sudo jupyterhub4family doctor {words}", words=words))
    progress = Progress(sys.stderr.isatty())
    results = examine(progress)
    done: list[str] = []
    if arguments.fix:
        done = fix(results, progress)
        if done:
            results = examine(progress)
    if arguments.deep:
        results += round_trip(progress)
    progress.end()
    if arguments.json:
        told = {"version": __version__, "state": worst(results), "findings": [one.as_json() for one in results]}
        print(json.dumps({**told, "fixed": done}, indent=1))
    else:
        _print(results, done)
    return ExitStatus.FAILURE if worst(results) == PROBLEM else ExitStatus.OK


class Progress:
    """One line on the terminal that says what is being looked at; nothing where there is no terminal."""

    def __init__(self, visible: bool) -> None:
        self._visible = visible

    def tell(self, percent: int, sentence: str) -> None:
        """Show how far it is."""
        if self._visible:
            sys.stderr.write(f"\r\x1b[K{percent:3d} %  {sentence[:70]}")
            sys.stderr.flush()

    def end(self) -> None:
        """Take the line away."""
        if self._visible:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def examine(progress: Progress) -> list[Result]:
    """Run every check. One that cannot be done says why; it never ends the others."""
    try:
        settings = load_settings()
    except ConfigurationError:
        # The check of the settings tells it; the others look as if there were none.
        settings = Settings()
    situation = Situation(settings=settings, supervisor=chosen_supervisor(settings), tell=progress.tell)
    results = []
    for number, (name, check) in enumerate(CHECKS.items()):
        progress.tell(100 * number // len(CHECKS), _("Looking: {check}", check=name))
        try:
            results += [Result(name, finding) for finding in check(situation)]
        except FamilyError as error:
            results.append(Result(name, unknown(error.message, error.hint)))
        except OSError as error:
            results.append(Result(name, unknown(_os_error(error))))
    return results


def _os_error(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return _("Only root can look at {file}", file=error.filename or "?")
    return _("{file} could not be looked at: {reason}", file=error.filename or "?", reason=error.strerror or "?")


def fix(results: list[Result], progress: Progress) -> list[str]:
    """Mend what can be mended; returns sentences about what was done, or why it was not."""
    steps = sorted({one.finding.repair for one in results if one.finding.repair})
    said = []
    for step in sorted(steps, key=_order):
        try:
            said.append(_fix_one(step, progress))
        except FamilyError as error:
            said.append(_("Could not be mended ({step}): {reason}", step=step, reason=error.message))
    return [str(sentence) for sentence in said]


def _order(step: str) -> int:
    """The place of a step: starting comes after what it needs, members' environments last."""
    names = list(DONE)
    return names.index(step) if step in DONE else len(names)


def _fix_one(step: str, progress: Progress) -> str:
    kind, _colon, name = step.partition(":")
    if kind == "environment":
        words = ["/usr/sbin/runuser", "-u", name, "--", str(LIBRARY / "own-environment"), "repair"]
        sentence = _("The environment of {name} was mended", name=name)
    else:
        words, sentence = [str(LIBRARY / "repair"), step], _(DONE[step])
    answer = converse(words, {}, on_progress=progress.tell)
    if not answer.get("ok"):
        raise FamilyError(str(answer.get("error")), str(answer.get("hint", "")))
    return sentence


def round_trip(progress: Progress) -> list[Result]:
    """Log in as a throw-away member, start a server, calculate, and take everything away again."""
    from jupyterhub4family.cli.checks.finding import fine, problem

    logs = _("sudo jupyterhub4family logs hub")
    try:
        answer = converse([LIBRARY / "probe"], {}, on_progress=progress.tell)
    except FamilyError as error:
        return [Result("round-trip", problem(error.message, logs))]
    if not answer.get("ok"):
        sentence = _("A trial login failed: {reason}", reason=str(answer.get("error")))
        return [Result("round-trip", problem(sentence, str(answer.get("hint") or logs)))]
    sentence = _(
        "A trial member logged in, started a server and calculated, in {seconds} seconds",
        seconds=answer["seconds"],
    )
    return [Result("round-trip", fine(sentence))]


def worst(results: list[Result]) -> str:
    """The worst state of all findings; what could not be looked at does not count."""
    states = {one.finding.state for one in results}
    return next((state for state in (PROBLEM, WARNING) if state in states), OK)


def _print(results: list[Result], done: list[str]) -> None:
    for sentence in done:
        print(_("Mended: {sentence}", sentence=sentence))
    words = {state: _(word) for state, word in WORDS.items()}
    width = max(map(len, words.values()))
    for result in results:
        finding = result.finding
        print(f"{words[finding.state]:{width}}  {finding.sentence}")
        if finding.hint:
            print(f"{'':{width}}  {_('Try: {hint}', hint=finding.hint)}")
    print()
    print(_summary(results))


def _summary(results: list[Result]) -> str:
    count = {state: sum(one.finding.state == state for one in results) for state in (PROBLEM, WARNING, UNKNOWN)}
    parts = []
    if count[PROBLEM]:
        parts.append(ngettext("{count} problem.", "{count} problems.", count[PROBLEM]))
        if any(one.finding.repair for one in results):
            parts.append(_("Try: sudo jupyterhub4family doctor --fix"))
    else:
        parts.append(_("All is well."))
    if count[WARNING]:
        parts.append(ngettext("{count} thing to know.", "{count} things to know.", count[WARNING]))
    if count[UNKNOWN]:
        unseen = ngettext(
            "{count} thing could not be looked at", "{count} things could not be looked at", count[UNKNOWN]
        )
        parts.append(unseen + (_("; root sees more: sudo jupyterhub4family doctor") if os.geteuid() != 0 else "."))
    return " ".join(parts)
