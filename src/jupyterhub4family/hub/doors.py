"""Runs inside JupyterHub's process, as `jupyterhub`: opens doors through sudo without stopping the hub meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Callable, Optional

from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.common.i18n.messages import _, from_json, to_json
from jupyterhub4family.common.system import programs

#: Bytes of one answer line at most.
LINE_LIMIT = 1024 * 1024
#: Seconds that a program which was told to end gets for it.
GRACE_PERIOD = 2.0


class DoorError(FamilyError):
    """A door answered that it refuses or failed, or did not answer."""


async def open_door(
    door: Path,
    request: Mapping[str, Any],
    *,
    member: Optional[str] = None,
    timeout: float = 60,
    on_progress: Optional[Callable[[int, str], None]] = None,
) -> dict[str, Any]:
    """Send `request` through `door` (as `member`, else as root) and return its answer.

    Lines before the answer go to `on_progress` as percentage and sentence. `timeout` is in seconds.
    Raises DoorError.
    """
    as_whom = ["-u", member] if member else []
    return await call_program(
        ["/usr/bin/sudo", "-nH", *as_whom, str(door)], request, timeout=timeout, on_progress=on_progress
    )


async def call_program(
    args: Sequence[str],
    request: Mapping[str, Any],
    *,
    timeout: float,
    on_progress: Optional[Callable[[int, str], None]] = None,
) -> dict[str, Any]:
    """Run a program that speaks JSON lines and return its last line. Raises DoorError."""
    name = Path(args[-1]).name
    try:
        process = await asyncio.create_subprocess_exec(
            *args,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=LINE_LIMIT,
            env=programs.plain_environment(),
            cwd="/",
        )
    except OSError as error:
        raise DoorError(_("{name} could not be opened: {reason}", name=name, reason=error.strerror)) from error
    try:
        answer = await asyncio.wait_for(_exchange(process, request, on_progress), timeout)
    except asyncio.TimeoutError:
        raise DoorError(
            _("{name} did not answer within {seconds} seconds", name=name, seconds=f"{timeout:g}")
        ) from None
    except ValueError as error:  # from readline, for a line beyond LINE_LIMIT
        raise DoorError(_("{name} gave an answer that is too long", name=name)) from error
    finally:
        if process.returncode is None:
            # sudo passes SIGTERM on to what it runs; as another account we cannot do that ourselves.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                process.terminate()
            # Seen to its end: a hub that stops just now would else complain about a loop that is closed.
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(process.wait(), GRACE_PERIOD)
    if not answer.get("ok"):
        raise DoorError(from_json(answer.get("error")) or _("no reason was given"), from_json(answer.get("hint")))
    return answer


async def _exchange(
    process: asyncio.subprocess.Process,
    request: Mapping[str, Any],
    on_progress: Optional[Callable[[int, str], None]],
) -> dict[str, Any]:
    assert process.stdin and process.stdout and process.stderr
    errors = asyncio.ensure_future(process.stderr.read())
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(json.dumps(request).encode())
        await process.stdin.drain()
        process.stdin.close()
    answer: dict[str, Any] = {}
    async for line in process.stdout:
        try:
            untrusted = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if not isinstance(untrusted, dict):
            continue
        if isinstance(untrusted.get("percent"), int):
            if on_progress:
                on_progress(untrusted["percent"], from_json(untrusted.get("message")))
        else:
            answer = untrusted
    await process.wait()
    if not answer:
        said = programs.last_lines((await errors).decode("utf-8", "replace"), 3)
        status = process.returncode
        no_answer = _("the door gave no answer (status {status}): {said}", status=status, said=said)
        return {"ok": False, "error": to_json(no_answer)}
    return answer
