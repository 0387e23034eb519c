"""Runs as jupyterhub: a piece of work in a child of this process, while this process goes on with another.

A process and no thread: what is run meanwhile is started with code between fork and exec (`programs.run`), and that
does not go together with threads.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING, Callable

from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.system import processes
from jupyterhub4family.common.system.programs import ProgramError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

#: What the child says when all went well; everything else is an error's message.
_DONE = b""


@contextlib.contextmanager
def begun(work: Callable[[], object]) -> Iterator[Callable[[], None]]:
    """Begin `work`, and give what waits until it is done: that raises ProgramError if it was not, with the reason.

    Whoever leaves without having waited ends the work; it ends as well when this process does, however that happens.
    """
    # The hub, which only asks what the wanted release is, has no use for it.
    import multiprocessing

    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_work, args=(work, theirs, os.getpid()))
    child.start()
    # Else nobody would hear of a child that is killed.
    theirs.close()

    def wait() -> None:
        try:
            answer = ours.recv_bytes()
        except EOFError:
            child.join()
            raise ProgramError(_("it ended with status {status}", status=child.exitcode)) from None
        if answer != _DONE:
            raise ProgramError(answer.decode("utf-8"))

    try:
        yield wait
    finally:
        child.terminate()
        child.join()
        ours.close()


def _work(work: Callable[[], object], answer: Connection, parent: int) -> None:
    # Whatever this process does about its signals, the child is just to end.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    processes.die_with_parent()
    if os.getppid() != parent:
        return  # it ended before that
    try:
        work()
    except FamilyError as error:
        answer.send_bytes(error.message.encode("utf-8"))
    else:
        answer.send_bytes(_DONE)
