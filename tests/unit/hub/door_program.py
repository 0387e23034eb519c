"""The program that stands in for every door and service program when the hub's unit tests run; see doubles.py.

It does what the test has written into its plan, and is real otherwise: a process that reads a request, reports
progress, starts and signals servers, and answers. Nothing but the standard library, started with `python3 -IS`.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

DIRECTORY = Path(__file__).resolve().parent
#: A line of /proc/net/tcp for a socket of `uid` that listens on `port` of 127.0.0.1.
SOCKET = "   0: 0100007F:{port:04X} 00000000:0000 0A 00000000:00000000 00:00000000 00000000 {uid} 0 1\n"


def main() -> None:
    """Take the next step of the plan for this door and action; the last one is repeated."""
    door = Path(sys.argv[0]).name
    request = json.load(sys.stdin)
    action = str(request.get("action", ""))
    step = next_step(f"{door}.{action}", {"door": door, "request": request, "language": os.environ.get("LC_ALL", "")})
    if step.get("stubborn"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for percent, message in step.get("progress", ()):
        say({"percent": percent, "message": message})
    answer = {"ok": True, **DEFAULTS.get(f"{door}.{action}", dict)(), **perform(action, request, step)}
    if "hold" in step:
        wait_for(DIRECTORY / step["hold"])
    if "stderr" in step:
        print(step["stderr"], file=sys.stderr)
    if not step.get("silent"):
        say({**answer, **step.get("answer", {})})
    sys.exit(step.get("status", 0))


DEFAULTS: dict[str, Any] = {
    "mediator.prepare": lambda: {"done": "nothing", "template": "py3.11-000000000000"},
    "mediator.ahead": lambda: {"waits": False},
    "mediator.start": lambda: {"started": False},
    "mediator.log": lambda: {"lines": []},
    "mediator.end": lambda: {"ended": 0},
    "authenticate.": lambda: {"allowed": False, "reason": "refused"},
    "build-release.": lambda: {"changed": False},
    "build-template.": lambda: {"changed": True},
}


def perform(action: str, request: dict[str, Any], step: dict[str, Any]) -> dict[str, Any]:
    """What an action really does."""
    if action == "spawn" and "answer" not in step:
        return start_server(request["env"], step)
    if action == "start" and step.get("ready"):
        return {"started": True, **start_server(request["env"], step), "template": "py3.11-000000000000"}
    if action == "kill" and "answer" not in step:
        return {"alive": send_signal(request["pid"], request["signal"])}
    if "authenticate" in sys.argv[0] and step.get("password") == request.get("password") is not None:
        return {"allowed": True, "reason": "", "name": request["name"]}
    return {}


def next_step(key: str, asked: dict[str, Any]) -> dict[str, Any]:
    """Note what was asked, and take the next step; several may ask at the same time."""
    with open(DIRECTORY / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with open(DIRECTORY / "asked", "a", encoding="utf-8") as notes:
            notes.write(json.dumps(asked) + "\n")
        plan = DIRECTORY / f"{key}.json"
        if not plan.exists():
            return {}
        steps: list[dict[str, Any]] = json.loads(plan.read_text("utf-8"))
        if len(steps) > 1:
            plan.write_text(json.dumps(steps[1:]), "utf-8")
        return steps[0]


def start_server(environment: dict[str, str], step: dict[str, Any]) -> dict[str, Any]:
    """A process that listens where the hub wants it to, as the step says; it is nobody's child."""
    port = urlsplit(environment["JUPYTERHUB_SERVICE_URL"]).port
    assert port is not None
    end, begin = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if (pid := os.fork()) != 0:
            os._exit(0)
        for number in (0, 1, 2, end):
            os.close(number)
        # Told by itself: who ends at once may be gone before anybody else can look.
        start_time = Path("/proc/self/stat").read_text("ascii").rpartition(")")[2].split()[19]
        os.write(begin, f"{os.getpid()} {start_time}".encode())
        os.close(begin)
        serve(port, step)
    os.close(begin)
    pid, started = map(int, os.read(end, 60).split())
    with open(DIRECTORY / "servers", "a", encoding="ascii") as notes:
        notes.write(f"{pid}\n")
    return {"pid": pid, "start_time": started}


def serve(port: int, step: dict[str, Any]) -> None:
    """Answer everything with an empty object, or end at once, or do not even listen."""
    if step.get("ignores_sigterm"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        if step.get("ends"):
            return
        # Where somebody else has taken the port, it is they who are in the kernel's table.
        owner = step.get("taken_by", step.get("uid", 1001))
        if "listens_when" in step:
            wait_for(DIRECTORY / step["listens_when"])
        with socket.create_server(("127.0.0.1", port)) as listening:
            with open(DIRECTORY / "sockets", "a", encoding="ascii") as table:
                table.write(SOCKET.format(port=port, uid=owner))
            while True:
                connection, _address = listening.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
    finally:
        os._exit(0)


def send_signal(pid: int, number: int) -> bool:
    """Signal a server that this program has started; whether it is there."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def wait_for(file: Path) -> None:
    """Until the test makes `file`; not for ever."""
    deadline = time.monotonic() + 60
    while not file.exists() and time.monotonic() < deadline:
        time.sleep(0.01)


def say(line: dict[str, Any]) -> None:
    """One line of JSON, at once."""
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
