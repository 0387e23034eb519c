"""Runs as root, inside `upgrade`: what apt and dpkg know of our package, and the package before the last upgrade.

dpkg forgets a package as soon as the next one is unpacked. So it is put together again, from its own files and from
what dpkg knows of it, before that: the way back needs neither a network nor an old source. Not by dpkg-repack, which
refuses while an upgrade is on its way (docs/adr/0014-upgrade-and-rollback.md).
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import ExitStatus, FamilyError
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.state import upgrade
from jupyterhub4family.common.system import files, programs
from jupyterhub4family.common.system.programs import Arg, CompletedProcess, ProgramError

PACKAGE = "jupyterhub4family"
#: What dpkg keeps of an installed package beside its files.
INFO = Path("/var/lib/dpkg/info")
SCRIPTS = ("preinst", "postinst", "prerm", "postrm", "conffiles", "md5sums", "triggers", "shlibs")
#: Seconds; somebody else's apt may be at work for a while, and lines are slow.
APT_TIMEOUT = 3600
_FIELDS_OF_DPKG = ("Status", "Config-Version", "Conffiles", "Triggers-Pending", "Triggers-Awaited")
#: Behind the line of a file that somebody else's has replaced.
_DIVERTED = re.compile(r"(?:locally diverted|diverted by .*) to: (/.*)")
#: What apt (2.2 to 3.0) says of a list whose Valid-Until is over.
_EXPIRED = re.compile(r"Release file for \S+ is expired")
_SOURCE_LINE = re.compile(r"^ +-?[0-9]+ (?!/var/lib/dpkg/status)\S", re.MULTILINE)


@dataclass(frozen=True)
class AptPolicy:
    """What apt knows of our package: the version here, the newest that may be installed, and whether it has a source.

    Versions are empty where there is none.
    """

    installed: str
    newest: str
    has_source: bool


def installed_version() -> str:
    """The version of our package on this machine; empty if it was installed without the .deb."""
    try:
        shown = programs.run(
            ["dpkg-query", "--show", "--showformat=${db:Status-Abbrev}${Version}", PACKAGE], check=False
        )
    except ProgramError:
        return ""
    status, version = shown.stdout[:3], shown.stdout[3:]
    return version if shown.returncode == 0 and status[1:2] not in ("n", "c") else ""


# -- apt ---------------------------------------------------------------------------------------------


def policy() -> AptPolicy:
    """What apt's lists say now, without asking anybody."""
    policy_text = programs.run(["apt-cache", "policy", PACKAGE], check=False).stdout
    found = dict(re.findall(r"^  (Installed|Candidate): (\S+)$", policy_text, re.MULTILINE))
    versions = {key: "" if value == "(none)" else value for key, value in found.items()}
    return AptPolicy(installed_version(), versions.get("Candidate", ""), bool(_SOURCE_LINE.search(policy_text)))


def refresh() -> None:
    """Have apt ask the source of our package, or all if it has none of its own. Raises FamilyError."""
    only: list[Arg] = []
    if paths.SOURCE_LIST.exists():
        only = ["-o", f"Dir::Etc::SourceList={paths.SOURCE_LIST}", "-o", "Dir::Etc::SourceParts=-"]
        only += ["-o", "APT::Get::List-Cleanup=0", "-o", "APT::Update::Error-Mode=any"]
    try:
        _apt_get(["update", *only])
    except ProgramError as error:
        if _EXPIRED.search(error.message):
            raise FamilyError(
                _("the source of newer versions has expired: nobody has signed it anew, so nothing is taken from it"),
                _("ask whoever makes it (upgrade_source) to sign it anew; check this machine's date, too: date"),
            ) from error
        raise FamilyError(
            _("the list of packages could not be fetched: {reason}", reason=error.message),
            _("check this machine's internet connection, and the address: {command}", command="apt-get update"),
            ExitStatus.NETWORK,
        ) from error


def install_newest() -> None:
    """Have apt install what `policy` calls the newest. Raises FamilyError."""
    try:
        _apt_get(["install", "--no-install-recommends", "--only-upgrade", PACKAGE])
    except ProgramError as error:
        raise FamilyError(
            _("apt could not install it: {reason}", reason=error.message), _("sudo apt-get -f install")
        ) from error


