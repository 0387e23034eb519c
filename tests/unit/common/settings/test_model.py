"""common.settings: a mistake in the settings file is told with file, key and what is nearest."""

from __future__ import annotations

import dataclasses
import ipaddress
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from jupyterhub4family.cli.settings.document import written
from jupyterhub4family.common.errors import ConfigurationError
from jupyterhub4family.common.settings.model import KEYS, Settings, as_plain, load_settings, parse_settings
from jupyterhub4family.common.settings.types import (
    HUB,
    Amount,
    Choice,
    Key,
    Matching,
    MemberLimits,
    Memory,
    Names,
    Number,
    ServerLimits,
    Switch,
    Text,
)
from tests.unit.helpers import SRC


def load(tmp_path: Path, text: str) -> Settings:
    file = tmp_path / "config.yaml"
    file.write_text(text, "utf-8")
    return load_settings(file)


def test_no_file_means_the_defaults(tmp_path: Path) -> None:
    assert load_settings(tmp_path / "config.yaml") == Settings()


@pytest.mark.parametrize("text", ["", "\n", "# nothing yet\n", "---\n", "null\n", "{}\n"])
def test_an_empty_file_means_the_defaults(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, text) == Settings()


@pytest.mark.parametrize("text", ["  # one\n\n   \n#two", "\ufeff# with a mark\n", "\r\n# as on Windows\r\n"])
def test_comments_alone_mean_the_defaults(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, text) == Settings()


@pytest.mark.parametrize("text", ["# a bell \a\n", "\t\n", "#\n: x", "%YAML 9.9\n", "#\x0bport: 1\n"])
def test_what_looks_like_comments_alone_is_as_bad_as_ever(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigurationError):
        load(tmp_path, text)


def test_comments_alone_do_not_wait_for_yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    assert load(tmp_path, "# port: 8001\n") == Settings()
    with pytest.raises(ImportError):
        load(tmp_path, "port: 8001\n")


def test_the_defaults_are_valid() -> None:
    assert parse_settings(as_plain(Settings()), "defaults") == Settings()


def other_than_default(key: Key[Any], place: int) -> Any:
    """A plain value that `key` takes, and that no other key has; `place` is its place among the keys."""
    if isinstance(key, Switch):
        return not key.default
    if isinstance(key, Number):
        return key.minimum + place
    if isinstance(key, Choice):
        return next(word for word in key.choices if word != key.default)
    if isinstance(key, Matching):
        return key.what.rpartition(" such as ")[2]  # what people read as an example is one
    if isinstance(key, MemberLimits):
        return [f"anna.{what}={one.to_text(one.default)}" for what, one in key.whats.items()]
    others = {Text: f"No {place}", Names: ["nas", "192.168.1.5"], Memory: f"{place + 5}%"}
    return others[type(key)]


