"""Which release of Debian, and which supervisor, a test has its turn with.

    @pytest.mark.any_debian                        # one of the three, another one at another commit
    def test_something(new_machine, suite): ...

    @pytest.mark.any_debian("bullseye", "trixie")  # one of these
    @pytest.mark.every_debian                      # what depends on the release
    @pytest.mark.any_init                          # suite and init: with systemd, or with sysvinit and cron
    @pytest.mark.every_init                        # both, each on one release
    @pytest.mark.with_cron                         # the release that has sysvinit and cron in this run
    @pytest.mark.in_turn(3)                        # in one of three runs, each of its cases in another one

    pytestmark = pytest.mark.any_debian            # one for the whole file, whose tests may then share a machine

What is chosen follows from the test's name and the commit, so that all pairs come up in turn and a run can be
repeated: with the same commit, or with its name in `J4F_COMMIT`. Machines with cron are all of one release in a run,
because each pair of release and init has layers of its own. A campaign (`--campaign`) runs every pair.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence

import pytest

from tests.machine.lib.places import DEBIANS, REPOSITORY, host

COMMIT = "J4F_COMMIT"
INITS = ("systemd", "sysvinit")
MARKERS = (
    "any_debian(*suites): on one release, chosen by name and commit; argument suite",
    "every_debian(*suites): on each release, or on these; argument suite",
    "any_init: under one supervisor and on one release, chosen by name and commit; arguments suite and init",
    "every_init: under each supervisor, on one release each; arguments suite and init",
    "with_cron: on the release that has cron in this run; argument suite",
    "in_turn(count): takes as much of the computer as ten tests; in one of so many whole runs, by name and commit",
    "campaign: takes long; for ./test campaign only",
)
_GIVES = frozenset(marker.split("(")[0].split(":")[0] for marker in MARKERS) - {"campaign", "in_turn"}
_PAIR = ("suite", "init")


def commit() -> str:
    """The commit that choices follow from: as told, else git's, else none."""
    reported = os.environ.get(COMMIT)
    if reported:
        return reported
    git = host("git", "-C", REPOSITORY, "-c", f"safe.directory={REPOSITORY}", "rev-parse", "HEAD", check=False)
    return git.stdout.strip() or "none"


def pick(name: str, choices: Sequence[str], turn: str) -> str:
    """One of the choices: each name begins elsewhere, and each turn goes so much further with all of them."""
    return choices[(_number(name) + _number(turn)) % len(choices)]


def has_turn(item: pytest.Item, turn: str) -> bool:
    """Whether a test is in a whole run of this turn: one without the mark `in_turn` always is."""
    marker = item.get_closest_marker("in_turn")
    if marker is None:
        return True
    given = getattr(item, "callspec", None)
    # On which release it is has turns of its own.
    case = sorted((name, repr(value)) for name, value in given.params.items() if name not in _PAIR) if given else []
    place = _number(f"{item.nodeid.partition('[')[0]} {case}") + _number(turn)
    return place % int(marker.args[0]) == 0


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def cron_suite(turn: str) -> str:
    """The release whose machines with sysvinit and cron this turn has."""
    return pick("cron", DEBIANS, turn)


def values(marker: pytest.Mark, name: str, turn: str, campaign: bool) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Arguments, and what they are, for the test or file of this name that bears this marker."""
    suites = tuple(marker.args) or DEBIANS
    suite = pick(name, suites, turn)
    cron = cron_suite(turn)
    if marker.name in ("every_debian", "any_debian", "with_cron"):
        one = {"every_debian": suites, "any_debian": (suite,), "with_cron": (cron,)}[marker.name]
        return ("suite",), [(each,) for each in (suites if campaign else one)]
    pairs: list[tuple[str, ...]] = [(suite, "systemd"), (cron, "sysvinit")]
    if campaign:
        pairs = [(each, init) for init in INITS for each in suites]
    elif marker.name == "any_init":
        pairs = [pairs[INITS.index(pick(f"{name} init", INITS, turn))]]
    return _PAIR, pairs


class Turns:
    """The plugin: gives the marked tests their releases, and leaves out what is for campaigns."""

    def __init__(self, config: pytest.Config) -> None:
        self._campaign = bool(config.getoption("campaign"))
        self.commit = commit()
        # A commit that somebody makes meanwhile must not give workers, or a second try, other choices.
        os.environ[COMMIT] = self.commit
        for marker in MARKERS:
            config.addinivalue_line("markers", marker)

    def pytest_report_header(self) -> str:
        """How this run can be repeated."""
        every = "all of them: a campaign" if self._campaign else f"those of {COMMIT}={self.commit}"
        return f"releases and supervisors: {every}"

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Give a marked test its values; of several marks the nearest counts."""
        for node, mark in metafunc.definition.iter_markers_with_node():
            if mark.name in _GIVES:
                arguments, rows = values(mark, node.nodeid, self.commit, self._campaign)
                # As wide as that, because tests of a file may share a machine.
                metafunc.parametrize(arguments, rows, scope="module")
                return

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Take out what is for campaigns, and of a whole run what has its turn in another one, and tell that."""
        if self._campaign:
            return
        left_out = [item for item in items if item.get_closest_marker("campaign")]
        if config.getoption("once_more"):
            left_out += [item for item in items if item not in left_out and not has_turn(item, self.commit)]
        if left_out:
            config.hook.pytest_deselected(items=left_out)
            items[:] = [item for item in items if item not in left_out]
