"""The proxy's own modules, run by a real node: what a test gives goes in as JSON, and what comes back is JSON."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.unit.helpers import DATA, TIMEOUT

PROXY = DATA / "usr/share/jupyterhub4family/proxy"
#: Where node is: on a developer's machine Debian's (./test installs it), on one of the tests' the portal's own.
PLACES = (shutil.which("node"), "/var/lib/jupyterhub4family/releases/current/node/bin/node")
_AROUND = """
const fs = require("fs");
const given = JSON.parse(fs.readFileSync(0, "utf8"));
const work = async () => { %s };
// As the proxy's own server does: whatever is waited for, node does not end.
const alive = setInterval(() => {}, 1000);
work().finally(() => clearInterval(alive)).then((result) =>
  process.stdout.write(JSON.stringify(result === undefined ? null : result)));
"""


def node() -> str:
    """The program. Where there is none that is new enough for the proxy (Debian 11's), the test is skipped."""
    for place in PLACES:
        if place and Path(place).exists():
            version = subprocess.run([place, "--version"], capture_output=True, text=True, timeout=TIMEOUT, check=True)
            if int(version.stdout.strip().lstrip("v").partition(".")[0]) >= 18:
                return str(place)
    pytest.skip("no node that is new enough: it is tried where the proxy runs")


def run(body: str, given: Any = None) -> Any:
    """What the JavaScript `body` returns; `given` is its own word for it; modules of ours are required by ./NAME.js."""
    done = subprocess.run(
        [node(), "-e", _AROUND % body],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        cwd=PROXY,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
