"""Runs inside JupyterHub's process, as `jupyterhub`: the page that makes a device trust the portal, for everybody.

It is reached over plain HTTP as well (the proxy passes nothing else there), by devices that do not trust the portal
yet: so nothing here is secret, asks for a password, or changes anything.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar, Optional

from jupyterhub.handlers.base import BaseHandler
from tornado import web
from tornado.websocket import WebSocketHandler

from jupyterhub4family.common import portal
from jupyterhub4family.common.settings.model import Settings
from jupyterhub4family.common.state import certificates
from jupyterhub4family.common.system import programs
from jupyterhub4family.hub import devices, origins
from jupyterhub4family.hub import language as hub_language

#: Seconds that drawing a QR code may take.
DRAWING_TIME = 10

_drawings: dict[str, bytes] = {}


def handlers(settings: Settings) -> list[Any]:
    """What the hub serves below /hub/trust; nothing if the portal speaks no HTTPS."""
    if not settings.https:
        return []
    options = {"settings_of_family": settings}
    return [
        (r"/trust", TrustHandler, options),
        (r"/trust/ca\.crt", CertificateHandler),
        (r"/trust/ca\.mobileconfig", ProfileHandler, options),
        (r"/trust/qr\.svg", DrawingHandler, options),
        (r"/trust/check", CheckHandler),
        (r"/trust/socket", CheckSocket),
    ]


class _FamilyHandler(BaseHandler):  # type: ignore[misc]  # jupyterhub has no types
    """A handler that knows what the family has set."""

    def initialize(self, settings_of_family: Settings) -> None:
        super().initialize()
        self.family = settings_of_family


class TrustHandler(_FamilyHandler):
    """The page."""

    async def get(self) -> None:
        """Show what to do on this device, that section open."""
        # With a certificate that the family brought along there is nothing to install.
        der = None if certificates.read_report().get("source") == "own" else certificates.read_authority()
        self.finish(
            await self.render_template(
                "trust.html",
                on_trust_page=True,
                fingerprint=certificates.fingerprint(der) if der else "",
                device=devices.device(self.request.headers.get("User-Agent", "")),
                devices=devices.DEVICES,
                trust_url=portal.trust_url(self.family),
                portal_host=self.request.host,
            )
        )


class CertificateHandler(BaseHandler):  # type: ignore[misc]
    """The authority's certificate as a file."""

    def get_content_type(self) -> str:
        """What makes telephones offer to install it."""
        return "application/x-x509-ca-cert"

    def get(self) -> None:
        """Send it."""
        self.set_header("Content-Disposition", 'attachment; filename="family-jupyterhub-ca.crt"')
        self.finish(certificates.to_pem(_authority()))


class ProfileHandler(_FamilyHandler):
    """The authority's certificate as Apple's devices take it up."""

    def get_content_type(self) -> str:
        """What makes Safari offer to install it."""
        return "application/x-apple-aspen-config"

    def get(self) -> None:
        """Send it."""
        language = hub_language.handler_language(self, self.family.language)
        self.set_header("Content-Disposition", 'attachment; filename="family-jupyterhub-ca.mobileconfig"')
        self.finish(devices.apple_profile(_authority(), self.family.family_name, language))


class DrawingHandler(_FamilyHandler):
    """The page's own address as a QR code, for the next device."""

    def get_content_type(self) -> str:
        """A drawing."""
        return "image/svg+xml"

    async def get(self) -> None:
        """Send it."""
        url = portal.trust_url(self.family)
        if not url:
            raise web.HTTPError(404, "a portal for this computer alone has no next device")
        self.finish(await drawing(url))


class CheckHandler(BaseHandler):  # type: ignore[misc]
    """Answers the page's question whether HTTPS works; asked across schemes when the page came over HTTP."""

    #: It says the same to everybody, and a page that came over HTTP has no token.
    _xsrf_safe_methods: ClassVar[set[str]] = {"GET", "HEAD", "OPTIONS"}

    def get_content_type(self) -> str:
        """A short answer for a script."""
        return "application/json"

    def get(self) -> None:
        """Say yes."""
        origin = self.request.headers.get("Origin", "")
        if origins.same_host(origin, self.request.host):
            self.set_header("Access-Control-Allow-Origin", origin)
            self.set_header("Vary", "Origin")
        self.set_header("Cache-Control", "no-store")
        self.finish({"trusted": True})


class CheckSocket(WebSocketHandler):
    """The same for web sockets, which Safari refuses where a certificate was merely clicked through."""

    def check_origin(self, origin: str) -> bool:
        """Whether the page that asks is ours, over HTTP or HTTPS."""
        return origins.same_host(origin, self.request.host)

    def open(self, *_arguments: str, **_more: str) -> None:
        """Say yes and close."""
        self.write_message("trusted")
        self.close()

    def on_message(self, _message: Any) -> None:
        """Nobody has to say anything here."""


async def drawing(url: str) -> bytes:
    """The QR code of `url` as SVG, drawn once. Raises HTTPError where Debian's qrencode does not work."""
    if url not in _drawings:
        svg = await _draw(url)
        if svg is None:
            raise web.HTTPError(503, "the QR code could not be drawn")
        _drawings.clear()  # the machine has another address now
        _drawings[url] = svg
    return _drawings[url]


async def _draw(url: str) -> Optional[bytes]:
    try:
        process = await asyncio.create_subprocess_exec(
            *("/usr/bin/qrencode", "-t", "SVG", "-m", "2", "-o", "-", "--", url),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=programs.plain_environment(),
            cwd="/",
        )
    except OSError:
        return None
    try:
        svg, _errors = await asyncio.wait_for(process.communicate(), DRAWING_TIME)
    except asyncio.TimeoutError:
        process.kill()
        return None
    return svg if process.returncode == 0 else None


def _authority() -> bytes:
    der = certificates.read_authority()
    if der is None:
        raise web.HTTPError(404, "this portal has no certificate authority of its own")
    return der
