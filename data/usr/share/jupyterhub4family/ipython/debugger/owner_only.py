"""Runs as the member, in a kernel and in the debugger's adapter: sockets that let in nobody but their owner.

debugpy listens on ports of 127.0.0.1, which every account of the machine can reach; it has no password for them, and
those that its own parts use among themselves stand on a command line. So the operating system is asked whose the other
end of a connection is (/proc/net/tcp, proc(5)), before a byte is read from it.
"""

import os
import socket
import sys

LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
TABLES = {socket.AF_INET: "/proc/net/tcp", socket.AF_INET6: "/proc/net/tcp6"}


class OwnerOnly(socket.socket):
    """A listening socket of this computer's own, whose `accept` passes over connections of other accounts."""

    def accept(self):
        """As `socket.accept`."""
        while True:
            connection, address = super().accept()
            if owner(connection) == os.getuid():
                return connection, address
            connection.close()


def owner(connection):
    """The account that holds the other end; -1 if it is none of this computer's, or has gone already."""
    ours, theirs = written(connection.getsockname()), written(connection.getpeername())
    with open(TABLES[connection.family], encoding="ascii") as table:
        for line in table:
            columns = line.split()
            if columns[1:3] == [theirs, ours]:
                return int(columns[7])
    return -1


def written(address):
    """An address as the table has it: words of 32 bits in this processor's order, and the port."""
    host, port = address[:2]
    data = socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
    words = (int.from_bytes(data[start : start + 4], sys.byteorder) for start in range(0, len(data), 4))
    return "".join(f"{word:08X}" for word in words) + f":{port:04X}"


def install():
    """Have debugpy make such sockets, in this process. Raises AttributeError where debugpy has changed."""
    from debugpy.common import sockets

    create_server = sockets.create_server
    if getattr(create_server, "owner_only", False):
        return

    def owned(*args, **options):
        server = create_server(*args, **options)
        if server.getsockname()[0] != LOOPBACK[server.family]:
            return server  # its owner's own wish: for others, or for another computer
        timeout = server.gettimeout()
        made = OwnerOnly(server.family, server.type, server.proto, fileno=server.detach())
        made.settimeout(timeout)
        return made

    owned.owner_only = True
    sockets.create_server = owned