def test_every_key_can_be_set_and_goes_through_json(tmp_path: Path) -> None:
    plain = {name: other_than_default(key, place) for place, (name, key) in enumerate(KEYS.items())}
    settings = load(tmp_path, "".join(f"{name}: {written(value)}\n" for name, value in plain.items()))
    assert as_plain(settings) == plain and list(as_plain(settings)) == list(KEYS)
    assert [name for name in KEYS if getattr(settings, name) == getattr(Settings(), name)] == []
    assert parse_settings(json.loads(json.dumps(as_plain(settings))), "JSON") == settings


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
        ("port: 8000.0", "port must be a whole number from 1024 to 65535, not '8000.0'"),
        ("port: true", "port must be a whole number .*, not 'true'"),
        ("port: null", "port must be a whole number .*, not 'null'"),
        ("port:", "port has no value; it must be a whole number"),
        ("port: [8000]", r"port must be a whole number .*, not \['8000'\]"),
        ("port: {a: 1}", "port must be a whole number from 1024 to 65535"),
        ("port: !mine 8000", "port must be a whole number"),
        ("port: 8000x", "port must be a whole number"),
        # YAML reads these as 2048, 8000, 8000, 8000, 8000 and 2026-11-23.
        ("port: 04000", "port must be a whole number"),
        ("port: 0x1f40", "port must be a whole number"),
        ("port: 0o17500", "port must be a whole number"),
        ("port: 8_000", "port must be a whole number"),
        ("port: 2:13:20", "port must be a whole number"),
        ("port: 2026-11-23", "port must be a whole number"),
        ("port: ٨٠٠٠", "port must be a whole number"),
        ("port: 99999999999999999999999999", "port must be a whole number"),
        ("listen: 127", "listen must be one of lan, local, not '127'"),
        # YAML takes these for true and false.
        ("listen: on", "listen must be one of lan, local, not 'on'"),
        ("supervisor: no", "supervisor must be one of auto, systemd, cron, not 'no'"),
        ("listen: [lan]", "listen must be one of"),
        ("start_timeout: 1e3", "start_timeout must be a whole number"),
        ("https: 1", "https must be true or false, not '1'"),
        ("https: maybe", "https must be true or false, not 'maybe'"),
        ("https:", "https has no value"),
        ("extra_names: nas", "extra_names must be a list of host names"),
        ("extra_names: [nas, 'a b']", "extra_names: 'a b' is neither a host name nor an IP address"),
        ("extra_names: [192.168.1.300]", "neither a host name nor an IP address"),
        ("extra_names: ['*.home']", "neither a host name nor an IP address"),
        ("extra_names: [-nas]", "neither a host name nor an IP address"),
        ("extra_names: [nas.]", "neither a host name nor an IP address"),
        ("extra_names: ['fe80::1%eth0']", "neither a host name nor an IP address"),
        ("extra_names: [nas, nas]", "extra_names must be a list"),
        ("extra_names: [[nas]]", "extra_names must be a list"),
        ("family_name: [a]", "family_name must be one line of at most 80 characters"),
        (f"family_name: {'x' * 81}", "family_name must be one line of at most 80 characters"),
        ('family_name: "a\\nb"', "family_name must be one line"),
        ('family_name: "a\\e[31m"', "family_name must be one line"),
        ('family_name: "\\u202e"', "family_name must be one line"),
        ('login_help: "a\\tb"', "login_help must be text of at most 500 characters"),
        ("language: fr", "language must be one of auto, en, de, not 'fr'"),
    ],
)
def test_wrong_types(tmp_path: Path, line: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        load(tmp_path, line)


@pytest.mark.parametrize("key", ["port", "hub_port"])
@pytest.mark.parametrize("number", [-1, 0, 1, 80, 443, 1023, 65536, 10**9])
def test_ports_that_nobody_but_root_can_have(key: str, number: int) -> None:
    with pytest.raises(ConfigurationError, match=f"{key} must be a whole number from 1024 to 65535, not {number}"):
        parse_settings({key: number}, "x")


@pytest.mark.parametrize("key", ["port", "hub_port"])
@pytest.mark.parametrize("number", [1024, 65535])
def test_the_borders_of_the_ports(key: str, number: int) -> None:
    assert getattr(parse_settings({key: number}, "x"), key) == number


@pytest.mark.parametrize(
    "mapping",
    [{"port": 8081}, {"port": 9000, "hub_port": 9000}, {"hub_port": 8000}],
)
def test_ports_must_differ(mapping: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="different numbers"):
        parse_settings(mapping, "x")


def test_what_earlier_versions_had_is_no_mistake(tmp_path: Path) -> None:
    assert load(tmp_path, "proxy_api_port: 9002\nport: 9000") == Settings(port=9000)
    assert parse_settings({"proxy_api_port": 9002}, "x") == Settings()


@pytest.mark.parametrize("seconds", [-1, 0, 9, 3601])
def test_a_start_timeout_that_makes_no_sense(seconds: int) -> None:
    with pytest.raises(ConfigurationError, match="start_timeout must be a whole number from 10 to 3600"):
        parse_settings({"start_timeout": seconds}, "x")


@pytest.mark.parametrize(("key", "word"), [("listen", "wan"), ("listen", ""), ("supervisor", "Systemd")])
def test_words_are_chosen_from_a_list(key: str, word: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{key} must be one of .*, not {word!r}"):
        parse_settings({key: word}, "x")


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ('port: "9000"', 9000),
        ("port: '9000'", 9000),
        ("listen: 'local'", "local"),
        ("https: yes", True),
        ("https: ON", True),
        ("https: 'true'", True),
        ("https: True", True),
        # What YAML would make something else of.
        ("family_name: 1984", "1984"),
        ("family_name: No", "No"),
        ("family_name: Null", "Null"),
        ("family_name: 2026-11-23", "2026-11-23"),
        ("family_name: 007", "007"),
        ("family_name: 12:30", "12:30"),
        ("family_name: 1e3", "1e3"),
        ("family_name: 'The #1 family: us'", "The #1 family: us"),
        ("family_name:", ""),
        ('family_name: ""', ""),
        ("family_name: Müller 🦊", "Müller 🦊"),
        ("login_help: |\n  Ask Mum.\n  Or Dad.", "Ask Mum.\nOr Dad."),
        ("login_help: >\n  Ask\n  Mum.", "Ask Mum."),
        ("extra_names: []", []),
        ("extra_names: [nas, nas.home, 10.0.0.1, 'fd00::1']", ["nas", "nas.home", "10.0.0.1", "fd00::1"]),
        ("extra_names:\n  - nas\n  - xn--bcher-kva.example", ["nas", "xn--bcher-kva.example"]),
    ],
)
def test_what_is_meant_is_understood(tmp_path: Path, line: str, value: Any) -> None:
    assert as_plain(load(tmp_path, line))[line.partition(":")[0]] == value


