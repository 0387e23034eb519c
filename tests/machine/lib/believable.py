"""What the bench's figures can be on any computer: for the tests that try whether it still measures."""

from __future__ import annotations

from bench.book import Book
from bench.stacks import FLOOR, OURS, STOCK

#: What no computer that can run this will leave: seconds, MB and numbers.
PLAUSIBLE = {
    "warm_start": (0.1, 120),
    "warm_cpu": (0.05, 30),
    "hub_cpu": (0.005, 5),
    "first_minus_warm": (-60, 60),
    "server_memory": (25, 400),
    "service_memory": (60, 400),
    "hub_memory": (30, 250),
    "proxy_memory": (15, 250),
    "syncs": (0, 300),
    "hub_syncs": (0, 300),
    "page_bytes": (0.3, 20),
    "page_cold": (0.5, 120),
    "page_warm": (0.3, 120),
    "visit": (0.5, 200),
    "visit_bytes": (0.3, 20),
    "visit_cpu": (0.1, 60),
    "server_memory_used": (25, 600),
    "doctor_cpu": (0.05, 200),
    "members_cpu": (0.01, 10),
    "version_cpu": (0.005, 5),
    "killed_systemd": (0.2, 100),
    "restart_silence": (0, 60),
}
#: Of floors: a bare server, a bare python, a page that is in the cache.
LEAST = {
    "warm_start": (0.01, 30),
    "warm_cpu": (0.01, 5),
    "server_memory": (5, 60),
    "page_cold": (0.3, 120),
    "members_cpu": (0.001, 1),
    "version_cpu": (0.001, 1),
}
#: The stock stack's documented way: the portal stays away, the notebook's server is gone.
NEVER = {"killed_documented", "restart_silence"}
#: What the stock stack does not have.
OURS_ALONE = {"first_minus_warm", "doctor_cpu", "members_cpu", "version_cpu"}


def check(book: Book, figures: set[str], stacks: tuple[str, ...] = (OURS,)) -> None:
    """All of these were measured for these stacks, and can be true."""
    assert not book.problems
    assert figures <= set(book.values)
    for figure, columns in book.values.items():
        for column in stacks:
            if column == STOCK and figure in OURS_ALONE:
                assert column not in columns
            elif column == STOCK and figure in NEVER:
                assert columns[column] == [None], (figure, columns)
            elif figure in PLAUSIBLE:
                least, most = PLAUSIBLE[figure]
                assert all(value is not None and least <= value <= most for value in columns[column]), (figure, columns)
        for value in columns.get(FLOOR, []):
            least, most = LEAST[figure]
            assert value is not None and least <= value <= most, (figure, columns)
