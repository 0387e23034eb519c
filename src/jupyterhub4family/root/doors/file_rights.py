"""Runs as root, inside doors: what an account may write of root's, which groups and numbers it may take."""

from __future__ import annotations

import os
import pwd
import re
import stat
from collections.abc import Iterator, Set
from pathlib import Path
from typing import Optional, Union

from jupyterhub4family.common import patterns
from jupyterhub4family.common.i18n.messages import Message, _
from jupyterhub4family.common.system import accounts, files
from jupyterhub4family.root.doors import database, known_names, one_look
from jupyterhub4family.root.doors.sudo_rights import Judge

#: What was found at each place on the way to a file.
Looked = dict[str, tuple[Optional[os.stat_result], str]]
#: Whoever can write one of these is root at the latest when root or the machine next uses it.
TRUSTED = tuple(
    Path(one)
    for one in """
    / /etc /etc/passwd /etc/shadow /etc/group /etc/gshadow /etc/sudoers /etc/sudoers.d /etc/doas.conf /etc/pam.d
    /etc/crontab /etc/cron.d /etc/cron.hourly /etc/cron.daily /etc/cron.weekly /etc/cron.monthly /etc/init.d
    /etc/rc.local /etc/systemd/system /etc/udev/rules.d /etc/profile /etc/profile.d /etc/bash.bashrc /etc/environment
    /etc/ld.so.preload /etc/ld.so.conf.d /etc/apt /etc/apt/apt.conf.d /etc/update-motd.d /etc/jupyterhub4family
    /root /root/.bashrc /root/.profile /root/.ssh /root/.ssh/authorized_keys /var/spool/cron/crontabs/root
    /usr /usr/bin /usr/sbin /usr/lib /usr/src /usr/local /usr/local/bin /usr/local/sbin /usr/local/lib /opt /boot
    /usr/lib/jupyterhub4family /var/lib/jupyterhub4family
    """.split()
)
#: Those in which root trusts each file as well. What was moved there (`mv`) keeps its owner, and a link leads to one.
LISTED = tuple(
    Path(one)
    for one in """
    /etc /etc/acpi/events /etc/apt /etc/apt/apt.conf.d /etc/apt/keyrings /etc/apt/preferences.d /etc/apt/sources.list.d
    /etc/apt/trusted.gpg.d /etc/bash_completion.d /etc/cron.d /etc/cron.hourly /etc/cron.daily /etc/cron.weekly
    /etc/cron.monthly /etc/default
    /etc/dhcp/dhclient-enter-hooks.d /etc/dhcp/dhclient-exit-hooks.d /etc/dpkg/dpkg.cfg.d /etc/grub.d /etc/init.d
    /etc/initramfs-tools/hooks /etc/kernel/postinst.d /etc/kernel/postrm.d /etc/ld.so.conf.d /etc/logrotate.d
    /etc/modprobe.d /etc/modules-load.d /etc/network /etc/network/if-down.d /etc/network/if-post-down.d
    /etc/network/if-pre-up.d /etc/network/if-up.d /etc/NetworkManager/dispatcher.d /etc/pam.d /etc/polkit-1/rules.d
    /etc/ppp/ip-up.d /etc/X11/Xsession.d
    /etc/profile.d /etc/schroot/chroot.d /etc/security /etc/ssh /etc/ssh/sshd_config.d /etc/sudoers.d /etc/sysctl.d
    /etc/systemd /etc/systemd/system /etc/tmpfiles.d /etc/udev/rules.d /etc/update-motd.d /usr/local/bin /usr/local/sbin
    /usr/local/lib /usr/local/lib/systemd/system /usr/lib/systemd/system-sleep
    """.split()
)
#: Where programs of root's look for libraries as well, and which they load first (ld.so(8)).
LIBRARIES = (Path("/etc/ld.so.conf"), Path("/etc/ld.so.conf.d"), Path("/etc/ld.so.preload"))
#: Bytes of such a file.
_LONGEST = 64 * 1024
#: Where the modules of root's Python are; `-I` does not keep it from looking there, nor from running what *.pth says.
MODULES = ("/usr/local/lib/python3*/dist-packages", "/usr/lib/python3/dist-packages")
#: In these directories count, too: parts of units, as packages of modules do.
WITH_DIRECTORIES = frozenset({Path("/etc/systemd/system")})
#: In a home, what is run at a login, or lets somebody in.
IN_HOMES = (
    *(".bashrc", ".bash_profile", ".bash_login", ".bash_aliases", ".profile", ".zshrc", ".pam_environment", ".ssh"),
    *(".ssh/authorized_keys", ".config", ".config/autostart", ".config/systemd", "bin", ".local", ".local/bin"),
)
#: schroot(1): who is root in a chroot without a password; and there can reach all that is outside.
SCHROOT = (Path("/etc/schroot/schroot.conf"), Path("/etc/schroot/chroot.d"))
_MOST_LINKS = 40
_SCHROOT_KEY = patterns.compiled(r"(?:source-)?root-(?P<kind>users|groups)\s*=\s*(?P<names>.*)")
#: Whoever may connect to one of these has a program of root's do anything.
SOCKETS = tuple(
    Path(one)
    for one in """
    /run/docker.sock /run/podman/podman.sock /run/containerd/containerd.sock /run/crio/crio.sock
    /run/k3s/containerd/containerd.sock
    /var/lib/lxd/unix.socket /var/snap/lxd/common/lxd/unix.socket /var/lib/incus/unix.socket
    """.split()
)
GROUP_SHADOW = Path("/etc/gshadow")
SUBORDINATE_UIDS, SUBORDINATE_GIDS = Path("/etc/subuid"), Path("/etc/subgid")


