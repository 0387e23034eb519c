"""Runs inside JupyterHub's process, as `jupyterhub`: which files JupyterLab's page loads, for whoever waits for it.

While a server starts, the page that waits has the browser fetch them; the proxy has them from the template
(docs/adr/0030-first-page.md). A browser that has them already asks nobody.
"""

from __future__ import annotations

import json
from typing import Any

from jupyterhub4family.common import paths

#: One list for each version of JupyterLab that our locks name: the files of its first page as browsers ask for them,
#: `main.….js` first. A browser test says when it is out of date. Lists that begin with the `remoteEntry.….js` of an
#: extension are for the proxy alone (proxy/first_page.js).
LISTS = paths.SHARE / "first-page.json"
#: Where the template has them, and where the proxy has what it needs to serve them (proxy/compressed_files.js).
STATIC = "env/share/jupyter/lab/static"
COMPRESSED = "compressed/index.json"


def first_page_files(viewer: Any, spawner: Any) -> list[str]:
    """The files that are worth fetching ahead for a server that starts; none if it is somebody else's.

    None either if its environment is known not to be of the template in use. That is known late in a start: whoever has
    another version of JupyterLab may fetch these once for nothing.
    """
    template = paths.CURRENT_TEMPLATE
    if viewer is None or viewer.name != spawner.user.name or spawner.made_from not in ("", template.resolve().name):
        return []
    try:
        if not (template / COMPRESSED).is_file():
            return []
        lists: list[list[str]] = json.loads(LISTS.read_text("utf-8"))
        return next((names for names in lists if (template / STATIC / names[0].partition("?")[0]).is_file()), [])
    except (OSError, ValueError):
        return []
