"""Runs as the member, inside their server: stands in for modules while others are imported; loads the real ones later.

While a `Stage` is open, names of modules in `sys.modules` are taken by stand-ins that offer a few names. Who asks one
for anything else then has found out what we do not know: `Surprise`, and the server starts plain. When the stage has
closed, nothing of it is left in `sys.modules`, so whoever imports such a module gets the real one. Those who imported
it on the stage keep the stand-in, which from then on hands on to the real module.
"""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Mapping
from importlib import machinery
from typing import Any, Callable, Optional

#: What Python itself asks any module for.
_PYTHONS_OWN = frozenset(("__spec__", "__path__", "__file__", "__loader__", "__cached__", "__warningregistry__"))


class Surprise(BaseException):
    """Somebody needs what a stand-in does not have. No Exception: nobody may take it for a module that is missing."""


class StandIn(types.ModuleType):
    """Offers some names of a module while the stage is open; all of the real one's afterwards."""

    def __init__(self, name: str, offered: Mapping[str, Any], stage: Stage) -> None:
        super().__init__(name)
        self.__dict__.update(offered)
        self.__dict__["_stage_of_stand_in"] = stage

    def __getattr__(self, name: str) -> Any:
        """What is not offered: the real module's, or a surprise."""
        if name in _PYTHONS_OWN:
            raise AttributeError(name)
        stage: Stage = self.__dict__["_stage_of_stand_in"]
        if stage.is_open:
            raise stage.surprise(f"{self.__name__}.{name}")
        return getattr(real(self.__name__), name)


class Stage:
    """Stand-ins for the modules that `offers` names, each with the names it offers, as long as this is open.

    A module that is imported already is left alone: somebody needs it. For one that is not installed nothing stands in:
    who does without gets to know it.
    """

    def __init__(self, offers: Mapping[str, Mapping[str, Any]]) -> None:
        self.is_open = False
        self._placed: dict[str, StandIn] = {}
        self._surprise: Optional[Surprise] = None
        self._offers = offers

    def __enter__(self) -> Stage:
        self.is_open = True
        for name, offered in self._offers.items():
            if name not in sys.modules and find(name) is not None:
                self._placed[name] = sys.modules[name] = StandIn(name, offered, self)
        return self

    def __exit__(self, kind: object, error: Optional[BaseException], trace: object) -> None:
        self.is_open = False
        for name, stand_in in self._placed.items():
            if sys.modules.get(name) is stand_in:
                del sys.modules[name]
        if error is None and self._surprise is not None:
            # A bare `except:` has swallowed it.
            raise self._surprise

    def surprise(self, name: str) -> Surprise:
        """What to raise where `name` is asked for; it is remembered."""
        self._surprise = Surprise(f"{name} is needed at the start")
        return self._surprise


def find(name: str) -> Optional[machinery.ModuleSpec]:
    """Where a module is, without importing it or what it is in; None if there is none."""
    spec: Optional[machinery.ModuleSpec] = None
    parts = name.split(".")
    for count in range(1, len(parts) + 1):
        inside = spec.submodule_search_locations if spec else None
        if spec and inside is None:
            return None
        spec = machinery.PathFinder.find_spec(".".join(parts[:count]), inside)
        if spec is None:
            return None
    return spec


def real(name: str) -> types.ModuleType:
    """The module itself, imported if nobody has yet. Raises Surprise while something stands in for it."""
    module = importlib.import_module(name)
    if isinstance(module, StandIn):
        stage: Stage = vars(module)["_stage_of_stand_in"]
        raise stage.surprise(name)
    return module


def deferred(module: str, name: str) -> Callable[..., Any]:
    """A function that calls the real one of that module: for names that nobody uses before they call them."""

    def call(*args: Any, **more: Any) -> Any:
        return getattr(real(module), name)(*args, **more)

    call.__name__ = call.__qualname__ = name
    call.__module__ = module
    return call


class Later:
    """An object that is made when somebody first asks it for something."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make: Optional[Callable[[], Any]] = make
        self._made: Any = None

    def __getattr__(self, name: str) -> Any:
        """The made object's; `_make` and `_made` are our own."""
        if self._make is not None:
            self._made, self._make = self._make(), None
        return getattr(self._made, name)


# -- a package that runs when it is needed ---------------------------------------------------------------


class _Sleeping(types.ModuleType):
    """A package that has not run yet: its modules can be imported, a name of its own wakes it up."""

    def __getattr__(self, name: str) -> Any:
        if name in _PYTHONS_OWN:
            raise AttributeError(name)
        if type(self) is _Sleeping:
            # From now on it is any module.
            self.__class__ = types.ModuleType  # type: ignore[assignment]
            spec = self.__spec__
            assert spec is not None and spec.loader is not None
            spec.loader.exec_module(self)
        return getattr(self, name)


def put_to_sleep(name: str) -> None:
    """Let `import NAME.part` not run the package NAME before somebody uses a name of it; nothing if there is none.

    It is the real package, at its place in `sys.modules`, only later.
    """
    spec = None if name in sys.modules else find(name)
    if spec is None or spec.loader is None or spec.submodule_search_locations is None:
        return
    module = _Sleeping(name)
    module.__spec__, module.__loader__, module.__package__ = spec, spec.loader, name
    module.__path__ = spec.submodule_search_locations
    module.__file__ = spec.origin
    sys.modules[name] = module
