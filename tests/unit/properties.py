"""For tests with hypothesis, which Debian 11's machines do not have: those files are passed over there."""

from __future__ import annotations

import os
import tempfile

import pytest

pytest.importorskip("hypothesis")

from hypothesis import configuration, settings

if "HYPOTHESIS_STORAGE_DIRECTORY" not in os.environ:
    # Else it would keep its notes in the working tree. Removed when Python ends.
    _notes = tempfile.TemporaryDirectory()
    configuration.set_hypothesis_home_dir(_notes.name)

#: Busy machines are slow, and a test that fails now and then for that teaches nobody anything.
thorough = settings(max_examples=40, deadline=None)
