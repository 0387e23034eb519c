"""Runs as the caller: `config get|set|unset|edit|show`. Everybody may read the settings, root may change them.

A change is written only when the whole file is good with it, in one rename; then what has to be restarted is.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import fcntl
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jupyterhub4family.cli.base import terminal
from jupyterhub4family.cli.settings import document as settings_document
from jupyterhub4family.cli.settings import editor
from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import ConfigurationError, ExitStatus, FamilyError, PermissionRefused
from jupyterhub4family.common.i18n.messages import N_, _
from jupyterhub4family.common.protocol import calling, service_programs
from jupyterhub4family.common.protocol.actions import Nothing
from jupyterhub4family.common.settings import effective, model, types
from jupyterhub4family.common.settings.model import Settings
from jupyterhub4family.common.settings.types import BadValue
from jupyterhub4family.common.state import supervision
from jupyterhub4family.common.system import disk_space, files, programs

#: Keys that apt's files follow.
FOR_APT = ("upgrade_source", "upgrade_key", "auto_upgrade")


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    actions = parser.add_subparsers(dest="action", metavar="show|get|set|unset|edit", required=True)
    show = actions.add_parser("show", help=_("show all settings"))
    show.add_argument("--origin", action="store_true", help=_("also say where each value comes from"))
    get = actions.add_parser("get", help=_("show one value"))
    change = actions.add_parser("set", help=_("change one value"))
    unset = actions.add_parser("unset", help=_("go back to the default of a key"))
    edit = actions.add_parser(
        "edit", help=_("change the settings file in an editor; it is checked before it takes effect")
    )
    about_key = _("a key, such as port; all: man jupyterhub4family-config")
    for one in (get, change, unset):
        key = one.add_argument("key", metavar=_("KEY"), help=about_key)
        terminal.completes(key, "keys")
    value = change.add_argument(
        "value", nargs="+", metavar=_("VALUE"), help=_("the new value; several words are joined to one text")
    )
    terminal.completes(value, "values")
    for one in (show, get):
        one.add_argument("--json", action="store_true", help=_("as JSON"))
    for one in (change, unset):
        terminal.add_dry_run(one)
    for one in (change, unset, edit):
        one.add_argument(
            "--no-restart", action="store_true", help=_("do not restart; the change takes effect at the next restart")
        )
        terminal.add_quiet(one)
    for one, function in ((show, _show), (get, _get), (change, _set), (unset, _unset), (edit, _edit)):
        one.set_defaults(run=function)


# -- reading -----------------------------------------------------------------------------------------


def _show(arguments: argparse.Namespace) -> int:
    settings, problem = effective.settings_in_use()
    origins = _origins(problem)
    values = model.as_plain(settings)
    if arguments.json:
        document = (
            {key: {"value": values[key], "origin": origins[key]} for key in model.KEYS} if arguments.origin else values
        )
        print(json.dumps(document, indent=1, ensure_ascii=False))
    else:
        lines = {key: f"{key}: {settings_document.written(value)}" for key, value in values.items()}
        width = max(len(line) for line in lines.values() if len(line) <= 50)
        for key, line in lines.items():
            origin = origins[key]
            origin_text = _(_ORIGINS[origin]) if origin in _ORIGINS else origin
            print(f"{line:{width}}  # {origin_text}" if arguments.origin else line)
    if problem is not None:
        raise effective.explain(problem)
    return ExitStatus.OK


#: What people read for an origin that is no place in the file.
_ORIGINS = {"last good settings": N_("last good settings"), "default": N_("default")}


def _origins(problem: ConfigurationError | None) -> dict[str, str]:
    """Where each value comes from, in the words that --json has in every language."""
    if problem is not None:
        return dict.fromkeys(model.KEYS, "last good settings")
    lines = {key: origin.line for key, origin in model.read_origins(paths.SETTINGS_FILE).items()}
    return {key: f"{paths.SETTINGS_FILE}:{lines[key]}" if key in lines else "default" for key in model.KEYS}


def _get(arguments: argparse.Namespace) -> int:
    key = model.known_key(arguments.key)
    settings, problem = effective.settings_in_use()
    value = getattr(settings, key.name)
    print(json.dumps(key.to_plain(value), ensure_ascii=False) if arguments.json else key.to_text(value))
    if problem is not None:
        print(f"jupyterhub4family: {effective.explain(problem)}", file=sys.stderr)
    return ExitStatus.OK


# -- changing ----------------------------------------------------------------------------------------


def _set(arguments: argparse.Namespace) -> int:
    key = model.known_key(arguments.key)
    try:
        value = key.from_text(" ".join(arguments.value))
    except BadValue as error:
        raise ConfigurationError(error.message, error.hint) from None
    _change(arguments, lambda text: settings_document.changed(text, key, value, str(paths.SETTINGS_FILE)))
    return ExitStatus.OK


def _unset(arguments: argparse.Namespace) -> int:
    name = arguments.key

    def without(text: str) -> str:
        # A key that we do not know may be taken away, where it stands.
        if not settings_document.has(text, name, str(paths.SETTINGS_FILE)):
            model.known_key(name)
        return settings_document.without(text, name, str(paths.SETTINGS_FILE))

    _change(arguments, without)
    return ExitStatus.OK


def _edit(arguments: argparse.Namespace) -> int:
    _require_root("config edit")
    with _settings_locked() as directory:
        before = _text()
        after = editor.edited(before, paths.SETTINGS_FILE, directory)
        if after == before:
            terminal.report(arguments, _("Nothing was changed."))
            return ExitStatus.OK
        settings_before = _settings_or_none()
        _write(after)
    editor.forget_draft(paths.SETTINGS_FILE)
    _take_effect(arguments, settings_before)
    return ExitStatus.OK


def _change(arguments: argparse.Namespace, make: Any) -> None:
    """Let `make` turn the file's text into a new one, and do what follows from that."""
    if arguments.dry_run:
        before = _text()
        _print_difference(before, make(before))
        return
    _require_root("config")
    with _settings_locked():
        before = _text()
        after = make(before)
        if after == before:
            terminal.report(arguments, _("Nothing to change: that is already the value."))
            return
        settings_before = _settings_or_none()
        _write(after)
    _take_effect(arguments, settings_before)


