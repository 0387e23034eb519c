"""Runs as jupyterhub: asks the hub's API, at the hub's own socket, which no other account reaches."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path
from typing import Any, Optional

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import ExitStatus, FamilyError
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.service.hub_state import tokens

#: Seconds that an answer may take: a removed member's server has to stop first.
TIMEOUT = 60
#: Bytes of an answer: a hundred users and their servers.
LONGEST = 4 * 1024 * 1024
#: What a token gets that is the one before the hub's last start.
OUTDATED = (401, 403)


class HubNotRunning(FamilyError):
    """Nobody answers at the hub's socket."""

    status = ExitStatus.NOT_RUNNING


class UnixConnection(http.client.HTTPConnection):
    """HTTP through a Unix socket."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect. Raises OSError."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class HubApi:
    """The hub's REST API, with the rights of the token in the file `token`."""

    def __init__(self, token: Path, hub_socket: Optional[Path] = None) -> None:
        self._token = token
        self._socket = hub_socket or paths.HUB_SOCKET

    def call(self, method: str, path: str, body: Any = None, *, accepted: tuple[int, ...]) -> Any:
        """The decoded answer; None for an error status or an empty one. Raises HubNotRunning or FamilyError."""
        secret = tokens.ensure_token(self._token).reveal()
        status, text = self._ask(method, path, body, secret)
        if status in OUTDATED and (newer := tokens.ensure_token(self._token).reveal()) != secret:
            # The hub was started anew between two looks at the file.
            status, text = self._ask(method, path, body, newer)
        if status not in accepted:
            raise FamilyError(
                _("the hub refused {request}: status {status}", request=f"{method} {path}", status=status)
            )
        try:
            return json.loads(text) if text and status < 400 else None
        except ValueError as error:
            raise HubNotRunning(_("the hub does not answer"), "jupyterhub4family status") from error

    def _ask(self, method: str, path: str, body: Any, secret: str) -> tuple[int, bytes]:
        headers = {"Authorization": f"token {secret}", "Content-Type": "application/json"}
        connection = UnixConnection(self._socket, TIMEOUT)
        try:
            connection.request(method, f"/hub/api{path}", None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            text = answer.read(LONGEST)
            if answer.length:
                raise http.client.IncompleteRead(text, answer.length)
            return answer.status, text
        except (OSError, http.client.HTTPException) as error:
            raise HubNotRunning(_("the hub does not answer"), "jupyterhub4family status") from error
        finally:
            connection.close()
