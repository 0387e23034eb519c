"""python3 -m tools.manual [--check]: manual pages, shell completion, settings reference and sample file.

Call it after a change of the command line, of a settings key or of a translation of either; the unit tests fail
when it was forgotten. Needs msgfmt (gettext) for the German pages.
"""

from __future__ import annotations

import shutil
import sys

from tools.manual import generated


def main() -> int:
    """Write every generated file, or, with --check, only say which ones are stale."""
    check = sys.argv[1:] == ["--check"]
    if sys.argv[1:] and not check:
        print(__doc__, file=sys.stderr)
        return 2
    stale = 0
    # Without msgfmt the German pages can be made by somebody else, and only there be found stale.
    for path, text in generated.files(german=not check or shutil.which("msgfmt") is not None).items():
        if path.exists() and path.read_text("utf-8") == text:
            continue
        stale = 1
        print(f"{'stale' if check else 'written'}: {path.relative_to(generated.ROOT)}")
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
    return stale if check else 0


sys.exit(main())
