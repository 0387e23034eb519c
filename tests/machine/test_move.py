"""Moving house as the handbook tells it (docs/howto/move.md): from an old Debian to a new one, in its own words."""

from __future__ import annotations

import re

import pytest

from tests.machine.lib.family import PASSWORD, add_member, logged_in, ready
from tests.machine.lib.places import REPOSITORY
from tests.machine.lib.plugin import NewMachine


def commands_of_the_handbook(word: str) -> list[str]:
    """Lines of the page's blocks of code that begin so."""
    page = (REPOSITORY / "docs/howto/move.md").read_text("utf-8")
    blocks = re.findall(r"```bash\n(.*?)```", page, re.DOTALL)
    return [line.strip() for block in blocks for line in block.splitlines() if line.strip().startswith(word)]


@pytest.mark.slow
def test_a_member_moves_to_a_newer_machine(new_machine: NewMachine) -> None:
    old, new = ready(new_machine("bookworm", layer="installed")), ready(new_machine("trixie", layer="installed"))
    pack, unpack = commands_of_the_handbook("sudo tar")
    (own,) = commands_of_the_handbook("sudo chown")
    add_member(old, "anna")
    with logged_in(old, "anna") as anna:
        anna.start_server()
        terminal = anna.terminal()
        terminal.run("mkdir -p ~/school && echo kept > ~/school/homework.txt")
        terminal.run("pip install iniconfig", timeout=120)
    said = old.run("jupyterhub4family env status anna")
    assert "iniconfig" in said, "step 1 shows the packages of her own"
    old.run("jupyterhub4family stop --servers; mkdir -p /media/usb")
    old.run(pack)

    # Another account of that name, with another number: that is how it is after a new installation.
    new.run("useradd -m -s /bin/bash somebody")
    new.add_account("anna", PASSWORD)
    new.run("mkdir -p /media/usb")
    new.put(old.path("/media/usb/anna.tar"), "/media/usb/anna.tar")
    new.run(f"{unpack} && {own}")
    (add,) = commands_of_the_handbook("sudo jupyterhub4family members add")
    new.run(add)
    with logged_in(new, "anna") as anna:
        anna.start_server()
        assert anna.terminal().run("cat ~/school/homework.txt").output == "kept"
        assert "3.13" in anna.kernel().execute("import sys; print(sys.version)")
    owners = new.run("find /home/anna -not -user anna -not -path '*/jupyterhub4family/env/*'").strip()
    assert owners == "", "everything is hers"
