"""Any identity: the settings file, parsed once into a frozen object.

The file is /etc/jupyterhub4family/config.yaml (YAML, may be missing). An unknown key or a wrong value is an
error that names file, key and the nearest valid key.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from jupyterhub4family.common.errors import ConfigurationError
from jupyterhub4family.common.paths import SETTINGS_FILE

SUPERVISORS = ("auto", "systemd", "cron")
LISTEN_CHOICES = ("lan", "local")


@dataclass(frozen=True)
class Settings:
    """Everything a family may set. Each default is what most families want."""

    #: TCP port of the portal.
    port: int = 8000
    #: `lan`: every address of this machine; `local`: 127.0.0.1 only.
    listen: str = "lan"
    #: Who keeps hub and proxy running: `systemd`, the account's `cron` table, or `auto`.
    supervisor: str = "auto"
    #: TCP ports on 127.0.0.1, never reachable from outside.
    hub_port: int = 8081
    proxy_api_port: int = 8001
    #: Seconds a server may take from its start until it listens.
    start_timeout: int = 300
    #: Whether the portal speaks HTTPS.
    https: bool = True
    #: Whether it may go without although everybody at home can reach it.
    allow_plain_http: bool = False
    #: Further names and addresses that its certificate shall be good for.
    extra_names: list[str] = dataclasses.field(default_factory=list)

    @property
    def bind_address(self) -> str:
        """The address the portal listens on; empty means every address, IPv4 and IPv6."""
        return "127.0.0.1" if self.listen == "local" else ""


def load_settings(path: Path = SETTINGS_FILE) -> Settings:
    """Read the settings file; a missing or empty one means all defaults. Raises ConfigurationError."""
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return Settings()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from error
    try:
        untrusted = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: 2026-13-45 is no date
        raise ConfigurationError(f"{path} is no valid YAML: {error}", "write lines like: port: 8000") from error
    if untrusted is None:
        return Settings()
    if not isinstance(untrusted, dict):
        raise ConfigurationError(f"{path} must hold lines like: port: 8000")
    return parse_settings(untrusted, str(path))


def parse_settings(untrusted: Mapping[Any, Any], source: str) -> Settings:
    """Turn a raw mapping into Settings; `source` is named in errors. Raises ConfigurationError."""
    fields = {field.name: field for field in dataclasses.fields(Settings)}
    for key, value in untrusted.items():
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, n=1, cutoff=0.0)[0]
            raise ConfigurationError(f"{source}: unknown key {key!r}", f"the nearest known key is {near!r}")
        wanted = type(getattr(Settings(), key))
        if type(value) is not wanted:
            kind = {int: "a whole number", bool: "true or false", list: "a list of words"}.get(wanted, "a word")
            raise ConfigurationError(f"{source}: {key} must be {kind}, not {value!r}")
    settings = Settings(**untrusted)
    _check_values(settings, source)
    return settings


def _check_values(settings: Settings, source: str) -> None:
    ports = {"port": settings.port, "hub_port": settings.hub_port, "proxy_api_port": settings.proxy_api_port}
    for key, number in ports.items():
        # Ports below 1024 belong to root, and nothing of the service runs as root.
        if not 1024 <= number <= 65535:
            raise ConfigurationError(f"{source}: {key} must lie between 1024 and 65535, not {number}")
    if len(set(ports.values())) < len(ports):
        raise ConfigurationError(f"{source}: {', '.join(ports)} must be three different numbers")
    if settings.listen == "lan" and not settings.https and not settings.allow_plain_http:
        raise ConfigurationError(
            f"{source}: without HTTPS everybody at home could read along, passwords, too",
            "keep https: true, or set listen: local",
        )
    if not 10 <= settings.start_timeout <= 3600:
        raise ConfigurationError(f"{source}: start_timeout must lie between 10 and 3600 seconds")
    for key, choices in (("listen", LISTEN_CHOICES), ("supervisor", SUPERVISORS)):
        value = getattr(settings, key)
        if value not in choices:
            raise ConfigurationError(f"{source}: {key} must be one of {', '.join(choices)}, not {value!r}")
