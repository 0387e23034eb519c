"""Runs as jupyterhub: how far a build has come, kept in a file that the setup page and `status` read."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import Any, Callable

from jupyterhub4family.common import paths
from jupyterhub4family.common.i18n.messages import from_json, to_json
from jupyterhub4family.common.system import files

PROGRESS_FILE = paths.STATE / "progress.json"


def print_message(event: dict[str, Any]) -> None:
    """For people who read the log."""
    hint = f" Try: {event['hint']}" if event.get("hint") else ""
    print(f"setup: {event['message']} ({event['percent']} %){hint}", flush=True)


class Reporter:
    """Tells a percentage and a sentence: by `report` (as a rule on stdout), and in the progress file."""

    def __init__(self, file: Path = PROGRESS_FILE, report: Callable[[dict[str, Any]], None] = print_message) -> None:
        self._file = file
        self._report = report

    def report(self, percent: int, message: str) -> None:
        """Say that `percent` of the work is done and what comes now."""
        self._write({"percent": percent, "message": message})

    def fail(self, message: str, hint: str = "") -> None:
        """Say why the work cannot go on and what helps."""
        self._write({"percent": 0, "message": message, "hint": hint, "failed": True})

    def done(self) -> None:
        """Forget the progress: there is nothing to wait for any more."""
        with contextlib.suppress(FileNotFoundError):
            self._file.unlink()

    def _write(self, event: dict[str, Any]) -> None:
        self._report(event)
        # A full disk must not turn the telling of progress into a failure of its own.
        with contextlib.suppress(OSError):
            document = {key: to_json(value) if isinstance(value, str) else value for key, value in event.items()}
            files.write_atomically(self._file, json.dumps({**document, "at": int(time.time())}), 0o600)


def read_progress(file: Path = PROGRESS_FILE) -> dict[str, Any]:
    """The last event of a running build: percent, message, and for a failure hint and failed; {} if none."""
    try:
        event = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(event, dict):
        return {}
    messages = {key: from_json(event[key]) for key in ("message", "hint") if key in event}
    return {**event, **messages}
