"""Who opens what: every place where root's code, or what root calls, opens a file says whose file that is.

Root opens what the service or a member could have put there through common/system/files.py only (`open_untrusted` and
what rests on it, logs.py among that). So every other call that opens or follows a path in the rooms that run as root
stands in the list below, with whose it is; a new one fails this test until somebody has thought about that.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.unit.helpers import DATA, ROOT, SRC

ROOMS = ("root", "cli", "common")
#: Methods and functions that open a file, list a directory, or follow a link on their way. Not among them is what
#: looks at a name only (lstat, readlink, lexists, is_symlink), and what makes something new.
OPENING = frozenset(
    "open fdopen read_text read_bytes listdir scandir iterdir glob rglob walk fwalk stat exists is_file is_dir resolve"
    " realpath access copy copy2 copyfile copytree rmtree statvfs samefile chdir touch".split()
)
#: What opens other people's files as it should. They open themselves what stands in OURS.
SAFELY = ("files", "logs")

#: Constants that name what only root can write, or the kernel makes (/proc, /sys).
NOBODY_ELSES = re.compile(
    r"\b(?:SYSTEMD_RUNS|LIBRARY|SHARE|ORIGINALS|SYSTEM_PYTHON|PROC|CONTROL_GROUPS|devnull|CRONTAB|UNATTENDED|SHELLS|SUMS"
    r"|MINIMUM_VERSIONS|SAMPLE|WHEELS|BUSCTL|BUS|POLICY|AVAHI_SERVICES|MACHINE_ENVIRONMENT|SYSTEMD_CONTROL|RUN_DIR|LOG"
    r"|CONFIGURATION|SETTINGS_FILE|EXPERT_DIRECTORY|OWN_TLS|BACKUP_TARGET|BACKUP_KEY|BACKUP_SETTINGS|SOURCE_LIST"
    r"|SOURCE_KEYS|AUTO_UPGRADE|PREVIOUS_PACKAGE|PENDING|STAGING|PAM_FILE|SUDOERS|SHADOW|CRON_PID)\b"
)

#: Module: what else it opens, each as often as it stands there, and whose that is.
OTHERS: dict[str, tuple[list[str], str]] = {
    "root.backup.accounts": (["home.parent.is_dir()"], "/home and the like: root's"),
    "root.backup.hollow": (
        ["entry.stat()", "homes.iterdir()", "os.scandir(waiting.pop())", "os.statvfs(place)"],
        "what root has mounted read-only; looks at sizes, follows no link",
    ),
    "root.backup.mounts": (["os.statvfs(target)"], "root's, in its own mounts"),
    "root.backup.program": (["repository.exists()"], "asks restic"),
    "root.backup.restore": (
        [
            "entry.stat()",
            "home.is_dir()",
            "key.is_file()",
            "os.open(staging)",
            "os.path.realpath()",
            "os.scandir(waiting.pop())",
            "parent.glob()",
            "path.is_file()",
            "restored.is_dir()",
            "shutil.copy2(source)",
            "top.rglob()",
        ],
        "in fresh folders of root's alone, by descriptors or after a look that follows no link; root's settings",
    ),
    "root.backup.target": (
        [
            "directory.is_dir()",
            "os.stat(directory)",
            "os.stat(target.local_directory)",
            "target.local_directory.is_dir()",
            "target.local_directory.is_dir()",
        ],
        "where root lets backups go, looked at by root/base/safe_paths.py",
    ),
    "root.backup.tree": (
        ["home.resolve()", "home.resolve()", "os.open(directory)"],
        "the way to a home, looked at by safe_paths; the home itself is opened without following",
    ),
    "root.base.adoption": (["(entry / 'fd').iterdir()", "entry.stat()"], "/proc"),
    "root.base.avahi": (["file.is_file()", "file.read_text()"], "root's, in /etc"),
    "root.base.held_ports": (
        ["SOCKET_UNIT.exists()", "file.exists()", "file.read_text()", "os.listdir('/proc/self/fd')"],
        "systemd's directories of units: root's; /proc",
    ),
    "root.base.safe_paths": (["directory.resolve()", "os.stat(path)"], "looks whose each directory is"),
    "root.base.servers": (["entry.stat()"], "/proc"),
    "root.doors.doas_rights": (["DOAS_CONF.read_text()"], "root's, in /etc"),
    "root.doors.environment": (
        ["entry.is_dir()", "os.fwalk(staging)", "os.fwalk(staging)", "os.scandir(source)", "shutil.rmtree(staging)"],
        "with the service's or the member's rights, in a child; the owners of folders by descriptors",
    ),
    "root.doors.file_rights": (
        [
            "entry.is_dir()",
            "file.read_text()",
            "file.read_text()",
            "os.scandir(directory)",
            "os.stat(path)",
        ],
        "/etc/passwd, schroot's files and the like; looks at modes of what root keeps, and opens nothing else",
    ),
    "root.doors.job_rights": (["os.stat(path)"], "root's, in /etc; looks at a mode"),
    "root.doors.limit_server": (
        ["note.read_text()", "os.stat(SYSTEMS_OWN / f'{unit}.d')"],
        "root's own folder in /run, and systemd's",
    ),
    "root.doors.pam_rights": (["directory.iterdir()", "file.is_file()", "file.read_text()"], "PAM's: root's, in /etc"),
    "root.doors.polkit_rights": (
        ["directory.glob()", "file.is_file()", "file.read_text()"],
        "polkit's: root's, in /etc, /run and /usr",
    ),
    "root.doors.sudo_kinds": (["file.exists()", "os.scandir(path)"], "sudo's: root's, in /etc"),
    "root.doors.tries": (["file.read_text()"], "in root's directory in /run"),
    "root.setup.environments": (["os.stat(environment)"], "with the member's rights, in a child"),
    "root.setup.repair": (
        [
            "directory.glob()",
            "entry.is_file()",
            "original.read_text()",
            "os.fwalk(top)",
            "os.open(top.parent)",
            "os.stat(name)",
            "path.is_file()",
            "path.read_bytes()",
        ],
        "the package's, and root's in /etc",
    ),
    "root.setup.setup": (
        ["UPDATE_RC.exists()", "UPDATE_RC.exists()", "os.open(directory)", "shutil.rmtree(directory)"],
        "Debian's; in directories of root's, without links",
    ),
    "root.upgrade.apt": (
        [
            "known_by_dpkg.exists()",
            "listed.exists()",
            "listed.read_text()",
            "shutil.copy2(known_by_dpkg)",
            "shutil.copy2(source)",
            "shutil.rmtree(stage)",
            "shutil.rmtree(stage)",
        ],
        "the package's and dpkg's",
    ),
    "root.upgrade.apt_sources": (
        ["file.is_file()", "file.read_text()", "key.is_file()", "key.read_bytes()"],
        "root's, in /etc/apt",
    ),
    "root.upgrade.transaction": (["lock_file.exists()", "lock_file.read_text()"], "in root's directory in /run"),
    "cli.backup": (["file.read_text()"], "named by the caller"),
    "cli.base.snapshot": (["opener.open()"], "an address; bounded in bytes and time"),
    "cli.certificates.own": (["open(path)"], "named by the caller"),
    "cli.control": (["Path(f'/proc/{pid}').exists()"], "/proc"),
    "cli.doctor.base.minimum_versions": (["JUDGEMENTS.read_text()"], "the package's"),
    "cli.doctor.checks.installed": (
        ["directory.glob()", "original.read_bytes()", "program.read_bytes()"],
        "the package's, and where it lays its programs: root's",
    ),
    "cli.doctor.checks.machine": (["os.statvfs(space.path)"], "/, /home and root's home of the service"),
    "cli.doctor.checks.members": (["os.stat(home)"], "a home, whose place is root's"),
    "cli.doctor.checks.ports": (["os.scandir(entry / 'fd')"], "/proc"),
    "cli.doctor.checks.rights": (
        ["Path('/').glob()", "door.exists()", "os.access(door)", "os.walk(top)", "path.read_bytes()"],
        "the package's and Debian's",
    ),
    "cli.doctor.checks.settings": (["os.stat(path)"], "root's, in /etc"),
    "cli.doctor.checks.small_memory": (["OS_RELEASE.read_text()"], "Debian's"),
    "cli.doctor.checks.supervision": (["entry.stat()"], "/proc"),
    "cli.doctor.checks.upgrade": (
        ["""(LISTS / f"{name.replace('/', '_')}InRelease").read_text()""", "paths.SOURCE_PIN.exists()"],
        "apt's: root's, in /var/lib/apt and /etc/apt",
    ),
    "cli.logs": (["os.access(directory)"], "whether the caller may look there; opens nothing"),
    "cli.settings.command": (["file.stat()", "os.open(directory)"], "root's, in /etc"),
    "cli.settings.editor": (
        ["copy.read_text()", "draft.exists()", "draft.read_text()"],
        "the caller's copy and root's draft",
    ),
    "cli.support.command": (
        [
            "directory.glob()",
            "open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 384))",
            "os.open(path)",
            "tarfile.open()",
        ],
        "root's experts' files; a new file in the caller's directory",
    ),
    "common.entry": (
        [
            "open(_ADJUSTMENT)",
            "open(_ADJUSTMENT)",
            "open(_TIMER_SLACK)",
            "os.chdir('/')",
            "os.chdir('/')",
            "os.fdopen(0)",
            "os.fdopen(1)",
            "os.fdopen(2)",
            "os.listdir('/proc/self/fd')",
        ],
        "/, /proc, and descriptors that are open",
    ),
    "common.python.likeness": (
        [
            "entry.is_dir()",
            "entry.is_file()",
            "entry.is_file()",
            "entry.stat()",
            "os.open(environment)",
            "os.open(place or '.')",
            "os.scandir(descriptor)",
            "os.scandir(os.path.join(environment, place))",
        ],
        "an environment's or the template's, with its owner's rights; directories only, and no link in it is followed",
    ),
    "common.python.trial": (
        ["(environment / 'bin' / 'jupyterhub-singleuser').exists()"],
        "the member's or the service's, with the same rights",
    ),
    "common.python.addresses": (
        ["REFERENCE_LOCK.read_text()", "lock_file(lock).read_text()"],
        "the package's locks",
    ),
    "common.settings.model": (["open(path)"], "root's settings; of the service's note effective.py tells"),
    "common.state.allowed_administrators": (
        ["paths.ALLOWED_ADMINISTRATORS.is_file()", "paths.ALLOWED_ADMINISTRATORS.read_text()"],
        "root's, in /etc",
    ),
    "common.state.nodes": (["paths.NODES.glob()"], "root's, in /etc"),
    "common.system.accounts": (["SUBORDINATE_UIDS.read_text()"], "root's, in /etc"),
    "common.system.cgroups": (["(newer / 'memory.current').exists()", "path.read_text()", "path.read_text()"], "/sys"),
    "common.system.disk_space": (
        ["os.stat(directory)", "os.statvfs(directory)", "os.statvfs(directory)"],
        "directories whose place is root's; nothing in them",
    ),
    "common.system.network": (["file.read_text()"], "root's /etc/hosts and resolv.conf, and /proc"),
    "common.system.sockets": (["table.read_text()"], "/proc"),
}
#: The places that are for it.
ITSELF = ("common.system.files", "common.system.logs")


def openings(source: str) -> Iterator[str]:
    """The calls in `source` that open or follow something, without their arguments beyond the first."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        owner = ast.unparse(node.func.value) if isinstance(node.func, ast.Attribute) else ""
        if name not in OPENING or owner.rpartition(".")[2] in SAFELY:
            continue
        first = ast.unparse(node.args[0]) if node.args and owner in ("", "os", "shutil") else ""
        call = f"{ast.unparse(node.func)}({first})"
        if not NOBODY_ELSES.search(call):
            yield call


