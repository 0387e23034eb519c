"""What tools/manual makes is in step with the parser and the settings, and works: bash really completes."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jupyterhub4family.common.settings.model import KEYS, Settings, parse_text, settings_of
from tests.unit.helpers import DATA, PATIENCE, ROOT, write_program

SHARE = DATA / "usr/share"
BASH = SHARE / "bash-completion/completions/jupyterhub4family"
MANUALS = sorted((SHARE / "man").rglob("jupyterhub4family*.[15]"))


def test_generated_files_are_in_step() -> None:
    """Stale? Then: python3 -m tools.manual."""
    command = [sys.executable, "-B", "-m", "tools.manual", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", timeout=PATIENCE, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_sample_sets_nothing_and_every_line_of_it_is_valid() -> None:
    sample = (SHARE / "jupyterhub4family/config.sample.yaml").read_text("utf-8")
    assert parse_text(sample, "sample") == {}
    lines = [line[1:] for line in sample.splitlines() if re.match(r"#\w+: ", line)]
    assert [line.partition(":")[0] for line in lines] == list(KEYS)
    assert settings_of(parse_text("\n".join(lines), "sample"), "sample") == Settings()


# -- bash --------------------------------------------------------------------------------------------


GETENT = """
    case $1 in
        group) echo "jupyterhub:x:200:anna,ben" ;;
        passwd) echo "anna:x:1001:1001:::"; echo "carla:x:1002:1002:::"; echo "daemon:x:1:1:::" ;;
    esac
"""


def completed(words: str, folder: Path) -> list[str]:
    """What bash offers when the tabulator is pressed behind `words`."""
    write_program(folder / "getent", GETENT, "/bin/sh")
    parts = words.split(" ")
    script = f"""
        . {BASH}
        COMP_WORDS=({" ".join(f"'{part}'" for part in parts)}) COMP_CWORD={len(parts) - 1}
        $(complete -p "${{COMP_WORDS[0]}}" | sed 's/.*-F \\([^ ]*\\) .*/printf %s \\1/') >/dev/null
        _jupyterhub4family && printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        ["bash", "--norc", "-uc", script],
        env={"PATH": f"{folder}:/usr/bin:/bin"},
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        timeout=PATIENCE,
        check=False,
    )
    assert done.stderr == "" and done.returncode == 0, done
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("jupyterhub4family stat", "status"),
        ("jh4f sta", "status start"),
        ("jh4f status --j", "--json"),
        ("jh4f --v", "--version"),
        ("jh4f members ", "add remove list"),
        ("jh4f members remove a", "anna"),
        ("jh4f members remove anna ", "anna ben"),
        ("jh4f members add ", "anna carla"),
        ("jh4f members add anna --allow-administrator c", "carla"),
        ("jupyterhub-members re", "remove"),
        ("jupyterhub-members remove b", "ben"),
        ("jh4f config ", "show get set unset edit"),
        ("jh4f config get ho", ""),
        ("jh4f config get proxy", "proxy_api_port"),
        ("jh4f config set l", "listen login_help language"),
        ("jh4f config set listen ", "lan local"),
        ("jh4f config set --no-restart supervisor ", "auto systemd cron"),
        ("jh4f config set https ", "true false"),
        ("jh4f config set family_name ", ""),
        ("jh4f config set listen lan ", ""),
        ("jh4f config unset port --dry", "--dry-run"),
        ("jh4f logs ", "hub proxy anna ben"),
        ("jh4f logs -n ", ""),
        ("jh4f logs -n 5 h", "hub"),
        ("jh4f env repair b", "ben"),
        ("jh4f restart --", "--all --quiet --help"),
        ("jh4f nonsense ", ""),
    ],
)
def test_bash_completes(words: str, offered: str, tmp_path: Path) -> None:
    assert completed(words, tmp_path) == offered.split()


def test_bash_completes_every_key(tmp_path: Path) -> None:
    assert completed("jh4f config get ", tmp_path) == list(KEYS)


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_scripts_for_other_shells_can_be_parsed(shell: str) -> None:
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not on this machine; tests/machine/test_config.py tries it out")
    for script in SHARE.glob(f"{shell}/*/*jupyterhub4family*"):
        done = subprocess.run([shell, "-n", str(script)], capture_output=True, timeout=PATIENCE, check=False)
        assert (done.returncode, done.stderr) == (0, b"")


# -- manual ------------------------------------------------------------------------------------------


def test_there_is_a_manual_in_both_languages() -> None:
    names = {str(page.relative_to(SHARE / "man")) for page in MANUALS}
    pages = {"man1/jupyterhub4family.1", "man5/jupyterhub4family-config.5"}
    assert names == pages | {f"de/{name}" for name in pages}


@pytest.mark.parametrize("page", MANUALS, ids=lambda page: "-".join(page.parts[-3:]))
def test_the_manual_renders_without_a_warning(page: Path) -> None:
    if not shutil.which("man"):
        pytest.skip("there is no man on this machine")
    done = subprocess.run(
        ["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-P", "cat", str(page)],
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "MANWIDTH": "80", "MANROFFSEQ": ""},
        capture_output=True,
        encoding="utf-8",
        timeout=PATIENCE,
        check=False,
    )
    assert done.stderr == "" and done.returncode == 0
    plain = re.sub(".\b", "", done.stdout)
    if page.suffix == ".5":
        assert all(key in plain for key in KEYS)
    else:
        assert "config show" in plain and "/etc/jupyterhub4family/config.yaml" in plain
