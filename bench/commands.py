"""What the command line costs on a machine with a large family."""

from __future__ import annotations

from bench import cpu
from bench.book import Book
from bench.scenes import Stage
from bench.stacks import FLOOR, OURS

#: Members with environments, and accounts in all that may log in.
MEMBERS, ACCOUNTS = 50, 200
#: Calls in a row of what takes milliseconds.
CALLS = 10
#: Whoever is in it may log in.
_GROUP = "jupyterhub"


def commands(book: Book, here: Stage, repeats: int, members: int = MEMBERS, accounts: int = ACCOUNTS) -> None:
    """Call them as root; the stock stack has nothing of the kind."""
    here.stack.family(here.machine, members)
    # They may log in and never did: a group is all there is to that, and their environments would take minutes.
    here.machine.run(
        f"for number in $(seq {members + 1} {accounts});"
        f" do useradd -m -s /bin/bash -G {_GROUP} guest$number || exit; done"
    )
    here.machine.run("jupyterhub4family doctor >/dev/null 2>&1", check=False)  # once before it counts
    for _ in range(repeats):
        for figure, command in (("version_cpu", "version"), ("members_cpu", "members list")):
            book.note(figure, FLOOR, cpu.of_command(here.machine, "/usr/bin/python3 -I -c pass", CALLS))
            book.note(figure, OURS, cpu.of_command(here.machine, f"jupyterhub4family {command}", CALLS))
        book.note("doctor_cpu", OURS, cpu.of_command(here.machine, "jupyterhub4family doctor"))
