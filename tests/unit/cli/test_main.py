"""cli.main: every command there is, and what it refuses."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jupyterhub4family import __version__
from jupyterhub4family.cli import main as main_module
from jupyterhub4family.cli.main import COMMANDS, build_parser, main
from tests.unit.helpers import SRC, TIMEOUT, run_python


def commands(parser: argparse.ArgumentParser, before: str = "") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every command with its sub-commands, such as `members add`, and its parser."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, sub in action.choices.items():
                yield f"{before}{name}", sub
                yield from commands(sub, f"{before}{name} ")


ACCEPTED = """
    status | status --json | version | version --json | start | stop | stop --servers | restart | restart --all
    members list | members list --json | members show | members add anna | members add anna ben --json
    members add --allow-administrator dad | members add anna --allow-administrator | members remove anna ben
    logs | logs hub | logs proxy -f | logs anna | logs -n 5 | logs hub --lines 5 --follow
    status --qr | open | support | doctor | doctor sudoers | doctor --fix --deep | doctor --json --quiet
    cert show | cert show --json | cert renew --new-authority | cert export | cert export x --der | cert trust --remove
    cert use a b | cert use --reset
    env status | env upgrade | env repair anna | env reset --json
    config show | config show --origin --json | config get port | config get port --json | config edit --no-restart
    config set port 9000 | config set family_name The Millers -q | config set port 9000 --dry-run --no-restart
    config unset port --dry-run --quiet
    members remove anna --yes | members remove anna --dry-run -q | members add anna --quiet | env reset -y anna
    upgrade | upgrade --check --json | upgrade --again -q | rollback | rollback --yes | rollback --dry-run -q
    env reset --dry-run | env upgrade -q | stop --servers --yes | stop --servers --dry-run | start -q | restart --quiet
    backup setup /media/usb/backup | backup setup sftp:nas:/x --key-file k --json | backup now -q | backup now --json
    backup list | backup list --json | backup verify -q | backup verify --json | backup off -y | backup restore --yes
    backup restore --member anna --path a --path b --to /root/x --from 1234abcd | backup restore --dry-run --json -q
""".replace("\n", "|").split("|")

REFUSED = """
    | stat | status now | version 1 | start hub | stop --all | restart --servers | members | members add
    members remove | members list ben | members remove --allow-administrator anna | members add -x | members rename anna
    logs hub proxy | logs -n | logs -n many | env | env make | env status anna ben | --json | -v
    upgrade now | rollback 1
    backup | backup setup | backup setup a b | backup now x | backup restore anna | backup restore --path | backup off x
""".replace("\n", "|").split("|")


@pytest.mark.parametrize("args", [args.strip() for args in ACCEPTED if args.strip()])
def test_words_that_are_understood(args: str) -> None:
    arguments = build_parser().parse_args(args.split())
    assert callable(arguments.run)


@pytest.mark.parametrize("args", sorted({args.strip() for args in REFUSED}))
def test_words_that_are_not(args: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        build_parser().parse_args(args.split())
    assert caught.value.code == 2
    assert "usage: jupyterhub4family" in capsys.readouterr().err


@pytest.mark.parametrize("args", sorted({args.strip() for args in (*REFUSED, "-h", "members -h", "upgrade --help")}))
def test_what_one_command_says_is_what_the_whole_command_line_would(
    args: str, capsys: pytest.CaptureFixture[str]
) -> None:
    reported = []
    for run in (main, lambda words: build_parser().parse_args(words)):
        with pytest.raises(SystemExit) as caught:
            run(args.split())
        reported.append((caught.value.code, capsys.readouterr()))
    assert reported[0] == reported[1]


#: Says which modules of commands, and of what commands alone need, were imported.
IMPORTED = """
import sys
sys.path.insert(0, sys.argv.pop(1))
from jupyterhub4family.cli.main import main
try:
    main()
except SystemExit:
    pass
except Exception as error:
    print(type(error).__name__)
