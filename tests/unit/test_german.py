"""The German of everything that people read: complete, and what a terminal with LANG=de_DE.UTF-8 shows."""

from __future__ import annotations

import argparse
import dataclasses
import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jupyterhub4family.cli import status
from jupyterhub4family.cli.base.servers import Server
from jupyterhub4family.cli.base.snapshot import Status
from jupyterhub4family.cli.base.terminal import Bar
from jupyterhub4family.cli.doctor import command as doctor
from jupyterhub4family.cli.doctor import registry
from jupyterhub4family.cli.main import build_parser, main
from jupyterhub4family.common.errors import UsageError, run_program
from jupyterhub4family.common.i18n import messages
from jupyterhub4family.common.i18n.messages import _, translated
from jupyterhub4family.common.protocol import json_lines
from jupyterhub4family.common.settings import effective
from jupyterhub4family.common.settings.model import Settings
from jupyterhub4family.common.system.programs import CompletedProcess, ProgramError, run
from tests.unit.fakes import FakePrograms
from tests.unit.helpers import SRC

PROJECT = SRC.parent
CATALOGUE = Path("de") / "LC_MESSAGES" / "jupyterhub4family"


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The catalogue as `make install` lays it."""
    directory = tmp_path_factory.mktemp("locale")
    (directory / CATALOGUE).parent.mkdir(parents=True)
    args: list[str | Path] = [
        "msgfmt",
        "-o",
        directory / CATALOGUE.with_suffix(".mo"),
        PROJECT / "locale" / CATALOGUE.with_suffix(".po"),
    ]
    subprocess.run(args, check=True)
    return directory


@pytest.fixture
def german(compiled: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A German terminal; argparse speaks English again afterwards."""
    monkeypatch.setattr(messages, "LOCALES", compiled)
    monkeypatch.setattr(argparse, "_", getattr(argparse, "_"))  # noqa: B009 (not in typeshed)
    for name in ("LANGUAGE", "LC_ALL", "LC_MESSAGES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    messages.catalogue.cache_clear()
    yield
    messages.catalogue.cache_clear()


def test_the_catalogue_is_complete_and_in_step() -> None:
    # What makes the venv of ./test has it; a Debian's own is too old for tools/messages.
    pytest.importorskip("babel", minversion="2.18")
    args: list[str | Path] = [sys.executable, PROJECT / "tools" / "messages", "check"]
    done = subprocess.run(args, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.usefixtures("german")
def test_help_is_german(capsys: pytest.CaptureFixture[str]) -> None:
    for args in (["members", "--help"], ["members", "add", "--help"], ["env", "--help"], ["logs", "--help"]):
        with pytest.raises(SystemExit) as ended:
            main(args)
        assert ended.value.code == 0
    output = capsys.readouterr().out
    assert output.startswith("Aufruf: jupyterhub4family members")
    assert "diese Hilfe zeigen" in output and "diese Konten aufnehmen" in output and "Optionen:" in output
    for english in ("usage", "options", "positional", "show this", "default", "start", " the "):
        assert english not in output


def every_help(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    """Where a text of help stands, and the text, for a whole command line."""
    yield parser.prog, f"{parser.description or ''}{parser.epilog or ''}"
    for action in parser._actions:
        yield f"{parser.prog} {'/'.join(action.option_strings) or action.dest}", action.help or ""
        if isinstance(action, argparse._SubParsersAction):
            for choice in action._choices_actions:
                yield f"{parser.prog} {choice.dest}", choice.help or ""
            for one in action.choices.values():
                yield from every_help(one)


def test_every_help_has_its_german(compiled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(argparse, "_", getattr(argparse, "_"))  # noqa: B009 (not in typeshed)
    monkeypatch.setattr(messages, "LOCALES", compiled)
    reported = []
    for locale in ("C.UTF-8", "de_DE.UTF-8"):
        monkeypatch.setenv("LC_ALL", locale)
        messages.catalogue.cache_clear()
        reported.append(list(every_help(build_parser())))
    messages.catalogue.cache_clear()
    assert len(reported[0]) > 50
    assert [place for (place, text), (_place, other) in zip(*reported) if text and text == other] == []


@pytest.mark.usefixtures("german")
@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["members", "add"], "members add: Fehler: es fehlt: NAME"),
        (["members", "shout"], "'shout' gibt es nicht (zur Wahl stehen "),
        (["logs", "-n", "many"], "Argument -n/--lines: kein gültiger Wert (int): 'many'"),
        (["logs", "-n"], "braucht einen Wert"),
        (["logs", "hub", "proxy"], "unbekannt: proxy"),
    ],
)
def test_wrong_words_are_told_in_german(args: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(args)
    assert ended.value.code == 2
    output = capsys.readouterr().err
    assert sentence in output and output.startswith("Aufruf: ")


@pytest.mark.usefixtures("german")
def test_the_progress_of_doctor_is_german(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(effective, "settings_in_use", lambda: (Settings(), None))
    monkeypatch.setattr(
        registry,
        "CHECKS",
        {name: dataclasses.replace(check, find=lambda _context: iter(())) for name, check in registry.CHECKS.items()},
    )
    shown: list[str] = []
    bar = Bar(quiet=True)
    monkeypatch.setattr(bar, "show", lambda _percent, message: shown.append(message))
    doctor.examine(bar)
    assert shown[0] == "Prüfung: die Einstellungen" and len(shown) == len(set(shown)) == len(registry.CHECKS)
    assert [check.title for check in registry.CHECKS.values() if f"Prüfung: {check.title}" in shown] == []


@pytest.mark.usefixtures("german")
def test_numbers_have_a_comma_in_german(capsys: pytest.CaptureFixture[str]) -> None:
    server = Server("anna", 50, True, megabytes=300, processor_seconds=93)
    status._print_use(Status("1.0", "cron", "running", True, servers=[server]))
    assert capsys.readouterr().out == "Server von anna: 300 MB Arbeitsspeicher, 1,6 min Rechenzeit\n"


@pytest.mark.usefixtures("german")
def test_errors_are_german(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program(lambda: main(["logs", "Not A Name"])) == 3
    output = capsys.readouterr().err
    assert output.startswith("jupyterhub4family: 'Not A Name' enthält Leerzeichen\nTipp: das Konto nennen"), output


@pytest.mark.usefixtures("german")
def test_a_door_that_speaks_english_is_told_in_german(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Doors are started with LC_ALL=C.UTF-8, because of the programs whose output they read."""
    answers = []
    with monkeypatch.context() as inside:
        inside.setenv("LC_ALL", "C.UTF-8")
        note = _("{reason}; the hub learns of it at its next start", reason=_("the hub does not answer"))
        json_lines.write_line({"ok": True, "results": [{"name": "anna", "done": "added", "note": note}]})
        json_lines.write_line(json_lines.error_answer(UsageError(_("no name was given"), _("run it with sudo"))))
        answers += capsys.readouterr().out.splitlines()
    assert "the hub does not answer" in answers[0]
    FakePrograms(monkeypatch).answer("*", lambda _call: CompletedProcess(0, answers.pop(0), ""))
    assert main(["members", "add", "anna"]) == 0
    output = capsys.readouterr().out
    assert output.startswith(
        "anna ist jetzt Mitglied und kann sich anmelden\n  Hinweis: der Hub antwortet nicht; der Hub"
    )
    assert run_program(lambda: main(["members", "list"])) == 2
    assert capsys.readouterr().err == "jupyterhub4family: es wurde kein Name genannt\nTipp: mit sudo aufrufen\n"


@pytest.mark.usefixtures("german")
def test_an_older_door_says_plain_text(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    answer = {"ok": False, "error": "something else", "hint": "", "status": 99}
    FakePrograms(monkeypatch).answer("*", lambda _call: CompletedProcess(0, json.dumps(answer), ""))
    assert run_program(lambda: main(["members", "list"])) == 1
    assert capsys.readouterr().err == "jupyterhub4family: something else\n"


@pytest.mark.usefixtures("german")
def test_whole_errors_can_be_told_again() -> None:
    error = UsageError(_("no name was given"), _("run it with sudo"))
    assert str(error) == "es wurde kein Name genannt\nTipp: mit sudo aufrufen"
    assert translated(str(error), "en") == "no name was given\nTry: run it with sudo"


@pytest.mark.usefixtures("german")
def test_the_system_s_reasons_are_german(tmp_path: Path) -> None:
    with pytest.raises(ProgramError) as refused:
        run([tmp_path / "missing"])
    assert str(refused.value) == "missing ließ sich nicht starten: Datei oder Ordner nicht gefunden"
    assert translated(str(refused.value), "en") == "missing could not be started: No such file or directory"


def test_the_system_s_reasons_are_spelled_as_the_system_does() -> None:
    output = {os.strerror(number) for number in errno.errorcode}
    assert output >= messages.SYSTEM_REASONS


def environment(**variables: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG"))}
    return {**kept, **variables}


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({}, "install: unknown argument: --fast\nTry: ./install --help\n"),
        ({"LANG": "de_AT.UTF-8"}, "install: unbekanntes Argument: --fast\nTipp: ./install --help\n"),
        ({"LANG": "de_DE.UTF-8", "LC_ALL": "C.UTF-8"}, "install: unknown argument: --fast\nTry: ./install --help\n"),
        (
            {"LANG": "en_GB.UTF-8", "LANGUAGE": "de:en"},
            "install: unbekanntes Argument: --fast\nTipp: ./install --help\n",
        ),
        ({"LANG": "de_DE.UTF-8", "LANGUAGE": "en:de"}, "install: unknown argument: --fast\nTry: ./install --help\n"),
        ({"LANG": "fr_FR.UTF-8"}, "install: unknown argument: --fast\nTry: ./install --help\n"),
    ],
)
def test_install_speaks_german(variables: dict[str, str], sentence: str) -> None:
    args: list[str | Path] = [PROJECT / "install", "--fast"]
    done = subprocess.run(args, env=environment(**variables), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, sentence)


def test_install_reads_the_catalogue_as_gettext_does() -> None:
    """Every sentence of install, said by its own functions, with quotes, newlines and placeholders."""
    script = (PROJECT / "install").read_text("utf-8").rpartition('main "$@"')[0]
    report = 'catalogue=$1; read_catalogue; shift; for id; do say "$id" port=8000; printf "\\0"; done'
    ids = [
        "another program already uses port {port} of this machine",
        "see which one: ss -ltnp 'sport = :{port}'; stop it, or choose another port for JupyterHub: "
        "write 'port: 8010' into /etc/jupyterhub4family/config.yaml",
        "Debian's packages could not be fetched; nothing was changed",
        "see the end of {log}",
        "never translated {port}",
    ]
    po = PROJECT / "locale" / CATALOGUE.with_suffix(".po")
    # Its `readonly` would refuse the test's own catalogue.
    args: list[str | Path] = [
        "bash",
        "-c",
        script.replace("readonly catalogue=", "catalogue=") + report,
        "install",
        po,
        *ids,
    ]
    done = subprocess.run(args, env=environment(LANG="de_DE.UTF-8"), capture_output=True, text=True, check=True)
    output = done.stdout.split("\n\0")
    assert output[0] == "ein anderes Programm belegt schon Port 8000 dieses Rechners"
    assert "'sport = :8000'" in output[1] and "„port: 8010“" in output[1]
    assert output[2].startswith("Debians Pakete") and output[3].startswith("das Ende von /var/log/")
    assert output[4] == "never translated 8000"


def test_every_text_of_install_is_a_sentence_of_the_catalogue() -> None:
    """Nothing is printed but by say, step and fail, whose words tools/messages finds; commands aside."""
    for line in (PROJECT / "install").read_text("utf-8").splitlines():
        word, _space, rest = line.strip().partition(" ")
        if word in ("echo", "cat"):
            assert not rest or rest.startswith('"  sudo jupyterhub4family '), line


def test_maintainer_scripts_say_everything_twice() -> None:
    for script in (PROJECT / "debian").glob("*.p*"):
        text = script.read_text("utf-8").partition("say() {")
        body = text[2].partition("\n}\n")[2] if text[1] else text[0]
        assert "echo" not in body, script


def test_logs_are_english_on_a_german_machine() -> None:
    """systemd gives the machine's LANG to every service."""
    for unit in (PROJECT / "data/usr/lib/systemd/system").glob("*.service"):
        assert "Environment=LC_ALL=C.UTF-8\n" in unit.read_text("utf-8"), unit
