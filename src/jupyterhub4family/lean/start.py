"""Runs as the member, with their own Python: the first file of a server that starts lean (ADR 27).

    PYTHON start.py PROGRAM [ARGUMENT…]

does what `PYTHON PROGRAM [ARGUMENT…]` does, in the same process, for a PROGRAM that is an environment's
jupyterhub-singleuser. Root owns this file and all that it imports of ours; none of it has more rights than the member,
opens anything that is not theirs to read, changes any file, or passes a variable on: programs that the server starts
know nothing of it. Whatever goes wrong on the way, the process becomes the plain program.

Python runs this as a script each time anew; what is longer is in `launch`, which is compiled once.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import NoReturn

#: Folder that holds our package: /usr/lib/jupyterhub4family.
_LIBRARY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def main() -> NoReturn:
    """Become the program that the first argument names: lean, or, with a line in the log that says why, plain."""
    program, *arguments = sys.argv[1:]
    sys.argv[:] = [program, *arguments]
    # Only a process that a mediator has begun before anybody wanted it has this (lean/waiting.py).
    order, began = os.environ.pop("JUPYTERHUB4FAMILY_WAIT", ""), time.time_ns()
    try:
        # In place of this file's own folder; `prepare` puts there what the plain program would have.
        sys.path[0] = _LIBRARY
        from jupyterhub4family.lean import launch

        code = launch.prepare(program, ahead=bool(order))
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        if order:
            # Nobody waits for it. The server that somebody asks for later tries again, and says why it is plain.
            os._exit(1)
        _become_plain(program, arguments, f"{type(error).__name__}: {error}")
    if order:
        from jupyterhub4family.lean import waiting

        waiting.wait(order, began)
    launch.become(code, program)
    sys.exit()


def _become_plain(program: str, arguments: list[str], reason: str) -> NoReturn:
    """The same process, from the beginning: nothing of what was tried is left."""
    line = " ".join(f"this server starts with all of JupyterHub (plain, not lean): {reason}".split())
    # A full disk is no reason not to start.
    with contextlib.suppress(OSError):
        os.write(2, f"[W jupyterhub4family] {line[:1000]}\n".encode("utf-8", "replace"))
    os.execv(sys.executable, [sys.executable, program, *arguments])


if __name__ == "__main__":
    main()