def ways(account: pwd.struct_passwd, judge: Judge) -> Iterator[Message]:
    """Sentences for the files, sockets, groups and numbers by which `account` becomes root."""
    groups, looked = database.groups_of(account), looked_at()
    for path in _open_trusted():
        if _may_write(path, account.pw_uid, groups):
            yield _("it can write {file}, which root trusts", file=str(path))
    for path in _roots_own():
        if may_replace(path, account.pw_uid, groups, looked):
            yield _("it can write {file}, which root trusts", file=str(path))
    for path in _open_sockets():
        if _may_write(path, account.pw_uid, groups):
            yield _("it can use {file}, which does everything as root", file=str(path))
    yield from _homes(account, groups, judge)
    yield from _schroot(account, groups)
    yield from _group_shadow(account)
    yield from _subordinate(account)


@one_look.once
def looked_at() -> Looked:
    """What has been found at each place so far: nothing, unless many accounts are looked at."""
    return {}


@one_look.once
def _roots_own() -> list[Path]:
    """Those of LISTED, MODULES and LIBRARIES that anybody could replace."""
    return [Path(place) for place in (*_listed(), *_libraries()) if is_replaceable(place, looked_at())]


def _listed() -> Iterator[str]:
    """The directories of LISTED, where they are, and of MODULES, with what is in them."""
    # Texts: to compare paths took half of the time of all this.
    trusted, with_directories = set(map(str, TRUSTED)), set(map(str, WITH_DIRECTORIES))
    modules = list(_modules())
    for directory in (*map(str, LISTED), *modules):
        if directory not in trusted:
            yield directory
        found = names(directory, directories=directory in with_directories or directory in modules)
        yield from found
        for one in found if directory in with_directories else ():
            # What is added to a unit (NAME.d/*.conf).
            yield from names(one) if one.endswith(".d") else ()


def _modules() -> Iterator[str]:
    """The directories of MODULES that are there."""
    for place in MODULES:
        python, packages = os.path.split(place)
        beginning = python.rstrip("*")
        found = names(os.path.dirname(python), directories=True) if beginning != python else [python]
        for one in (f"{one}/{packages}" for one in found if one.startswith(beginning)):
            if _status(one) is not None:
                yield one


