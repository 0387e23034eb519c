"""Runs as the member, started by root during an upgrade: how many of the member's kernels are calculating right now.

Asks the member's own servers, with the token that each has in its environment, which only the member can read. An
answer that does not come counts as idle: nobody shall be able to keep upgrades away by a server that hangs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

from jupyterhub4family.common.protocol import serving
from jupyterhub4family.common.protocol.service_programs import BusyKernels
from jupyterhub4family.common.system import processes
from jupyterhub4family.user import server_activity


def main() -> int:
    """Program `busy-kernels`: one line of JSON."""
    return serving.answer(lambda: BusyKernels(sum(busy(address, token) for address, token in servers())))


def servers() -> set[tuple[str, str]]:
    """Address and token of each running server of this account; kernels have inherited the same ones."""
    found = map(server_activity.address_and_token, _own_processes())
    return {one for one in found if one is not None}


def busy(address: str, token: str) -> int:
    """How many kernels of this server are busy; none if it does not say."""
    kernels = server_activity.ask(address, token, "kernels") or []
    return sum(isinstance(kernel, dict) and kernel.get("execution_state") == "busy" for kernel in kernels)


def _own_processes() -> Iterator[int]:
    for entry in processes.PROC.iterdir():
        try:
            if entry.name.isdigit() and entry.stat().st_uid == os.getuid():
                yield int(entry.name)
        except OSError:
            continue


if __name__ == "__main__":
    sys.exit(main())
