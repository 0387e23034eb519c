"""Machine tests: fixtures and health checks come from `tests/machine/lib/plugin.py`."""

from tests.machine.lib.plugin import (
    deb,
    new_machine,
    pytest_runtest_call,
    pytest_runtest_makereport,
    scale,
)
from tests.machine.lib.plugin import register as pytest_configure

__all__ = ["deb", "new_machine", "pytest_configure", "pytest_runtest_call", "pytest_runtest_makereport", "scale"]
