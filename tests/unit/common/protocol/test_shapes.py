"""common.protocol.shapes: a request is taken as it must be or not at all; an answer may hold more than is known."""

from __future__ import annotations

import json
from typing import Any, Optional

import pytest

from jupyterhub4family.common import records
from jupyterhub4family.common.errors import UsageError
from jupyterhub4family.common.i18n.messages import Message, _, to_json
from jupyterhub4family.common.protocol.shapes import Text, decode_answer, decode_request, encode, key, name_of


@records.dataclass(frozen=True)
class Part:
    """Inside another one."""

    name: str
    count: int = 0


@records.dataclass(frozen=True)
class Order:
    """Something of every type."""

    name: str
    pid: int = 0
    force: bool = False
    names: list[str] = records.field(default_factory=list)
    env: dict[str, str] = records.field(default_factory=dict)
    parts: list[Part] = records.field(default_factory=list)
    origin: str = key("from", "")
    secret: Optional[str] = None
    note: Text = ""


@records.dataclass(frozen=True)
class Nested:
    """A part that must be there, under a name that Python has taken."""

    part: Part = key("class")  # it makes a field


GOOD: list[tuple[dict[str, Any], Order]] = [
    ({"name": "anna"}, Order("anna")),
    ({"name": "", "pid": 0, "force": False, "names": [], "env": {}}, Order("")),
    ({"name": "a", "pid": -1}, Order("a", -1)),
    ({"name": "a", "pid": 2**70, "force": True}, Order("a", 2**70, True)),
    ({"name": "a", "names": ["b", ""], "env": {"": "x"}}, Order("a", names=["b", ""], env={"": "x"})),
    ({"name": "a", "parts": [{"name": "b"}, {"name": "c", "count": 2}]}, Order("a", parts=[Part("b"), Part("c", 2)])),
    ({"name": "a", "from": "b"}, Order("a", origin="b")),
    ({"name": "a", "secret": None}, Order("a")),
    ({"name": "a", "secret": ""}, Order("a", secret="")),
    ({"name": "a", "note": "plain"}, Order("a", note="plain")),
]
#: What is wrong with a request and with an answer.
BAD: list[tuple[dict[str, Any], str]] = [
    ({}, "'name' is missing"),
    ({"pid": 1}, "'name' is missing"),
    ({"name": 1}, "'name' must be of type str"),
    ({"name": None}, "'name' must be of type str"),
    ({"name": ["a"]}, "'name' must be of type str"),
    ({"name": "a", "pid": True}, "'pid' must be of type int"),
    ({"name": "a", "pid": False}, "'pid' must be of type int"),
    ({"name": "a", "pid": 1.0}, "'pid' must be of type int"),
    ({"name": "a", "pid": "1"}, "'pid' must be of type int"),
    ({"name": "a", "pid": None}, "'pid' must be of type int"),
    ({"name": "a", "force": 1}, "'force' must be of type bool"),
    ({"name": "a", "force": "yes"}, "'force' must be of type bool"),
    ({"name": "a", "names": "anna"}, "'names' must be of type list of str"),
    ({"name": "a", "names": {}}, "'names' must be of type list of str"),
    ({"name": "a", "names": ["b", 1]}, "'names' must be of type str"),
    ({"name": "a", "names": [["b"]]}, "'names' must be of type str"),
    ({"name": "a", "env": []}, "'env' must be of type dict of str"),
    ({"name": "a", "env": {"A": 1}}, "'env' must be of type str"),
    ({"name": "a", "parts": {}}, "'parts' must be of type list of object"),
    ({"name": "a", "parts": ["b"]}, "'parts' must be of type object"),
    ({"name": "a", "parts": [{}]}, "'name' is missing"),
    ({"name": "a", "parts": [{"name": "b", "count": "2"}]}, "'count' must be of type int"),
    ({"name": "a", "from": 1}, "'from' must be of type str"),
    ({"name": "a", "secret": 1}, "'secret' must be of type str"),
    ({"name": "a", "note": 1}, "'note' must be of type str"),
    ({"name": "a", "note": None}, "'note' must be of type str"),
]
#: What only a request must not hold.
UNKNOWN: list[tuple[dict[str, Any], str]] = [
    ({"name": "a", "shell": "/bin/sh"}, "unknown key 'shell'"),
    ({"name": "a", "Name": "b"}, "unknown key 'Name'"),
    ({"name": "a", "": 1}, "unknown key ''"),
    ({"name": "a", "origin": "b"}, "unknown key 'origin'"),
    ({"name": "a", "parts": [{"name": "b", "shell": 1}]}, "unknown key 'shell'"),
]


@pytest.mark.parametrize(("good", "wanted"), GOOD)
def test_known_keys_of_the_right_type_pass(good: dict[str, Any], wanted: Order) -> None:
    assert decode_request(Order, good) == wanted
    assert decode_answer(Order, good) == wanted


@pytest.mark.parametrize(("bad", "text"), BAD)
def test_other_types_and_missing_keys_are_refused(bad: dict[str, Any], text: str) -> None:
    for decode in (decode_request, decode_answer):
        with pytest.raises(UsageError, match=text):
            decode(Order, bad)


@pytest.mark.parametrize(("bad", "text"), UNKNOWN)
def test_other_keys_are_refused_in_a_request_and_left_out_of_an_answer(bad: dict[str, Any], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        decode_request(Order, bad)
    assert decode_answer(Order, bad).name == "a"


def test_a_long_unknown_key_is_cut_in_the_sentence() -> None:
    with pytest.raises(UsageError) as caught:
        decode_request(Order, {"k" * 10_000: 1})
    assert len(caught.value.message) < 100


def test_a_key_that_python_cannot_call_so() -> None:
    assert decode_request(Nested, {"class": {"name": "a"}}) == Nested(Part("a"))
    assert encode(Nested(Part("a"))) == {"class": {"name": "a", "count": 0}}
    with pytest.raises(UsageError, match="'class' is missing"):
        decode_request(Nested, {})


def test_a_sentence_can_be_told_again() -> None:
    text = _("{name} is not a member", name="anna")
    found = decode_answer(Order, {"name": "a", "note": json.loads(json.dumps(to_json(text)))})
    assert isinstance(found.note, Message) and found.note == text and found.note.values == {"name": "anna"}


@pytest.mark.parametrize(("written", "order"), GOOD)
def test_what_is_written_can_be_read(written: dict[str, Any], order: Order) -> None:
    crossed = json.loads(json.dumps(encode(order)))
    assert decode_request(Order, crossed) == order == decode_answer(Order, crossed)
    assert "origin" not in crossed and ("secret" in crossed) is (order.secret is not None)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (str, "str"),
        (int, "int"),
        (bool, "bool"),
        (Text, "str"),
        (Optional[str], "str"),
        (list[str], "list of str"),
        (dict[str, int], "dict of int"),
        (list[Part], "list of object"),
        (list[list[str]], "list of list of str"),
    ],
)
def test_types_have_names_for_people(kind: Any, name: str) -> None:
    assert name_of(kind) == name
