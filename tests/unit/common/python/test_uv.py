"""common.uv: of the machine's settings only those of package clients are passed on."""

from __future__ import annotations

from pathlib import Path

import pytest

from jupyterhub4family.common.python import uv

PASSED = {
    "http_proxy=http://proxy:3128": ("http_proxy", "http://proxy:3128"),
    "HTTPS_PROXY=http://proxy:3128": ("HTTPS_PROXY", "http://proxy:3128"),
    "no_proxy=localhost,.lan": ("no_proxy", "localhost,.lan"),
    "ALL_PROXY=socks5://proxy": ("ALL_PROXY", "socks5://proxy"),
    "PIP_INDEX_URL=https://mirror/simple": ("PIP_INDEX_URL", "https://mirror/simple"),
    "UV_INDEX_URL=https://mirror/simple": ("UV_INDEX_URL", "https://mirror/simple"),
    "NPM_CONFIG_REGISTRY=https://mirror/": ("NPM_CONFIG_REGISTRY", "https://mirror/"),
    "npm_config_registry=https://mirror/": ("npm_config_registry", "https://mirror/"),
    'https_proxy="http://a b"': ("https_proxy", "http://a b"),
    "https_proxy='http://q'": ("https_proxy", "http://q"),
    "export https_proxy=http://e": ("https_proxy", "http://e"),
    "  https_proxy=http://s  ": ("https_proxy", "http://s"),
    "https_proxy=": ("https_proxy", ""),
    "https_proxy=http://u:p=w@h": ("https_proxy", "http://u:p=w@h"),
}
DROPPED = (
    "PATH=/tmp/bad:/usr/bin",
    "LD_PRELOAD=/tmp/bad.so",
    "LD_LIBRARY_PATH=/tmp",
    "PYTHONPATH=/tmp",
    "PYTHONSTARTUP=/tmp/x.py",
    "HOME=/tmp",
    "LANG=de_DE.UTF-8",
    "NODE_OPTIONS=--require /tmp/x.js",
    "SSL_CERT_FILE=/tmp/x",
    "XPIP_INDEX_URL=x",
    "MY_https_proxy=x",
    "https_proxy_x=x",
    "PIP=x",
    "PIP_=x",
    "ftp_proxy=x",
    "https_proxy",
    "# https_proxy=http://comment",
    "https-proxy=x",
    "",
)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "environment"
    monkeypatch.setattr(uv, "MACHINE_ENVIRONMENT", file)
    return file


@pytest.mark.parametrize("line", PASSED)
def test_what_is_passed_on(machine: Path, line: str) -> None:
    machine.write_text(f"PATH=/usr/bin\n{line}\n", "utf-8")
    key, value = PASSED[line]
    assert uv.machine_settings() == {key: value}


@pytest.mark.parametrize("line", DROPPED)
def test_what_is_not_passed_on(machine: Path, line: str) -> None:
    machine.write_text(line + "\n", "utf-8")
    assert uv.machine_settings() == {}


def test_the_callers_environment_does_not_count(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://evil")
    monkeypatch.setenv("UV_INDEX_URL", "http://evil")
    assert uv.machine_settings() == {}
    assert "http://evil" not in uv.uv_environment().values()


def test_odd_bytes_are_no_traceback(machine: Path) -> None:
    machine.write_bytes(b"\xff\xfe\nhttps_proxy=http://p\n")
    assert uv.machine_settings() == {"https_proxy": "http://p"}


def test_the_machine_has_the_last_word(machine: Path) -> None:
    machine.write_text("UV_SYSTEM_CERTS=0\nPIP_CERT=/etc/own.pem\n", "utf-8")
    variables = uv.uv_environment()
    assert variables["UV_SYSTEM_CERTS"] == "0" and variables["PIP_CERT"] == "/etc/own.pem"
    assert variables["UV_PYTHON_DOWNLOADS"] == "never"
