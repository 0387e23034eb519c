"""Runs as root, from setup and `config`: tells apt where newer versions come from, and whether they come by themselves.

Four files of our own in apt's folders follow the settings; nobody else's is touched. Upgrading by itself is the work
of Debian's unattended-upgrades: it leaves other people's sources alone unless one of these files names them.

A source says itself what it is called, so its name proves nothing. What calls itself ours may bring our package and no
other, and that only from the host that the settings name: another source with the same name brings nothing at all.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.settings.model import Settings
from jupyterhub4family.common.system import files, programs

UNATTENDED = Path("/usr/bin/unattended-upgrade")
#: What a repository made by tools/make-repository calls itself.
ORIGIN = "jupyterhub4family"
#: Bytes; a public key has a few thousand.
MAXIMUM_KEY = 256 * 1024
ARMOR = b"-----BEGIN PGP PUBLIC KEY BLOCK-----"
WRITTEN_BY = "Written by jupyterhub4family from its settings; changes get lost."


def ensure_sources(settings: Settings) -> None:
    """Make apt's files what the settings say. Raises FamilyError when something is missing for that."""
    if settings.upgrade_source:
        key = _ensure_key(Path(settings.upgrade_key))
        # The pin first: there is no moment in which the source counts and its pin does not.
        _ensure(paths.SOURCE_PIN, _pin(site(settings.upgrade_source)))
        _ensure(paths.SOURCE_LIST, f"# {WRITTEN_BY}\ndeb [signed-by={key}] {settings.upgrade_source} ./\n")
    else:
        paths.SOURCE_LIST.unlink(missing_ok=True)
        paths.SOURCE_PIN.unlink(missing_ok=True)
        _forget_keys("")
    if not settings.auto_upgrade:
        paths.AUTO_UPGRADE.unlink(missing_ok=True)
        return
    _ensure(paths.AUTO_UPGRADE, _drop_in(site(settings.upgrade_source)))
    if not UNATTENDED.exists():
        raise FamilyError(
            _("nothing is upgraded automatically yet: Debian's package unattended-upgrades is missing"),
            _("sudo apt-get install unattended-upgrades"),
        )


def site(address: str) -> str:
    """The host in the address of a source, as apt calls it: without port and brackets; empty for a folder here."""
    return urlsplit(address).hostname or ""


def _pin(host: str) -> str:
    """Preferences of apt (apt_preferences(5)): for a package the first record with its own name counts, then `*`."""
    records = (
        ("jupyterhub4family", f'origin "{host}"', 500),
        ("jupyterhub4family", f"release o={ORIGIN}", -1),
        ("*", f"release o={ORIGIN}", -1),
    )
    text = "\n".join(f"Package: {name}\nPin: {pin}\nPin-Priority: {priority}\n" for name, pin, priority in records)
    return f"# {WRITTEN_BY}\n{text}"


def _drop_in(host: str) -> str:
    # It reads these as patterns of shells: a host of IPv6 has no brackets here, and no other has such characters.
    lines = [f"// {WRITTEN_BY}", f'Unattended-Upgrade::Origins-Pattern:: "origin={ORIGIN},site={host}";']
    before = paths.AUTO_UPGRADE.read_text("utf-8") if paths.AUTO_UPGRADE.exists() else ""
    for key in ("APT::Periodic::Update-Package-Lists", "APT::Periodic::Unattended-Upgrade"):
        # Somebody who has switched this off for the whole machine finds it off.
        if f"{key} " in before or not programs.run(["apt-config", "dump", "--format", "%v", key]).stdout.strip():
            lines.append(f'{key} "1";')
    return "\n".join(lines) + "\n"


def _ensure_key(file: Path) -> Path:
    """A copy of the key that signs the source, under a name that tells apt its kind. Raises FamilyError."""
    data = files.read_untrusted(file, MAXIMUM_KEY)
    if not data:
        raise FamilyError(
            _("the key {file} of the source of upgrades cannot be read", file=str(file)),
            _("fetch it from where the source is, and compare it: {command}", command=f"gpg --show-keys {file}"),
        )
    if b"PRIVATE KEY" in data:
        raise FamilyError(
            _("{file} is a private key; the public one is needed", file=str(file)), _("gpg --export --armor NAME")
        )
    key = paths.SOURCE_KEYS / ("source.asc" if ARMOR in data else "source.gpg")
    paths.SOURCE_KEYS.mkdir(mode=0o755, exist_ok=True)
    if not key.is_file() or key.read_bytes() != data:
        staging = key.with_suffix(".new")
        staging.write_bytes(data)
        staging.chmod(0o644)
        staging.replace(key)
    _forget_keys(key.name)
    return key


def _forget_keys(but: str) -> None:
    for name in ("source.asc", "source.gpg"):
        if name != but:
            (paths.SOURCE_KEYS / name).unlink(missing_ok=True)
    if not but and paths.SOURCE_KEYS.is_dir():
        paths.SOURCE_KEYS.rmdir()


def _ensure(file: Path, text: str) -> None:
    if not file.is_file() or file.read_text("utf-8") != text:
        files.write_atomically(file, text)
