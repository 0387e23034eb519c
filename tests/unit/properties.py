"""For tests with hypothesis, which Debian 11's machines do not have: those files are passed over there."""

from __future__ import annotations

import pytest

pytest.importorskip("hypothesis")

from hypothesis import settings

#: Busy machines are slow, and a test that fails now and then for that teaches nobody anything.
thorough = settings(max_examples=40, deadline=None)