def _text() -> str:
    """The settings file as it is; empty if there is none. Raises ConfigurationError."""
    try:
        with open(paths.SETTINGS_FILE, encoding="utf-8-sig", newline="") as file:
            return file.read()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            _("{file} cannot be read: {error}", file=str(paths.SETTINGS_FILE), error=str(error))
        ) from error


def _settings_or_none() -> Settings | None:
    try:
        return model.load_settings(paths.SETTINGS_FILE)
    except ConfigurationError:
        return None


def _write(text: str) -> None:
    """Replace the settings file in one step; mode and owner stay, and a link stays one."""
    file = paths.SETTINGS_FILE.resolve()
    mode, owner = 0o644, (os.geteuid(), os.getegid())
    with contextlib.suppress(FileNotFoundError):
        found = file.stat()
        mode, owner = found.st_mode & 0o777, (found.st_uid, found.st_gid)
    try:
        files.write_atomically(file, text, mode, owner)
    except OSError as error:
        raise FamilyError(
            _("{file} could not be written: {error}", file=str(file), error=str(error.strerror)),
            status=disk_space.exit_status(error),
        ) from error


@contextlib.contextmanager
def _settings_locked() -> Iterator[Path]:
    """The settings' folder, made if it is missing; no second `config` changes anything meanwhile."""
    directory = paths.SETTINGS_FILE.parent
    with contextlib.suppress(FileExistsError):
        directory.mkdir(mode=0o755)
        # Whatever root's umask says: the service has to read it.
        directory.chmod(0o755)
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield directory
    finally:
        os.close(descriptor)


def _require_root(args: str) -> None:
    if os.geteuid() != 0:
        if sys.argv[1:2] == ["config"]:
            args = " ".join(sys.argv[1:])
        raise PermissionRefused(_("only root may change the settings"), f"sudo jupyterhub4family {args}")


def _print_difference(before: str, after: str) -> None:
    lines = difflib.unified_diff(
        before.splitlines(), after.splitlines(), str(paths.SETTINGS_FILE), str(paths.SETTINGS_FILE), lineterm=""
    )
    for line in lines:
        print(line)


# -- what a change needs -----------------------------------------------------------------------------


def needed_restart(before: Settings | None, after: Settings) -> str:
    """What has to be restarted: HUB, HUB_AND_PROXY, or nothing (empty). `before` is None after a bad file."""
    if before is None:
        return types.HUB_AND_PROXY
    needed = {key.restarts for name, key in model.KEYS.items() if getattr(before, name) != getattr(after, name)}
    return next((one for one in (types.HUB_AND_PROXY, types.HUB) if one in needed), "")


def _take_effect(arguments: argparse.Namespace, before: Settings | None) -> None:
    terminal.report(arguments, _("{file} was written.", file=str(paths.SETTINGS_FILE)))
    after = model.load_settings(paths.SETTINGS_FILE)
    if any(getattr(before or Settings(), name) != getattr(after, name) for name in FOR_APT):
        # Its refusal says that the file is written, and what is missing for it to work.
        calling.call(service_programs.APPLY_SETTINGS, Nothing())
    needed = needed_restart(before, after)
    args = ["restart", *(["--all"] if needed == types.HUB_AND_PROXY else [])]
    if not needed:
        terminal.report(arguments, _("Nothing has to be restarted."))
    elif not _is_running(before or effective.settings_in_use()[0]):
        terminal.report(arguments, _("JupyterHub is not running; the change takes effect when it is started."))
    elif arguments.no_restart:
        command = f"sudo jupyterhub4family {' '.join(args)}"
        terminal.report(arguments, _("It takes effect after: {command}", command=command))
    else:
        with terminal.waiting(arguments, _("JupyterHub is being restarted")):
            calling.call(service_programs.control(*args), Nothing())
        terminal.report(arguments, _("JupyterHub is restarting; see: {command}", command="jupyterhub4family status"))


def _is_running(settings: Settings) -> bool:
    """Whether it is meant to run now: who has stopped it shall not find it started by a setting."""
    if supervision.chosen_supervisor(settings) == supervision.SYSTEMD:
        # Also while one of them is just being restarted, or has failed, perhaps for the very setting.
        states = programs.run(["systemctl", "is-active", *supervision.UNITS], check=False).stdout.split()
        return any(state not in ("inactive", "unknown") for state in states)
    return not os.path.lexists(paths.STATE / "stopped")