def _libraries() -> Iterator[str]:
    """Directories and libraries that the files of LIBRARIES name."""
    for file in (one for place in LIBRARIES for one in (entries(place) or [place])):
        text = (files.read_untrusted(file, _LONGEST) or b"").decode("utf-8", "replace")
        for word in re.split(r"[\s:,]+", re.sub(r"#[^\n]*", "", text)):
            if word.startswith("/"):
                yield word


@one_look.once
def _open_trusted() -> list[Path]:
    """Those of TRUSTED that anybody but root could write."""
    return _open_ones(TRUSTED)


@one_look.once
def _open_sockets() -> list[Path]:
    """The same of SOCKETS."""
    return _open_ones(SOCKETS)


def _open_ones(places: tuple[Path, ...]) -> list[Path]:
    found = ((path, _status(path)) for path in places)
    return [path for path, status in found if status is not None and _is_open(status, 0)]


def _is_open(status: os.stat_result, owner: int) -> bool:
    """Whether `_lets_write` could say yes for anybody but root and `owner`: nobody need be asked about all else."""
    return status.st_uid not in (0, owner) or bool(status.st_mode & (stat.S_IWGRP | stat.S_IWOTH))


def _may_write(path: Union[str, Path], uid: int, groups: Set[int]) -> bool:
    """Whether the kernel lets this account write `path`, or change that it does not. Access lists are not looked at."""
    status = _status(path)
    return status is not None and _lets_write(status, uid, groups)


@one_look.once
def _status(path: Union[str, Path]) -> Optional[os.stat_result]:
    try:
        return os.stat(path)
    except OSError:
        return None


def _lets_write(status: os.stat_result, uid: int, groups: Set[int]) -> bool:
    if status.st_uid == uid:
        return True
    if status.st_gid in groups:
        return bool(status.st_mode & stat.S_IWGRP)
    return bool(status.st_mode & stat.S_IWOTH)


def is_replaceable(place: str, looked: Looked) -> bool:
    """Whether `may_replace` could say yes for anybody but root."""
    is_plain = "/." not in place and "//" not in place and not place.endswith("/")
    if is_plain and _is_closed(os.path.dirname(place)):
        # The whole way has been looked at for another one in this directory.
        if place not in looked:
            looked[place] = _look(place)
        status, target = looked[place]
        if status is None or not target:
            return status is not None and not stat.S_ISCHR(status.st_mode) and _is_open_on_the_way(status)
    for status, _place, _is_last in _steps(Path(place), looked):
        if stat.S_ISCHR(status.st_mode):
            return False
        if _is_open_on_the_way(status):
            return True
    return False


def _is_open_on_the_way(status: os.stat_result) -> bool:
    """Whether a place lets `may_replace` say yes for anybody but root: in a directory like /tmp it lets nobody."""
    is_like_tmp = stat.S_ISDIR(status.st_mode) and bool(status.st_mode & stat.S_ISVTX) and status.st_uid == 0
    return not is_like_tmp and _is_open(status, 0)


@one_look.once
def _is_closed(directory: str) -> bool:
    """Whether nobody but root may change what is in a directory, nor on the way there, on which no link is."""
    parent = os.path.dirname(directory)
    # Of "//x" and "x" the parent is what it is itself.
    if directory != "/" and (parent == directory or not _is_closed(parent)):
        return False
    status, target = _look(directory)
    return status is not None and not target and stat.S_ISDIR(status.st_mode) and not _is_open(status, 0)


def may_replace(path: Path, uid: int, groups: Set[int], looked: Optional[Looked] = None) -> bool:
    """Whether this account may write what `path` leads to, or put another in its place, on the whole way from / down.

    The way ends at the first directory of another person's: whatever lies there (a file system of their own that never
    answers) keeps nobody from logging in. `looked` is kept from one path to the next: they have most of their way in
    common.
    """
    for status, _place, _is_last in _steps(path, {} if looked is None else looked):
        if stat.S_ISCHR(status.st_mode):
            # A unit or a job that is masked leads to /dev/null: what anybody writes there nobody reads.
            return False
        # In a directory like /tmp nobody can exchange what is another's.
        by_all = bool(status.st_mode & stat.S_ISVTX) and stat.S_ISDIR(status.st_mode) and status.st_uid != uid
        if not by_all and _lets_write(status, uid, groups):
            return True
    return False


