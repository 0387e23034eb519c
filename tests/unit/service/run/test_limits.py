"""proxy/limits.js: what counts as one address."""

from __future__ import annotations

import pytest

from tests.unit import javascript


@pytest.mark.parametrize(
    ("address", "counted_as"),
    [
        ("192.168.1.20", "192.168.1.20"),
        ("::ffff:192.168.1.20", "192.168.1.20"),
        ("fe80::1%eth0", "fe80::1"),
        # Every account of this machine may come from any of these: they are one.
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.2", "127.0.0.1"),
        ("127.255.3.4", "127.0.0.1"),
        ("::ffff:127.9.9.9", "127.0.0.1"),
        ("::1", "127.0.0.1"),
        (None, None),
    ],
)
def test_what_counts_as_one_address(address: str | None, counted_as: str | None) -> None:
    body = 'return require("./limits.js").plainAddress(given) ?? null;'
    assert javascript.run(body, address) == counted_as
