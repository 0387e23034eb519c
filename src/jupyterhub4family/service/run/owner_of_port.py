"""Runs as jupyterhub, started by the proxy when it needs it: asks the kernel whose program listens on a port.

Node cannot ask for one socket (sock_diag(7)), and to look through all of them took it 0.35 s for each request of
everybody's when a member had 150,000.
"""

from __future__ import annotations

import struct
import sys

from jupyterhub4family.common.errors import UsageError, run_program
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.system import sockets


def main() -> int:
    """Program `owner-of-port`: a port in each line read; whose it is in each line written, until there are no more.

    That is the uid, nothing where nobody listens, or "?" where the kernel does not tell.
    """
    if sys.argv[1:]:
        raise UsageError(_("{program} takes no arguments", program="owner-of-port"))
    for line in sys.stdin:
        print(owner(line), flush=True)
    return 0


def owner(line: str) -> str:
    """The answer to one line."""
    try:
        uid = sockets.uid_of_listener(int(line))
    except (OSError, ValueError, struct.error):
        return "?"
    return "" if uid is None else str(uid)


if __name__ == "__main__":
    sys.exit(run_program(main))
