"""The nodes that root has noted, and what ssh is told about them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import UsageError
from jupyterhub4family.common.state import nodes
from jupyterhub4family.common.state.nodes import Node

NAS = Node("nas", "the big one", "nas.local", 1)


@pytest.fixture(autouse=True)
def directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where the files are in the test."""
    monkeypatch.setattr(paths, "NODES", tmp_path)
    return tmp_path


def write(directory: Path, name: str, **fields: object) -> None:
    """A file as root writes it."""
    known = {"title": "the big one", "address": "nas.local", "index": 1, "port": 8022, "mac": ""}
    (directory / f"{name}.json").write_text(json.dumps({**known, **fields}))


def test_there_are_none_at_first() -> None:
    assert nodes.nodes() == {}


def test_what_was_written_is_found(directory: Path) -> None:
    write(directory, "nas")
    write(directory, "attic", index=2, address="192.168.1.20")
    assert nodes.nodes() == {"nas": NAS, "attic": Node("attic", "the big one", "192.168.1.20", 2)}


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"title": 1, "address": "a", "index": 1}', "1" * 100_000])
def test_a_file_that_makes_no_sense_is_no_node(directory: Path, text: str) -> None:
    write(directory, "nas")
    (directory / "broken.json").write_text(text)
    assert set(nodes.nodes()) == {"nas"}


@pytest.mark.parametrize("address", ["", "-oProxyCommand=sh", "nas local", "nas\nProxyCommand sh", "nas;sh", "a" * 300])
def test_an_address_that_ssh_would_take_for_something_else_is_refused(directory: Path, address: str) -> None:
    with pytest.raises(UsageError):
        nodes.check_address(address)
    write(directory, "nas", address=address)
    assert nodes.nodes() == {}


@pytest.mark.parametrize("address", ["nas", "nas.local", "192.168.1.20", "fd93:4a34:66:1::2"])
def test_names_and_addresses_are_taken(address: str) -> None:
    assert nodes.check_address(address) == address


@pytest.mark.parametrize("name", ["", "NAS", "-nas", "nas/..", "nas.json", "a" * 32, "näs", "na s"])
def test_a_name_that_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(UsageError):
        nodes.check_node_name(name)


def test_a_servers_address_stands_for_a_socket(directory: Path) -> None:
    write(directory, "nas")
    for slot in (1, 64, nodes.SLOTS):
        ip, port = NAS.server_address(slot)
        assert nodes.node_socket(f"http://{ip}:{port}") == paths.NODE_STATE / "nas" / f"{slot:03}"


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:20001",
        "http://127.77.0.2:20001",
        "http://127.77.0.1:20000",
        f"http://127.77.0.1:{20001 + nodes.SLOTS}",
        "http://127.77.0.1:20001/",
        "https://127.77.0.1:20001",
    ],
)
def test_other_addresses_stand_for_none(directory: Path, address: str) -> None:
    write(directory, "nas")
    assert nodes.node_socket(address) is None


def test_every_socket_fits_into_what_the_kernel_takes() -> None:
    longest = Node("a" * 31, "", "a", 254)
    # ssh binds its control socket under another name first, which is 17 characters longer (mux.c).
    for path in (longest.socket(nodes.SLOTS), Path(f"{longest.control}.{'x' * 16}")):
        within = path.relative_to(paths.STATE)
        assert len(f"/var/lib/jupyterhub4family/state/{within}") <= 107, path
    assert (
        len(f"/run/jupyterhub4family-servers/{nodes.server_socket(nodes.SLOTS).relative_to(paths.SERVER_SLOTS)}") <= 107
    )


def test_the_tunnel_leads_from_each_slot_to_the_same_one() -> None:
    lines = [line.split() for line in nodes.tunnel_configuration(NAS, 8081).splitlines()]
    forwards = [(Path(line[1]).name, Path(line[2]).parent.name) for line in lines if line[0] == "LocalForward"]
    assert len(forwards) == nodes.SLOTS
    assert all(here == there for here, there in forwards)
    assert ["RemoteForward", str(paths.NODE_HUB_SOCKET), "127.0.0.1:8081"] in lines


def test_who_uses_the_tunnel_never_makes_a_connection_of_their_own() -> None:
    lines = [line.split() for line in nodes.use_configuration(NAS).splitlines()]
    assert ["ProxyCommand", "/bin/false"] in lines
    assert ["ControlMaster", "no"] in lines
    assert not [line for line in lines if line[0].endswith("Forward")]


def test_nothing_of_anybodys_own_configuration_counts() -> None:
    for text in (nodes.tunnel_configuration(NAS, 8081), nodes.use_configuration(NAS)):
        values = dict(line.split(maxsplit=1) for line in text.splitlines())
        assert values["Host"] == "nas"
        assert values["StrictHostKeyChecking"] == "yes"
        assert values["GlobalKnownHostsFile"] == "/dev/null"
        assert values["UserKnownHostsFile"] == str(NAS.directory / "known_hosts")
        assert values["IdentityFile"] == str(paths.NODE_KEY)
        assert values["BatchMode"] == values["IdentitiesOnly"] == "yes"
