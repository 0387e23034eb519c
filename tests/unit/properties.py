"""For tests with hypothesis, which Debian 11's machines do not have: those files are passed over there."""

from __future__ import annotations

import os
import tempfile

import pytest

pytest.importorskip("hypothesis")

from hypothesis import configuration, settings  # noqa: E402 (only after it is known to be there)

if "HYPOTHESIS_STORAGE_DIRECTORY" not in os.environ:
    # Else it would keep its notes in the working tree.
    configuration.set_hypothesis_home_dir(tempfile.gettempdir() + "/hypothesis-of-jupyterhub4family")

#: Busy machines are slow, and a test that fails now and then for that teaches nobody anything.
thorough = settings(max_examples=200, deadline=None)