def test_a_key_that_stands_twice_is_told_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"config\.yaml:3: port is set twice"):
        load(tmp_path, "port: 9000\n\nport: 9001\n")


def test_a_wrong_value_is_told_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"config\.yaml:3: port must be"):
        load(tmp_path, "# ours\nlisten: lan\nport: x\n")


@pytest.mark.parametrize(
    ("mapping", "allowed"),
    [
        ({"https": False}, False),
        ({"https": False, "listen": "local"}, True),
        ({"https": False, "allow_plain_http": True}, True),
        ({"allow_plain_http": True}, True),
    ],
)
def test_passwords_travel_readable_only_on_purpose(mapping: dict[str, Any], allowed: bool) -> None:
    if allowed:
        assert parse_settings(mapping, "x").https is mapping.get("https", True)
    else:
        with pytest.raises(ConfigurationError, match="without HTTPS everybody at home could eavesdrop") as caught:
            parse_settings(mapping, "x")
        assert "listen: local" in caught.value.hint


@pytest.mark.parametrize(
    "mapping", [{"port": "8000"}, {"port": True}, {"https": 1}, {"extra_names": ("nas",)}, {"extra_names": [1]}]
)
def test_a_mapping_is_strict_about_types(mapping: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        parse_settings(mapping, "x")


def test_names_and_addresses_are_told_apart_once(tmp_path: Path) -> None:
    names = load(tmp_path, "extra_names: [NAS.home, 10.0.0.1, 'FD00::1']").extra_names
    assert [(one.host, one.address) for one in names] == [
        ("nas.home", None),
        ("10.0.0.1", ipaddress.ip_address("10.0.0.1")),
        ("fd00::1", ipaddress.ip_address("fd00::1")),
    ]


def test_nobody_can_change_a_list_of_the_settings() -> None:
    assert isinstance(hash(Settings()), int)


def test_every_key_is_described() -> None:
    assert list(KEYS) == [field.name for field in dataclasses.fields(Settings)]
    for name, key in KEYS.items():
        assert key.name == name and key.allowed and key.since
        assert key.meaning.endswith(".") and (not key.more or key.more.endswith("."))
        assert key.from_text(key.to_text(key.default)) == key.default


def test_every_setting_is_used() -> None:
    """Somewhere in the code, be it only by what several settings are together, or in what the service has noted."""
    code = "".join(path.read_text("utf-8") for path in (SRC / "jupyterhub4family").rglob("*.py"))
    assert [name for name in KEYS if not re.search(rf"\.{name}\b|noted\.get\(\"{name}\"", code)] == []


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
    "too long": "#" * 300_000,
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


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("auto_upgrade: true", "upgrade_source"),
        ("upgrade_source: https://example.org/x/", "upgrade_key"),
        # They stand in files of apt's, so nothing may be in them that means something there.
        ("upgrade_key: /k.asc\nupgrade_source: https://example.org/x ./ [trusted=yes]", "upgrade_source"),
        ('upgrade_key: /k.asc\nupgrade_source: "https://example.org/x\\ndeb"', "upgrade_source"),
        ("upgrade_key: /k.asc\nupgrade_source: ftp://example.org/x", "upgrade_source"),
        ("upgrade_key: k.asc", "upgrade_key"),
        ("upgrade_key: /k.asc]", "upgrade_key"),
    ],
)
def test_where_upgrades_come_from_is_checked(tmp_path: Path, text: str, word: str) -> None:
    with pytest.raises(ConfigurationError, match=word):
        load(tmp_path, text)


