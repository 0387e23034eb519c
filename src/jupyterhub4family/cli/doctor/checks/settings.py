"""Runs as the caller: the settings file and the experts' files beside it."""

from __future__ import annotations

import os
from collections.abc import Iterator

from jupyterhub4family.cli.doctor.base.finding import Check, CheckContext, Finding, fine, problem, warning
from jupyterhub4family.common import paths
from jupyterhub4family.common.i18n.messages import N_, _
from jupyterhub4family.common.settings import effective


def check_settings(_context: CheckContext) -> Iterator[Finding]:
    """The file can be used, and only root can change it and what the hub runs as configuration."""
    problems = effective.configuration_problems()
    for error in problems:
        yield problem(error.message, error.hint or _("sudo jupyterhub4family config edit"))
    loose = bool(problems)
    for path in (
        paths.SETTINGS_FILE.parent,
        paths.SETTINGS_FILE,
        paths.EXPERT_DIRECTORY,
        *paths.EXPERT_DIRECTORY.glob("*.py"),
    ):
        try:
            status = os.stat(path)
        except FileNotFoundError:
            continue
        if status.st_uid != 0 or status.st_mode & 0o022:
            loose = True
            yield problem(
                _("Accounts other than root can change {path}", path=path),
                _("sudo chown root: {path}; sudo chmod go-w {path}", path=path),
            )
    files = sorted(paths.EXPERT_DIRECTORY.glob("*.py"))
    if files:
        yield warning(
            _("JupyterHub is configured by hand in {files}", files=", ".join(file.name for file in files)),
            _("if something is odd, move those files away for a test, and restart"),
        )
    if not loose:
        yield fine(_("The settings are valid"))


#: By the names that the JSON has, which are never changed.
CHECKS = {
    "settings": Check(N_("the settings"), check_settings),
}
