"""common.settings: a mistake in the settings file is told with file, key and what is nearest."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path
from typing import Any

import pytest

from jupyterhub4family.common.errors import ConfigurationError
from jupyterhub4family.common.settings import Settings, load_settings, parse_settings


def load(tmp_path: Path, text: str) -> Settings:
    file = tmp_path / "config.yaml"
    file.write_text(text, "utf-8")
    return load_settings(file)


def test_no_file_means_the_defaults(tmp_path: Path) -> None:
    assert load_settings(tmp_path / "config.yaml") == Settings()


@pytest.mark.parametrize("text", ["", "\n", "# nothing yet\n", "---\n", "null\n", "{}\n"])
def test_an_empty_file_means_the_defaults(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, text) == Settings()


def test_the_defaults_are_valid() -> None:
    assert parse_settings(dataclasses.asdict(Settings()), "defaults") == Settings()


def test_every_key_can_be_set(tmp_path: Path) -> None:
    text = "port: 9000\nlisten: local\nsupervisor: cron\nhub_port: 9001\nproxy_api_port: 9002\nstart_timeout: 300\n"
    text += "https: false\nallow_plain_http: true\nextra_names: [a]\n"
    settings = load(tmp_path, text)
    assert settings == Settings(9000, "local", "cron", 9001, 9002, 300, False, True, ["a"])
    assert len(text.splitlines()) == len(dataclasses.fields(Settings)), "a new key is missing in this test"


def test_settings_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().port = 1  # type: ignore[misc]


def test_where_the_portal_listens() -> None:
    assert Settings(listen="lan").bind_address == ""
    assert Settings(listen="local").bind_address == "127.0.0.1"


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("prot", "port"),
        ("Port", "port"),
        ("hubport", "hub_port"),
        ("proxy-api-port", "proxy_api_port"),
        ("timeout", "start_timeout"),
        ("supervisior", "supervisor"),
        ("listen_on", "listen"),
    ],
)
def test_an_unknown_key_names_the_nearest(tmp_path: Path, key: str, nearest: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, f"port: 8000\n{key}: 1\n")
    assert str(tmp_path / "config.yaml") in caught.value.message
    assert repr(key) in caught.value.message
    assert caught.value.hint == f"the nearest known key is {nearest!r}"
    assert caught.value.status == 8


@pytest.mark.parametrize("text", ["1: x", "true: x", "null: x", "2026-01-01: x", "'': x", "qqqqqq: x", "? [a, b]\n: x"])
def test_odd_keys_are_errors_and_no_tracebacks(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigurationError):
        load(tmp_path, text)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("port: '8000'", "port must be a whole number, not '8000'"),
        ("port: 8000.0", "port must be a whole number, not 8000.0"),
        ("port: true", "port must be a whole number, not True"),
        ("port: null", "port must be a whole number, not None"),
        ("port:", "port must be a whole number, not None"),
        ("port: [8000]", r"port must be a whole number, not \[8000\]"),
        ("port: 8000x", "port must be a whole number"),
        ("listen: 127", "listen must be a word, not 127"),
        # YAML takes these for true and false.
        ("listen: on", "listen must be a word, not True"),
        ("supervisor: no", "supervisor must be a word, not False"),
        ("start_timeout: 1e3", "start_timeout must be a whole number"),
    ],
)
def test_wrong_types(tmp_path: Path, line: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        load(tmp_path, line)


@pytest.mark.parametrize("key", ["port", "hub_port", "proxy_api_port"])
@pytest.mark.parametrize("number", [-1, 0, 1, 80, 443, 1023, 65536, 10**9])
def test_ports_that_nobody_but_root_can_have(key: str, number: int) -> None:
    with pytest.raises(ConfigurationError, match=f"{key} must lie between 1024 and 65535, not {number}"):
        parse_settings({key: number}, "x")


@pytest.mark.parametrize("key", ["port", "hub_port", "proxy_api_port"])
@pytest.mark.parametrize("number", [1024, 65535])
def test_the_borders_of_the_ports(key: str, number: int) -> None:
    assert getattr(parse_settings({key: number}, "x"), key) == number


@pytest.mark.parametrize(
    "mapping",
    [{"port": 8081}, {"port": 8001}, {"hub_port": 8001}, {"port": 9000, "hub_port": 9000}, {"hub_port": 8000}],
)
def test_ports_must_differ(mapping: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="three different numbers"):
        parse_settings(mapping, "x")


@pytest.mark.parametrize("seconds", [-1, 0, 9, 3601])
def test_a_start_timeout_that_makes_no_sense(seconds: int) -> None:
    with pytest.raises(ConfigurationError, match="start_timeout must lie between 10 and 3600"):
        parse_settings({"start_timeout": seconds}, "x")


@pytest.mark.parametrize(("key", "word"), [("listen", "wan"), ("listen", ""), ("supervisor", "Systemd")])
def test_words_are_chosen_from_a_list(key: str, word: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{key} must be one of .*, not {word!r}"):
        parse_settings({key: word}, "x")


BAD_FILES = {
    "a tabulator": "port:\t- 8000\n\tx",
    "an open bracket": "port: [8000",
    "an open quote": "listen: 'lan",
    "no space after the colon": "port:8000",
    "a text": "8000",
    "a list": "- port: 8000",
    "two documents": "port: 8000\n---\nport: 9000",
    "a control character": "listen: \x01",
    "a python object": "port: !!python/object/apply:os.system ['true']",
    "an unknown alias": "port: *x",
    "a date that is none": "port: 2026-13-45",
    "too deep": "[" * 1000,
}


@pytest.mark.parametrize("text", BAD_FILES.values(), ids=list(BAD_FILES))
def test_bad_yaml_is_told_with_the_name_of_the_file(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(str(tmp_path / "config.yaml"))):
        load(tmp_path, text)


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_bytes(b"listen: \xff")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_settings(file)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_settings(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_of_somebody_else_is_told(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("port: 9000", "utf-8")
    file.chmod(0)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_settings(file)
