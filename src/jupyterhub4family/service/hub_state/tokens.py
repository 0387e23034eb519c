"""Runs as jupyterhub: the secrets that hub and proxy share, each in a file that only the account can read."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from jupyterhub4family.common import paths
from jupyterhub4family.common.system import disk_space, files

#: The hub proves itself to the proxy's API with this.
PROXY_TOKEN = paths.STATE / "proxy_token"
#: The proxy asks the hub for its routes with this (may do nothing else).
ROUTES_TOKEN = paths.STATE / "routes_token"
#: The door `members` makes the hub know and forget members with this.
MEMBERSHIP_TOKEN = paths.STATE / "membership_token"
#: The hub signs with this what the proxy believes: who may look at whose server (hub/gate_pass.py). It stays the same,
#: so that open notebooks outlive a restart.
GATE_KEY = paths.STATE / "gate_key"


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
    with _lock(path):
        try:
            text = path.read_text("ascii").strip()
        except FileNotFoundError:
            text = ""
        # An empty file is what a power cut may leave of one.
        if len(text) < 64:
            text = _write_new(path)
        os.chmod(path, 0o600)
    return Secret(text)


def renew_tokens() -> None:
    """Make all secrets anew, before a hub starts; the proxy reads its own whenever it is asked. Raises OSError.

    So one that was seen somewhere is good for nothing soon.
    """
    for path in (PROXY_TOKEN, ROUTES_TOKEN, MEMBERSHIP_TOKEN):
        with _lock(path):
            _write_new(path)


def _lock(path: Path) -> contextlib.AbstractContextManager[None]:
    return files.locked(path.with_name("tokens.lock"))


def _write_new(path: Path) -> str:
    text = secrets.token_hex(32)
    try:
        files.write_atomically(path, text + "\n", 0o600)
    except OSError as error:
        if not disk_space.is_full(error) or not path.is_file():
            raise
        _write_over(path, text + "\n")
    return text


def _write_over(path: Path, text: str) -> None:
    """Put a secret in the place of another one, in its block: on a full disk there is no other.

    A power cut at that moment may leave some of both: as secret as they are. Raises OSError.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW)
    try:
        os.pwrite(descriptor, text.encode("ascii"), 0)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
