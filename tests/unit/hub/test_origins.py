"""hub.origins: what a request says about itself gets into no header, and no other page is taken for ours."""

from __future__ import annotations

import pytest

from jupyterhub4family.hub.origins import page_policy, same_host


@pytest.mark.parametrize("host", ["box.local:8000", "192.168.1.5:8000", "[fd00::5]:8000", "box"])
def test_the_own_host_may_be_asked_over_https(host: str) -> None:
    policy = page_policy(host)
    assert f"connect-src 'self' https://{host} wss://{host};" in policy
    assert "default-src 'self'" in policy and "object-src 'none'" in policy


@pytest.mark.parametrize("host", ["", "a b", "a; script-src *", "a\r\nX: y", "*", "https://evil.example", "a,b", "a/b"])
def test_nothing_strange_gets_into_the_policy(host: str) -> None:
    assert "connect-src 'self';" in page_policy(host)
    assert page_policy(host) == page_policy("")


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("http://box.local:8000", True),
        ("https://box.local:8000", True),
        ("https://BOX.local:8000", True),
        ("https://box.local:8001", False),
        ("https://box.local", False),
        ("https://evil.example", False),
        ("https://box.local:8000.evil.example", False),
        ("https://evil.example@box.local:8000", False),
        ("file://box.local:8000", False),
        ("null", False),
        ("", False),
        ("http://[", False),
    ],
)
def test_whose_page_asks(origin: str, expected: bool) -> None:
    assert same_host(origin, "box.local:8000") is expected


def test_without_a_host_nobody_is_the_same() -> None:
    assert not same_host("http://", "")
