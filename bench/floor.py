"""Measures floors from outside a machine: `bare_server.py` is what runs there."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from tests.machine.lib.machine import Machine

_PROGRAM = "/root/bare_server.py"


def on_machine(machine: Machine, python: str, members: list[str]) -> dict[str, float]:
    """Bare servers that sudo starts for these members at once: `seconds`, `cpu` (seconds), and `memory` of one (MB)."""
    machine.put(Path(__file__).with_name("bare_server.py"), _PROGRAM)
    done = machine.run(shlex.join(["python3", "-I", _PROGRAM, python, *members]))
    found: dict[str, float] = json.loads(done)
    return found
