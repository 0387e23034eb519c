"""The unit tests on each Debian's own Python, as a plain user: on the oldest in every run.

What runs without a release is tested with nothing but Debian's modules; what runs inside JupyterHub with the packages
that locks/hub.txt names for this Python: on Debian 11 an older JupyterHub than `./test unit` has.
"""

from __future__ import annotations

import re

import pytest

from tests.machine.lib.layers import HUB_PYTHON
from tests.machine.lib.machine import Machine
from tests.machine.lib.plugin import NewMachine
from tests.machine.lib.project import copy_project

#: The tests of the rooms whose code runs on a release's Python, or beside JupyterHub; all others run on Debian's.
HUB, LEAN = "tests/unit/hub", "tests/unit/lean"


@pytest.mark.every_debian("bullseye")
def test_unit_tests_pass(new_machine: NewMachine, suite: str) -> None:
    with_debians_python(project_on(new_machine, suite))


@pytest.mark.every_debian("bullseye")
def test_unit_tests_pass_inside_the_hub(new_machine: NewMachine, suite: str) -> None:
    inside_the_hub(project_on(new_machine, suite))


@pytest.mark.campaign
@pytest.mark.any_debian("bookworm", "trixie")
def test_unit_tests_pass_on_newer_ones(new_machine: NewMachine, suite: str) -> None:
    """In campaigns: they take two cores five minutes, and `./test unit` runs on one of these already."""
    machine = project_on(new_machine, suite)
    with_debians_python(machine)
    inside_the_hub(machine)


def project_on(new_machine: NewMachine, suite: str) -> Machine:
    """A machine that holds the project, with the user `tester`."""
    machine = new_machine(suite, layer="unit")
    machine.add_account("tester", "secret")
    copy_project(machine.path("/srv/project"))
    # Its `importlib` mode is not ripe in Debian 11; packages tell files of the same name apart, too.
    machine.run("find /srv/project/tests -type d -exec touch {}/__init__.py \\;")
    # The project's own settings are for a newer pytest with plugins.
    machine.write("/srv/project/pytest.ini", "[pytest]\n")
    return machine


def with_debians_python(machine: Machine) -> None:
    assert machine.execute("python3 -c 'import jupyterhub'").returncode == 1, "nothing but Debian's modules"
    counted = run_pytest(machine, "python3", f"tests/unit --ignore {HUB} --ignore {LEAN}")
    assert counted["passed"] > 3000


def inside_the_hub(machine: Machine) -> None:
    counted = run_pytest(machine, HUB_PYTHON, f"{HUB} {LEAN}")
    assert counted["passed"] > 250 and "skipped" not in counted


def run_pytest(machine: Machine, python: str, what: str) -> dict[str, int]:
    """Run the tests; returns what pytest counts."""
    output = machine.run(
        f"cd /srv/project && PYTHONPATH=src:. PYTHONDONTWRITEBYTECODE=1 {python} -m pytest"
        f" -q -p no:cacheprovider {what} 2>&1",
        user="tester",
        timeout=900,
    )
    print(output[-500:])
    # Not always the last one: Python 3.11.2 of Debian 12 complains of its own garbage collection when it ends.
    summary = [line for line in output.splitlines() if re.fullmatch(r"(\d+ \w+(, )?)+ in [\d.]+s.*", line)][-1]
    return {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|error|skipped)", summary)}
