"""Runs inside JupyterHub's process, as `jupyterhub`: a log that stays readable, bounded and without secrets.

JupyterHub leaves what is secret out of the addresses that it logs; tornado, which logs those of requests that fail,
does not, and what an address has inside it (`?next=`) neither of them looks at.

Of lines of the same kind so many are written; the others are counted, and every ten seconds the count is. The proxy
does the same (proxy/logs.js).
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from dataclasses import dataclass, field

from traitlets.log import get_logger

#: Lines of a kind at once, and so many more in a second: a family that clicks has a fifth of that.
BURST, RATE = 150, 3.0
#: Characters of a line: the address of a request may be as long as a whole head, 64 kB.
LONGEST = 2000
#: Seconds between two counts.
EVERY = 10.0
#: What JupyterHub's lines of requests begin with: a status is a kind of its own.
_STATUS = re.compile(r"[1-5][0-9]{2} ")
#: Values in addresses, by the names that JupyterHub has in jupyterhub.log.SCRUB_PARAM_KEYS.
_SECRET = re.compile(
    r"(?P<name>(?:[?&]|%(?:25){0,3}(?:3F|26))[\w.-]{0,40}(?:token|auth|key|code|state|_xsrf)[\w.-]{0,40}"
    r"(?:=|%(?:25){0,3}3D))(?:(?!%(?:25){0,3}26)[^&\s()'\"#])+",
    re.IGNORECASE,
)


@dataclass
class _Kind:
    """Lines that one place in the program writes, of one level (and status)."""

    tokens: float = BURST
    filled: float = field(default_factory=time.monotonic)
    left_out: int = 0
    last: str = ""
    name: str = ""
    level: int = logging.INFO


class Bounds(logging.Filter):
    """Lets so many lines of a kind pass."""

    def __init__(self) -> None:
        super().__init__()
        self._kinds: dict[tuple[str, int, str], _Kind] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is written; asked again of the same line by another handler, it answers the same."""
        if _is_of_the_end(record):
            return False
        if "within_bounds" not in record.__dict__:
            _tidy(record)
            record.__dict__["within_bounds"] = record.__dict__.get("is_count", False) or self._take(record)
        return bool(record.__dict__["within_bounds"])

    def _take(self, record: logging.LogRecord) -> bool:
        text = str(record.msg)
        status = _STATUS.match(text)
        key = (record.pathname, record.lineno, f"{record.levelno} {status[0] if status else ''}")
        kind = self._kinds.setdefault(key, _Kind(name=record.name, level=record.levelno))
        now = time.monotonic()
        kind.tokens = min(BURST, kind.tokens + (now - kind.filled) * RATE)
        kind.filled = now
        if kind.tokens >= 1:
            kind.tokens -= 1
            return True
        kind.left_out += 1
        kind.last = text[:1000]
        return False

    def write_counts(self) -> None:
        """Say how many lines were left out since the last time."""
        for kind in self._kinds.values():
            if kind.left_out:
                count, kind.left_out = kind.left_out, 0
                text = "… %s more like this: %s"
                logging.getLogger(kind.name).log(kind.level, text, f"{count:,}", kind.last, extra={"is_count": True})


def _is_of_the_end(record: logging.LogRecord) -> bool:
    """Whether it is of a request that was under way when the hub was stopped: Python 3.9 tells each with a traceback.

    asyncio calls what tornado wants to do with the result, which there is none of; nothing has gone wrong.
    """
    error = record.exc_info[1] if record.exc_info else None
    return record.name == "asyncio" and isinstance(error, asyncio.CancelledError)


def _tidy(record: logging.LogRecord) -> None:
    """Shorten a line, and leave secrets out of it."""
    try:
        text = record.getMessage()
    except (TypeError, ValueError):
        return  # a mistake of whoever logs; the handler says so
    tidy = _SECRET.sub(r"\g<name>[secret]", text[:LONGEST])
    record.msg, record.args = tidy + " (…)" * (len(text) > LONGEST), ()


async def keep_bounded() -> None:
    """Bound what this process logs, as long as it runs. Once JupyterHub has made its logger."""
    bounds = Bounds()
    handlers = [*logging.getLogger(get_logger().name).handlers, *logging.getLogger().handlers]
    if logging.lastResort is not None:
        handlers.append(logging.lastResort)  # what loggers without handlers write with, asyncio's above all
    for handler in handlers:
        handler.addFilter(bounds)
    while True:
        await asyncio.sleep(EVERY)
        bounds.write_counts()


def spare_unwritten(logger: logging.Logger) -> None:
    """Have no lines made that no handler writes: JupyterHub's logger makes all, and its handler drops most of them."""
    if logger.propagate or not logger.handlers:
        return
    level = min(handler.level for handler in logger.handlers)
    # tornado's, and oauthlib's, which JupyterHub leads to its own.
    led = [one for one in logging.Logger.manager.loggerDict.values() if getattr(one, "parent", None) is logger]
    for one in (logger, *led):
        if isinstance(one, logging.Logger):
            one.setLevel(max(one.level, level))