def followed(path: Path) -> Optional[Path]:
    """What `path` leads to, by whatever links; None if the way ends before, as in `may_replace`."""
    last = None
    for status, place, is_last in _steps(path, {}):
        last = Path(place) if is_last and not accounts.is_ordinary_uid(status.st_uid) else None
    return last


def _steps(path: Path, looked: Looked) -> Iterator[tuple[os.stat_result, str, bool]]:
    """The places on the way from / to what `path` leads to, links followed, and whether each is the last one."""
    # Strings: a Path for each step took half of the time of all this.
    place, waiting, links = "/", [*reversed(path.parts[1:])], 0
    while waiting:
        name = waiting.pop()
        place = os.path.dirname(place) if name == ".." else os.path.join(place, name)
        if place not in looked:
            looked[place] = _look(place)
        status, target = looked[place]
        if status is None:
            return
        if target:
            links += 1
            if links > _MOST_LINKS:
                return
            place = "/" if target.startswith("/") else os.path.dirname(place)
            waiting += [part for part in reversed(target.split("/")) if part not in ("", ".")]
            continue
        yield status, place, not waiting
        if accounts.is_ordinary_uid(status.st_uid):
            return


def _look(place: str) -> tuple[Optional[os.stat_result], str]:
    """What `place` is, and where it leads to if it is a link; None for what cannot be seen."""
    try:
        status = os.lstat(place)
        return status, os.readlink(place) if stat.S_ISLNK(status.st_mode) else ""
    except OSError:
        return None, ""


def entries(directory: Path, *, directories: bool = False) -> list[Path]:
    """The files and links in a directory of root's, and with `directories` those as well; not what is in these."""
    return [Path(name) for name in names(directory, directories=directories)]


def names(directory: Union[str, Path], *, directories: bool = False) -> list[str]:
    """The same as texts, which are made in a tenth of the time."""
    try:
        with os.scandir(directory) as found:
            return sorted(entry.path for entry in found if directories or not entry.is_dir(follow_symlinks=False))
    except OSError:
        return []


@one_look.once
def _open_homes() -> list[pwd.struct_passwd]:
    """Whose home, or what an administrator runs of it, anybody but root and themselves could write."""
    found = []
    for other in database.everybody():
        if not accounts.is_ordinary_uid(other.pw_uid):
            continue
        # Texts: a Path for each account took more time than all questions.
        places = [other.pw_dir]
        if database.administrator_groups(other):
            places += [f"{other.pw_dir}/{one}" for one in IN_HOMES]
        statuses = (_status(place) for place in places)
        if any(status is not None and _is_open(status, other.pw_uid) for status in statuses):
            found.append(other)
    return found


def _homes(account: pwd.struct_passwd, groups: Set[int], judge: Judge) -> Iterator[Message]:
    """Who writes in an administrator's home is that administrator at their next login."""
    for other in _open_homes():
        if other.pw_uid == account.pw_uid:
            continue
        home = other.pw_dir
        # The cheap question first; and only in homes of whom root trusts anyway is anything looked at.
        if _may_write(home, account.pw_uid, groups):
            is_way = bool(database.administrator_groups(other) or judge(other))
        else:
            is_way = bool(database.administrator_groups(other)) and any(
                _may_write(f"{home}/{one}", account.pw_uid, groups) for one in IN_HOMES
            )
        if is_way:
            yield _("it can write the home of {name}, who can become root", name=other.pw_name)


def _schroot(account: pwd.struct_passwd, groups: Set[int]) -> Iterator[Message]:
    """Chroots in which it is root: from there it makes itself a program with setuid, or reads the disk."""
    for file, line, users, numbers in _schroot_lines():
        if numbers & groups or account.pw_name in users:
            yield _("{file} lets it become root ({line})", file=str(file), line=line[:120])


