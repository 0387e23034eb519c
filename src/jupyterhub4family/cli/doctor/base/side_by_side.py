"""Runs as the caller: what waits for other programs, done for several at the same time."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Sequence
from typing import Callable, TypeVar, Union

from jupyterhub4family.common.system import programs

T = TypeVar("T")


def each(names: Sequence[str], work: Callable[[str], T], on_left: Callable[[Sequence[str]], None]) -> dict[str, T]:
    """What `work` returns for each of the names, as many at a time as there are processors.

    `on_left` is told which names are left, at the start and whenever one is done; the first ones are being worked on.
    What `work` raises is raised here. With Ctrl-C the programs that it waits for are ended, too.
    """
    left, found = list(names), dict[str, T]()
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[str, Union[T, BaseException]]] = queue.SimpleQueue()
    for name in names:
        waiting.put(name)

    def take() -> None:
        while True:
            try:
                name = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                done.put((name, work(name)))
            except BaseException as error:
                done.put((name, error))

    # Nobody waits for them at the end: a program that they wait for may be a member's, and never end.
    for _number in range(min(len(names), len(os.sched_getaffinity(0)))):
        threading.Thread(target=take, daemon=True).start()
    try:
        while left:
            on_left(left)
            name, result = done.get()
            if isinstance(result, BaseException):
                raise result
            found[name] = result
            left.remove(name)
    except BaseException:
        while not waiting.empty():
            waiting.get_nowait()
        programs.interrupt_all()
        raise
    return {name: found[name] for name in names}
