"""Runs as the member, started by root during an upgrade: how many of the member's kernels are calculating right now.

Asks the member's own servers, with the token that each has in its environment, which only the member can read. An
answer that does not come counts as idle: nobody shall be able to keep upgrades away by a server that hangs.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import sys
import urllib.request
from collections.abc import Iterator
from typing import Any

from jupyterhub4family.common.protocol import serving
from jupyterhub4family.common.protocol.service_programs import BusyKernels
from jupyterhub4family.common.system import processes

#: Where a server listens, as the hub told it.
_ADDRESS = re.compile(r"http://127\.0\.0\.1:[0-9]{2,5}/[\w./%~@-]*")
#: Seconds; bytes.
TIMEOUT, LONGEST_ANSWER = 10, 1024 * 1024


def main() -> int:
    """Program `busy-kernels`: one line of JSON."""
    return serving.answer(lambda: BusyKernels(sum(busy(address, token) for address, token in servers())))


def servers() -> set[tuple[str, str]]:
    """Address and token of each running server of this account; kernels have inherited the same ones."""
    return {found for pid in _own_processes() for found in _server_of(pid)}


def busy(address: str, token: str) -> int:
    """How many kernels of this server are busy; none if it does not say."""
    request = urllib.request.Request(f"{address.rstrip('/')}/api/kernels")  # noqa: S310 (127.0.0.1)
    request.add_header("Authorization", f"token {token}")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=TIMEOUT) as answer:
            kernels: Any = json.loads(answer.read(LONGEST_ANSWER))
    except (OSError, ValueError, http.client.HTTPException):
        return 0
    if not isinstance(kernels, list):
        return 0
    return sum(isinstance(kernel, dict) and kernel.get("execution_state") == "busy" for kernel in kernels)


def _own_processes() -> Iterator[int]:
    for entry in processes.PROC.iterdir():
        try:
            if entry.name.isdigit() and entry.stat().st_uid == os.getuid():
                yield int(entry.name)
        except OSError:
            continue


def _server_of(pid: int) -> Iterator[tuple[str, str]]:
    address = processes.environment_value(pid, "JUPYTERHUB_SERVICE_URL")
    token = processes.environment_value(pid, "JUPYTERHUB_API_TOKEN")
    if address and token and _ADDRESS.fullmatch(address):
        yield address, token


if __name__ == "__main__":
    sys.exit(main())