heavy = ("yaml", "ssl", "ctypes", "subprocess", "dataclasses", "json", "jupyterhub4family.common.settings.model")
print(*sorted(name for name in sys.modules if name.startswith("jupyterhub4family.cli.") or name in heavy))
"""


def imported(*args: str) -> set[str]:
    """What came with a command in a process of its own."""
    words = [sys.executable, "-I", "-B", "-c", IMPORTED, str(SRC), *args]
    done = subprocess.run(words, capture_output=True, encoding="utf-8", timeout=TIMEOUT, check=True)
    return {name.removeprefix("jupyterhub4family.cli.") for name in done.stdout.splitlines()[-1].split()}


@pytest.mark.parametrize("args", ["version", "--version", "--help", "", "stat", "-x", "version --json"])
def test_what_concerns_no_command_imports_none(args: str) -> None:
    assert imported(*args.split()) == {"main"}


def test_a_command_imports_no_other() -> None:
    # With an unknown option: the command is known, and not run.
    found = imported("members", "list", "--no-such-option")
    assert found >= {"main", "members", "base.terminal"}
    assert not found & (set(COMMANDS) | {"yaml", "ssl", "jupyterhub4family.common.settings.model"}) - {"members"}
    assert {"status", "base.snapshot"} <= imported("status", "-x"), "the test sees what is imported"
    for name in COMMANDS:
        others = {one for one in imported(name, "--help") if "." not in one} & set(COMMANDS) - {name}
        # One module has both, and an archive for helpers holds what doctor finds.
        assert others == {"rollback": {"upgrade"}, "support": {"doctor"}}.get(name, set()), name


def test_every_command_is_tried_above_and_explained() -> None:
    tried = " | ".join(ACCEPTED)
    for name, parser in commands(build_parser()):
        assert f" {name}" in tried, f"the command {name!r} is new: add it to this test"
        assert parser.format_help()


def test_every_command_says_in_the_list_what_it_does() -> None:
    for parser in [build_parser(), *(parser for _, parser in commands(build_parser()))]:
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                explained = {choice.dest.split(" ")[0] for choice in action._choices_actions if choice.help}
                assert len(explained) >= len({id(sub) for sub in action.choices.values()})


def test_the_manual_page_mentions_every_command_and_option(manual: Path) -> None:
    page = (manual / "usr/share/man/man1/jupyterhub4family.1").read_text("utf-8")
    plain = re.sub(r"\\f[BIRP]", "", page.replace("\\-", "-"))
    args = set(re.findall(r"[\w-]+", plain))
    for name, parser in commands(build_parser()):
        missing = [word for word in name.split() if word not in args]
        assert not missing, f"the manual page does not mention {name!r}"
        for action in parser._actions:
            known = [option for option in action.option_strings if option in args]
            assert known or not action.option_strings or "--help" in action.option_strings, (
                f"the manual page does not mention {action.option_strings[-1]} of {name!r}"
            )


@pytest.mark.parametrize("args", [["--version"], ["version"]])
def test_the_version(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        assert main(args) == 0
    except SystemExit as ended:
        assert ended.code == 0
    assert capsys.readouterr().out == f"jupyterhub4family {__version__}\n"


def test_the_version_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"version": __version__}


@pytest.mark.parametrize("columns", ["", "40", "132", "x", "-5", "0"])
def test_help_is_as_wide_as_the_terminal(monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    """As argparse finds out, which loads more for it than most commands need."""
    monkeypatch.setenv("COLUMNS", columns)
    ours = build_parser("members").format_help()
    monkeypatch.setattr(main_module, "_Formatter", argparse.HelpFormatter)
    assert ours == build_parser("members").format_help()


def test_what_can_compress_is_not_loaded_to_read_a_command_line() -> None:
    code = """
    import sys
    from jupyterhub4family.common import entry
    entry.command()
    from jupyterhub4family.cli.main import build_parser, main
    assert main(["version"]) == 0
    build_parser("members")
    loaded = {"shutil", "subprocess", "threading", "yaml", "urllib.parse", "selectors"} & set(sys.modules)
    assert not loaded, loaded
    """
    done = run_python(code, interpreter=(sys.executable, "-IS"))
    assert done.returncode == 0, done
