"""Runs on a machine, as whoever plants: puts something else in place of files, and the files back.

`planter.py plant KIND PATH…`, `planter.py remove PATH…`; of Python's own modules only. What was at a path is kept
beside it meanwhile. Two kinds come from an environment variable: SECRET names a file of root's, TEXTS is an object
with the text for each name of a file ("*": all others).
"""

import json
import os
import shutil
import socket
import sys

HELD = ".held"


def plant(kind: str, path: str) -> None:
    """Put something of this kind at the path."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if os.path.lexists(path):
        os.rename(path, path + HELD)
    if kind in ("pipe", "flood"):
        os.mkfifo(path)
        if kind == "flood" and os.fork() == 0:
            os.setsid()
            for descriptor in range(3):
                os.dup2(os.open("/dev/null", os.O_RDWR), descriptor)
            pipe = os.open(path, os.O_RDWR)
            while True:
                os.write(pipe, b'{"a": "' * 1000)
    elif kind == "zeros":
        os.symlink("/dev/zero", path)
    elif kind == "loop":
        os.symlink(os.path.basename(path), path)
    elif kind == "secret":
        os.symlink(os.environ["SECRET"], path)
    elif kind == "folder":
        os.mkdir(path)
    elif kind == "socket":
        server = socket.socket(socket.AF_UNIX)
        os.chdir(os.path.dirname(path))
        server.bind(os.path.basename(path))
    elif kind == "sparse":
        with open(path, "wb") as file:
            file.truncate(5 * 2**30)
    else:
        texts = json.loads(os.environ["TEXTS"])
        with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(texts.get(os.path.basename(path), texts["*"]))


def remove(path: str) -> None:
    """Take it away again, and put back what was there."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)
    if os.path.lexists(path + HELD):
        os.rename(path + HELD, path)


if __name__ == "__main__":
    if sys.argv[1] == "plant":
        for one in sys.argv[3:]:
            plant(sys.argv[2], one)
    else:
        for one in sys.argv[2:]:
            remove(one)
