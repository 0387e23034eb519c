"""Any identity: the nodes of this hub, as root has noted them, and how their tunnels are used.

A node is another computer on which members' servers can run. To JupyterHub a server there is at 127.77.0.INDEX, which
is no address but a name for one of the tunnel's sockets (docs/adr/0039-node-jump.md).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional

from jupyterhub4family.common import paths, patterns, records
from jupyterhub4family.common.errors import UsageError
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.protocol import shapes
from jupyterhub4family.common.system import accounts, files

#: How many servers of a hub can run on a node, each with a socket in a slot of its own. Part of the protocol.
SLOTS = 128
#: The port of a node's sshd.
SSH_PORT = 8022
#: Ports by which JupyterHub tells slots apart: this and the slot's number.
FIRST_PORT = 20000
#: Bytes of a node's file.
LONGEST_FILE = 64 * 1024
_NAME = patterns.compiled(r"[a-z][a-z0-9-]{0,30}")
#: A name, an IPv4 or an IPv6 address: a word that ssh's configuration takes for nothing else.
_ADDRESS = patterns.compiled(r"[A-Za-z0-9][A-Za-z0-9.:-]{0,252}")
_SERVER = patterns.compiled(r"http://127\.77\.0\.(?P<index>[0-9]{1,3}):(?P<port>[0-9]{5})")
#: What each use of ssh is told; nothing of anybody's own configuration counts.
_OPTIONS = {
    "BatchMode": "yes",
    "IdentitiesOnly": "yes",
    "StrictHostKeyChecking": "yes",
    "GlobalKnownHostsFile": "/dev/null",
    "UpdateHostKeys": "no",
    "ConnectTimeout": "5",
    "ServerAliveInterval": "5",
    "ServerAliveCountMax": "3",
    "StreamLocalBindUnlink": "yes",
    "StreamLocalBindMask": "0177",
    "ForwardAgent": "no",
    "ForwardX11": "no",
    "LogLevel": "ERROR",
}


@records.dataclass(frozen=True)
class Node:
    """A computer on which members' servers can run."""

    name: str
    #: What members read.
    title: str
    address: str
    #: From 1 to 254; see `server_address`.
    index: int
    port: int = SSH_PORT
    #: Of the interface by which it was reached: for the packet that wakes it. Empty: it cannot be woken.
    mac: str = ""

    @property
    def directory(self) -> Path:
        """What the hub's account keeps about it."""
        return paths.NODE_STATE / self.name

    @property
    def control(self) -> Path:
        """The socket by which others use the tunnel's connection (ssh -S)."""
        return self.directory / "control"

    def socket(self, slot: int) -> Path:
        """By which the server in this slot is reached on the hub."""
        return self.directory / f"{slot:03}"

    def server_address(self, slot: int) -> tuple[str, int]:
        """What JupyterHub takes for the address of the server in this slot."""
        return f"127.77.0.{self.index}", FIRST_PORT + slot


def check_node_name(untrusted_name: str) -> str:
    """The name, if a node can be called so. Raises UsageError."""
    if not _NAME.fullmatch(untrusted_name):
        raise UsageError(
            _("a node cannot be called {name}", name=repr(untrusted_name[:40])),
            _("use small letters, digits and hyphens, with a letter first, at most 31 characters"),
        )
    return untrusted_name


def check_address(untrusted_address: str) -> str:
    """The address, if a computer can have it. Raises UsageError."""
    if not _ADDRESS.fullmatch(untrusted_address):
        raise UsageError(
            _("{address} is not the name or address of a computer", address=repr(untrusted_address[:40])),
            _("write it as you would in a browser, such as nas.local or 192.168.1.20"),
        )
    return untrusted_address


def nodes() -> dict[str, Node]:
    """All nodes by their names. One whose file makes no sense is none."""
    found = {}
    for file in sorted(paths.NODES.glob("*.json")):
        untrusted: Any = files.read_json(file, LONGEST_FILE)
        if not isinstance(untrusted, dict):
            continue
        try:
            node = shapes.decode_answer(Node, {**untrusted, "name": check_node_name(file.stem)})
            check_address(node.address)
        except UsageError:
            continue
        found[node.name] = node
    return found


def node_socket(address: str) -> Optional[Path]:
    """The socket that JupyterHub's `address` (http://127.77.0.INDEX:PORT) stands for; None if it is no such address."""
    match = _SERVER.fullmatch(address)
    if match is None:
        return None
    slot = int(match["port"]) - FIRST_PORT
    for node in nodes().values():
        if node.index == int(match["index"]) and 1 <= slot <= SLOTS:
            return node.socket(slot)
    return None


def server_socket(slot: int) -> Path:
    """Where a server in this slot listens on the node."""
    return paths.SERVER_SLOTS / f"{slot:03}" / "server"


# -- ssh ---------------------------------------------------------------------------------------------


def tunnel_configuration(node: Node, hub_port: int) -> str:
    """The file by which the tunnel's ssh is configured: all slots lead there, and one way leads back."""
    forwards = [f"LocalForward {node.socket(slot)} {server_socket(slot)}" for slot in range(1, SLOTS + 1)]
    back = f"RemoteForward {paths.NODE_HUB_SOCKET} 127.0.0.1:{hub_port}"
    # A slot whose socket cannot be made is no reason to have none.
    return _configuration(node, ["ControlMaster yes", "ExitOnForwardFailure no", back, *forwards])


def use_configuration(node: Node) -> str:
    """The file for those who use the tunnel's connection: without one they end at once (status 255)."""
    return _configuration(node, ["ControlMaster no", "ProxyCommand /bin/false"])


def _configuration(node: Node, more: list[str]) -> str:
    options = {
        **_OPTIONS,
        "HostName": node.address,
        "Port": str(node.port),
        "User": accounts.NODE_ACCOUNT,
        "HostKeyAlias": f"jupyterhub4family-{node.name}",
        "IdentityFile": str(paths.NODE_KEY),
        "UserKnownHostsFile": str(node.directory / "known_hosts"),
        "ControlPath": str(node.control),
    }
    lines = [f"{key} {value}" for key, value in options.items()] + more
    return "".join(f"{line}\n" for line in [f"Host {node.name}", *(f"    {line}" for line in lines)])
