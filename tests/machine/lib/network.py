"""The machines' private network: a bridge, addresses behind masquerade, cables and an off switch.

Everything has names of its own on the host, so neither a developer's containers nor their firewall
tables are touched. Callers hold the host lock (`leases.py`); this module only acts.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.machine.lib.places import HOST_STATE, host

BRIDGE = "j4ftest"
PREFIX = "10.93.0"
GATEWAY = f"{PREFIX}.1"
#: As many addresses as a test wants to come from, beyond the machines' own network.
STRANGERS = "10.94.0.0/16"
#: A network like that of a home; the host and the machines of tests that ask for it are in it.
PREFIX6 = "fd93:4a34:66:1"
TABLE = "j4f_test"
FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
FORWARD_BEFORE = HOST_STATE / "ip_forward.before"

# Machines reach each other whatever happens to the internet: `offline` is about the way out.
RULES = f"""
table ip {TABLE} {{
    set offline {{ type ipv4_addr; }}
    chain forward {{
        type filter hook forward priority 0;
        ip saddr {PREFIX}.0/24 ip daddr {PREFIX}.0/24 accept
        ip saddr @offline reject
        ip daddr @offline drop
    }}
    chain postrouting {{
        type nat hook postrouting priority 100;
        ip saddr {PREFIX}.0/24 oifname != "{BRIDGE}" masquerade
    }}
}}
"""


def _hardware_address(number: int) -> str:
    """Return the link address of the machine with this number, locally administered."""
    return f"02:4a:34:66:00:{number:02x}"


def address(number: int) -> str:
    """Return the address of the machine with this number."""
    return f"{PREFIX}.{number}"


def stranger(number: int) -> str:
    """Return one of the addresses in STRANGERS."""
    return f"10.94.{number // 250}.{number % 250 + 1}"


def ensure() -> None:
    """Create what is missing of the bridge and the rules."""
    if not Path(f"/sys/class/net/{BRIDGE}").exists():
        # An address of its own: else the bridge takes that of a machine, another one whenever machines come and go,
        # and whoever has remembered it sends into the void for some seconds.
        host("ip", "link", "add", BRIDGE, "address", _hardware_address(1), "type", "bridge")
    # Repeated each time: a run killed half-way may have left a bridge without an address.
    host("ip", "addr", "replace", f"{GATEWAY}/24", "dev", BRIDGE)
    host("ip", "link", "set", BRIDGE, "up")
    # All of them are the host's own: machines answer by their gateway, which it is. Gone with the bridge.
    host("ip", "route", "replace", "local", STRANGERS, "dev", BRIDGE)
    if host("nft", "list", "table", "ip", TABLE, check=False).returncode:
        host("nft", "-f", "-", input=RULES)
    if FORWARD.read_text().strip() == "0":
        FORWARD_BEFORE.write_text("0")
        FORWARD.write_text("1")


def remove() -> None:
    """Take everything down and put the host's own setting back."""
    host("nft", "delete", "table", "ip", TABLE, check=False)
    host("ip", "link", "delete", BRIDGE, check=False)
    if FORWARD_BEFORE.exists():
        FORWARD.write_text(FORWARD_BEFORE.read_text())
        FORWARD_BEFORE.unlink()


def add_namespace(name: str, number: int) -> Path:
    """Make the machine's network, with its cable plugged in, before the machine itself exists; it outlives a reboot."""
    drop_namespace(name)
    host("ip", "netns", "add", name)
    # The same number has the same hardware address: the host may remember it from the machine before.
    peer = ("peer", "name", "host0", "address", _hardware_address(number), "netns", name)
    host("ip", "link", "add", _cable(name), "type", "veth", *peer)
    host("ip", "link", "set", _cable(name), "master", BRIDGE, "up")
    return Path("/run/netns") / name


def configure(name: str, number: int) -> None:
    """Give the machine its address and route, before each boot: sysvinit takes interfaces down when it reboots."""
    inside = ("ip", "-n", name)
    host(*inside, "link", "set", "lo", "up")
    host(*inside, "addr", "replace", f"{address(number)}/24", "dev", "host0")
    host(*inside, "link", "set", "host0", "up")
    host(*inside, "route", "replace", "default", "via", GATEWAY)


def drop_namespace(name: str) -> None:
    """Remove the machine's network."""
    if (Path("/run/netns") / name).exists():
        host("ip", "link", "delete", _cable(name), check=False)
        host("ip", "netns", "delete", name, check=False)


def cable(name: str, plugged: bool) -> None:
    """Plug the machine's network cable in or pull it out."""
    host("ip", "link", "set", _cable(name), "up" if plugged else "down")


def internet(number: int, on: bool) -> None:
    """Let the machine reach the world, or only its own network."""
    verb = "delete" if on else "add"
    host("nft", verb, "element", "ip", TABLE, "offline", f"{{ {address(number)} }}", check=not on)


@contextlib.contextmanager
def ipv6(name: str, number: int, hosts: Sequence[str]) -> Iterator[str]:
    """Give the machine an IPv6 address, which is returned, and the host these in the same network."""
    own = f"{PREFIX6}::{number:x}"
    host("ip", "-n", name, "addr", "replace", f"{own}/64", "dev", "host0", "nodad")
    for address6 in hosts:
        host("ip", "addr", "replace", f"{address6}/64", "dev", BRIDGE, "nodad")
    try:
        yield own
    finally:
        for address6 in hosts:
            host("ip", "addr", "del", f"{address6}/64", "dev", BRIDGE, check=False)
        host("ip", "-n", name, "addr", "del", f"{own}/64", "dev", "host0", check=False)


def resolv_conf() -> str:
    """Return a resolver configuration that also works from another network namespace."""
    stub, real = Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf")
    text = stub.read_text()
    if "nameserver 127." in text and real.exists():
        return real.read_text()
    return text


def _cable(name: str) -> str:
    return f"vb-{name}"
