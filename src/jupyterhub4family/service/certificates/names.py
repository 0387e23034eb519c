"""Runs as jupyterhub, with service/certificates/ca.py: which names and addresses are in the portal's certificate.

And which ones the family's authority may sign: its own device's names and private networks, so that a stolen key
is of no use for anybody's bank.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Union

from cryptography import x509

from jupyterhub4family.common.settings.types import NetworkName
from jupyterhub4family.common.system import network
from jupyterhub4family.common.system.network import Address

Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]

#: Networks that exist behind a router only: loopback, private, shared (also VPNs of a family), link-local.
HOME_NETWORKS = (
    "127.0.0.0/8",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "169.254.0.0/16",
    "::1/128",
    "fc00::/7",
    "fe80::/10",
)
#: A machine may be called like a public domain, and a constraint to `family` permits every name below it, too:
#: such a name, without a domain of its own, is in no certificate of ours. Two letters are always a country.
PUBLIC_DOMAINS = frozenset(
    """
    academy app art bar bike biz blog cafe camp center chat city cloud club codes com community computer cool data dev
    digital download edu education family fun fyi games garden gov green group host house info int kids kitchen land
    life link live love media mil mobi mom name net network new news nexus one online org page party photo place play
    plus pro pub red rest school science services shop site space store studio systems team tech tips today tools town
    toys training university uno video website wiki work works world xyz zone
    """.split()
)


@dataclass(frozen=True)
class Names:
    """Host names, and addresses or networks."""

    hosts: Sequence[str]
    addresses: Sequence[Union[Address, Network]]

    def texts(self) -> list[str]:
        """All of them, as people write them."""
        return [*self.hosts, *(str(address) for address in self.addresses)]

    def general_names(self) -> list[x509.GeneralName]:
        """All of them, as they are in a certificate."""
        return [*map(x509.DNSName, self.hosts), *map(x509.IPAddress, self.addresses)]

    def __bool__(self) -> bool:
        """Both kinds have to be there: a constraint of one kind says nothing about the other."""
        return bool(self.hosts) and bool(self.addresses)


def wanted_names(extra_names: Sequence[NetworkName]) -> Names:
    """Everything under which this machine is called, the most telling name first."""
    hosts = [name for name in network.host_names() if not _is_public_domain(name)]
    hosts.append("localhost")
    # A settings file may hold a name that no certificate can have, such as a.5.
    hosts += [one.host for one in extra_names if one.address is None and network.is_host_name(one.host)]
    addresses = [ipaddress.ip_address(text) for text in ("127.0.0.1", "::1", *network.lan_addresses())]
    addresses += [one.address for one in extra_names if one.address is not None]
    return Names(list(dict.fromkeys(hosts)), list(dict.fromkeys(addresses)))


def _is_public_domain(name: str) -> bool:
    return len(name) <= 2 or name in PUBLIC_DOMAINS


def permitted_subtrees(names: Names) -> list[x509.GeneralName]:
    """What a new authority may sign: all that is called like a home, and this machine's names at this moment."""
    hosts = list(dict.fromkeys([*network.HOME_DOMAINS, *names.hosts]))
    hosts = [host for host in hosts if host in network.HOME_DOMAINS or not _below(host, network.HOME_DOMAINS)]
    networks: list[Network] = [ipaddress.ip_network(text) for text in HOME_NETWORKS]
    # An address that is not private, such as a rented server's, is permitted by itself.
    own = [ipaddress.ip_network(str(one)) for one in names.addresses if not _inside(one, networks)]
    return Names(hosts, [*networks, *own]).general_names()


def fitting(names: Names, permitted: Names) -> Names:
    """Those of `names` that an authority which is constrained to `permitted` can sign."""
    return Names(
        [host for host in names.hosts if _below(host, permitted.hosts)],
        [address for address in names.addresses if _inside(address, permitted.addresses)],
    )


def _below(host: str, domains: Sequence[str]) -> bool:
    return any(host == domain or host.endswith(f".{domain}") for domain in domains)


def _inside(address: Union[Address, Network], networks: Sequence[Union[Address, Network]]) -> bool:
    return any(
        address in network
        for network in networks
        if isinstance(network, (ipaddress.IPv4Network, ipaddress.IPv6Network))
        and isinstance(address, (ipaddress.IPv4Address, ipaddress.IPv6Address))
        and address.version == network.version
    )
