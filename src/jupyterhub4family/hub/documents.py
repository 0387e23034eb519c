"""Runs inside JupyterHub's process, as `jupyterhub`: the hub's pages are for people, in a window of their own.

In each of them, also in those that say what went wrong, stands the token that the API wants to hear (XSRF). A script of
whatever page of this origin, or a frame, gets the status of an answer, and nothing of the page.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

from jupyterhub.handlers.base import BaseHandler


def is_for_people(headers: Mapping[str, str]) -> bool:
    """Whether a window will show the answer. Browsers say so; those that do not (plain HTTP) are believed."""
    mode, destination = (headers.get(f"Sec-Fetch-{word}") for word in ("Mode", "Dest"))
    return mode in (None, "navigate") and destination in (None, "document")


def keep_from_scripts() -> None:
    """Have the hub send pages to nobody else."""
    # JupyterHub has no hook for that, so a method of its base handler is extended.
    # The configuration is read more than once in one process.
    finish = getattr(BaseHandler.finish, "theirs", BaseHandler.finish)

    def finish_for_people(handler: Any, chunk: Optional[Any] = None) -> Any:
        content_type = str(handler._headers.get("Content-Type", ""))
        is_page = not isinstance(chunk, dict) and content_type.startswith(("text/html", "application/xhtml"))
        if is_page and (chunk or handler._write_buffer) and not is_for_people(handler.request.headers):
            handler._write_buffer = []
            chunk = None
            if handler.get_status() < 400:
                handler.set_status(403)
        return finish(handler, chunk)

    finish_for_people.theirs = finish  # type: ignore[attr-defined]
    BaseHandler.finish = finish_for_people
    BaseHandler._xsrf_safe_methods = property(_xsrf_safe_methods)


def _xsrf_safe_methods(handler: Any) -> set[str]:
    """The methods that need no token: for scripts not even GET, as in the API."""
    return {"GET", "HEAD", "OPTIONS"} if is_for_people(handler.request.headers) else {"HEAD", "OPTIONS"}
