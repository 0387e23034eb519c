"""What `make install` has tools/manual make works: bash really completes, every sample is valid, the manual renders."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from jupyterhub4family.common.settings.model import KEYS, Settings, parse_text, settings_of
from tests.unit.helpers import DATA, ROOT, TIMEOUT, make_manual, write_program


@pytest.fixture(scope="module")
def share(manual: Path) -> Path:
    """/usr/share, with what `make install` makes there."""
    return manual / "usr/share"


def test_make_install_lays_them_and_make_uninstall_knows_them_all(manual: Path) -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert "$(GENERATED) $(DESTDIR)/\n" in makefile and "$$($(GENERATED) --list)" in makefile
    listed = make_manual("--list").split()
    assert sorted(listed) == sorted(str(path.relative_to(manual)) for path in manual.rglob("*") if path.is_file())
    # Everybody may read them, whatever the umask of whoever installs.
    assert {path.stat().st_mode & 0o777 for path in manual.rglob("*")} == {0o644, 0o755}


def test_what_is_generated_is_not_kept(manual: Path) -> None:
    kept = [path for path in manual.rglob("*") if path.is_file() and (DATA / path.relative_to(manual)).exists()]
    assert kept == []


def test_the_sample_sets_nothing_and_every_line_of_it_is_valid(share: Path) -> None:
    sample = (share / "jupyterhub4family/config.sample.yaml").read_text("utf-8")
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


def completed(args: str, share: Path, directory: Path) -> list[str]:
    """What bash offers when the tabulator is pressed behind `args`."""
    write_program(directory / "getent", GETENT, "/bin/sh")
    parts = args.split(" ")
    script = f"""
        . {share}/bash-completion/completions/jupyterhub4family
        COMP_WORDS=({" ".join(f"'{part}'" for part in parts)}) COMP_CWORD={len(parts) - 1}
        $(complete -p "${{COMP_WORDS[0]}}" | sed 's/.*-F \\([^ ]*\\) .*/printf %s \\1/') >/dev/null
        _jupyterhub4family && printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        ["bash", "--norc", "-uc", script],
        env={"PATH": f"{directory}:/usr/bin:/bin"},
        cwd=directory,
        capture_output=True,
        encoding="utf-8",
        timeout=TIMEOUT,
        check=False,
    )
    assert done.stderr == "" and done.returncode == 0, done
    return done.stdout.split()


def keys(beginning: str) -> str:
    """The keys that begin so, in the order of the reference."""
    return " ".join(key for key in KEYS if key.startswith(beginning))


@pytest.mark.parametrize(
    ("args", "offered"),
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
        ("jh4f config get x", keys("x")),
        ("jh4f config get proxy", keys("proxy")),
        ("jh4f config set l", keys("l")),
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
def test_bash_completes(args: str, offered: str, share: Path, tmp_path: Path) -> None:
    assert completed(args, share, tmp_path) == offered.split()


def test_bash_completes_every_key(share: Path, tmp_path: Path) -> None:
    assert completed("jh4f config get ", share, tmp_path) == list(KEYS)


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_scripts_for_other_shells_can_be_parsed(shell: str, share: Path) -> None:
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not on this machine; tests/machine/test_config.py tries it out")
    scripts = list(share.glob(f"{shell}/*/*jupyterhub4family*"))
    assert scripts
    for script in scripts:
        done = subprocess.run([shell, "-n", str(script)], capture_output=True, timeout=TIMEOUT, check=False)
        assert (done.returncode, done.stderr) == (0, b"")


# -- manual ------------------------------------------------------------------------------------------


PAGES = [
    f"{directory}{page}"
    for directory in ("", "de/")
    for page in ("man1/jupyterhub4family.1", "man5/jupyterhub4family-config.5")
]


def test_there_is_a_manual_in_both_languages(share: Path) -> None:
    assert sorted(str(page.relative_to(share / "man")) for page in share.rglob("man?/*")) == sorted(PAGES)
    for page in PAGES[2:]:
        assert (share / "man" / page).read_text("utf-8") != (share / "man" / page[3:]).read_text("utf-8")


@pytest.mark.parametrize("page", PAGES)
def test_the_manual_renders_without_a_warning(page: str, share: Path) -> None:
    if not shutil.which("man"):
        pytest.skip("there is no man on this machine")
    done = subprocess.run(
        ["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-P", "cat", str(share / "man" / page)],
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "MANWIDTH": "80", "MANROFFSEQ": ""},
        capture_output=True,
        encoding="utf-8",
        timeout=TIMEOUT,
        check=False,
    )
    assert done.stderr == "" and done.returncode == 0
    plain = re.sub(".\b", "", done.stdout)
    if page.endswith(".5"):
        assert all(key in plain for key in KEYS)
    else:
        assert "config show" in plain and "/etc/jupyterhub4family/config.yaml" in plain
