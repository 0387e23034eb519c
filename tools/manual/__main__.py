"""python3 -m tools.manual FOLDER | --list: manual pages, shell completion and the sample of the settings.

`make install` lays them below FOLDER, where they belong on a machine, and `make uninstall` takes what --list names away
again. None of them is kept in the repository, so none can be stale. Needs msgfmt (gettext) for the German pages.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tools.manual import generated


def main() -> int:
    """Write every generated file, readable by all, or tell their names."""
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    os.umask(0o022)
    for name, text in generated.files().items():
        if sys.argv[1] == "--list":
            print(name)
            continue
        path = Path(sys.argv[1], name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return 0


sys.exit(main())
