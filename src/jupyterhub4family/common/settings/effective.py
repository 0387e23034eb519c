"""Any identity: the settings that count now: those of the file or, if that is bad, the last good ones.

The service notes the settings of each successful start in a folder of its own that everybody may read
(there are no secrets in them). So a slip of the keyboard never stops a running portal: hub, proxy and commands go
on with what was good, and `status`, `doctor` and the log say what is wrong. Root reads that note as well, so it is
taken for untrusted: bounded, and checked like the file itself. Nothing in it gives anybody a right.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
from pathlib import Path
from typing import Any, Optional

from jupyterhub4family.common import paths, records
from jupyterhub4family.common.errors import ConfigurationError, FamilyError
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.settings import model
from jupyterhub4family.common.settings.model import Settings
from jupyterhub4family.common.system import files

#: Bytes; the notes are written by us and are short.
MAXIMUM_SIZE = 64 * 1024


def settings_in_use() -> tuple[Settings, Optional[ConfigurationError]]:
    """The settings that count, and what is wrong with the settings file if they are not its.

    Never raises. Without any good ones (a first start with a bad file) they are the defaults, but for this computer
    only: nobody shall be able to reach more than was asked for.
    """
    try:
        return model.load_settings(paths.SETTINGS_FILE), None
    except ConfigurationError as error:
        remembered = last_good_settings()
        return remembered or Settings(listen="local"), error


def last_good_settings() -> Optional[Settings]:
    """What the service has last started with from a good file; None if that is not known."""
    found = _read_state(paths.LAST_GOOD_SETTINGS)
    if not isinstance(found, dict):
        return None
    try:
        return model.parse_settings(found, str(paths.LAST_GOOD_SETTINGS))
    except ConfigurationError:
        return None


def settings_of_service(what: str) -> Settings:
    """For the service's own processes: the settings that count, noted if good, told in the log if not.

    `what` is the process that reads them, such as "hub".
    """
    settings, problem = settings_in_use()
    if problem is None:
        if last_good_settings() != settings:
            _write_state(paths.LAST_GOOD_SETTINGS, model.as_plain(settings))
    else:
        print(f"{what}: {explain(problem)}", flush=True)
    return settings


def explain(problem: ConfigurationError) -> FamilyError:
    """What `status`, `doctor` and the log say about a bad settings file."""
    return FamilyError(
        _("{problem}. The last good settings stay in use", problem=problem.message),
        problem.hint or "sudo jupyterhub4family config edit",
        problem.status,
    )


# -- experts' files ----------------------------------------------------------------------------------


@records.dataclass(frozen=True)
class SkippedFile:
    """A file of jupyterhub_config.d that the hub could not execute when it last started."""

    name: str
    #: Where in the file; 0 if that is not known.
    line: int
    #: The kind of the error, such as NameError. What it says stands in the hub's log only: it may hold a secret.
    problem: str

    def explain(self) -> ConfigurationError:
        """What `status` and `doctor` say about it."""
        place = f"{paths.EXPERT_DIRECTORY / self.name}" + (f":{self.line}" if self.line else "")
        return ConfigurationError(
            _("{place}: {problem}. The hub runs without this file", place=place, problem=self.problem),
            "sudo jupyterhub4family logs hub",
        )


def record_skipped_files(skipped: list[SkippedFile]) -> None:
    """Keep, for `skipped_files`, which files the hub has left out."""
    if skipped != skipped_files():
        _write_state(paths.SKIPPED_EXPERT_FILES, [dataclasses.asdict(one) for one in skipped])


def skipped_files() -> list[SkippedFile]:
    """The experts' files that the running hub does without."""
    found = _read_state(paths.SKIPPED_EXPERT_FILES)
    result = []
    for one in found if isinstance(found, list) else []:
        if not isinstance(one, dict) or set(one) != {"name", "line", "problem"}:
            return []
        name, line, problem = one["name"], one["line"], one["problem"]
        # It is shown in terminals, root's among them.
        shown_safely = all(type(word) is str and re.fullmatch(r"[\w.+-]{1,200}", word) for word in (name, problem))
        if not shown_safely or type(line) is not int:
            return []
        result.append(SkippedFile(name, line, problem))
    return result


def configuration_problems() -> list[FamilyError]:
    """All that is wrong with settings and experts' files now; empty if nothing is. For `status` and `doctor`."""
    problem = settings_in_use()[1]
    found: list[FamilyError] = [explain(problem)] if problem else []
    return found + [one.explain() for one in skipped_files()]


# -- notes -------------------------------------------------------------------------------------------


def _write_state(path: Path, content: Any) -> None:
    # A full disk must not keep the service from starting.
    with contextlib.suppress(OSError):
        files.write_atomically(path, json.dumps(content, indent=1) + "\n", 0o644)


def _read_state(path: Path) -> Any:
    """The JSON in a file that the service can write; None if there is none."""
    return files.read_json(path, MAXIMUM_SIZE)
