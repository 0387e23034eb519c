"""An open notebook that asks its kernel for something every 100 ms, and writes down when it answers."""

from __future__ import annotations

import threading
import time
from types import TracebackType

from tests.machine.lib.client import ClientError, Kernel

EVERY = 0.1
#: Seconds; a shorter wait is a slow answer, not silence.
SILENCE = 1.0


class Notebook:
    """Asks in a thread of its own while the `with` block lasts; opens broken connections again, as Lab does."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._answered: list[float] = []
        self._began = self._ended = 0.0
        self._asking = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)

    def __enter__(self) -> Notebook:
        self._kernel.execute("1 + 1")
        self._asking.set()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended = time.monotonic()
        self._asking.clear()
        self._thread.join(2)

    def begin(self) -> None:
        """From now on it counts."""
        self._began = time.monotonic()

    @property
    def answers(self) -> bool:
        """Whether the last answer is not older than what counts as silence."""
        return bool(self._answered) and self._answered[-1] > self._ended - SILENCE

    def silence(self) -> float | None:
        """Seconds without an answer since `begin`; None if there was none in the end."""
        if not self.answers:
            return None
        moments = [self._began, *(moment for moment in self._answered if self._began < moment <= self._ended)]
        gaps = [later - earlier for earlier, later in zip(moments, moments[1:])]
        return sum(gap for gap in gaps if gap > SILENCE)

    def _ask(self) -> None:
        while self._asking.is_set():
            try:
                if self._kernel.execute("1 + 1", timeout=10) == "2":
                    self._answered.append(time.monotonic())
            except (ClientError, OSError):
                self._reconnect()
            time.sleep(EVERY)

    def _reconnect(self) -> None:
        try:
            self._kernel.reconnect()
        except (ClientError, OSError):
            time.sleep(EVERY)
