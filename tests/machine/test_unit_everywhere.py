"""The unit tests on each Debian's own Python, with nothing but Debian's modules, as a plain user."""

from __future__ import annotations

import pytest

from tests.machine.lib.plugin import NewMachine
from tests.machine.lib.project import copy_project


@pytest.mark.every_debian
def test_unit_tests_pass(new_machine: NewMachine, suite: str) -> None:
    machine = new_machine(suite, layer="unit")
    machine.add_account("tester", "secret")
    copy_project(machine.path("/srv/project"))
    # Its `importlib` mode is not ripe in Debian 11; packages tell files of the same name apart, too.
    machine.run("find /srv/project/tests -type d -exec touch {}/__init__.py \\;")
    # The project's own settings are for a newer pytest with plugins.
    machine.write("/srv/project/pytest.ini", "[pytest]\n")
    summary = machine.run(
        "cd /srv/project && PYTHONPATH=src:. PYTHONDONTWRITEBYTECODE=1 python3 -m pytest"
        " -q -p no:cacheprovider tests/unit 2>&1",
        user="tester",
    )
    print(summary[-500:])
    assert " passed" in summary
