"""common.records: to whoever uses them they are Python's frozen dataclasses; only Python starts faster with them."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any, ClassVar, Generic, TypeVar

import pytest

from jupyterhub4family.common import records

T = TypeVar("T")


@records.dataclass(frozen=True)
class Animal(Generic[T]):
    """With a field of each kind."""

    LEGS: ClassVar[int] = 4
    name: str
    secret: str = records.field(repr=False)
    age: int = 3
    friends: list[str] = records.field(default_factory=list)
    other: Any = records.field(default=None, metadata={"key": "class"})

    @property
    def doubled(self) -> int:
        """Twice as old."""
        return 2 * self.age


@records.dataclass(frozen=True)
class Cat(Animal[int]):
    """One more, and another default."""

    age: int = 5
    colour: str = "red"


@dataclasses.dataclass(frozen=True)
class PythonsAnimal:
    """The same by Python's own means, to compare with."""

    name: str
    secret: str = dataclasses.field(repr=False)
    age: int = 3
    friends: list[str] = dataclasses.field(default_factory=list)
    other: Any = dataclasses.field(default=None, metadata={"key": "class"})


def test_fields_are_given_by_place_or_by_name() -> None:
    rex = Animal[int]("Rex", "x", 7)
    assert (rex.name, rex.secret, rex.age, rex.friends, rex.other) == ("Rex", "x", 7, [], None)
    assert rex == Animal(age=7, secret="x", name="Rex") != Animal("Rex", "y", 7)
    assert rex.doubled == 14 and rex.LEGS == 4
    assert Animal("a", "b").friends is not Animal("a", "b").friends


@pytest.mark.parametrize(
    ("given", "named"),
    [((), {}), (("a",), {}), (("a", "b"), {"name": "c"}), (("a", "b"), {"legs": 4}), (tuple("abcdefg"), {})],
    ids=["nothing", "too few", "twice", "unknown", "too many"],
)
def test_what_does_not_fit_is_an_error_as_with_pythons_own(given: tuple[Any, ...], named: dict[str, Any]) -> None:
    for shape in (Animal, PythonsAnimal):
        with pytest.raises(TypeError):
            shape(*given, **named)


def test_nothing_can_be_changed() -> None:
    rex = Animal[int]("Rex", "x")
    for name in ("age", "new"):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(rex, name, 4)
    with pytest.raises(dataclasses.FrozenInstanceError):
        delattr(rex, "name")
    assert rex == Animal("Rex", "x")


def test_equality_hash_and_text() -> None:
    assert repr(Animal("Rex", "a secret")) == "Animal(name='Rex', age=3, friends=[], other=None)"
    assert "a secret" not in repr(Cat("Tom", "a secret"))
    assert Animal("a", "b") != Cat("a", "b") and Animal("a", "b").__eq__(1) is NotImplemented
    assert hash(Cat("a", "b", friends=())) == hash(Cat("a", "b", friends=()))  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        hash(Cat("a", "b"))


def test_a_class_below_another_has_its_fields_first() -> None:
    assert [one.name for one in records.fields(Cat)] == ["name", "secret", "age", "friends", "other", "colour"]
    assert Cat("Tom", "x").age == 5 and Animal("Rex", "x").age == 3
    assert Cat("Tom", "x", 1, [], None, "grey").colour == "grey"


def test_copies_with_other_values() -> None:
    tom = Cat("Tom", "x", friends=["Rex"])
    for replace in (records.replace, dataclasses.replace):
        other = replace(tom, age=9)
        assert type(other) is Cat and (other.age, other.friends, other.name) == (9, ["Rex"], "Tom")
        with pytest.raises(TypeError):
            replace(tom, legs=4)
    assert copy.copy(tom) == copy.deepcopy(tom) == pickle.loads(pickle.dumps(tom)) == tom


def test_pythons_own_functions_understand_them() -> None:
    assert dataclasses.is_dataclass(Animal) and records.is_record(Animal) and records.is_record(Animal("a", "b"))
    assert not records.is_record(3) and not records.is_record(str)
    ours, pythons = dataclasses.fields(Animal), dataclasses.fields(PythonsAnimal)
    for attribute in ("name", "default", "repr", "metadata"):
        assert [getattr(one, attribute) for one in ours] == [getattr(one, attribute) for one in pythons]
    assert dataclasses.asdict(Animal("a", "b")) == dataclasses.asdict(PythonsAnimal("a", "b"))
