"""common.addresses: names and addresses that a family can use, and none that only this machine knows."""

from __future__ import annotations

import ipaddress
import socket
from pathlib import Path

import pytest

from jupyterhub4family.common import portal
from jupyterhub4family.common.settings.model import Settings
from jupyterhub4family.common.settings.types import NetworkName
from jupyterhub4family.common.system import network, processes


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine called Portal, without networks."""
    for name in ("HOSTS_FILE", "RESOLVER_FILE", "ROUTES_FILE", "IPV6_FILE", "IPV6_ROUTES_FILE", "AVAHI_PID"):
        monkeypatch.setattr(network, name, tmp_path / name)
    monkeypatch.setattr(processes, "PROC", tmp_path / "PROC")
    monkeypatch.setattr(socket, "gethostname", lambda: "Portal")
    monkeypatch.setattr(network, "_ipv4_addresses", list)
    return tmp_path


def has_ipv4(monkeypatch: pytest.MonkeyPatch, *found: tuple[str, str]) -> None:
    both = [(interface, ipaddress.ip_address(address)) for interface, address in found]
    monkeypatch.setattr(network, "_ipv4_addresses", lambda: both)


def announces(home: Path, name: str, state: str = "running") -> None:
    """avahi runs, as process 77."""
    (home / "AVAHI_PID").write_text("77\n")
    (home / "PROC/77").mkdir(parents=True, exist_ok=True)
    # What is left of the longer title before it is zeros.
    (home / "PROC/77/cmdline").write_bytes(f"avahi-daemon: {state} [{name}]".encode() + bytes(30))


# -- names -------------------------------------------------------------------------------------------


def test_a_machine_has_its_name_and_the_one_for_avahi(home: Path) -> None:
    assert network.host_names() == ["portal", "portal.local"]
    assert network.local_name() == "portal.local"


def test_full_names_come_from_the_hosts_file_and_from_the_router(home: Path) -> None:
    (home / "HOSTS_FILE").write_text("127.0.0.1 localhost\n127.0.1.1\tportal.example.net Portal # us\n1.2.3.4 other\n")
    (home / "RESOLVER_FILE").write_text("nameserver 192.168.178.1\nsearch fritz.box lan. third\n")
    names = ["portal", "portal.example.net", "portal.fritz.box", "portal.lan", "portal.local"]
    assert network.host_names() == names


@pytest.mark.parametrize("domain", [".", "-", "a_b", "*", "x..y", "ü", "192.168.1.1"])
def test_a_network_cannot_bring_in_what_is_no_name(home: Path, domain: str) -> None:
    (home / "RESOLVER_FILE").write_text(f"search {domain}\n", "utf-8")
    assert network.host_names() == ["portal", "portal.local"]


@pytest.mark.parametrize("name", ["localhost", "localhost.localdomain", "", "my_pc", "-", "(none)"])
def test_a_machine_without_a_proper_name_has_none(home: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: name)
    assert network.host_names() == [] and network.local_name() == ""


def test_a_host_name_may_be_a_full_one(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "portal.example.net")
    assert network.host_names() == ["portal", "portal.example.net", "portal.local"]


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("a", True),
        ("portal-1.example.org", True),
        ("1host", True),
        ("xn--bcher-kva.example", True),
        ("", False),
        ("a.", False),
        (".a", False),
        ("a..b", False),
        ("-a", False),
        ("a-", False),
        ("a_b", False),
        ("*.example.org", False),
        ("a b", False),
        ("a\n", False),
        ("1.2.3.4", False),
        ("1.2.3.400", False),
        ("::1", False),
        ("Portal", False),
        ("a" * 64, False),
        (".".join(["a" * 60] * 5), False),
    ],
)
def test_what_a_host_name_is(text: str, good: bool) -> None:
    assert network.is_host_name(text) is good


# -- addresses ---------------------------------------------------------------------------------------


def test_this_machine_can_be_asked() -> None:
    found = network._ipv4_addresses()
    assert all(isinstance(address, ipaddress.IPv4Address) for _name, address in found)
    assert ("lo", ipaddress.ip_address("127.0.0.1")) in found
    assert "127.0.0.1" not in network.lan_addresses()


def test_the_address_that_leads_to_the_router_comes_first(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    has_ipv4(monkeypatch, ("lo", "127.0.0.1"), ("tailscale0", "100.64.1.1"), ("wlan0", "192.168.1.9"))
    (home / "ROUTES_FILE").write_text("Iface\tDestination\tGateway\nwlan0\t00000000\t0101A8C0\nwlan0\t0001A8C0\t0\n")
    assert network.lan_addresses() == ["192.168.1.9", "100.64.1.1"]


@pytest.mark.parametrize(
    "interface",
    "lo docker0 br-0123456789ab veth12ab virbr0 virbr0-nic vnet3 lxcbr0 lxdbr0 podman0 cni0 vboxnet0 vmnet8".split(),
)
def test_networks_inside_the_machine_are_noise(home: Path, monkeypatch: pytest.MonkeyPatch, interface: str) -> None:
    has_ipv4(monkeypatch, (interface, "172.17.0.1"), ("eth0", "10.0.0.2"))
    assert network.lan_addresses() == ["10.0.0.2"]


@pytest.mark.parametrize("interface", "eth0 enp3s0 wlan0 wlp2s0 host0 br0 vmbr0 br-lan bond0 usb0 wg0".split())
def test_networks_of_the_home_are_not(home: Path, monkeypatch: pytest.MonkeyPatch, interface: str) -> None:
    has_ipv4(monkeypatch, (interface, "10.0.0.2"))
    assert network.lan_addresses() == ["10.0.0.2"]


@pytest.mark.parametrize("address", ["127.0.0.2", "169.254.7.7", "0.0.0.0"])
def test_addresses_that_lead_nowhere(home: Path, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    has_ipv4(monkeypatch, ("eth0", address))
    assert network.lan_addresses() == []


IPV6 = """\
00000000000000000000000000000001 01 80 10 80       lo
fe800000000000000000000000000001 02 40 20 80     eth0
20010db8000000000000000000000001 02 40 00 00     eth0
fd0000000000000000000000000000aa 02 40 00 01     eth0
fd0000000000000000000000000000bb 02 40 00 20     eth0
fd000000000000000000000000000001 02 40 00 80     eth0
fd000000000000000000000000000002 03 40 00 80  docker0
nonsense
"""


def test_only_lasting_ipv6_addresses(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    has_ipv4(monkeypatch, ("eth0", "10.0.0.2"))
    (home / "IPV6_FILE").write_text(IPV6)
    assert network.lan_addresses() == ["10.0.0.2", "fd00::1"]


ROUTES6 = """\
fd000000000000000000000000000000 40 {zero} 00 {zero} 00000100 00000001 00000000 00000001     eth0
20010db8000000000000000000000000 40 {zero} 00 {zero} 00000100 00000002 00000000 00200001     eth0
fe800000000000000000000000000000 40 {zero} 00 {zero} 00000100 00000001 00000000 00000001     eth0
20010db8000100000000000000000000 30 {zero} 00 {zero} 00000100 00000001 00000000 00000001    wlan0
20010db8000200000000000000000000 2f {zero} 00 {zero} 00000100 00000001 00000000 00000001     tun0
20010db8000300000000000000000000 40 {zero} 00 fe800000000000000000000000000001 00000400 0 0 00000003     eth0
20010db8000400000000000000000000 40 {zero} 00 {zero} 00000400 00000001 00000000 00000003     eth0
fd000000000000000000000000000001 80 {zero} 00 {zero} 00000000 00000003 00000000 80200001     eth0
00000000000000000000000000000001 80 {zero} 00 {zero} 00000000 00000003 00000000 80200001       lo
ff000000000000000000000000000000 08 {zero} 00 {zero} 00000100 00000003 00000000 00000001     eth0
ff020000000000000000000000000000 40 {zero} 00 {zero} 00000100 00000003 00000000 00000001     eth0
00000000000000000000000000000000 00 {zero} 00 {zero} ffffffff 00000001 00000000 00200200       lo
00000000000000000000000000000000 00 {zero} 00 {zero} 00000400 00000001 00000000 00000001     tun0
fd000000000000000000000000000009 40 {zero} 00 {zero} 00000100 00000001 00000000 00000001     eth0
nonsense
fd 40
"""


def test_networks_of_neighbours(home: Path) -> None:
    """The kernel's own table: neither routers' routes nor tunnels that lead everywhere, nor single addresses."""
    (home / "IPV6_ROUTES_FILE").write_text(ROUTES6.format(zero="0" * 32))
    found = [str(one) for one in network.on_link_networks()]
    assert found == ["fd00::/64", "2001:db8::/64", "fe80::/64", "2001:db8:1::/48"]
    (home / "IPV6_ROUTES_FILE").unlink()
    assert network.on_link_networks() == [], "a machine without IPv6"


def test_the_kernel_writes_its_routes_like_that() -> None:
    lines = Path("/proc/net/ipv6_route").read_text().splitlines() if Path("/proc/net/ipv6_route").exists() else []
    assert all(len(line.split()) == 10 for line in lines)
    assert all(one.prefixlen >= 48 for one in network.on_link_networks())


# -- the portal --------------------------------------------------------------------------------------


def test_the_best_address_of_the_portal_comes_first(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    has_ipv4(monkeypatch, ("eth0", "10.0.0.2"))
    (home / "IPV6_FILE").write_text(IPV6)
    settings = Settings(port=8443, extra_names=(NetworkName("Family.example.net"),))
    known = ["https://10.0.0.2:8443/", "https://[fd00::1]:8443/", "https://family.example.net:8443/"]
    assert portal.portal_urls(settings) == [*known, "https://127.0.0.1:8443/"]
    announces(home, "Portal.local")
    assert portal.portal_urls(settings) == ["https://portal.local:8443/", *known, "https://127.0.0.1:8443/"]


def test_a_portal_for_this_machine_only(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    has_ipv4(monkeypatch, ("eth0", "10.0.0.2"))
    announces(home, "portal.local")
    assert portal.portal_urls(Settings(listen="local")) == ["https://127.0.0.1:8000/"]
    assert portal.portal_urls(Settings(listen="local", https=False)) == ["http://127.0.0.1:8000/"]


def test_an_address_that_leads_to_another_machine_is_not_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    has_ipv4(monkeypatch, ("eth0", "10.0.0.2"))
    announces(home, "portal-2.local")
    assert network.announced_name() == "portal-2.local"
    assert portal.portal_urls(Settings())[0] == "https://10.0.0.2:8000/"
    announces(home, "portal.local", "registering")
    assert network.announced_name() == ""
    (home / "PROC/77/cmdline").write_bytes(b"/usr/bin/python3\0x\0")
    assert network.announced_name() == ""
    for text in ("78", "", "self/../77", "-1"):
        (home / "AVAHI_PID").write_text(text)
        assert network.announced_name() == ""


def test_a_new_device_goes_to_an_address_in_numbers(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert portal.trust_url(Settings()) == "", "a machine without a network"
    has_ipv4(monkeypatch, ("eth0", "10.0.0.2"))
    announces(home, "portal.local")
    assert portal.trust_url(Settings(port=8443)) == "http://10.0.0.2:8443/trust"
    for settings in (Settings(https=False), Settings(listen="local")):
        assert portal.trust_url(settings) == ""
