"""Make all layers that the machine tests stand on, two at a time, before the tests start.

Left to the tests, workers would wait for each other's layer. Run by `./test machine`.
"""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from tests.machine.lib import DEBIANS, layers, roots, turns
from tests.machine.lib.places import FAILURES, remove_tree

_KEEP_FAILURES = 14 * 24 * 3600


def wanted(campaign: bool) -> list[tuple[str, str, str]]:
    """The stacks of layers, the slow ones first, so that the last one is not alone for long."""
    cron = DEBIANS if campaign else (turns.cron_suite(turns.commit()),)
    return [
        *(("installed", suite, "systemd") for suite in DEBIANS),
        *(("installed", suite, "sysvinit") for suite in cron),
        *(("unit", suite, "systemd") for suite in DEBIANS),
        *(("base", suite, "sysvinit") for suite in DEBIANS),
    ]


def prepare(stack: tuple[str, str, str]) -> str:
    """Make one stack of layers and the root below; return what went wrong."""
    layer, suite, init = stack
    start = time.monotonic()
    try:
        roots.root(suite, init)
        layers.stack(layer, suite, init)
    except Exception as error:
        return f"{layer} {suite} {init}: {error}"
    seconds = time.monotonic() - start
    if seconds > 1:
        print(f"{seconds:7.1f} s  {layer} {suite} {init}", flush=True)
    return ""


def forget_old_failures() -> None:
    """Remove what failing tests of weeks ago left behind."""
    for kept in FAILURES.glob("*"):
        if time.time() - kept.stat().st_mtime > _KEEP_FAILURES:
            remove_tree(kept)


def main() -> int:
    """Make what is missing; tests of the layers that cannot be made will fail on their own."""
    forget_old_failures()
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        errors = [failure for failure in pool.map(prepare, wanted("--campaign" in sys.argv)) if failure]
    print("\n\n".join(errors), file=sys.stderr)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
