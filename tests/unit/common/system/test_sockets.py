"""common.sockets: whose the other end of a connection is, and who would answer one, as the kernel tells."""

from __future__ import annotations

import os
import socket

import pytest

from jupyterhub4family.common.system import sockets


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_the_other_end_of_a_connection_has_an_owner(family: int, address: str) -> None:
    with socket.socket(family) as listener:
        try:
            listener.bind((address, 0))
        except OSError:
            pytest.skip("a kernel without IPv6")
        listener.listen(1)
        with socket.create_connection(listener.getsockname()[:2]):
            ours, _address = listener.accept()
            with ours:
                assert sockets.uid_of_peer(ours) == os.getuid()


def test_so_has_that_of_a_unix_socket() -> None:
    one, other = socket.socketpair()
    with one, other:
        assert sockets.uid_of_peer(one) == os.getuid()


def test_nobody_is_at_the_other_end_of_what_is_closed() -> None:
    with socket.socket() as alone:
        assert sockets.uid_of_peer(alone) is None
    assert sockets.uid_of_peer(alone) is None


@pytest.mark.parametrize(
    ("address", "device", "is_reached"),
    [
        ("127.0.0.1", "", True),
        ("0.0.0.0", "", True),
        ("127.0.0.1", "lo", True),
        ("127.0.0.2", "", False),
        ("::", "", True),
        ("::ffff:127.0.0.1", "", True),
        ("::1", "", False),
    ],
)
def test_who_would_answer_a_connection_has_one_too(address: str, device: str, is_reached: bool) -> None:
    """What the kernel says is what a connection meets."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as listener:
        try:
            if ":" in address:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            if device:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
            listener.bind((address, 0))
        except OSError as error:
            pytest.skip(f"not with this kernel: {error}")
        port = listener.getsockname()[1]
        assert sockets.uid_of_listener(port) is None, "bound is not yet listening"
        listener.listen()
        assert sockets.uid_of_listener(port) == (os.getuid() if is_reached else None)
        with socket.socket() as caller:
            assert (caller.connect_ex(("127.0.0.1", port)) == 0) == is_reached
            # Somebody who is connected is not somebody who listens.
            if is_reached:
                assert sockets.uid_of_listener(caller.getsockname()[1]) is None


def test_a_kernel_that_answers_no_questions_is_told_from_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "_SOCK_DIAG_BY_FAMILY", 255)  # a kind of question that no kernel knows
    with pytest.raises(OSError):
        sockets.uid_of_listener(1)
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()):
        connection, _address = listener.accept()
        with connection:
            assert sockets.uid_of_peer(connection) is None


def test_to_which_ports_somebodys_programs_are_connected() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert port not in sockets.connected_ports(os.getuid())
        with socket.create_connection(("127.0.0.1", port)):
            assert port in sockets.connected_ports(os.getuid())
            assert port not in sockets.connected_ports(os.getuid() + 1)
