"""Runs inside JupyterHub's process, as `jupyterhub`: how much memory a member's server uses, as far as anybody may see.

The proportional share (PSS) of others' processes is not shown to us; resident memory is, and counts shared pages once
for each process: an upper bound.
"""

from __future__ import annotations

import os
from typing import Optional

from jupyterhub4family.common.processes import PROC


def resident(pid: int) -> Optional[int]:
    """Bytes of memory held by process `pid` and all that descend from it; None if it cannot be seen."""
    pages, children = _processes()
    if pid not in pages:
        return None
    total, waiting, seen = 0, [pid], set()
    while waiting:
        one = waiting.pop()
        if one not in seen:
            seen.add(one)
            total += pages[one]
            waiting.extend(children.get(one, ()))
    return total * os.sysconf("SC_PAGE_SIZE")


def _processes() -> tuple[dict[int, int], dict[int, list[int]]]:
    """Resident pages of each visible process (field 24 of /proc/PID/stat, proc(5)), and the children of each."""
    pages: dict[int, int] = {}
    children: dict[int, list[int]] = {}
    for entry in os.listdir(PROC):
        if not entry.isdigit():
            continue
        try:
            text = (PROC / entry / "stat").read_text("ascii", "replace")
        except OSError:
            continue  # it has just ended, or is hidden from us
        fields = text[text.rindex(")") + 2 :].split()
        pages[int(entry)] = int(fields[21])
        children.setdefault(int(fields[1]), []).append(int(entry))
    return pages, children
