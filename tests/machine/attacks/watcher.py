"""Runs on a machine, as root: runs commands there and tells how long each took, how much memory, and what it wrote.

A program of its own, put on the machine by test_planted.py; of Python's own modules only. It reads a list of
{"command", "terminal", "seconds", "input"} from stdin and writes one of {"status", "seconds", "megabytes", "output"}.
A command that does not end in time is killed, with all of its process group; its status is "timeout".
"""

import json
import os
import pty
import selectors
import signal
import sys
import time

#: Bytes that are kept of what a command writes.
KEPT = 8 * 2**20


def watch(command: str, terminal: bool, seconds: float) -> "dict[str, object]":
    """Run one command, with a terminal or a pipe as its stdout and stderr."""
    reader, writer = pty.openpty() if terminal else os.pipe()
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            nothing = os.open("/dev/null", os.O_RDONLY)
            os.dup2(nothing, 0)
            os.dup2(writer, 1)
            os.dup2(writer, 2)
            os.closerange(3, 100)
            os.chdir("/root")
            environment = {**os.environ, "LC_ALL": "C.UTF-8", "TERM": "xterm"}
            os.execve("/bin/sh", ["/bin/sh", "-c", command], environment)
        finally:
            os._exit(126)
    os.close(writer)
    output, written, status = bytearray(), 0, None
    with selectors.DefaultSelector() as selector:
        selector.register(reader, selectors.EVENT_READ)
        while True:
            left = began + seconds - time.monotonic()
            if left <= 0:
                status = "timeout"
                break
            if not selector.select(left):
                continue
            try:
                piece = os.read(reader, 65536)
            except OSError:  # a terminal that nobody has open any more
                break
            if not piece:
                break
            written += len(piece)
            output += piece[: max(0, KEPT - len(output))]
    if status is None:
        # It has closed its output; now it has to end as well.
        while os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            if time.monotonic() > began + seconds:
                status = "timeout"
                break
            time.sleep(0.02)
    if status == "timeout":
        os.killpg(child, signal.SIGKILL)
    os.close(reader)
    _pid, code, usage = os.wait4(child, 0)
    ended = os.WEXITSTATUS(code) if os.WIFEXITED(code) else -os.WTERMSIG(code)
    return {
        "command": command,
        "status": status or ended,
        "seconds": round(time.monotonic() - began, 2),
        "megabytes": usage.ru_maxrss // 1024,
        "written": written,
        "output": output.decode("utf-8", "surrogateescape").encode("utf-8", "backslashreplace").decode("utf-8"),
    }


if __name__ == "__main__":
    print(json.dumps([watch(one["command"], one["terminal"], one["seconds"]) for one in json.load(sys.stdin)]))
