"""Runs as the caller: the certificate that browsers get: is it good for this computer's names, and for how long?

It asks the portal itself, as a browser does, with the family's authority as the only one it trusts.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from typing import Any

from jupyterhub4family.cli.doctor.base.finding import Check, CheckContext, Finding, fine, problem, unknown, warning
from jupyterhub4family.common import paths
from jupyterhub4family.common.i18n.messages import N_, _
from jupyterhub4family.common.state import certificates
from jupyterhub4family.common.system import network

#: Seconds for an answer; days before the end of a certificate at which a family should know.
TIMEOUT, SOON = 5, 21
DAY = 86400


def check_certificate(context: CheckContext) -> Iterator[Finding]:
    """Browsers at home get a certificate that the family's authority has signed, for the name they asked for."""
    settings = context.settings
    if not settings.https:
        if settings.listen == "lan":
            yield warning(
                _("Passwords cross the home network in clear text: HTTPS is switched off"),
                _("sudo jupyterhub4family config unset https"),
            )
        return
    authority = certificates.read_authority()
    own = paths.OWN_TLS.is_dir() and any(paths.OWN_TLS.iterdir())
    if authority is None and not own:
        yield problem(
            _("The family's certificate authority is missing"), _("sudo jupyterhub4family restart --all"), "start"
        )
        return
    tls = ssl.create_default_context(cadata=certificates.to_pem(authority) if authority else None)
    if own:
        tls.load_default_certs()
    wanted = ["localhost", *(network.host_names() + network.lan_addresses() if settings.listen == "lan" else [])]
    # One that the family brought along is for the names that they chose: one of ours will do.
    if own:
        wanted += [one.text for one in settings.extra_names]
    yield from _of_names(tls, settings.port, wanted, all_of_them=not own)


def _of_names(tls: ssl.SSLContext, port: int, names: list[str], all_of_them: bool) -> Iterator[Finding]:
    refused = []
    good: dict[str, Any] = {}
    for name in names:
        try:
            good = _certificate(tls, port, name)
        except ssl.SSLCertVerificationError as error:
            refused.append(f"{name}: {error.verify_message}")
        except (OSError, ValueError):
            yield unknown(_("The portal's certificate could not be checked: the portal does not answer"))
            return
    renew = _("sudo jupyterhub4family cert renew")
    if refused and (all_of_them or not good):
        yield problem(
            _("Browsers do not trust the portal's certificate ({reasons})", reasons="; ".join(refused[:3])), renew
        )
        return
    days = int((ssl.cert_time_to_seconds(good["notAfter"]) - time.time()) // DAY)
    if days < SOON:
        yield warning(
            _("The portal's certificate expires in {days} days and should have been renewed", days=days), renew
        )
    else:
        yield fine(
            _("The portal's certificate is valid for all names of this computer, and for {days} more days", days=days)
        )


def _certificate(tls: ssl.SSLContext, port: int, name: str) -> dict[str, Any]:
    """What the portal shows to who asks for `name`, once it has proved to be good for it."""
    plain = socket.create_connection(("127.0.0.1", port), TIMEOUT)
    # It closes the plain one, too, also when it cannot be made.
    with tls.wrap_socket(plain, server_hostname=name) as secure:
        return dict(secure.getpeercert() or {})


#: By the names that the JSON has, which are never changed.
CHECKS = {
    "certificate": Check(N_("the certificate"), check_certificate),
}
