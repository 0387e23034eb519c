"""A German machine: everything that the command, its doors and the installer say to people is German."""

from __future__ import annotations

import re

import pytest
from babel.messages.pofile import read_po

from tests.machine.lib.family import PASSWORD, ready
from tests.machine.lib.machine import Machine
from tests.machine.lib.plugin import NewMachine
from tests.machine.lib.project import copy_project
from tests.unit.helpers import ROOT

#: The locale is not generated on these machines: the variable alone is enough.
GERMAN = "env -u LC_ALL LANG=de_DE.UTF-8"
COMMAND = "jupyterhub4family"


class Terminal:
    """Runs commands as somebody German, and keeps everything they were told."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.reported = ""

    def tells(self, command: str, status: int, sentence: str, user: str | None = None) -> None:
        """Run `command`, which must end with `status` and say `sentence`."""
        done = self._machine.execute(f"{GERMAN} {command} 2>&1", user=user)
        self.reported += done.stdout
        assert done.returncode == status and sentence in done.stdout, f"{command}: {done.returncode}\n{done.stdout}"


def english_pieces() -> list[str]:
    """Pieces of the source's sentences, long enough to be no coincidence, that no German one holds."""
    with open(ROOT / "locale" / "de" / "LC_MESSAGES" / "jupyterhub4family.po", "rb") as file:
        messages = [message for message in read_po(file, locale="de") if message.id]
    pairs = [(one, other) for m in messages for one, other in zip(_texts(m.id), _texts(m.string))]
    german = "\n".join(other for _one, other in pairs)
    pieces = {piece.strip() for one, _other in pairs for piece in re.split(r"\{\w+\}|%\(?\w*\)?[a-z]|\n", one)}
    return [piece for piece in pieces if " " in piece and len(piece) > 7 and piece not in german]


def _texts(text: object) -> tuple[str, ...]:
    return tuple(map(str, text)) if isinstance(text, (tuple, list)) else (str(text),)


@pytest.mark.any_debian
def test_everything_is_german(new_machine: NewMachine, suite: str) -> None:
    machine = ready(new_machine(suite, layer="installed"))
    for name in ("anna", "ben"):
        machine.add_account(name, PASSWORD)
    machine.add_account("mama", PASSWORD, groups=("jupyterhub_adm",))
    terminal = Terminal(machine)
    terminal.tells(f"{COMMAND} --help", 0, "JupyterHub für die Familie auf diesem Rechner.")
    terminal.tells(f"{COMMAND} status", 0, "JupyterHub läuft. Öffne es in einem Browser:")
    terminal.tells(f"{COMMAND} members list", 0, "Es gibt noch keine Mitglieder. Nimm eines auf: ")
    terminal.tells(f"{COMMAND} members add anna", 0, "anna ist jetzt Mitglied und kann sich anmelden", user="mama")
    terminal.tells(f"{COMMAND} members add anna", 0, "anna ist schon Mitglied", user="mama")
    # Told by root's side of the door, through sudo.
    terminal.tells(f"{COMMAND} members add root", 3, "root verwaltet diesen Rechner", user="mama")
    terminal.tells(f"{COMMAND} members add Ben", 3, "Tipp: ben schreiben, wenn dieses Konto gemeint ist", user="mama")
    terminal.tells(f"{COMMAND} members add nobody", 3, "(uid 65534) und kann kein Mitglied sein", user="mama")
    terminal.tells(f"{COMMAND} members add --allow-administrator ben", 4, "nur root darf einen Admin", user="mama")
    terminal.tells(f"{COMMAND} members list", 4, "du darfst keine Mitglieder verwalten", user="ben")
    terminal.tells(f"{COMMAND} members list", 0, "anna")
    terminal.tells(f"{COMMAND} members", 2, "Fehler: es fehlt: add|remove|list")
    terminal.tells(f"{COMMAND} members --help", 0, "diese Hilfe zeigen")
    terminal.tells(f"{COMMAND} env status", 2, "root hat keine Umgebung")
    terminal.tells(f"{COMMAND} env status", 0, "mit harten Links gemacht", user="anna")
    terminal.tells(f"{COMMAND} env status anna", 0, "auf dem neuesten Stand")
    terminal.tells(f"{COMMAND} env reset", 0, "Deine Umgebung ist neu gemacht.", user="anna")
    terminal.tells(f"{COMMAND} env status", 4, "ben ist kein Mitglied und hat keine Umgebung", user="ben")
    terminal.tells(f"{COMMAND} logs anna", 1, "anna hat noch keinen Server gestartet")
    terminal.tells(f"{COMMAND} logs anna", 4, "nur anna und root lesen", user="ben")
    terminal.tells(f"{COMMAND} config show", 0, "port")
    terminal.tells(f"{COMMAND} config set prot 8010", 8, "der ähnlichste bekannte Schlüssel ist 'port'")
    terminal.tells(f"{COMMAND} config set port 8010", 4, "die Einstellungen darf nur root ändern", user="ben")
    terminal.tells(f"{COMMAND} cert show", 0, "Fingerabdruck der Zertifizierungsstelle der Familie: ")
    terminal.tells(f"{COMMAND} cert use x", 2, "es braucht zwei Dateien, das Zertifikat und seinen Schlüssel")
    terminal.tells(f"{COMMAND} doctor sudoers", 0, "Keine Probleme.")
    terminal.tells(f"{COMMAND} doctor sudoer", 2, "der ähnlichste Name ist sudoers")
    terminal.tells(f"{COMMAND} restart", 4, "das darf nur root", user="ben")
    terminal.tells(f"{COMMAND} restart", 0, "JupyterHub startet neu; mehr dazu: ")
    ready(machine)
    terminal.tells(f"{COMMAND} members remove anna", 0, "anna ist kein Mitglied mehr; die Server sind", user="mama")
    assert [piece for piece in english_pieces() if piece in terminal.reported] == []


@pytest.mark.any_debian
def test_install_is_german_before_anything_is_installed(new_machine: NewMachine, suite: str) -> None:
    """On a plain Debian: no python3, no gettext."""
    machine = new_machine(suite, layer="base")
    copy_project(machine.path("/srv/project"))
    terminal = Terminal(machine)
    terminal.tells("/srv/project/install --help", 0, "Aufruf: ./install [--deb DATEI")
    terminal.tells("/srv/project/install --deb /nothing", 2, "--deb braucht den Namen einer Paketdatei")
    machine.add_account("anna", PASSWORD)
    terminal.tells(
        "/srv/project/install", 4, "das braucht die Rechte von root, und sudo gibt es hier nicht", user="anna"
    )
    machine.run("sed -i 's/^VERSION_ID=.*/VERSION_ID=\"10\"/' /etc/os-release")
    terminal.tells(
        "/srv/project/install", 3, "das braucht Debian 11, 12 oder 13, auf diesem Rechner läuft aber debian 10"
    )
    assert [piece for piece in english_pieces() if piece in terminal.reported] == []
