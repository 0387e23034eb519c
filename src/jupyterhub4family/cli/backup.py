"""Runs as the caller, who must be root: `backup setup|now|list|verify|restore|off`, through root's own program."""

from __future__ import annotations

import argparse
import getpass
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable

from jupyterhub4family.cli.base import terminal
from jupyterhub4family.common.errors import FamilyError, PermissionRefused, UsageError
from jupyterhub4family.common.i18n.messages import _, ngettext
from jupyterhub4family.common.protocol import calling, service_programs
from jupyterhub4family.common.protocol.actions import Action, AnswerT, Nothing, RequestT
from jupyterhub4family.common.protocol.service_programs import RestoreReport, SetUpBackup

#: What people put where; also what the shells' completion knows.
_NOW = "sudo jupyterhub4family backup now"
_RESTORE = "sudo jupyterhub4family backup restore"


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    actions = parser.add_subparsers(dest="action", metavar="setup|now|list|verify|restore|off", required=True)
    setup = actions.add_parser("setup", help=_("set where backups go; from then on one is made every night"))
    setup.add_argument(
        "target", metavar="TARGET", help=_("a folder, sftp:USER@HOST:/FOLDER or rest:https://HOST/FOLDER")
    )
    key = setup.add_argument("--key-file", metavar="FILE", help=_("a file with the recovery key of an existing backup"))
    terminal.completes(key, "files")
    now = actions.add_parser("now", help=_("make a backup now"))
    listing = actions.add_parser("list", help=_("show all backups"))
    verify = actions.add_parser("verify", help=_("read every backup and check that it is undamaged"))
    restore = actions.add_parser("restore", help=_("restore everything, a member's home, or single files"))
    _add_restore_words(restore)
    off = actions.add_parser("off", help=_("stop making backups; existing ones stay"))
    terminal.add_yes(off)
    for one in (now, verify, restore, off):
        terminal.add_quiet(one)
    for one, run in (
        (setup, _setup),
        (now, _now),
        (listing, _list),
        (verify, _verify),
        (restore, _restore),
        (off, _off),
    ):
        if one is not off:
            one.add_argument("--json", action="store_true", help=_("as JSON"))
        one.set_defaults(run=_for_root(run))


def _add_restore_words(restore: argparse.ArgumentParser) -> None:
    member = restore.add_argument("--member", metavar="NAME", help=_("only the home of this member"))
    terminal.completes(member, "members")
    restore.add_argument(
        "--path",
        action="append",
        metavar="PATH",
        help=_("only this file or folder of a home; may be given several times"),
    )
    restore.add_argument("--to", metavar="DIR", help=_("into this new folder, and change nothing else"))
    restore.add_argument(
        "--from", dest="id", metavar="ID", help=_("from this backup (see `backup list`; default: the newest)")
    )
    terminal.add_dry_run(restore)
    terminal.add_yes(restore)


