"""Fuzz the parsers: python -m tests.fuzz [SECONDS-FOR-EACH]. Runs as whoever calls it; reads and writes only a folder.

Each target is a process of its own, for the fuzzer (atheris, which is libFuzzer for Python) never returns. What it has
found out about the code is thrown away: the inputs that matter for good become examples in tests/unit.
"""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

try:
    atheris: Any = importlib.import_module("atheris")
except ImportError:  # no wheel for this processor or Python
    atheris = None

#: What tools of ours end with that could not look: ./test says NOT CHECKED.
NOT_CHECKED = 75
SECONDS = 10
#: Less would mean that something stands in the way of the fuzzer.
LEAST = 2000


def main() -> int:
    """Fuzz all targets; 0 if none fell."""
    if atheris is None:
        print("fuzzing: there is no atheris for this computer")
        return NOT_CHECKED
    if sys.argv[1:2] == ["--target"]:
        fuzz(sys.argv[2], sys.argv[3:])
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else SECONDS
    from tests.fuzz.targets import TARGETS

    return max([run(name, seconds) for name in TARGETS])


def run(name: str, seconds: int) -> int:
    """Fuzz one target in a process of its own, and say how often."""
    from tests.fuzz.targets import SEEDS

    with tempfile.TemporaryDirectory() as directory:
        corpus = Path(directory, "corpus")
        corpus.mkdir()
        for number, seed in enumerate(SEEDS[name]):
            (corpus / str(number)).write_bytes(seed)
        limits = [f"-max_total_time={seconds}", "-max_len=4096", "-timeout=10", "-rss_limit_mb=1024"]
        args = [
            sys.executable,
            "-m",
            "tests.fuzz",
            "--target",
            name,
            *limits,
            f"-artifact_prefix={directory}/",
            str(corpus),
        ]
        done = subprocess.run(args, check=False, capture_output=True, text=True, errors="replace")
        output = done.stdout + done.stderr
        tried = re.search(r"Done (\d+) runs", output)
        count = int(tried[1]) if tried else 0
        print(f"fuzzing: {name}: {count} inputs, {len(list(corpus.iterdir()))} of them new to it")
        if done.returncode == 0 and count >= LEAST:
            return 0
        print(output[-4000:])
        for found in Path(directory).glob("*-*"):
            if found.is_file():
                print(f"fuzzing: the input was {found.read_bytes()[:2000]!r}")
        return 1


def fuzz(name: str, options: list[str]) -> None:
    """Fuzz in this process, which does not return from it."""
    with atheris.instrument_imports():
        from tests.fuzz.targets import TARGETS
    atheris.Setup([sys.argv[0], *options], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
