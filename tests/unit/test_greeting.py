"""The greeting at the machine: where the portal is, whatever the settings say; never an error, and quick."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from jupyterhub4family.cli.settings import document
from tests.unit.helpers import DATA, TIMEOUT, write_program

SCRIPT = DATA / "etc/update-motd.d/60-jupyterhub4family"


class Box:
    """A machine of files: the script's absolute paths lead into the test's folder."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.home = directory / "home"
        (self.home / "releases").mkdir(parents=True)
        (self.home / "releases/current").symlink_to("py3.11-abc")
        self.settings_file = directory / "config.yaml"
        self.command = write_program(directory / "jupyterhub4family", "")
        self.programs = directory / "bin"
        self.program("hostname", 'if [ "$1" = -I ]; then echo "fd00::1 192.168.0.7 10.0.0.1 "; else echo box.lan; fi')
        self.program("getent", "echo jupyterhub:x:995:anna")

    def program(self, name: str, text: str) -> None:
        """A program that the script finds first."""
        write_program(self.programs / name, text + "\n", "/bin/sh")

    def settings(self, **different: object) -> None:
        """What root has set with `config set`."""
        lines = [f"{key}: {document.written(value)}\n" for key, value in different.items()]
        self.settings_file.write_text("".join(lines))

    def greeting(self) -> str:
        text = SCRIPT.read_text("utf-8").replace("/var/lib/jupyterhub4family", str(self.home))
        text = text.replace("/usr/bin/jupyterhub4family", str(self.command))
        text = text.replace("/etc/default/locale", str(self.directory / "locale"))
        text = text.replace("/etc/jupyterhub4family/config.yaml", str(self.settings_file))
        text = text.replace("/run/avahi-daemon/pid", str(self.directory / "avahi"))
        text = text.replace("/proc/", f"{self.directory}/proc/")
        environment = {"PATH": f"{self.programs}:{os.environ['PATH']}"}
        done = subprocess.run(
            ["/bin/sh", "-c", text],
            env=environment,
            capture_output=True,
            encoding="utf-8",
            timeout=TIMEOUT,
            check=True,
        )
        assert done.stderr == ""
        return done.stdout


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


def test_where_the_portal_is(box: Box) -> None:
    assert box.greeting().splitlines() == [
        "JupyterHub for the family: https://192.168.0.7:8000/",
        "More: jupyterhub4family status",
    ]


@pytest.mark.parametrize(
    ("different", "address"),
    [
        ({}, "https://192.168.0.7:8000/"),
        ({"port": 18010}, "https://192.168.0.7:18010/"),
        ({"listen": "local"}, "https://127.0.0.1:8000/"),
        ({"https": False, "allow_plain_http": True}, "http://192.168.0.7:8000/"),
    ],
)
def test_the_settings_that_count(box: Box, different: dict[str, object], address: str) -> None:
    box.settings(**different)
    assert box.greeting().splitlines()[0] == f"JupyterHub for the family: {address}"


@pytest.mark.parametrize(
    ("title", "reported"),
    [
        (b"avahi-daemon: running [Box.local]\0\0\0", True),
        (b"avahi-daemon: running [box-2.local]\0", False),
        (b"avahi-daemon: registering [box.local]\0", False),
        (b"vi\0", False),
        (None, False),
    ],
)
def test_the_name_that_avahi_announces(box: Box, title: bytes | None, reported: bool) -> None:
    (box.directory / "avahi").write_text("77\n")
    if title is not None:
        (box.directory / "proc/77").mkdir(parents=True)
        (box.directory / "proc/77/cmdline").write_bytes(title)
    where = "https://box.local:8000/   https://192.168.0.7:8000/" if reported else "https://192.168.0.7:8000/"
    assert box.greeting().splitlines()[0] == f"JupyterHub for the family: {where}"


@pytest.mark.parametrize(
    "text", ["", "{", 'port: "$(reboot)"\n', "port: ; rm -r /,\nhttps: x y\n", "\x1b]0;\x07", "inner:\n  port: 7\n"]
)
def test_a_file_that_cannot_be_understood(box: Box, text: str) -> None:
    box.settings_file.write_text(text)
    assert box.greeting().splitlines()[0] == "JupyterHub for the family: https://192.168.0.7:8000/"


@pytest.mark.parametrize(
    "text", ["port: 81", 'port : "81" # ours', "'port': '81'", '"port":   81', "port:\t81\nport: 7"]
)
def test_settings_as_people_write_them(box: Box, text: str) -> None:
    box.settings_file.write_text(f"# the family's\n{text}\nhttps: {'No' if '#' in text else 'yes'}\n")
    scheme = "http" if "#" in text else "https"
    assert box.greeting().splitlines()[0] == f"JupyterHub for the family: {scheme}://192.168.0.7:81/"


def test_nothing_of_the_services_is_opened(box: Box) -> None:
    """Root runs this at every login: a pipe or a link without an end in place of a file would keep everybody out."""
    (box.home / "public").mkdir()
    for name in ("public/settings.last-good.json", "public/ca.crt", "releases/current"):
        (box.home / name).unlink(missing_ok=True)
        os.mkfifo(box.home / name)
    os.mkfifo(box.directory / "avahi")
    assert "192.168.0.7" in box.greeting()
    assert "/public" not in SCRIPT.read_text() and "/state" not in SCRIPT.read_text()


def test_what_comes_next_and_in_german(box: Box) -> None:
    box.program("getent", "echo jupyterhub:x:995:")
    (box.home / "releases/current").unlink()
    output = box.greeting()
    assert "members add" in output and "being set up" in output
    (box.directory / "locale").write_text('LANG="de_DE.UTF-8"\n')
    assert box.greeting().startswith("JupyterHub für die Familie: https://192.168.0.7:8000/")


def test_a_machine_without_network_or_package(box: Box) -> None:
    box.program("hostname", "exit 1")
    box.program("getent", "exit 2")
    assert "https://127.0.0.1:8000/" in box.greeting()
    box.command.unlink()
    assert box.greeting() == ""
