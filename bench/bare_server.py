"""The least that a server can cost which sudo starts for a member.

Put on a machine and run there as root, with Debian's python3 and nothing of ours:

    bare_server.py PYTHON MEMBER…      -> {"seconds": 0.2, "cpu": 0.1, "memory": 16.3} as JSON

PYTHON is the one of each member's own environment, with `{member}` where it has their name: nobody else may enter.
It starts a web server of a few lines (tornado, as JupyterHub's are) for each of them at once, and tells how long that
took until the last one has answered, what they computed, and what one of them keeps in memory.
"""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

#: Seconds until a server that nobody asks has come to rest.
REST = 5.0
#: Seconds.
PATIENCE = 60.0
SERVER = """
import asyncio, sys
from tornado.web import Application, RequestHandler

class Page(RequestHandler):
    def get(self):
        self.finish("here")

async def main():
    Application([("/", Page)]).listen(int(sys.argv[1]), "127.0.0.1")
    await asyncio.Event().wait()

asyncio.run(main())
"""


def main(python: str, members: list[str]) -> dict[str, float]:
    """Start, measure, end."""
    ports = [_free_port() for _ in members]
    before = _cpu()
    began = time.monotonic()
    started = [
        subprocess.Popen(
            ["/usr/bin/sudo", "-nHu", member, python.format(member=member), "-c", SERVER, str(port)],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        for member, port in zip(members, ports)
    ]
    try:
        for port in ports:
            _wait(port, began + PATIENCE)
        seconds = time.monotonic() - began
        time.sleep(REST)
        memory = sum(_pss(pid) for each in started for pid in _family(each.pid))
    finally:
        for each in started:
            # sudo hands it on, and waits for the server: so both are counted.
            each.send_signal(signal.SIGTERM)
            each.wait(10)
    return {"seconds": seconds, "cpu": _cpu() - before, "memory": memory / len(started)}


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _wait(port: int, until: float) -> None:
    while time.monotonic() < until:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).close()
            return
        except (OSError, urllib.error.URLError):
            time.sleep(0.002)
    raise TimeoutError(f"nothing answers at port {port}")


def _family(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        children = [int(child) for child in file.read().split()]
    return [pid, *(each for child in children for each in _family(child))]


def _pss(pid: int) -> float:
    with open(f"/proc/{pid}/smaps_rollup") as file:
        match = re.search(r"\nPss:\s+(\d+)", file.read())
    return int(match.group(1)) / 1024 if match else 0.0


if __name__ == "__main__":
    os.environ.pop("PYTHONPATH", None)
    print(json.dumps(main(sys.argv[1], sys.argv[2:])))
