"""Any identity: what a program of ours can be asked for, as a typed request and a typed answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Generic, Optional, TypeVar

from jupyterhub4family.common import paths, records
from jupyterhub4family.common.protocol import responses, shapes
from jupyterhub4family.common.protocol.responses import Bounds

RequestT = TypeVar("RequestT")
AnswerT = TypeVar("AnswerT")


@records.dataclass(frozen=True)
class Nothing:
    """An empty request, or an answer that says no more than that it was done."""


@records.dataclass(frozen=True)
class Program:
    """A program in the package's folder of programs."""

    name: str
    #: The module with its `main`, below the package.
    module: str
    #: Whether it ends with 0 whatever it answers; else with the answer's status.
    always_ends_with_0: bool = False

    @property
    def path(self) -> Path:
        """Where it lies."""
        return paths.LIBRARY / self.name


@records.dataclass(frozen=True)
class Action(Generic[RequestT, AnswerT]):
    """One thing that a program does."""

    program: Program
    #: The value of the request's key `action`; empty where a program does one thing only.
    name: str
    request: type[RequestT]
    answer: type[AnswerT]
    #: The program's arguments; a door has none.
    args: tuple[str, ...] = ()
    #: Seconds until it has to answer; None where only a person or another timeout ends it.
    timeout: Optional[float] = 60
    bounds: Bounds = responses.DEFAULT

    def with_args(self, *args: str) -> Action[RequestT, AnswerT]:
        """The same action of a program that gets these arguments."""
        return records.replace(self, args=args)

    def command(self) -> list[str]:
        """The program and its arguments."""
        return [str(self.program.path), *self.args]

    def write_request(self, request: RequestT) -> str:
        """What goes to its stdin."""
        fields: dict[str, Any] = {"action": self.name} if self.name else {}
        return json.dumps({**fields, **shapes.encode(request)})