@one_look.once
def _schroot_lines() -> list[tuple[Path, str, set[str], set[Optional[int]]]]:
    """The lines that name somebody: the file, the line, names of accounts, numbers of groups."""
    lines = []
    for file in (one for place in SCHROOT for one in (entries(place) or [place])):
        try:
            text = file.read_text("utf-8", "replace")
        except OSError:
            continue
        for line in map(str.strip, text.splitlines()):
            if found := _SCHROOT_KEY.fullmatch(line):
                names = set(re.split(r"[,\s]+", found["names"]))
                is_groups = found["kind"] == "groups"
                numbers = {known_names.group_number(name) for name in names} if is_groups else set()
                lines.append((file, line, set() if is_groups else names, numbers))
    return lines


def _group_shadow(account: pwd.struct_passwd) -> Iterator[Message]:
    """Groups that it administers (gpasswd(1)), and those into which newgrp(1) lets it without being in /etc/group."""
    numbers = set(database.administrator_group_numbers().values())
    for name in _in_group_shadow().get(account.pw_name, ()):
        if known_names.group_number(name) in numbers - database.groups_of(account):
            yield _("it can put itself into the group {group} ({file})", group=name, file=str(GROUP_SHADOW))


@one_look.once
def _in_group_shadow() -> dict[str, list[str]]:
    """By account, the groups in whose lines it stands, as administrator or member; those that matter only."""
    numbers, found = set(database.administrator_group_numbers().values()), dict[str, list[str]]()
    for fields in _records(GROUP_SHADOW, 4):
        names = {name for name in f"{fields[2]},{fields[3]}".split(",") if name}
        if names and known_names.group_number(fields[0]) in numbers:
            for name in names:
                found.setdefault(name, []).append(fields[0])
    return found


def _subordinate(account: pwd.struct_passwd) -> Iterator[Message]:
    """Numbers that it may take in a container (newuidmap(1)): root's, an administrator's, an administrator group's."""
    for start, end in _ranges(SUBORDINATE_UIDS, account):
        for other in _never_to_be_taken():
            if start <= other.pw_uid < end and other.pw_uid != account.pw_uid:
                yield _("{file} lets it take the number of {name}", file=str(SUBORDINATE_UIDS), name=other.pw_name)
                break
    for start, end in _ranges(SUBORDINATE_GIDS, account):
        for name, number in _administrators_groups():
            if start <= number < end:
                yield _("{file} lets it take the number of {name}", file=str(SUBORDINATE_GIDS), name=name)
                break


def _ranges(file: Path, account: pwd.struct_passwd) -> Iterator[tuple[int, int]]:
    by_name = _subordinates(file)
    for name in dict.fromkeys((account.pw_name, str(account.pw_uid))):
        yield from by_name.get(name, ())


@one_look.once
def _subordinates(file: Path) -> dict[str, list[tuple[int, int]]]:
    """By what stands first in a line, a name or a number: the numbers that may be taken."""
    found: dict[str, list[tuple[int, int]]] = {}
    for name, start, count in _records(file, 3):
        if start.isdecimal() and count.isdecimal():
            found.setdefault(name, []).append((int(start), int(start) + int(count)))
    return found


@one_look.once
def _administrators_groups() -> list[tuple[str, int]]:
    """The groups that make administrators, and their numbers, sorted by name."""
    return sorted(database.administrator_group_numbers().items())


@one_look.once
def _never_to_be_taken() -> list[pwd.struct_passwd]:
    """The accounts that no member may act as."""
    return [one for one in database.everybody() if accounts.never_a_member(one) or database.administrator_groups(one)]


@one_look.once
def _records(file: Path, length: int) -> list[list[str]]:
    """The lines of a file of fields with colons between; others are left out, as those who read it do."""
    try:
        lines = file.read_text("utf-8", "replace").splitlines()
    except OSError:
        return []
    return [fields for fields in (line.split(":") for line in lines) if len(fields) == length]
