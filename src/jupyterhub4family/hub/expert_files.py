"""Runs inside JupyterHub's process, as `jupyterhub`: executes the experts' files of jupyterhub_config.d.

A file with an error is left out as a whole, as if it were not there, and told in the log, by `status` and by
`doctor`: a family whose hub does not start after a reboot is worse off than one whose hub lacks a refinement.
"""

from __future__ import annotations

import copy
import os
import re
import sys
import traceback
from pathlib import Path
from typing import Any

from jupyterhub4family.common import paths
from jupyterhub4family.common.settings import effective
from jupyterhub4family.common.settings.effective import SkippedFile


def execute_expert_files(config: Any, directory: Path = paths.EXPERT_DIRECTORY) -> None:
    """Execute the files in the order of their names, with `c` as in any jupyterhub_config.py. Never raises."""
    skipped = []
    if directory.exists() and not os.access(directory, os.R_OK | os.X_OK):
        print(f"hub: the account jupyterhub may not read {directory}. The hub runs without it.", file=sys.stderr)
        skipped.append(SkippedFile(".", 0, "PermissionError"))
    for file in sorted(directory.glob("*.py")):
        before = _copy_of(config)
        try:
            exec(compile(file.read_bytes(), str(file), "exec"), {"c": config, "__file__": str(file)})
        except (Exception, SystemExit) as error:
            # What it had set until then goes, too: half a file is what nobody has meant.
            config.clear()
            config.update(before)
            line = _line_of(error, file)
            where = f"{file}:{line}" if line else str(file)
            detail = " ".join(f"{type(error).__name__}: {error}".split())
            print(f"hub: {where}: {detail}. The hub runs without this file.", file=sys.stderr)
            skipped.append(SkippedFile(_printable(file), line, type(error).__name__))
    effective.record_skipped_files(skipped)


def _copy_of(config: Any) -> Any:
    try:
        return copy.deepcopy(config)
    except Exception:
        # An earlier file has put something there that cannot be copied, such as an open connection.
        return {name: copy.copy(section) for name, section in config.items()}


def _line_of(error: BaseException, file: Path) -> int:
    """The line of `file` that caused `error`; 0 if that cannot be told."""
    if isinstance(error, SyntaxError) and error.filename == str(file):
        return error.lineno or 0
    lines = [number for frame, number in traceback.walk_tb(error.__traceback__) if _is_of(frame, file)]
    return lines[-1] if lines else 0


def _is_of(frame: Any, file: Path) -> bool:
    return bool(frame.f_code.co_filename == str(file))


def _printable(file: Path) -> str:
    return re.sub(r"[^\w.+-]", "_", file.name, flags=re.ASCII)[:200]
