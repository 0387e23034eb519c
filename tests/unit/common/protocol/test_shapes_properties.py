"""common.protocol.shapes: what passes has the types that were asked for, and everything that crosses survives."""

from __future__ import annotations

import dataclasses
import json
import typing
from typing import Any

import pytest

pytest.importorskip("hypothesis")

from hypothesis import given
from hypothesis import strategies as st

from jupyterhub4family.common import records
from jupyterhub4family.common.errors import UsageError
from jupyterhub4family.common.i18n import safe_text
from jupyterhub4family.common.i18n.messages import Message
from jupyterhub4family.common.protocol import doors, service_programs, shapes
from jupyterhub4family.common.protocol.actions import Action, Program
from jupyterhub4family.common.protocol.responses import Bounds
from jupyterhub4family.common.protocol.shapes import decode_answer, decode_request, encode
from tests.unit.common.protocol.test_json_lines_properties import VALUES
from tests.unit.common.protocol.test_shapes import Order
from tests.unit.properties import thorough

KEYS = st.sampled_from(["name", "pid", "force", "names", "other", "from"])
NEARLY = st.text() | st.integers() | st.booleans() | st.lists(st.text(), max_size=3)


def is_of(kind: Any, value: Any) -> bool:
    """Whether `value` is of this type, said in another way than in the module itself."""
    if typing.get_origin(kind) is list:
        return isinstance(value, list) and all(is_of(typing.get_args(kind)[0], one) for one in value)
    return isinstance(value, kind) and not (kind is int and isinstance(value, bool))


@thorough
@given(st.dictionaries(KEYS, VALUES | NEARLY, max_size=5))
def test_what_passes_has_exactly_the_types_that_were_asked_for(untrusted: dict[str, Any]) -> None:
    allowed = {"name": str, "pid": int, "force": bool, "names": list[str], "from": str}
    right = "name" in untrusted and all(is_of(allowed[key], untrusted[key]) for key in untrusted if key in allowed)
    for decode, good in ((decode_request, right and "other" not in untrusted), (decode_answer, right)):
        try:
            decode(Order, untrusted)
        except UsageError:
            assert not good
        else:
            assert good


SHAPES = [
    shape
    for module in (doors, service_programs)
    for shape in vars(module).values()
    if dataclasses.is_dataclass(shape) and isinstance(shape, type) and not issubclass(shape, (Action, Program, Bounds))
]
# A sentence with its values has a test of its own: test_shapes.py.
st.register_type_strategy(Message, st.text())


def any_of(shape: type) -> st.SearchStrategy[Any]:
    """Records of this class, with whatever its fields may hold; those with a default also left out."""
    kinds = typing.get_type_hints(shape)
    left_out = {one.name for one in records.fields(shape) if shapes.is_optional(one)}
    needed = {name: st.from_type(kind) for name, kind in kinds.items() if name not in left_out}
    optional = {name: st.from_type(kind) for name, kind in kinds.items() if name in left_out}
    return st.fixed_dictionaries(needed, optional=optional).map(lambda values: shape(**values))


for one in SHAPES:
    st.register_type_strategy(one, any_of)


def printed(value: Any) -> Any:
    """The same with all texts printable."""
    if isinstance(value, dict):
        return {printed(key): printed(one) for key, one in value.items()}
    if isinstance(value, list):
        return [printed(one) for one in value]
    return safe_text.printable(value) if isinstance(value, str) else value


def received(kind: Any, value: Any) -> Any:
    """`value` of the type `kind` as whoever is asked gets it: with sentences printable, and all else as it was."""
    kinds = typing.get_args(kind)
    if Message in kinds and isinstance(value, str):
        return safe_text.printable(value)
    if typing.get_origin(kind) is typing.Union:
        return value if value is None else received(kinds[0], value)
    if isinstance(value, list):
        return [received(kinds[0], one) for one in value]
    if isinstance(value, dict):
        return {key: received(kinds[1], one) for key, one in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        hints = typing.get_type_hints(type(value))
        fields = dataclasses.fields(value)
        return dataclasses.replace(
            value, **{one.name: received(hints[one.name], getattr(value, one.name)) for one in fields}
        )
    return value


@pytest.mark.parametrize("shape", SHAPES, ids=[shape.__name__ for shape in SHAPES])
def test_all_that_crosses_a_door_survives_it(shape: type) -> None:
    @thorough
    @given(st.from_type(shape))
    def check(value: Any) -> None:
        crossed = json.loads(json.dumps(encode(value)))
        assert decode_request(shape, crossed) == received(shape, value)
        # An answer is for people to read.
        assert encode(decode_answer(shape, crossed)) == printed(encode(value))
        assert set(crossed) <= set(shapes.fields(shape))

    check()
