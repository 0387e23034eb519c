"""Any identity: objects that cross a door as JSON, and the frozen dataclasses that they become on this side.

A request is taken as it must be, or not at all. An answer may come from another edition of the package: what it has
beyond what is known here is left out. And it is for people to read: its texts are made printable.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping
from typing import Any, TypeVar, Union

from jupyterhub4family.common import records
from jupyterhub4family.common.errors import UsageError
from jupyterhub4family.common.i18n import safe_text
from jupyterhub4family.common.i18n.messages import Message, _, from_json

T = TypeVar("T")

#: A text for people: plain, or with what it was made of, so that it can be told in another language.
Text = Union[Message, str]
#: What a person calls the types of JSON.
_NAMES = {bool: "bool", int: "int", str: "str", Message: "str"}
#: What has been found out of a dataclass: a list may have hundreds of one.
_TYPES: dict[type, dict[str, Any]] = {}


def key(name: str, default: Any = records.MISSING) -> Any:
    """A field that is called `name` in JSON because Python cannot call it so."""
    if default is records.MISSING:
        return records.field(metadata={"key": name})
    return records.field(default=default, metadata={"key": name})


def decode_request(shape: type[T], untrusted: Mapping[str, Any]) -> T:
    """The request that `untrusted` is. Raises UsageError for an unknown key, a missing one, a value of another type.

    A bool is no int here, although Python thinks so.
    """
    known = fields(shape)
    for name in untrusted:
        if name not in known:
            raise UsageError(_("unknown key {key} in the request", key=repr(name[:40])))
    return _decode(shape, untrusted, strict=True)


def decode_answer(shape: type[T], untrusted: Mapping[str, Any]) -> T:
    """The answer that `untrusted` is. Raises UsageError when a value is missing or of another type."""
    return _decode(shape, untrusted, strict=False)


def encode(value: Any) -> Any:
    """A dataclass as the object that crosses a door, without what is None; every other value as it is."""
    if records.is_record(value) and not isinstance(value, type):
        values = {name: encode(getattr(value, field.name)) for name, field in fields(type(value)).items()}
        return {name: one for name, one in values.items() if one is not None}
    if isinstance(value, (list, tuple)):
        return [encode(one) for one in value]
    if isinstance(value, Mapping):
        return {name: encode(one) for name, one in value.items()}
    return value


def fields(shape: type) -> dict[str, records.Field[Any]]:
    """The fields of a dataclass by their names in JSON."""
    return {str(field.metadata.get("key", field.name)): field for field in records.fields(shape)}


def is_optional(field: records.Field[Any]) -> bool:
    """Whether it may be left out."""
    return field.default is not records.MISSING or field.default_factory is not records.MISSING


def types_of(shape: type) -> dict[str, Any]:
    """The types of a dataclass's fields, by the names that Python gives them."""
    if shape not in _TYPES:
        _TYPES[shape] = typing.get_type_hints(shape)
    return _TYPES[shape]


def name_of(kind: Any) -> str:
    """What a person calls a type: `list of str`."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if records.is_record(kind):
        return "object"
    if origin is list:
        return f"list of {name_of(arguments[0])}"
    if origin is dict:
        return f"dict of {name_of(arguments[1])}"
    if origin is Union:
        return name_of(arguments[0])
    return _NAMES[kind]


def _decode(shape: type[T], untrusted: Mapping[str, Any], *, strict: bool) -> T:
    values, kinds = {}, types_of(shape)
    for name, field in fields(shape).items():
        if name in untrusted:
            values[field.name] = _checked(name, kinds[field.name], untrusted[name], strict)
        elif not is_optional(field):
            raise UsageError(_("key {key} is missing in the request", key=repr(name)))
    return shape(**values)


def _checked(name: str, kind: Any, untrusted: Any, strict: bool) -> Any:
    """The value, if it is of this type all the way down. Raises UsageError."""
    # Most values are plain ones, and quickly told.
    if type(untrusted) is kind and kind in _NAMES:
        return safe_text.printable(untrusted) if kind is str and not strict else untrusted
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Union:
        missing = untrusted is None and type(None) in arguments
        return None if missing else _checked(name, arguments[0], untrusted, strict)
    if origin is list and type(untrusted) is list:
        return [_checked(name, arguments[0], one, strict) for one in untrusted]
    if origin is dict and type(untrusted) is dict:
        known = untrusted.items() if strict else ((safe_text.printable(one), value) for one, value in untrusted.items())
        return {one: _checked(name, arguments[1], value, strict) for one, value in known}
    if records.is_record(kind) and type(untrusted) is dict:
        return (decode_request if strict else decode_answer)(kind, untrusted)
    if kind is Message and type(untrusted) in (str, dict):
        return from_json(untrusted)
    raise UsageError(_("key {key} must be of type {type}", key=repr(name), type=name_of(kind)))