def found() -> dict[str, Counter[str]]:
    """All of them, by module."""
    result = {}
    for room in ROOMS:
        for path in sorted((SRC / "jupyterhub4family" / room).rglob("*.py")):
            calls = Counter(openings(path.read_text("utf-8")))
            if calls:
                result[path.relative_to(SRC / "jupyterhub4family").with_suffix("").as_posix().replace("/", ".")] = calls
    return result


def test_everything_that_is_opened_is_known_to_be_nobody_elses() -> None:
    opened = {module: sorted(calls.elements()) for module, calls in found().items() if module not in ITSELF}
    assert opened == {module: sorted(calls) for module, (calls, _whose) in OTHERS.items()}


@pytest.mark.parametrize(
    "source",
    [
        "open(path)",
        "os.open(paths.PUBLIC / 'x', os.O_RDONLY)",
        "paths.CERTIFICATE_REPORT.read_text()",
        "(paths.STATE / 'stopped').exists()",
        "link.resolve().name",
        "shutil.copy2(a, b)",
        "for one in directory.glob('*'): pass",
        "with io.open(path) as file: pass",
    ],
)
def test_the_test_itself_sees_an_opening(source: str) -> None:
    assert len(list(openings(source))) == 1


def test_and_none_where_there_is_none() -> None:
    safe = "files.read_json(path, 1); system.files.open_untrusted(path); os.lstat(path); os.readlink(x); x.is_symlink()"
    assert not list(openings(f"{safe}; paths.SUDOERS.read_bytes(); logs.end_of(log, 1)"))


#: What belongs to the account `jupyterhub` in its home: names of its directories (common/paths.py).
OF_THE_SERVICE = re.compile(r"/(?:public|state|releases|templates|cache)\b|screen")


def test_roots_shell_reads_nothing_of_the_services() -> None:
    """At a login, in maintainer scripts and from cron: a pipe there would keep root waiting for ever."""
    scripts = [
        *(DATA / "etc/update-motd.d").iterdir(),
        *(DATA / "etc/cron.d").iterdir(),
        *(
            path
            for path in (ROOT / "debian").iterdir()
            if path.suffix in (".postinst", ".prerm", ".postrm", ".preinst")
        ),
    ]
    assert len(scripts) >= 5
    for script in scripts:
        lines = [line for line in script.read_text("utf-8").splitlines() if not line.lstrip().startswith("#")]
        for line in filter(OF_THE_SERVICE.search, lines):
            # A look at a name follows nothing; taking everything away (purge) follows no link.
            assert "[ -L " in line or "rm -rf " in line, f"{script.name}: {line}"
