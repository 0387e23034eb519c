"""Runs as jupyterhub: the secrets that hub and proxy share, each in a file that only the account can read."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from jupyterhub4family.common import paths
from jupyterhub4family.common.system import files

#: The hub proves itself to the proxy's API with this.
PROXY_TOKEN = paths.STATE / "proxy_token"
#: The proxy asks the hub for its routes with this (may do nothing else).
ROUTES_TOKEN = paths.STATE / "routes_token"
#: The door `members` makes the hub forget a member with this.
MEMBERSHIP_TOKEN = paths.STATE / "membership_token"


class Secret:
    """A text that prints as `****`, so that it cannot get into a log by accident."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return "****"

    def reveal(self) -> str:
        """The text itself, for the one place that needs it."""
        return self._text


def ensure_token(path: Path) -> Secret:
    """The secret in `path`, made at the first call. Raises OSError."""
    # Hub and proxy both ask as soon as the first release is there, and must not make two different ones.
    with files.locked(path.with_name("tokens.lock")):
        try:
            text = path.read_text("ascii").strip()
        except FileNotFoundError:
            text = ""
        # An empty file is what a power cut may leave of one.
        if len(text) < 64:
            text = secrets.token_hex(32)
            files.write_atomically(path, text + "\n", 0o600)
        os.chmod(path, 0o600)
    return Secret(text)
