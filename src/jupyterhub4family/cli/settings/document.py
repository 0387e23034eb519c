"""Runs as the caller: changes one key in the text of a settings file and leaves every other byte of it alone.

Only the value (or the lines of the key) is cut out and put in anew, at the places that the YAML parser names; so
comments, order, quotes and empty lines stay as somebody has written them. What comes out is read again and
compared: a file that is written in a way this cannot handle (braces, aliases) is refused, never damaged.
"""

from __future__ import annotations

import contextlib
import json
import re
from typing import Any

import yaml

from jupyterhub4family.common.errors import ConfigurationError
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.settings import model
from jupyterhub4family.common.settings.types import BadValue, Key

#: What a new file begins with.
HEADER = "# Settings of jupyterhub4family. What there is: man jupyterhub4family-config\n"
#: Text that needs no quotes wherever it stands, also inside of brackets.
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*( [A-Za-z0-9_.-]+)*")
EDIT_HINT = "sudo jupyterhub4family config edit"


def changed(text: str, key: Key[Any], value: Any, source: str) -> str:
    """`text` with `key` set to `value`, checked as a whole; `source` is its name in errors.

    Raises ConfigurationError if the result would not be a good settings file, and then nothing is lost.
    """
    entries = [entry for entry in _entries(text, source) if entry[0].value == key.name]
    if entries:
        result = _with_value(text, *entries[0], written(key.to_plain(value)))
    else:
        line = f"{key.name}: {written(key.to_plain(value))}{_line_break(text)}"
        result = f"{_ended(text) if text else HEADER}{line}"
    return _checked(text, result, source, key.name, value)


def without(text: str, name: str, source: str) -> str:
    """`text` without the lines of the key `name`, which may be unknown; checked as a whole.

    Raises ConfigurationError as `changed` does.
    """
    result = text
    for key_node, value_node in reversed([entry for entry in _entries(text, source) if entry[0].value == name]):
        start = _start_of_line(text, key_node.start_mark.index)
        end = _end_of_line(text, max(_end(text, value_node), key_node.end_mark.index))
        result = result[:start] + result[end:]
    return _checked(text, result, source, name, None)


def has(text: str, name: str, source: str) -> bool:
    """Whether a key called `name`, known or not, stands in the file."""
    return any(key_node.value == name for key_node, _value in _entries(text, source))


def written(value: Any) -> str:
    """A plain value as it is written into the file; JSON, which YAML understands, where plain words will not do."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return f"[{', '.join(map(written, value))}]"
    if isinstance(value, str):
        # Words such as no and null are quoted for other programs that read the file; ours would know.
        if _PLAIN.fullmatch(value) and isinstance(yaml.safe_load(value), str):
            return value
        return json.dumps(value, ensure_ascii=False)
    return str(value)


# -- where things stand --------------------------------------------------------------------------------


def _entries(text: str, source: str) -> list[tuple[Any, Any]]:
    """The nodes of keys and values, in the file's order. Raises ConfigurationError."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError):
        model.parse_text(text, source)  # says what is wrong
        raise
    if root is None or (isinstance(root, yaml.ScalarNode) and not root.value):
        return []
    if not isinstance(root, yaml.MappingNode) or root.flow_style:
        raise _too_artful(source)
    for key_node, _value in root.value:
        if text[: key_node.start_mark.index].rstrip(" ").endswith("?"):
            raise _too_artful(source)
    return list(root.value)


def _with_value(text: str, key_node: Any, value_node: Any, new: str) -> str:
    start, end = value_node.start_mark.index, _end(text, value_node)
    if start < key_node.end_mark.index:
        # An alias: the value stands elsewhere. What comes out of this is refused.
        return text
    if not isinstance(value_node, yaml.SequenceNode) or value_node.flow_style:
        gap = "" if text[start - 1].isspace() else " "
        # Behind a block of lines goes the line break that belongs to it.
        tail = _line_break(text) if text[start:end].endswith("\n") else ""
        return f"{text[:start]}{gap}{new}{tail}{text[end:]}"
    # A list with a line for each: the value goes behind the colon, these lines go, comments between them stay.
    for item in reversed(value_node.value):
        first = _start_of_line(text, item.start_mark.index)
        text = text[:first] + text[_end_of_line(text, _end(text, item)) :]
    colon = text.index(":", key_node.end_mark.index) + 1
    return f"{text[:colon]} {new}{text[colon:]}"


def _end(text: str, node: Any) -> int:
    """Where a node's own text ends; the parser counts comments and empty lines behind blocks as theirs."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(text, last[1] if isinstance(last, tuple) else last)
    end = int(node.end_mark.index)
    if isinstance(node, yaml.ScalarNode) and node.style in ("|", ">"):
        body = text[node.start_mark.index : end]
        kept = body.rstrip("\r\n \t")
        # With one line break: that ends the last line.
        return int(node.start_mark.index) + len(kept) + len(body[len(kept) :].partition("\n")[0]) + (kept != body)
    return end


def _start_of_line(text: str, index: int) -> int:
    return text.rfind("\n", 0, index) + 1


def _end_of_line(text: str, index: int) -> int:
    """Behind the line break of the line in which `index` is; `index` itself if a line has just ended there."""
    if index and text[index - 1] == "\n":
        return index
    found = text.find("\n", index)
    return len(text) if found < 0 else found + 1


def _line_break(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _ended(text: str) -> str:
    return text if text.endswith("\n") else text + _line_break(text)


# -- is it what was wanted -----------------------------------------------------------------------------


def _checked(old: str, new: str, source: str, name: str, value: Any) -> str:
    """`new`, if it is a good file that differs from `old` in the one key only."""
    try:
        origins = model.parse_text(new, source)
    except ConfigurationError:
        if _is_readable(old, source) or not _is_yaml(new, source):
            # It was the cutting that did this, not what was asked for: an indented comment now belongs to the text
            # above it, for instance.
            raise _too_artful(source) from None
        raise
    model.settings_of(origins, source)
    found = {one: origin.value for one, origin in origins.items()}
    wanted = {one: value for one, value in _readable(old, source).items() if one != name}
    if value is not None:
        wanted[name] = value
    if {one: found.get(one) for one in wanted} != wanted or (value is None and name in found):
        raise _too_artful(source)
    return new


def _is_readable(text: str, source: str) -> bool:
    try:
        model.parse_text(text, source)
    except ConfigurationError:
        return False
    return True


def _is_yaml(text: str, source: str) -> bool:
    try:
        _entries(text, source)
    except ConfigurationError:
        return False
    return True


def _readable(text: str, source: str) -> dict[str, Any]:
    """What the old file says, as far as it can be understood: what is bad about it may be what is being mended."""
    found: dict[str, Any] = {}
    for key_node, value_node in _entries(text, source):
        name = key_node.value
        if isinstance(name, str) and name in model.KEYS:
            with contextlib.suppress(BadValue):
                found[name] = model.value_of(model.KEYS[name], value_node)
    return found


def _too_artful(source: str) -> ConfigurationError:
    return ConfigurationError(_("{file} is written in a way that only a person can change", file=source), EDIT_HINT)
