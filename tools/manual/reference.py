"""The settings as a part of a page of the handbook, and as a sample file with comments."""

from __future__ import annotations

import textwrap
from typing import Any

from jupyterhub4family.cli.settings.document import written
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.paths import SETTINGS_FILE
from jupyterhub4family.common.settings.model import KEYS
from jupyterhub4family.common.settings.types import HUB, HUB_AND_PROXY, NOTHING, Key

HEAD = """\
| key | default | what |
|---|---|---|
"""


def settings() -> str:
    """What docs/reference/configuration.md has of each setting."""
    rows = "".join(
        f"| [`{key.name}`](#{key.name}) | `{written(key.plain_default)}` | {_(key.meaning)} |\n"
        for key in KEYS.values()
    )
    return HEAD + rows + "".join(_section(key) for key in KEYS.values())


def _section(key: Key[Any]) -> str:
    more = f" {_(key.more)}" if key.more else ""
    restarts = {
        HUB_AND_PROXY: "hub and proxy (open notebooks lose their connection for a moment)",
        HUB: "the hub",
        NOTHING: "nothing",
    }[key.restarts]
    return (
        f"\n({key.name})=\n## `{key.name}`\n\n{_(key.meaning)}{more}\n\n"
        f"- Value: {key.allowed}\n- Default: `{written(key.plain_default)}`\n"
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
        text += "\n" + "".join(f"# {line}\n" for line in lines) + f"#{key.name}: {written(key.plain_default)}\n"
    return text
