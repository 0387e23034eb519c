"""Runs inside JupyterHub's process, as `jupyterhub`: how much the hub's own port takes from whoever is on this machine.

Everything from the network comes through the proxy, which has bounds of its own (docs/adr/0026-bounds.md). Members'
servers, and any program of a member, reach the hub's port on 127.0.0.1 directly: here it is for each account that
connections are counted, so that nobody's program can keep the others' servers from asking the hub.
"""

from __future__ import annotations

import collections
import copy
import logging
import os
import resource
from typing import Any, Optional

from tornado import iostream
from tornado.httpclient import AsyncHTTPClient
from tornado.httpserver import HTTPServer

from jupyterhub4family.common.system import accounts, sockets

#: Of the descriptors that this process may have, for all that is no connection: database, doors with three pipes
#: each, logs, libraries.
SPARE_FILES = 300
#: Connections of one account at once. A server has a handful.
PER_ACCOUNT = 64
#: Bytes. What is sent to the hub are forms and a little JSON; the proxy refuses more before it comes here.
BODY = 2 * 1024 * 1024
#: Bytes that are read ahead of whoever uses them.
BUFFER = BODY + 1024 * 1024
#: Both for members' servers, which send the hub a line of JSON: an account has many connections at a time.
MEMBERS_BODY, MEMBERS_BUFFER = 64 * 1024, 128 * 1024
#: Seconds until a body has come.
BODY_TIME = 20
#: Seconds that a connection may be idle, or be at a head of a request. Longer than the proxy keeps idle ones
#: (proxy/limits.js): else it would send a request into one that is just being closed.
IDLE_TIME = 60

log = logging.getLogger("jupyterhub4family")


def configure() -> None:
    """Have JupyterHub's server made with these bounds. JupyterHub has no setting for it; tornado has."""
    HTTPServer.configure(
        BoundedServer,
        max_body_size=BODY,
        max_buffer_size=BUFFER,
        body_timeout=BODY_TIME,
        idle_connection_timeout=IDLE_TIME,
    )
    # JupyterHub 5 reads all that a server of a member's answers when it has started; tornado takes 100 MB, of each.
    AsyncHTTPClient.configure(None, max_body_size=BODY)


class BoundedServer(HTTPServer):
    """tornado's server, which closes connections that are too many."""

    def initialize(self, *args: Any, **more: Any) -> None:
        """As HTTPServer does."""
        super().initialize(*args, **more)
        self._of_the_proxy = self.conn_params
        self._of_members = copy.copy(self.conn_params)
        self._of_members.max_body_size = MEMBERS_BODY
        #: Whose each open connection is, as far as the kernel tells.
        self._uids: dict[iostream.IOStream, Optional[int]] = {}
        self._accounts: collections.Counter[Optional[int]] = collections.Counter()

    def handle_stream(self, stream: iostream.IOStream, address: Any) -> None:
        """Serve a new connection, or close it."""
        uid = sockets.uid_of_peer(stream.socket)
        if uid is not None and uid != os.getuid():
            # An account has thousands of numbers in containers of its own: they are its connections all the same.
            uid = accounts.holder_of(uid)
        problem = self._problem(uid)
        if problem:
            log.warning("A connection to the hub was refused: %s", problem)
            stream.close()
            return
        self._uids[stream] = uid
        self._accounts[uid] += 1
        self.conn_params = self._of_the_proxy
        if uid != os.getuid():
            stream.max_buffer_size = MEMBERS_BUFFER
            self.conn_params = self._of_members  # what the next line gives the connection
        super().handle_stream(stream, address)

    def on_close(self, server_conn: Any) -> None:
        """A connection has ended, or has become a web socket."""
        uid = self._uids.pop(server_conn.stream)
        self._accounts[uid] -= 1
        if not self._accounts[uid]:
            del self._accounts[uid]
        super().on_close(server_conn)

    def _problem(self, uid: Optional[int]) -> str:
        """Why one more connection of this account is too many; empty if it is not."""
        soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != resource.RLIM_INFINITY and len(self._uids) >= soft - min(SPARE_FILES, soft // 2):
            return f"{len(self._uids)} are open"
        if uid != os.getuid() and self._accounts[uid] >= PER_ACCOUNT:
            return f"uid {uid} has {PER_ACCOUNT} already"
        return ""
