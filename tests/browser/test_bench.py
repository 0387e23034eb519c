"""The bench's scenes with chromium cannot rot: in campaigns they are played once; others: machine/test_bench.py."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bench import pages, scenes
from bench.book import Book
from bench.figures import SCENES
from bench.link import MEGABITS
from bench.stacks import OURS, SUITES, Ours
from tests.machine.lib.believable import check


@pytest.mark.campaign
@pytest.mark.any_debian(*SUITES)
def test_it_opens_jupyterlab_over_a_slow_network(deb: Path, suite: str) -> None:
    book = Book()
    # In a thread of its own: other tests' browser has this one's event loop, and the bench begins one itself.
    with scenes.stage(Ours(deb, suite, own_layers=False)) as stage, ThreadPoolExecutor(1) as thread:
        thread.submit(pages.first_page, book, [stage], 1).result()
        thread.submit(pages.used, book, [stage], 1, openings=1, afterwards=1).result()
    check(book, {*SCENES["page"], *SCENES["used"]})
    size, seconds = book.values["page_bytes"][OURS][0], book.values["page_cold"][OURS][0]
    assert size and seconds and seconds > size / (MEGABITS / 8) * 0.5, "the network was slow"
