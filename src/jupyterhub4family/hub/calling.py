"""Runs inside JupyterHub's process, as `jupyterhub`: opens doors through sudo without stopping the hub meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Optional

from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.protocol import calling, json_lines
from jupyterhub4family.common.protocol.actions import Action, AnswerT, RequestT
from jupyterhub4family.common.protocol.responses import ProgressCallback, ResponseReader
from jupyterhub4family.common.system import programs


class DoorError(FamilyError):
    """A door answered that it refuses or failed, or did not answer."""


async def open_door(
    action: Action[RequestT, AnswerT],
    request: RequestT,
    *,
    member: Optional[str] = None,
    on_progress: Optional[ProgressCallback] = None,
) -> AnswerT:
    """Ask a door for `action` (as `member`, else as root) and return its answer.

    Lines before the answer go to `on_progress` as percentage and sentence. Raises DoorError.
    """
    as_whom = ["-u", member] if member else []
    return await call(action, request, become=["/usr/bin/sudo", "-nH", *as_whom], on_progress=on_progress)


async def call(
    action: Action[RequestT, AnswerT],
    request: RequestT,
    *,
    become: Sequence[str] = (),
    on_progress: Optional[ProgressCallback] = None,
) -> AnswerT:
    """As `common.protocol.calling.call`, while the hub goes on. Raises DoorError."""
    name = action.program.name
    reader = ResponseReader(name, action.bounds, on_progress)
    exchange = _Exchange(reader, action.write_request(request).encode("utf-8"))
    try:
        transport = await _start([*become, *action.command()], exchange)
    except OSError as error:
        raise DoorError(_("{name} could not be opened: {reason}", name=name, reason=error.strerror)) from error
    try:
        # Not wait_for: before Python 3.12 it loses a cancellation that comes in the same turn as the answer.
        await asyncio.wait({exchange.ended}, timeout=action.timeout)
        if not exchange.ended.done():
            seconds = f"{action.timeout:g}"
            raise FamilyError(_("{name} did not answer within {seconds} seconds", name=name, seconds=seconds))
        exchange.ended.result()
        untrusted = json_lines.unwrap(reader.answer(transport.get_returncode()))
        return calling.understood(action, untrusted)
    except FamilyError as error:
        raise DoorError(error.message, error.hint, error.status) from error
    finally:
        await _end(transport, exchange)


async def _start(args: Sequence[str], exchange: _Exchange) -> asyncio.SubprocessTransport:
    """Start a program; here the tests put another one in its place. Raises OSError."""
    loop = asyncio.get_running_loop()
    transport, _protocol = await loop.subprocess_exec(
        lambda: exchange, *args, env=programs.plain_environment(), cwd="/"
    )
    return transport


async def _end(transport: asyncio.SubprocessTransport, exchange: _Exchange) -> None:
    """See a program to its end; one that is still at work is told to end, and nothing of it is read any more."""
    if not exchange.ended.cancel() and not exchange.ended.cancelled():
        # Looked at, so that nobody complains of an error that came too late for anybody.
        exchange.ended.exception()
    if transport.get_returncode() is None:
        # sudo passes SIGTERM on to what it runs; as another account we cannot do that ourselves.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            transport.terminate()
    for number in sorted(exchange.open_pipes):
        # Whoever still writes there gets SIGPIPE; what nobody has read of the request is dropped.
        pipe = transport.get_pipe_transport(number)
        if isinstance(pipe, asyncio.WriteTransport):
            pipe.abort()
        elif pipe is not None:
            pipe.close()
    # Seen to its end: a hub that stops just now would else complain about a loop that is closed.
    await asyncio.wait({exchange.exited}, timeout=programs.GRACE_PERIOD)


class _Exchange(asyncio.SubprocessProtocol):
    """Gives a program its request, and what it writes to a reader."""

    def __init__(self, reader: ResponseReader, request: bytes) -> None:
        self._reader, self._request = reader, request
        #: Done when the program has ended and all is read; fails when it has written more than it may.
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.exited: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        #: stdin, stdout, stderr, as far as they are not closed yet.
        self.open_pipes = {0, 1, 2}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Write the request: it waits in memory until the program reads it."""
        assert isinstance(transport, asyncio.SubprocessTransport)
        stdin = transport.get_pipe_transport(0)
        assert isinstance(stdin, asyncio.WriteTransport)
        stdin.write(self._request)
        stdin.write_eof()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """A piece of stdout or stderr."""
        if self.ended.done():
            return
        try:
            (self._reader.feed_stdout if fd == 1 else self._reader.feed_stderr)(data)
        except FamilyError as error:
            self.ended.set_exception(error)

    def pipe_connection_lost(self, fd: int, exc: Optional[Exception]) -> None:
        """The program has closed one of its pipes."""
        self.open_pipes.discard(fd)
        self._check()

    def process_exited(self) -> None:
        """The program has ended; what it has written may still be on its way."""
        self.exited.set_result(None)
        self._check()

    def _check(self) -> None:
        if self.exited.done() and self.open_pipes <= {0} and not self.ended.done():
            self.ended.set_result(None)
