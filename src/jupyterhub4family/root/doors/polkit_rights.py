"""Runs as root, inside doors: which rules of polkit that this machine's owner has written make an account root.

polkit's own rules are programs in JavaScript (polkit(8)), so what they decide cannot be known without running them.
What is looked for is whether one *names* the account, or a group of its own, and is about something by which one
becomes root. Files of the older form (.pkla, .conf) are read as they are meant.
"""

from __future__ import annotations

import fnmatch
import pwd
import re
from collections.abc import Iterator
from pathlib import Path

from jupyterhub4family.common import patterns
from jupyterhub4family.common.i18n.messages import Message, _
from jupyterhub4family.common.system import accounts
from jupyterhub4family.root.doors import database, one_look

#: What an owner writes; what packages bring in /usr/share names groups of Debian's, which accounts.py knows.
RULES = (Path("/etc/polkit-1/rules.d"), Path("/run/polkit-1/rules.d"), Path("/usr/local/share/polkit-1/rules.d"))
LOCAL_AUTHORITY = (Path("/etc/polkit-1/localauthority"), Path("/var/lib/polkit-1/localauthority"))
ADMINISTRATORS = Path("/etc/polkit-1/localauthority.conf.d")
#: Actions with which one becomes root, or does with the machine what only root should.
DANGEROUS = (
    "org.freedesktop.policykit.exec",
    "org.freedesktop.systemd1.manage-units",
    "org.freedesktop.systemd1.manage-unit-files",
    "org.freedesktop.systemd1.reload-daemon",
    "org.freedesktop.machine1.host-shell",
    "org.freedesktop.machine1.shell",
    "org.freedesktop.accounts.user-administration",
    "org.freedesktop.packagekit.package-install-untrusted",
    "org.freedesktop.packagekit.package-install",
    "org.freedesktop.packagekit.system-sources-configure",
    "org.freedesktop.udisks2.open-device-system",
    "org.freedesktop.udisks2.open-device",
    "org.freedesktop.packagekit.package-reinstall",
    "org.libvirt.unix.manage",
    "org.freedesktop.systemd1.set-environment",
    "org.freedesktop.portable1.attach-images",
    "org.freedesktop.machine1.manage-machines",
    "org.freedesktop.udisks2.modify-system-configuration",
    "org.freedesktop.udisks2.modify-device-system",
    "org.debian.apt.install-or-remove-packages",
    "org.debian.apt.install-file",
    "org.debian.apt.change-repository",
    "com.ubuntu.pkexec.synaptic",
    "com.ubuntu.pkexec.gdebi-gtk",
    "org.gnome.gparted",
    "io.snapcraft.snapd.manage",
    "org.gtk.vfs.file-operations",
)
_COMMENT = patterns.compiled(r"/\*.*?\*/|//[^\n]*", re.DOTALL)


def ways(account: pwd.struct_passwd) -> Iterator[Message]:
    """Sentences for the files of polkit by which `account` becomes root."""
    ours = {accounts.MEMBER_GROUP, accounts.DELEGATE_GROUP}
    groups = database.group_names(account)
    names = {f"unix-user:{account.pw_name}", f"unix-user:{account.pw_uid}", *(f"unix-group:{one}" for one in groups)}
    words = {account.pw_name, *names, *(groups - ours)}
    for directory in RULES:
        for file in _files(directory, "*.rules"):
            if _script_names(_read(file), words):
                yield _("{file} names it in a rule by which one becomes root", file=str(file))
    for directory in LOCAL_AUTHORITY:
        for file in _files(directory, "*/*.pkla"):
            if any(_grants(section, names) for section in _sections(_read(file))):
                yield _("{file} names it in a rule by which one becomes root", file=str(file))
    for file in _files(ADMINISTRATORS, "*.conf"):
        if any(_any_of(section.get("adminidentities", ""), names) for section in _sections(_read(file))):
            yield _("{file} makes it an administrator", file=str(file))


@one_look.once
def _files(directory: Path, pattern: str) -> list[Path]:
    return sorted(file for file in directory.glob(pattern) if file.is_file())


@one_look.once
def _read(file: Path) -> str:
    try:
        return file.read_text("utf-8", "replace")
    except OSError:
        return ""


def _script_names(text: str, words: set[str]) -> bool:
    """Whether a script speaks of one of `words`, and of something by which one becomes root, or of everything."""
    script = _COMMENT.sub(" ", text)
    texts = {one[1] for one in re.finditer(r"""["']([^"'\n]*)["']""", script)}
    # Who asks nobody who it is says yes to everybody.
    is_for_all = (
        "subject" not in re.sub(r"function\s*\([^)]*\)|\([^()]*\)\s*=>", " ", script) and "Result.YES" in script
    )
    if not texts & words and not is_for_all:
        return False
    if "addAdminRule" in script or "action.id" not in script:
        return True
    return any(
        action.startswith(one) for action in DANGEROUS for one in texts if one.startswith(("org.", "com.", "io."))
    )


def _sections(text: str) -> list[dict[str, str]]:
    """The sections of a file with `[name]` and `key=value`, keys in lower case."""
    found: list[dict[str, str]] = [{}]
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            found.append({})
        elif "=" in line and not line.startswith("#"):
            key, _equals, value = line.partition("=")
            found[-1][key.strip().lower()] = value.strip()
    return found


def _grants(section: dict[str, str], names: set[str]) -> bool:
    results = {section.get(key, "").lower() for key in ("resultany", "resultinactive", "resultactive")}
    permitted = any(result == "yes" or result.startswith("auth_self") for result in results)
    actions = section.get("action", "").split(";")
    dangerous = any(fnmatch.fnmatchcase(one, action.strip()) for one in DANGEROUS for action in actions)
    return permitted and dangerous and _any_of(section.get("identity", ""), names)


def _any_of(identities: str, names: set[str]) -> bool:
    patterns = [one.strip() for one in identities.split(";") if one.strip()]
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns for name in names)
