"""The settings as a page of the docs and as a sample file with comments."""

from __future__ import annotations

import textwrap

from jupyterhub4family.cli.settings.document import written
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.paths import SETTINGS_FILE
from jupyterhub4family.common.settings.model import KEYS
from jupyterhub4family.common.settings.types import HUB, HUB_AND_PROXY, NOTHING, Key

NOTE = "python3 -m tools.manual makes this from src/jupyterhub4family/common/settings/model.py; changes here are lost."

HEAD = f"""\
<!-- {NOTE} -->
# Settings

All settings stand in `{SETTINGS_FILE}`; the file may be missing, and then every default holds. `config set` changes
it, checks it as a whole and restarts what has to be; comments and order stay as they are. `man
jupyterhub4family-config` tells the same as this page.

    sudo jupyterhub4family config set family_name The Millers
    sudo jupyterhub4family config set port 8010
    sudo jupyterhub4family config unset port
    sudo jupyterhub4family config edit
    jupyterhub4family config show --origin

A file with a mistake never stops a running portal: the last good settings stay in use, also after a reboot, and
`status`, `doctor` and the log name file, line and key. At the very first start there are none; then the defaults hold,
but only this computer can reach the portal until the file is mended.

Values are read as their key means them, not as YAML would: `family_name: No` is a name, `port: "8010"` a number, `yes`
and `on` are true. Numbers are plain digits: `010` is refused, because YAML secretly takes it for eight.

| key | default | what |
|---|---|---|
"""

TAIL = """
## Values that do not go together

`port`, `hub_port` and `proxy_api_port` must be three different numbers. `https: false` needs `listen: local` or
`allow_plain_http: true`.

## For experts: jupyterhub_config.d

Every file `/etc/jupyterhub4family/jupyterhub_config.d/*.py` is executed after our own settings, in the order of the
names, with `c` as in any `jupyterhub_config.py`. The account `jupyterhub` must be able to read it.

    # /etc/jupyterhub4family/jupyterhub_config.d/50-memory.py
    c.JupyterHub.active_server_limit = 4

A file with an error is left out as a whole, and the hub starts without it: a family whose portal is gone after a reboot
is worse off. `status`, `doctor` and the log name file and line. So do not make such a file the only lock on a door:
who may log in is decided by `members`, not there.
"""


def page() -> str:
    """docs/reference/configuration.md."""
    rows = "".join(
        f"| [`{key.name}`](#{key.name}) | `{written(key.default)}` | {_(key.meaning)} |\n" for key in KEYS.values()
    )
    return HEAD + rows + "".join(_section(key) for key in KEYS.values()) + TAIL


def _section(key: Key) -> str:
    more = f" {_(key.more)}" if key.more else ""
    restarts = {
        HUB_AND_PROXY: "hub and proxy (open notebooks lose their connection for a moment)",
        HUB: "the hub",
        NOTHING: "nothing",
    }[key.restarts]
    return (
        f"\n({key.name})=\n## `{key.name}`\n\n{_(key.meaning)}{more}\n\n"
        f"- Value: {key.allowed}\n- Default: `{written(key.default)}`\n"
        f"- A change restarts: {restarts}\n- Since: {key.since}\n"
    )


def sample() -> str:
    """The commented sample file; as it is, it sets nothing."""
    text = f"""\
# Settings of jupyterhub4family, in {SETTINGS_FILE}.
# Every line is a comment here and shows the default. Take the # away to change one, then:
#   sudo jupyterhub4family restart --all
# Or let the command do both, and check it before:
#   sudo jupyterhub4family config set port 8010
"""
    for key in KEYS.values():
        about = f"{_(key.meaning)}{' ' + _(key.more) if key.more else ''} ({key.allowed})"
        lines = textwrap.wrap(about.replace("`", ""), 100, break_on_hyphens=False)
        text += "\n" + "".join(f"# {line}\n" for line in lines) + f"#{key.name}: {written(key.default)}\n"
    return text
