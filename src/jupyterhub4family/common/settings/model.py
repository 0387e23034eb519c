"""Any identity: the settings file, parsed once into a frozen object.

The file is /etc/jupyterhub4family/config.yaml (YAML, may be missing). An unknown key or a wrong value is an
error that names file, line, key and the nearest valid key.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from jupyterhub4family.common import paths, records
from jupyterhub4family.common.errors import ConfigurationError
from jupyterhub4family.common.i18n.messages import N_, _
from jupyterhub4family.common.settings import types
from jupyterhub4family.common.settings.types import (
    Amount,
    BadValue,
    Choice,
    Key,
    ListOf,
    Matching,
    MemberLimit,
    MemberLimits,
    Memory,
    Names,
    NetworkName,
    Number,
    ServerLimits,
    Switch,
    Text,
)

Value = TypeVar("Value")

#: Tags of what stands in a file without a tag of its own.
_PLAIN_TAGS = {f"tag:yaml.org,2002:{word}" for word in ("str", "int", "bool", "float", "null", "timestamp", "value")}
#: Keys of earlier versions that mean nothing any more: a file that has them is as good as before.
RETIRED = frozenset({"proxy_api_port"})
#: Bytes; a settings file that is longer is something else.
MAXIMUM_SIZE = 256 * 1024


def _is(key: Key[Value]) -> Value:
    """A field of Settings, described by `key` and of its type."""
    found: Value = records.field(default=key.default, metadata={"key": key})
    return found


@records.dataclass(frozen=True)
class Settings:
    """Everything a family may set. Each default is what most families want."""

    # Ports below 1024 belong to root, and nothing of the service runs as root.
    port: int = _is(
        Number(8000, N_("The TCP port at which the portal answers."), types.HUB_AND_PROXY, minimum=1024, maximum=65535)
    )
    listen: str = _is(
        Choice(
            "lan",
            N_("Who can reach the portal: `lan`, every computer at home; `local`, only this one."),
            types.HUB_AND_PROXY,
            choices=("lan", "local"),
        )
    )
    supervisor: str = _is(
        Choice(
            "auto",
            N_(
                "What keeps JupyterHub running: `systemd`, the account's `cron` table, or `auto`, what this "
                "machine has."
            ),
            types.HUB_AND_PROXY,
            choices=("auto", "systemd", "cron"),
        )
    )
    hub_port: int = _is(
        Number(
            8081,
            N_("A TCP port of this computer, never reachable from outside, for the hub."),
            types.HUB_AND_PROXY,
            N_("Change it only if another program needs that port."),
            minimum=1024,
            maximum=65535,
        )
    )
    start_timeout: int = _is(
        Number(
            300,
            N_("How many seconds a member's server may take to answer after its start."),
            minimum=10,
            maximum=3600,
        )
    )
    https: bool = _is(
        Switch(
            True,
            N_("Whether the portal speaks HTTPS, so that nobody at home can eavesdrop on passwords."),
            types.HUB_AND_PROXY,
            N_("`false` goes with `listen: local`; for the whole LAN it needs `allow_plain_http` as well."),
        )
    )
    allow_plain_http: bool = _is(
        Switch(
            False,
            N_("Whether the portal may go without HTTPS although every computer at home can reach it."),
            types.HUB_AND_PROXY,
            N_(
                "Only for a portal behind a proxy of your own that speaks HTTPS: otherwise passwords cross the "
                "network in clear text."
            ),
        )
    )
    extra_names: tuple[NetworkName, ...] = _is(
        Names(
            (),
            N_("More names and addresses of this computer for which its certificate is to be valid."),
            types.HUB_AND_PROXY,
            N_("This computer's own names and addresses are always included."),
        )
    )
    family_name: str = _is(Text("", N_("The greeting on the login page, such as `The Millers`."), maximum=80))
    login_help: str = _is(
        Text(
            "",
            N_("A sentence on the login page, for instance whom to ask about a forgotten password."),
            maximum=500,
            lines=True,
        )
    )
    language: str = _is(
        Choice(
            "auto",
            N_("The language of the pages: `auto`, what each browser asks for; `en`, English; `de`, German."),
            choices=("auto", "en", "de"),
        )
    )
    upgrade_source: str = _is(
        Matching(
            "",
            N_("Where newer versions come from: the address of a folder that tools/make-repository has made."),
            types.NOTHING,
            N_("It becomes a source of apt (sources.list.d), whose lists must be signed by `upgrade_key`."),
            pattern=r"(https?://[\w.:\[\]-]+|file:)/[\w./~%+-]*",
            what=N_("an address such as https://packages.example.org/jupyterhub4family/"),
        )
    )
    upgrade_key: str = _is(
        Matching(
            "",
            N_("The file with the public key that signs `upgrade_source`."),
            types.NOTHING,
            N_(
                "Compare the key's fingerprint with the one that the maker of the packages gives: root runs what "
                "it signs."
            ),
            pattern=r"/[\w./~+-]+",
            what=N_("the whole path of a file, such as /root/jupyterhub4family.asc"),
        )
    )
    auto_upgrade: bool = _is(
        Switch(
            False,
            N_("Whether newer versions from `upgrade_source` are installed automatically, once a day."),
            types.NOTHING,
            N_(
                "Debian's unattended-upgrades does it. A version with which nobody can log in is rolled back "
                "automatically."
            ),
        )
    )
    upgrade_waits_for_kernels: bool = _is(
        Switch(
            False,
            N_("Whether a new version waits to take over while a member's notebook is running."),
            types.NOTHING,
            N_("At most six hours. Notebooks keep running while a new version takes over even without it."),
        )
    )

    memory_limit: Amount = _is(
        Memory(
            Amount(50, "%"),
            N_("How much memory one member's servers may use, with everything that runs in them."),
            types.NOTHING,
            N_(
                "Takes effect at the server's next start. A notebook that needs more is stopped, and only that "
                "notebook."
            ),
        )
    )
    memory_limit_total: Amount = _is(
        Memory(
            Amount(75, "%"),
            N_("How much memory the servers of all members may use together, so that the computer stays usable."),
            types.NOTHING,
            N_("Takes effect at the server's next start."),
        )
    )
    memory_kept_free: int = _is(
        Number(
            5,
            N_(
                "How many percent of memory stay free: when less is left, servers that nobody uses are stopped; 0 for "
                "never."
            ),
            types.HUB,
            N_(
                "It is at least room for one server (128 MB). Never stopped are servers that calculate or that a "
                "browser shows."
            ),
            minimum=0,
            maximum=50,
            since="0.2",
        )
    )
    cpu_weight: int = _is(
        Number(
            100,
            N_("A member's share of the processor when several compete for it: twice the number gets twice as much."),
            types.NOTHING,
            N_(
                "Takes effect at the server's next start. As long as nobody else needs the processor, each member "
                "can use all of it."
            ),
            minimum=1,
            maximum=10000,
        )
    )
    process_limit: int = _is(
        Number(
            1000,
            N_("How many processes and threads one member's servers may have."),
            types.NOTHING,
            N_("Takes effect at the server's next start. A notebook needs about 15."),
            minimum=100,
            maximum=100000,
        )
    )
    named_servers: int = _is(
        Number(
            5,
            N_("How many servers with names of their own a member may have, beside the default one; 0 for none."),
            types.HUB,
            N_("Servers that are there already stay, and count until their owner deletes them."),
            minimum=0,
            maximum=100,
            since="0.2",
        )
    )
    lean_servers: bool = _is(
        Switch(
            True,
            N_("Whether members' servers start without the parts of JupyterHub that only the hub needs."),
            types.HUB,
            N_(
                "Twice as fast, in half the memory. `false` if an extension has trouble with it; a member can choose "
                "that alone (see the handbook about servers)."
            ),
            since="the next version",
        )
    )
    member_limits: tuple[MemberLimit, ...] = _is(
        MemberLimits(
            (),
            N_("Other limits for single members: `NAME.memory`, `NAME.cpu` and `NAME.processes`."),
            types.NOTHING,
            N_("They replace `memory_limit`, `cpu_weight` and `process_limit`, from the server's next start."),
            whats={
                "memory": Memory(Amount(50, "%"), ""),
                "cpu": Number(100, "", minimum=1, maximum=10000),
                "processes": Number(1000, "", minimum=100, maximum=100000),
            },
        )
    )

    @property
    def bind_address(self) -> str:
        """The address the portal listens on; empty means every address, IPv4 and IPv6."""
        return "127.0.0.1" if self.listen == "local" else ""

    def limits_of(self, name: str) -> ServerLimits:
        """What the servers of the member `name` may use: what holds for all, or instead of it for this member."""
        everybodys = ServerLimits(self.memory_limit, self.cpu_weight, self.process_limit)
        own = {one.what: one.value for one in self.member_limits if one.member == name}
        return records.replace(everybodys, **own)


#: All keys, described, in the order of the reference.
KEYS: dict[str, Key[Any]] = {
    field.name: records.replace(field.metadata["key"], name=field.name) for field in records.fields(Settings)
}


@records.dataclass(frozen=True)
class Origin:
    """One line of the settings file: what it sets to which value."""

    value: Any
    line: int


def load_settings(path: Path = paths.SETTINGS_FILE) -> Settings:
    """Read the settings file; a missing or empty one means all defaults. Raises ConfigurationError."""
    return settings_of(read_origins(path), str(path))


def settings_of(origins: Mapping[str, Origin], source: str) -> Settings:
    """The settings that these lines make. Raises ConfigurationError for values that do not go together."""
    return _together({name: origin.value for name, origin in origins.items()}, source)


def read_origins(path: Path = paths.SETTINGS_FILE) -> dict[str, Origin]:
    """What stands in the settings file, each value checked, with its line. Raises ConfigurationError."""
    try:
        with open(path, "rb") as file:
            data = file.read(MAXIMUM_SIZE + 1)
        text = data.decode("utf-8-sig")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(_("{file} cannot be read: {error}", file=str(path), error=str(error))) from error
    if len(data) > MAXIMUM_SIZE:
        raise ConfigurationError(_("{file} is too long to be a settings file", file=str(path)))
    # As it comes with the package, and as most families leave it: a start need not wait for YAML to say so.
    return {} if _says_nothing(text) else parse_text(text, str(path))


def _says_nothing(text: str) -> bool:
    """Whether there are only comments and empty lines in it: in doubt not."""
    lines = [line.lstrip(" ") for line in text.split("\n")]
    return all(not line or (line.startswith("#") and line.isprintable()) for line in lines)


def parse_text(text: str, source: str) -> dict[str, Origin]:
    """As `read_origins`, of the text of a file that is called `source`.

    YAML's own idea of a value is not asked: with the description of its key at hand, `family_name: No` is a name
    and `port: "8000"` a number, and `010` is nothing that could secretly be eight.
    """
    import yaml

    example = _("write lines like: {line}", line="port: 8000")
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        detail = "; ".join(str(error).split("\n")[:6])
        raise ConfigurationError(_("{file} is not valid YAML: {error}", file=source, error=detail), example) from error
    if root is None or (isinstance(root, yaml.ScalarNode) and root.tag.endswith(":null")):
        return {}
    if not isinstance(root, yaml.MappingNode):
        raise ConfigurationError(_("{file} contains no settings", file=source), example)
    found: dict[str, Origin] = {}
    for key_node, value_node in root.value:
        line = key_node.start_mark.line + 1
        where = f"{source}:{line}"
        if isinstance(key_node, yaml.ScalarNode) and key_node.value in RETIRED:
            continue
        key = known_key(key_node.value if isinstance(key_node, yaml.ScalarNode) else "?", where)
        if key.name in found:
            raise ConfigurationError(
                _("{where}: {key} is set twice", where=where, key=key.name), _("remove one of the two lines")
            )
        try:
            found[key.name] = Origin(value_of(key, value_node), line)
        except BadValue as error:
            raise _error_at(where, error) from error
    return found


def known_key(untrusted: str, where: str = "") -> Key[Any]:
    """The description of a key. Raises ConfigurationError that names the nearest one; `where` begins the sentence."""
    try:
        return KEYS[untrusted]
    except KeyError:
        near = nearest(untrusted, KEYS)
        shown = repr(untrusted)[:80]
        message = _("unknown key {key}", key=shown)
        if where:
            message = _("{where}: {problem}", where=where, problem=message)
        raise ConfigurationError(message, _("the nearest known key is {key}", key=repr(near))) from None


def nearest(word: str, known: Mapping[str, Any]) -> str:
    """The one of `known` that looks most like `word`."""
    import difflib

    return str(difflib.get_close_matches(word[:80].lower(), known, n=1, cutoff=0.0)[0])


def parse_settings(untrusted: Mapping[Any, Any], source: str) -> Settings:
    """The settings that `as_plain` made this of; `source` is named in errors. Raises ConfigurationError.

    Unlike in the file, each value has to be of the right type.
    """
    values = {}
    for name, value in untrusted.items():
        if name in RETIRED:
            continue
        key = known_key(str(name), source)
        try:
            values[key.name] = key.from_plain(value)
        except BadValue as error:
            raise _error_at(source, error) from error
    return _together(values, source)


def as_plain(settings: Settings) -> dict[str, Any]:
    """The settings as JSON holds them, in the order of the reference."""
    return {name: key.to_plain(getattr(settings, name)) for name, key in KEYS.items()}


def _together(values: Mapping[str, Any], source: str) -> Settings:
    settings = Settings(**values)
    _check_together(settings, source)
    return settings


def value_of(key: Key[Any], node: Any) -> Any:
    """What a node of YAML means as the value of this key. Raises BadValue."""
    import yaml

    if isinstance(node, yaml.SequenceNode) and all(_is_plain(one) for one in node.value):
        return key.from_list([one.value for one in node.value])
    if not _is_plain(node):
        raise BadValue(_("{key} must be {what}", key=key.name, what=key.allowed))
    if not node.value and not isinstance(key, Text):
        raise BadValue(
            _("{key} has no value; it must be {what}", key=key.name, what=key.allowed),
            _("give it a value, or remove the line"),
        )
    if isinstance(key, ListOf):
        raise BadValue(
            _("{key} must be {what}", key=key.name, what=key.allowed),
            _("write it in brackets: {line}", line=f"{key.name}: [{node.value[:80]}]"),
        )
    return key.from_text(node.value)


def _is_plain(node: Any) -> bool:
    import yaml

    return isinstance(node, yaml.ScalarNode) and node.tag in _PLAIN_TAGS


def _error_at(where: str, error: BadValue) -> ConfigurationError:
    return ConfigurationError(_("{where}: {problem}", where=where, problem=error.message), error.hint)


def _check_together(settings: Settings, source: str) -> None:
    if settings.port == settings.hub_port:
        raise ConfigurationError(_("{where}: {keys} must be different numbers", where=source, keys="port, hub_port"))
    if settings.listen == "lan" and not settings.https and not settings.allow_plain_http:
        raise ConfigurationError(
            _("{where}: without HTTPS everybody at home could eavesdrop, even on passwords", where=source),
            _("keep https: true, or set listen: local, or, behind a proxy of your own, allow_plain_http: true"),
        )
    if settings.auto_upgrade and not settings.upgrade_source:
        raise ConfigurationError(
            _("{where}: auto_upgrade needs an upgrade_source", where=source),
            _("set upgrade_key and upgrade_source first"),
        )
    if settings.upgrade_source and not settings.upgrade_key:
        raise ConfigurationError(
            _("{where}: upgrade_source needs the upgrade_key that signs it", where=source), _("set upgrade_key first")
        )
