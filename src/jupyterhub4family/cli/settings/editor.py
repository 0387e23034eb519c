"""Runs as the caller of `config edit`, who is root: an editor on a copy of the settings.

The settings file itself is not touched before the copy is good, and a copy that is not good is kept as a draft.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import sys
import tempfile
from pathlib import Path

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import ConfigurationError, FamilyError
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.settings import model
from jupyterhub4family.common.system import files, programs

SAMPLE = paths.SHARE / "config.sample.yaml"
#: Debian's own choice first.
EDITORS = ("sensible-editor", "nano", "vi")


def draft_of(file: Path) -> Path:
    """Where a copy is kept that was not good when its editor was left."""
    return file.with_name(f"{file.name}.draft")


def forget_draft(file: Path) -> None:
    """The draft has become the file, or was given up."""
    with contextlib.suppress(FileNotFoundError):
        draft_of(file).unlink()


def edited(text: str, file: Path, directory: Path) -> str:
    """What somebody makes of `text` (the content of `file`) in an editor; good settings, or `text` as it was.

    Raises FamilyError when they leave it in a state that cannot be used; it is then kept as a draft in `folder`.
    """
    draft = directory / draft_of(file).name
    begin = text or SAMPLE.read_text("utf-8")
    with contextlib.suppress(FileNotFoundError):
        begin = draft.read_text("utf-8")
        print(_("You continue with your last draft; delete all of its text to discard it."))
    # A folder that only we can enter: the copy's name is nobody else's.
    with tempfile.TemporaryDirectory(prefix="jupyterhub4family-config-") as work:
        copy = Path(work) / "config.yaml"
        copy.write_text(begin, "utf-8")
        while True:
            status = programs.run_in_terminal([*_editor(), copy])
            now = copy.read_text("utf-8", "replace")
            if not now.strip():
                forget_draft(file)
                return text
            problem = _problem(now, status)
            if problem is None:
                return text if now == (text or begin) and not draft.exists() else now
            if not _confirm_retry(problem):
                if now != text:
                    files.write_atomically(draft, now, 0o600)
                    problem.hint = _(
                        "your text was kept: {file}; continue with: {command}",
                        file=str(draft),
                        command="sudo jupyterhub4family config edit",
                    )
                raise problem


def _problem(text: str, status: int) -> FamilyError | None:
    if status != 0:
        return FamilyError(_("the editor ended with status {status}; nothing was changed", status=status))
    try:
        model.settings_of(model.parse_text(text, "config.yaml"), "config.yaml")
    except ConfigurationError as error:
        return error
    return None


def _confirm_retry(problem: FamilyError) -> bool:
    print(problem, file=sys.stderr)
    if not sys.stdin.isatty():
        return False
    try:
        answer = input(_("Continue editing? [Y/n] "))
    except (EOFError, KeyboardInterrupt):
        return False
    return answer.strip().lower() not in ("n", "no", "nein")


def _editor() -> list[str]:
    for name in ("VISUAL", "EDITOR"):
        args = shlex.split(os.environ.get(name, ""))
        if args:
            return args
    for name in EDITORS:
        found = shutil.which(name)
        if found:
            return [found]
    raise FamilyError(_("there is no editor on this machine"), _("install one: {command}", command="apt install nano"))