@pytest.mark.parametrize("source", ["https://example.org/a/", "http://[fd00::1]:8080/a/", "file:/srv/repository/", ""])
def test_addresses_of_sources(tmp_path: Path, source: str) -> None:
    assert load(tmp_path, f"upgrade_key: /k.asc\nupgrade_source: '{source}'\n").upgrade_source == source


@pytest.mark.parametrize(
    ("text", "value"),
    [("50%", "50%"), ("'2 g'", "2G"), ("700m", "700M"), ("5%", "5%"), ("100 %", "100%"), ("256M", "256M")],
)
def test_amounts_of_memory(tmp_path: Path, text: str, value: str) -> None:
    amount = load(tmp_path, f"memory_limit: {text}\n").memory_limit
    assert str(amount) == value and amount == Amount(int(value[:-1]), value[-1])


@pytest.mark.parametrize(
    "text", ["2", "2GB", "0G", "4%", "101%", "-1G", "1.5G", "50", "255M", "1T", "99999999G", "", "[50%]", "0x10G", "²G"]
)
def test_no_amounts_of_memory(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigurationError, match="memory_limit"):
        load(tmp_path, f"memory_limit: {text}\n")


def test_limits_of_single_members(tmp_path: Path) -> None:
    text = "cpu_weight: 70\nmember_limits:\n- anna.memory=4g\n- anna.cpu=50\n- ben.processes=300\n"
    settings = load(tmp_path, text)
    assert settings.limits_of("anna") == ServerLimits(memory=Amount(4, "G"), cpu=50, processes=1000)
    assert settings.limits_of("ben") == ServerLimits(memory=Amount(50, "%"), cpu=70, processes=300)
    assert settings.limits_of("cleo") == ServerLimits(memory=Amount(50, "%"), cpu=70, processes=1000)
    # As somebody has written it.
    assert as_plain(settings)["member_limits"] == ["anna.memory=4g", "anna.cpu=50", "ben.processes=300"]


def test_every_limit_of_a_server_can_be_one_of_a_member_and_is_checked_alike() -> None:
    key = KEYS["member_limits"]
    assert isinstance(key, MemberLimits)
    assert list(key.whats) == [field.name for field in dataclasses.fields(ServerLimits)]
    for what, name in {"memory": "memory_limit", "cpu": "cpu_weight", "processes": "process_limit"}.items():
        alike = dataclasses.replace(KEYS[name], name="", meaning="", more="", restarts=HUB)
        assert key.whats[what] == alike


@pytest.mark.parametrize(
    "text",
    [
        "anna.memory=4G",
        "[anna=4G]",
        "[anna.memory]",
        "[anna.memory=]",
        "[anna.memory=all]",
        "[anna.memory=1M]",
        "[anna.cpu=0]",
        "[anna.cpu=10001]",
        "[anna.processes=99]",
        "[anna.disk=4G]",
        "[Anna.memory=4G]",
        "[../x.memory=4G]",
        "[anna.memory=4G, anna.memory=5G]",
        "['anna.memory=4G\\n']",
        "[[anna.memory=4G]]",
    ],
)
def test_no_limits_of_members(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigurationError, match="member_limits"):
        load(tmp_path, f"member_limits: {text}\n")


def test_bytes_of_an_amount() -> None:
    assert Amount(50, "%").in_bytes(8 * 2**30) == 4 * 2**30
    assert Amount(2, "G").in_bytes(1) == 2 * 2**30 and Amount(700, "M").in_bytes(1) == 700 * 2**20
