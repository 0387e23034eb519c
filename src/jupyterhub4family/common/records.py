"""Any identity: frozen dataclasses that cost next to nothing to define, for programs that live for a moment.

Python's own write and compile the methods of each class anew when a program starts, and import `inspect` for it: a
third of what a door took (ADR 28). Here every class has the same ready methods. To a type checker they are Python's
own; and `dataclasses.fields`, `replace`, `asdict` understand them.
"""

from __future__ import annotations

__all__ = ["MISSING", "Field", "dataclass", "field", "fields", "is_record", "replace"]

#: Python's own has to be imported from `typing`, which takes a millisecond or two; type checkers know both.
TYPE_CHECKING = False
if TYPE_CHECKING:
    import dataclasses
    from collections.abc import Mapping
    from dataclasses import MISSING, Field, dataclass, field, replace
    from typing import Any, Callable, TypeVar

    T = TypeVar("T")
else:

    class Missing:
        """What a field without a default has for one."""

    MISSING = Missing()

    class Field:
        """One field of a record."""

        __slots__ = ("default", "default_factory", "metadata", "name", "repr")

        def __init__(self, default, default_factory, repr, metadata):
            self.name = ""
            self.default, self.default_factory, self.repr, self.metadata = default, default_factory, repr, metadata

    def field(*, default=MISSING, default_factory=MISSING, repr=True, metadata=None):
        """As `dataclasses.field`."""
        return Field(default, default_factory, repr, metadata or {})

    def dataclass(*, frozen):
        """As `dataclasses.dataclass(frozen=True)`: the class with methods for the fields that it names."""
        assert frozen
        return _completed

    def replace(record, /, **changes):
        """As `dataclasses.replace`."""
        kept = {name: getattr(record, name) for name in type(record).__record_fields__}
        return type(record)(**{**kept, **changes})


def is_record(value: Any) -> bool:
    """Whether this is a record, or the class of one."""
    return hasattr(value, "__record_fields__") or hasattr(value, "__dataclass_fields__")


def fields(shape: type) -> tuple[Field[Any], ...]:
    """The fields of a record's class, in their order."""
    own: dict[str, Field[Any]] = shape.__record_fields__  # type: ignore[attr-defined]
    return tuple(own.values())


# -- what every record has ---------------------------------------------------------------------------


def _completed(shape: type[T]) -> type[T]:
    known: dict[str, Field[Any]] = {}
    for base in reversed(shape.__mro__[1:]):
        known.update(base.__dict__.get("__record_fields__", {}))
    for name, annotation in shape.__dict__.get("__annotations__", {}).items():  # noqa: RUF063 (its own, not a base's)
        if not str(annotation).startswith("ClassVar"):
            known[name] = _field_of(shape, name)
    methods = {
        "__record_fields__": known,
        "__dataclass_fields__": _PythonsOwn(),
        "__match_args__": tuple(known),
        "__init__": _init,
        "__setattr__": _refuse,
        "__delattr__": _refuse,
        "__repr__": _repr,
        "__eq__": _eq,
        "__hash__": _hash,
    }
    for name, method in methods.items():
        setattr(shape, name, method)
    return shape


def _field_of(shape: type, name: str) -> Field[Any]:
    """The field that a class body describes; its default stays what the class itself has."""
    given = shape.__dict__.get(name, MISSING)
    described: Field[Any] = given if isinstance(given, Field) else field(default=given)
    if described.default is MISSING:
        if given is not MISSING:
            delattr(shape, name)
    else:
        setattr(shape, name, described.default)
    described.name = name
    return described


def _init(self: Any, /, *args: Any, **values: Any) -> None:
    known: Mapping[str, Field[Any]] = self.__record_fields__
    if len(args) > len(known):
        raise TypeError(f"{type(self).__name__} has {len(known)} fields, not {len(args)}")
    given = dict(zip(known, args))
    for name, value in values.items():
        if name in given or name not in known:
            raise TypeError(f"{type(self).__name__}: {name} is no field, or is given twice")
        given[name] = value
    place = object.__setattr__
    for name, one in known.items():
        if name in given:
            place(self, name, given[name])
        elif one.default is not MISSING:
            place(self, name, one.default)
        elif one.default_factory is not MISSING:
            place(self, name, one.default_factory())
        else:
            raise TypeError(f"{type(self).__name__}: {name} is missing")
    after = getattr(self, "__post_init__", None)
    if after is not None:
        after()


def _refuse(self: Any, name: str, _value: Any = None) -> None:
    from dataclasses import FrozenInstanceError

    raise FrozenInstanceError(f"cannot change field {name!r}")


def _values(self: Any) -> tuple[Any, ...]:
    return tuple(getattr(self, name) for name in self.__record_fields__)


def _repr(self: Any) -> str:
    shown = ", ".join(f"{one.name}={getattr(self, one.name)!r}" for one in fields(type(self)) if one.repr)
    return f"{type(self).__qualname__}({shown})"


def _eq(self: Any, other: object) -> bool:
    return _values(self) == _values(other) if type(self) is type(other) else NotImplemented


def _hash(self: Any) -> int:
    return hash(_values(self))


class _PythonsOwn:
    """The fields as `dataclasses` has them, made when somebody asks for them: never in a door."""

    def __get__(self, record: object, shape: type) -> dict[str, dataclasses.Field[Any]]:
        import dataclasses

        made: Callable[..., Any] = dataclasses.make_dataclass
        described = []
        for one in fields(shape):
            more: dict[str, Any] = {"repr": one.repr, "metadata": one.metadata}
            if one.default_factory is not MISSING:
                more["default_factory"] = one.default_factory
            elif one.default is not MISSING:
                more["default"] = one.default
            described.append((one.name, object, dataclasses.field(**more)))
        own: dict[str, dataclasses.Field[Any]] = made(shape.__name__, described).__dataclass_fields__
        return own