def _apt_get(args: list[Arg]) -> CompletedProcess:
    quiet: list[Arg] = ["apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=900", "-o", "Dpkg::Use-Pty=0"]
    # A file that somebody has changed stays as it is.
    quiet += ["-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold"]
    return programs.run([*quiet, *args], timeout=APT_TIMEOUT, environment={"DEBIAN_FRONTEND": "noninteractive"})


def pin_away(version: str) -> None:
    """Keep apt from installing this version by itself; another one it may. Raises OSError."""
    text = f"# Written by jupyterhub4family: this version did not work here.\nPackage: {PACKAGE}\n"
    files.write_atomically(paths.PIN, f"{text}Pin: version {version}\nPin-Priority: -1\n")


def allow_all() -> None:
    """Undo `pin_away`."""
    paths.PIN.unlink(missing_ok=True)


# -- the package before ------------------------------------------------------------------------------


def save_installed() -> None:
    """Put the installed package together again, as `previous.deb`. Raises FamilyError or OSError."""
    stage = paths.UPGRADES / "keeping"
    shutil.rmtree(stage, ignore_errors=True)
    upgrade.PREVIOUS_PACKAGE.unlink(missing_ok=True)
    staging = upgrade.PREVIOUS_PACKAGE.with_name("keeping.deb")
    try:
        stage.mkdir(mode=0o755)
        missing = _lay_files(stage)
        _lay_control(stage / "DEBIAN", missing)
        programs.run(["dpkg-deb", "--root-owner-group", "-Zxz", "--build", stage, staging], timeout=300)
        staging.replace(upgrade.PREVIOUS_PACKAGE)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        staging.unlink(missing_ok=True)


def _listed() -> dict[str, str]:
    """What dpkg lists as the package's, each with where it lies: somebody may have diverted it (dpkg-divert)."""
    found: dict[str, str] = {}
    last = ""
    for line in programs.run(["dpkg-query", "--listfiles", PACKAGE]).stdout.splitlines():
        diverted = _DIVERTED.fullmatch(line)
        if diverted and last:
            found[last] = diverted[1]
        elif line.startswith("/") and line != "/.":
            found[line] = last = line
    return found


def _lay_files(stage: Path) -> set[str]:
    """Copy what dpkg lists as the package's; returns what is not there any more."""
    missing = set()
    for line, place in _listed().items():
        source, target = Path(place), stage / line.lstrip("/")
        try:
            status = os.lstat(source)
        except OSError:
            missing.add(line)
            continue
        if stat.S_ISDIR(status.st_mode):
            target.mkdir(mode=0o755, exist_ok=True)
        else:
            # dpkg keeps settings of a newer version that was taken back, without the directories that they are in.
            target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)
    return missing


def _lay_control(directory: Path, missing: set[str]) -> None:
    """Copy what dpkg knows beside the files: fields, scripts, lists."""
    directory.mkdir(mode=0o755)
    fields: list[str] = []
    leave_out = False
    for line in programs.run(["dpkg-query", "--status", PACKAGE]).stdout.rstrip("\n").splitlines():
        if not line.startswith(" "):
            leave_out = line.partition(":")[0] in _FIELDS_OF_DPKG
        if not leave_out:
            fields.append(line)
    (directory / "control").write_text("\n".join(fields) + "\n", "utf-8")
    for name in SCRIPTS:
        known_by_dpkg = INFO / f"{PACKAGE}.{name}"
        if known_by_dpkg.exists():
            shutil.copy2(known_by_dpkg, directory / name)
    listed = directory / "conffiles"
    if listed.exists():
        lines = [line for line in listed.read_text("utf-8").splitlines() if line and line not in missing]
        listed.write_text("".join(f"{line}\n" for line in lines), "utf-8")


def install_saved() -> None:
    """Install the saved package again, be it older. Raises FamilyError."""
    try:
        # An interrupted dpkg refuses everything until this was called.
        programs.run(["dpkg", "--configure", "-a"], check=False, timeout=APT_TIMEOUT)
        args: list[Arg] = ["install", "--no-install-recommends", "--allow-downgrades", "--reinstall"]
        _apt_get([*args, upgrade.PREVIOUS_PACKAGE])
    except ProgramError as error:
        raise FamilyError(
            _("the previous package could not be installed again: {reason}", reason=error.message),
            _("sudo apt-get install --allow-downgrades {file}", file=str(upgrade.PREVIOUS_PACKAGE)),
        ) from error
