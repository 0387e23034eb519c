"""Any identity: the addresses at which browsers find the portal, and where a new device goes first."""

from __future__ import annotations

from jupyterhub4family.common.settings.model import Settings
from jupyterhub4family.common.system import network


def portal_urls(settings: Settings) -> list[str]:
    """Where browsers find the portal, the best address first; the last one works on this machine only."""
    hosts: list[str] = []
    if settings.listen == "lan":
        if network.local_name() and network.announced_name() == network.local_name():
            hosts.append(network.local_name())
        hosts += [*network.lan_addresses(), *(one.host for one in settings.extra_names)]
    scheme = "https" if settings.https else "http"
    return [f"{scheme}://{network.in_url(host)}:{settings.port}/" for host in dict.fromkeys([*hosts, "127.0.0.1"])]


def trust_url(settings: Settings) -> str:
    """Where a new device goes first: plain HTTP, as it does not trust the portal yet. "" where no device has to.

    In numbers, though HOST.local is easier to remember: it is gone to once, with a camera, and a device that cannot
    find .local (older Android) has nobody to ask.
    """
    found = network.lan_addresses() if settings.https and settings.listen == "lan" else []
    return f"http://{network.in_url(found[0])}:{settings.port}/trust" if found else ""
