"""Runs inside JupyterHub's process, as `jupyterhub`: has the template of members' environments made when it is missing.

One build at a time, whoever asks for it; everybody who waits sees its progress.
"""

from __future__ import annotations

import asyncio
from typing import Optional

from traitlets.log import get_logger

from jupyterhub4family.common import paths
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.protocol import service_programs
from jupyterhub4family.common.protocol.actions import Nothing
from jupyterhub4family.common.protocol.responses import ProgressCallback
from jupyterhub4family.hub import calling
from jupyterhub4family.service.releases import builds, contents


class TemplateKeeper:
    """Knows whether there is a template, and has it built."""

    def __init__(self) -> None:
        self._build: Optional[asyncio.Task[None]] = None
        self._listeners: list[ProgressCallback] = []
        self._last: tuple[int, str] = (0, _("Preparing JupyterLab for the family"))

    def exists(self) -> bool:
        """Whether environments can be made now, be it from an older template."""
        return builds.is_complete(paths.CURRENT_TEMPLATE)

    async def ensure(self, progress: Optional[ProgressCallback] = None) -> None:
        """Return when the wanted template is there. Raises DoorError with the reason if it cannot be made."""
        if contents.template_tree(lambda _percent, _message: None).is_current():
            return
        if self._build is None or self._build.done():
            self._build = asyncio.ensure_future(self._run())
        if progress is None:
            await asyncio.shield(self._build)
            return
        progress(*self._last)
        self._listeners.append(progress)
        try:
            await asyncio.shield(self._build)
        finally:
            self._listeners.remove(progress)

    async def _run(self) -> None:
        await calling.call(service_programs.BUILD_TEMPLATE, Nothing(), on_progress=self._report)

    def _report(self, percent: int, message: str) -> None:
        if message != self._last[1]:
            # In the log, too: nobody may be looking at the page, and it may say why fetching took the longer way.
            get_logger().info("Template: %s", message)
        self._last = (percent, message)
        for listener in list(self._listeners):
            listener(percent, message)