def _for_root(run: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """`run`, but only for root: it raises PermissionRefused for everybody else."""

    def checked(arguments: argparse.Namespace) -> int:
        if os.geteuid() != 0:
            raise PermissionRefused(_("only root may do this"), f"sudo jupyterhub4family backup {arguments.action}")
        return run(arguments)

    return checked


def _call(arguments: argparse.Namespace, action: Action[RequestT, AnswerT], request: RequestT) -> AnswerT:
    """What root's program answers; its progress is shown meanwhile. Raises FamilyError."""
    with terminal.Bar(quiet=arguments.json or terminal.is_quiet(arguments)) as bar:
        return calling.call(action, request, on_progress=bar.show)


def _finish(arguments: argparse.Namespace, answer: Any, *messages: str, notes: Sequence[str] = ()) -> int:
    """Print the answer as JSON, or what it means and what was left out. Warnings are told to the quiet, too."""
    if arguments.json:
        terminal.print_answer(answer, notes=list(notes))
        return 0
    for message in messages:
        terminal.report(arguments, message)
    for note in notes:
        print("  " + _("note: {note}", note=note))
    return 0


# -- setup -------------------------------------------------------------------------------------------


def _setup(arguments: argparse.Namespace) -> int:
    target = os.path.abspath(arguments.target) if ":" not in arguments.target else arguments.target
    key = _key_in(Path(arguments.key_file)) if arguments.key_file else None
    done = _call(arguments, service_programs.SET_UP_BACKUP, SetUpBackup(target, key))
    if done.needs_key:
        request = SetUpBackup(target, _ask_for_key(done.target))
        done = _call(arguments, service_programs.SET_UP_BACKUP, request)
    if arguments.json:
        return _finish(arguments, done)
    print(_("Backups go to {target}, automatically every night.", target=done.target))
    if done.key:
        _show_key(done.key)
    if done.same_disk:
        print(
            _("Note: that is on the same disk as the homes. It protects against mistakes, not against a broken disk.")
        )
    if done.backups:
        count = done.backups
        print(ngettext("There is {count} backup in it.", "There are {count} backups in it.", count))
        print(_("To restore everything on this machine: {command}", command=_RESTORE))
        print(_("Or continue with this machine as it is: {command}", command=_NOW))
    else:
        print(_("The first one: {command}", command=_NOW))
    return 0


def _show_key(key: str) -> None:
    print()
    terminal.print_parts("    ", terminal.coloured(key, terminal.BOLD))
    print()
    print(_("This is the recovery key. Write it on paper and keep it away from this computer: without it nobody"))
    print(_("can read the backups, not even you. It is not shown again."))
    print()


def _ask_for_key(target: str) -> str:
    """The recovery key, typed at the terminal. Raises UsageError where nobody can type."""
    if not sys.stdin.isatty():
        raise UsageError(
            _("there is a backup in {target}, which needs its recovery key", target=target),
            _("put the key into a file and add: --key-file FILE"),
        )
    print(_("There is a backup in {target} already.", target=target))
    return getpass.getpass(_("Its recovery key: "))


def _key_in(file: Path) -> str:
    try:
        return file.read_text("utf-8", "replace")[:1000]
    except OSError as error:
        raise FamilyError(_("{file} cannot be read: {error}", file=str(file), error=str(error.strerror))) from error


def _off(arguments: argparse.Namespace) -> int:
    terminal.confirmed(
        arguments, _("Stop making backups, and forget the key on this computer? Existing backups stay where they are.")
    )
    arguments.json = False
    done = _call(arguments, service_programs.SWITCH_OFF_BACKUPS, Nothing()).done
    terminal.report(arguments, _("Backups are off.") if done == "off" else _("No backup was set up."))
    return 0


# -- making and looking ------------------------------------------------------------------------------


def _now(arguments: argparse.Namespace) -> int:
    done = _call(arguments, service_programs.BACK_UP_NOW, Nothing())
    return _finish(arguments, done, _("Backed up to {target}.", target=done.target), notes=done.notes)


def _list(arguments: argparse.Namespace) -> int:
    found = _call(arguments, service_programs.LIST_BACKUPS, Nothing())
    if not arguments.json and not found.backups:
        return _finish(arguments, found, _("There is no backup in {target} yet.", target=found.target))
    lines = [f"{one.id}  {_time(one.time)}  {one.host}" for one in found.backups]
    return _finish(arguments, found, *lines)


def _verify(arguments: argparse.Namespace) -> int:
    answer = _call(arguments, service_programs.VERIFY_BACKUPS, Nothing())
    count = answer.backups
    return _finish(
        arguments,
        answer,
        ngettext(
            "{count} backup is undamaged; every byte was checked.",
            "{count} backups are undamaged; every byte was checked.",
            count,
        ),
    )


def _time(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


# -- bringing back -----------------------------------------------------------------------------------


def _restore(arguments: argparse.Namespace) -> int:
    request = service_programs.Restore(
        member=arguments.member or "",
        paths=arguments.path or [],
        to=os.path.abspath(arguments.to) if arguments.to else "",
        id=arguments.id or "",
        dry_run=arguments.dry_run,
    )
    if arguments.dry_run:
        found = _call(arguments, service_programs.RESTORE_BACKUP, request)
        return _finish(arguments, found, *_what_restore_would_do(request, found))
    if not arguments.to:
        terminal.confirmed(arguments, _question(arguments))
    report = _call(arguments, service_programs.RESTORE_BACKUP, request)
    return _finish(arguments, report, *_what_was_done(report), notes=report.notes or ())


def _question(arguments: argparse.Namespace) -> str:
    if arguments.member or arguments.path:
        return _("Restore this from the backup? Existing files that differ are kept as backup copies.")
    return _(
        "Restore this whole machine from the backup? All servers are stopped; settings and the hub's state are "
        "replaced (the old ones are kept as backup copies)."
    )


def _what_was_done(report: RestoreReport) -> list[str]:
    messages: list[str] = [_("From the backup of {time} ({host}):", time=_time(report.time), host=report.host)]
    if report.place:
        messages.append(_("It is now in {place}, readable by root only.", place=report.place))
    for name in report.made or ():
        messages.append(_("The account {name} was made, with the password it had.", name=name))
    for home in report.homes or ():
        messages.append(_("{name} has it back.", name=home.name))
        if home.kept:
            messages.append("  " + _("Existing files that differed are in {place}.", place=home.aside))
    if report.made is not None:
        messages.append(_("Hub and proxy are starting; see: {command}", command="jupyterhub4family status"))
    return messages


def _what_restore_would_do(request: service_programs.Restore, found: RestoreReport) -> list[str]:
    messages: list[str] = [_("From the backup of {time} ({host}):", time=_time(found.time), host=found.host)]
    names = ", ".join(found.members or ())
    if found.files is not None:
        size = f"{(found.bytes or 0) / 1e6:.0f}"
        messages.append(
            _("{count} files, {size} MB: settings, the hub's state, and the homes of:", count=found.files, size=size)
        )
        messages.append(f"  {names}")
    elif found.paths:
        messages += [f"  {path}" for path in found.paths]
    else:
        messages.append(_("the home of {name}", name=names))
    if request.to:
        messages.append(_("It would be restored to {place}.", place=request.to))
    else:
        messages.append(_("It would be restored in place."))
    return messages
