"""Runs inside JupyterHub's process, as `jupyterhub`: where our pages may load from, and which pages are ours."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

#: A host as browsers write it, with a port: nothing else of a request may get into a header.
_HOST = re.compile(r"[A-Za-z0-9.-]+(:[0-9]+)?|\[[0-9a-fA-F:.]+\](:[0-9]+)?")


def page_policy(untrusted_host: str) -> str:
    """The Content-Security-Policy of our pages: nothing from outside. Inline scripts are JupyterHub's own.

    The host itself is named for the trust page, which tries HTTPS and web sockets also when it came over plain HTTP.
    """
    secure = f" https://{untrusted_host} wss://{untrusted_host}" if _HOST.fullmatch(untrusted_host) else ""
    return (
        "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
        f"img-src 'self' data:; font-src 'self' data:; connect-src 'self'{secure}; "
        "object-src 'none'; base-uri 'none'; form-action 'self'"
    )


def same_host(untrusted_origin: str, host: str) -> bool:
    """Whether a page of `untrusted_origin` came from this very host and port, over HTTP or HTTPS."""
    try:
        parts = urlsplit(untrusted_origin)
    except ValueError:  # http://[
        return False
    return parts.scheme in ("http", "https") and bool(host) and parts.netloc.lower() == host.lower()
