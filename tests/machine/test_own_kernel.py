"""A second environment in a member's home is a kernel of their JupyterLab: in the handbook's own words."""

from __future__ import annotations

import re

import pytest

from tests.machine.lib.family import add_member, logged_in, ready
from tests.machine.lib.places import REPOSITORY
from tests.machine.lib.plugin import NewMachine


def commands_of_the_handbook() -> list[str]:
    """What the page tells to type in a terminal, between its heading and the next."""
    page = (REPOSITORY / "docs/howto/packages.md").read_text("utf-8")
    section = page.partition("## A second environment for one project")[2].partition("\n## ")[0]
    return [line for block in re.findall(r"```bash\n(.*?)```", section, re.DOTALL) for line in block.splitlines()]


@pytest.mark.any_debian
@pytest.mark.slow
def test_another_environment_becomes_a_kernel(new_machine: NewMachine, suite: str) -> None:
    machine = ready(new_machine(suite, layer="installed"))
    add_member(machine, "alice")
    with logged_in(machine, "alice") as alice:
        alice.start_server()
        *make, remove, delete = commands_of_the_handbook()
        terminal = alice.terminal()
        for line in make:
            # A small package stands for a large one.
            result = terminal.run(line.replace("astropy", "six"), timeout=300)
            assert result.status == 0, result.output
        kernel = alice.kernel(spec="astronomy")
        assert kernel.execute("import sys, six; sys.prefix").strip("'") == "/home/alice/astronomy"
        assert alice.kernel().execute("import sys; sys.prefix").strip("'").endswith("jupyterhub4family/env")
        machine.run("jupyterhub4family env reset", user="alice")
        assert "astronomy" in terminal.run("jupyter kernelspec list").output, "a reset leaves it alone"
        assert terminal.run(f"{remove} -y && {delete}", timeout=60).status == 0
        assert "astronomy" not in terminal.run("jupyter kernelspec list").output
