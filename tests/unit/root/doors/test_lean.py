"""What a door imports before it knows what it is asked for: each start and each login waits for it (ADR 28)."""

from __future__ import annotations

import subprocess
import sys

import pytest

from jupyterhub4family.common.protocol import doors
from tests.unit.helpers import SRC, TIMEOUT

#: What took most of a door's time once, and what it is for. None of it is needed by every call of any door.
COSTLY = {
    "dataclasses": "common/records.py defines classes without it",
    "inspect": "dataclasses import it",
    "subprocess": "common/system/programs.py, when a program is run",
    "selectors": "the same",
    "gettext": "common/i18n/messages.py, for another language than English",
    "shutil": "trees of files, in the functions that copy and remove them",
    "tempfile": "nothing that a door does",
    "hashlib": "fingerprints, when one is asked for",
    "uuid": "nothing that a door does",
    "yaml": "common/settings/model.py, when there are settings to be read",
    "socket": "nothing that a door does",
    "argparse": "commands; a door has no arguments",
    "asyncio": "the hub",
    "logging": "the hub",
}
#: The door that copies trees as root, which is called once for each environment; and random names.
NEEDED = {"environment": {"shutil", "hashlib"}, "authenticate": {"hashlib"}}

LOADED = "import sys; sys.path.insert(0, {src!r}); import {module}; print(*sorted(sys.modules))"


@pytest.mark.parametrize("door", doors.DOORS, ids=lambda door: door.name)
def test_a_door_imports_nothing_that_it_may_not_need(door: doors.Door) -> None:
    code = LOADED.format(src=str(SRC), module=f"jupyterhub4family.{door.module}")
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, encoding="utf-8", timeout=TIMEOUT, check=True
    )
    loaded = set(done.stdout.split())
    assert f"jupyterhub4family.{door.module}" in loaded and "json" in loaded
    assert sorted(loaded & set(COSTLY) - NEEDED.get(door.name, set())) == []
