"""common.sockets: whose the other end of a connection is, as the kernel tells."""

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
