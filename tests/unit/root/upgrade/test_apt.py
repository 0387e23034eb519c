"""root.packages: an installed package is put together again as dpkg would install it, and apt is understood."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import ExitStatus, FamilyError
from jupyterhub4family.common.state import upgrade
from jupyterhub4family.common.system.programs import CompletedProcess, ProgramError
from jupyterhub4family.root.upgrade import apt
from tests.unit.fakes import Call, FakePrograms

STATUS = """\
Package: jupyterhub4family
Status: install ok installed
Maintainer: somebody <a@example.org>
Architecture: all
Version: 1.0
Depends: python3 (>= 3.9),
 sudo
Conffiles:
 /etc/ours 5f4dcc3b5aa765d61d8327deb882cf99
 /etc/gone 5f4dcc3b5aa765d61d8327deb882cf99
Description: JupyterHub for the family
 More about it.
"""
POLICY = """\
jupyterhub4family:
  Installed: 1.0
  Candidate: 1.1
  Version table:
     1.1 500
        500 https://packages.example.org ./ Packages
 *** 1.0 100
        100 /var/lib/dpkg/status
"""


def _real(call: Call) -> CompletedProcess:
    done = subprocess.run(call.args, capture_output=True, encoding="utf-8", check=False)
    return CompletedProcess(done.returncode, done.stdout, done.stderr)


class Machine:
    """An installed package below a folder; dpkg-deb is the real one."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = directory / "root"
        self.upgrades = directory / "upgrade"
        self.info = directory / "info"
        self.policy = POLICY
        self.lines: list[str] = []
        self.problem_text = ""
        for path in (self.upgrades, self.info, self.root / "usr/lib/ours", self.root / "etc/init.d"):
            path.mkdir(parents=True)
        (self.root / "usr/lib/ours/program").write_text("#!/bin/sh\n", "utf-8")
        (self.root / "usr/lib/ours/program").chmod(0o755)
        (self.root / "usr/lib/ours/link").symlink_to("program")
        (self.root / "etc/ours").write_text("changed by hand\n", "utf-8")
        (self.root / "etc/init.d/obsolete").write_text("of a newer version\n", "utf-8")
        for name in ("page", "icon"):
            (self.root / "usr/lib/ours" / name).write_text("somebody else's\n", "utf-8")
        (self.root / "usr/lib/ours/page.distrib").write_text("our page\n", "utf-8")
        (self.root / "usr/lib/ours/icon.theirs").write_text("our icon\n", "utf-8")
        (self.info / "jupyterhub4family.conffiles").write_text("/etc/ours\n/etc/gone\n", "utf-8")
        (self.info / "jupyterhub4family.postinst").write_text("#!/bin/sh\n", "utf-8")
        (self.info / "jupyterhub4family.postinst").chmod(0o755)
        monkeypatch.setattr(paths, "UPGRADES", self.upgrades)
        monkeypatch.setattr(apt, "INFO", self.info)
        monkeypatch.setattr(upgrade, "PREVIOUS_PACKAGE", self.upgrades / "previous.deb")
        FakePrograms(monkeypatch).answer("*", self._run)

    def _run(self, call: Call) -> CompletedProcess:
        arguments = call.args
        line = " ".join(map(str, arguments))
        self.lines.append(line)
        if arguments[0] == "dpkg-deb":
            return _real(call)
        if "--listfiles" in arguments:
            names = ["/.", "/usr", "/usr/lib", "/usr/lib/ours", "/usr/lib/ours/program", "/usr/lib/ours/link"]
            # As dpkg 1.20 to 1.22 tell of files that somebody has put others in the place of.
            names += ["/usr/lib/ours/page", "locally diverted to: /usr/lib/ours/page.distrib"]
            names += ["/usr/lib/ours/icon", "diverted by others to: /usr/lib/ours/icon.theirs"]
            # The last one is left of a version that was taken back.
            names += ["/etc", "/etc/ours", "/etc/gone", "/etc/init.d/obsolete"]
            return CompletedProcess(0, "\n".join(names) + "\n", "")
        if "--status" in arguments:
            return CompletedProcess(0, STATUS, "")
        if "--show" in arguments:
            return CompletedProcess(0, "ii 1.0", "")
        if arguments[0] == "apt-cache":
            return CompletedProcess(0, self.policy, "")
        if self.problem_text:
            raise ProgramError(self.problem_text)
        return CompletedProcess(0, "", "")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def test_the_installed_package_is_put_together_again(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What dpkg lists lies below a folder here.
    monkeypatch.setattr(apt, "Path", lambda line: machine.root / line.lstrip("/"))
    apt.save_installed()
    made = machine.upgrades / "previous.deb"
    tree = tmp_path / "tree"
    subprocess.run(["dpkg-deb", "-R", made, tree], check=True)
    control = (tree / "DEBIAN/control").read_text("utf-8")
    assert "Version: 1.0\n" in control and " sudo\n" in control and " More about it.\n" in control
    assert "Status" not in control and "Conffiles" not in control and "5f4dcc" not in control
    assert (tree / "DEBIAN/conffiles").read_text("utf-8") == "/etc/ours\n", "what is not there cannot be packed"
    assert (tree / "DEBIAN/postinst").stat().st_mode & 0o777 == 0o755
    assert (tree / "usr/lib/ours/program").stat().st_mode & 0o777 == 0o755
    assert (tree / "usr/lib/ours/link").readlink() == Path("program")
    assert (tree / "etc/ours").read_text("utf-8") == "changed by hand\n"
    assert (tree / "etc/init.d/obsolete").read_text("utf-8") == "of a newer version\n"
    for name in ("page", "icon"):
        assert (tree / "usr/lib/ours" / name).read_text("utf-8") == f"our {name}\n", "not what stands in its place"
    assert [path.name for path in (tree / "usr/lib/ours").iterdir() if "." in path.name] == []
    assert [path.name for path in machine.upgrades.iterdir()] == ["previous.deb"], "nothing is left over"


def test_one_that_cannot_be_kept_leaves_no_older_one(machine: Machine) -> None:
    (machine.upgrades / "previous.deb").touch()
    (machine.info / "jupyterhub4family.postinst").chmod(0o600)  # dpkg-deb refuses such a script
    with pytest.raises(FamilyError):
        apt.save_installed()
    assert list(machine.upgrades.iterdir()) == []


def test_a_full_disk_is_told_as_one(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_path: Path, **_more: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(OSError, match="No space"):
        apt.save_installed()


def test_what_apt_knows(machine: Machine) -> None:
    assert apt.policy() == apt.AptPolicy("1.0", "1.1", has_source=True)
    machine.policy = (
        "jupyterhub4family:\n  Installed: 1.0\n  Candidate: 1.0\n *** 1.0 100\n        100 /var/lib/dpkg/status\n"
    )
    assert apt.policy() == apt.AptPolicy("1.0", "1.0", has_source=False)
    machine.policy = ""
    assert apt.policy() == apt.AptPolicy("1.0", "", has_source=False)


def test_only_our_own_source_is_asked_where_there_is_one(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apt.refresh()
    assert "SourceList" not in machine.lines[-1]
    monkeypatch.setattr(paths, "SOURCE_LIST", tmp_path / "ours.list")
    (tmp_path / "ours.list").touch()
    apt.refresh()
    assert f"Dir::Etc::SourceList={tmp_path}/ours.list" in machine.lines[-1] and "Error-Mode=any" in machine.lines[-1]
    machine.problem_text = "could not resolve"
    with pytest.raises(FamilyError, match="could not resolve") as caught:
        apt.refresh()
    assert caught.value.status == ExitStatus.NETWORK
    machine.problem_text = "E: Release file for file:/srv/x/./InRelease is expired (invalid since 14d 0h). Updates …"
    with pytest.raises(FamilyError, match="has expired") as caught:
        apt.refresh()
    assert "upgrade_source" in caught.value.hint and caught.value.status == ExitStatus.FAILURE


def test_the_package_before_is_installed_from_the_disk(machine: Machine) -> None:
    apt.install_saved()
    assert machine.lines[-2] == "dpkg --configure -a"
    assert machine.lines[-1].endswith(f"--allow-downgrades --reinstall {machine.upgrades}/previous.deb")
    assert "--force-confold" in machine.lines[-1]


def test_the_newest_is_installed_and_what_is_in_its_way_told(machine: Machine) -> None:
    apt.install_newest()
    assert machine.lines[-1].endswith("install --no-install-recommends --only-upgrade jupyterhub4family")
    machine.problem_text = "unmet dependencies"
    with pytest.raises(FamilyError, match="unmet dependencies") as caught:
        apt.install_newest()
    assert caught.value.hint == "sudo apt-get -f install"


def test_a_package_before_that_apt_refuses_is_told_with_the_command_to_try(machine: Machine) -> None:
    machine.problem_text = "dpkg was interrupted"
    with pytest.raises(FamilyError, match="dpkg was interrupted") as caught:
        apt.install_saved()
    assert caught.value.hint == f"sudo apt-get install --allow-downgrades {machine.upgrades}/previous.deb"


def test_one_version_is_kept_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pin = tmp_path / "pin"
    monkeypatch.setattr(paths, "PIN", pin)
    apt.pin_away("1.1")
    assert "Pin: version 1.1\nPin-Priority: -1\n" in pin.read_text("utf-8")
    apt.allow_all()
    apt.allow_all()
    assert not pin.exists()
