"""Runs as the member, inside the mediator: starts, signals and reads the log of the member's own servers."""

from __future__ import annotations

import json
import os
import pwd
import re
import resource
import select
import signal
import stat
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Callable, NoReturn

from jupyterhub4family.common import paths, records
from jupyterhub4family.common.errors import FamilyError, UsageError
from jupyterhub4family.common.i18n.messages import _, from_json, to_json
from jupyterhub4family.common.python import uv
from jupyterhub4family.common.system import files, processes
from jupyterhub4family.user import limit_server

#: What JupyterHub tells a single-user server (jupyterhub.spawner.Spawner.get_env, versions 5 and 6). Anything else
#: that the hub sends is dropped: PATH, HOME, LD_*, PYTHON* and the paths of Jupyter's own settings above all.
HUB_VARIABLES = frozenset(
    """
    JUPYTERHUB_API_TOKEN JPY_API_TOKEN JUPYTERHUB_API_URL JUPYTERHUB_ACTIVITY_URL JUPYTERHUB_BASE_URL
    JUPYTERHUB_CLIENT_ID JUPYTERHUB_COOKIE_HOST_PREFIX_ENABLED JUPYTERHUB_COOKIE_OPTIONS JUPYTERHUB_DEBUG
    JUPYTERHUB_DEFAULT_URL JUPYTERHUB_DISABLE_USER_CONFIG JUPYTERHUB_HOST JUPYTERHUB_OAUTH_ACCESS_SCOPES
    JUPYTERHUB_OAUTH_CALLBACK_URL JUPYTERHUB_OAUTH_CLIENT_ALLOWED_SCOPES JUPYTERHUB_OAUTH_SCOPES
    JUPYTERHUB_PUBLIC_HUB_URL JUPYTERHUB_PUBLIC_URL JUPYTERHUB_ROOT_DIR JUPYTERHUB_SERVER_NAME
    JUPYTERHUB_SERVICE_PREFIX JUPYTERHUB_SERVICE_URL JUPYTERHUB_USER MEM_LIMIT MEM_GUARANTEE CPU_LIMIT CPU_GUARANTEE
    """.split()
)
SIGNALS = (0, signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
#: Bytes. A log that has grown beyond this is put aside at the next start; one old log is kept.
LOG_LIMIT = 1024 * 1024
#: Descriptors that a program has unless it asks for more: what systemd gives, and all that select(2) can look at.
OPEN_FILES = 1024
#: Characters of a line of a log that is shown: twenty of them fit in an answer, whatever is in them.
LONGEST_LINE = 500
LOCALE_FILE = Path("/etc/default/locale")
#: Where in a home Jupyter keeps the sockets of kernels, and a place with a shorter name.
RUNTIME, SHORT_RUNTIME = ".local/share/jupyter/runtime", ".jupyter/run"
#: The name of such a socket: a kernel has five.
KERNEL_SOCKET = "kernel-00000000-0000-0000-0000-000000000000-ipc-5"
#: In a home: a file with which a member has their servers start as JupyterHub starts them.
PLAIN_SERVER = ".config/jupyterhub4family/plain-server"
#: Bytes; the service writes one or two thousand.
LONGEST_SETTINGS = 64 * 1024
#: Bytes of the longest path that a socket can have (unix(7), without the last zero).
LONGEST_SOCKET = 107


@records.dataclass(frozen=True)
class Started:
    """A server that was just started: its pid, and its start time in clock ticks since the machine started."""

    pid: int
    start_time: int


def spawn(member: pwd.struct_passwd, untrusted_arguments: list[Any], untrusted_variables: Mapping[str, Any]) -> Started:
    """Start the member's single-user server and return at once.

    Raises UsageError for arguments or variables that are no text, FamilyError when the server cannot be started.
    """
    if untrusted_arguments:
        # Everything JupyterHub has to say to a server it says in variables; arguments could name any file.
        raise UsageError(_("servers take no arguments"))
    variables = server_environment(member, untrusted_variables)
    return begin(member, variables, launcher(Path(member.pw_dir)))


def begin(member: pwd.struct_passwd, variables: Mapping[str, str], before_program: list[str]) -> Started:
    """Start the member's program for servers, and what comes before it, with these variables and no others.

    Raises FamilyError.
    """
    home = Path(member.pw_dir)
    python = home / paths.MEMBER_ENVIRONMENT / "bin" / "python"
    program = home / paths.MEMBER_ENVIRONMENT / "bin" / "jupyterhub-singleuser"
    if not program.exists():
        raise FamilyError(
            _("this member has no environment yet"), _("start the server again: the environment is made then")
        )
    log = open_log(member, variables.get("JUPYTERHUB_SERVER_NAME", ""))
    try:
        # The script's own first line would go through a shell to find its interpreter; we know it.
        args = [str(python), *before_program, str(program), *server_arguments(home)]
        return _start_detached(args, variables, home, log, limit_server.confine_this_process)
    finally:
        os.close(log)


def server_environment(member: pwd.struct_passwd, untrusted_variables: Mapping[str, Any]) -> dict[str, str]:
    """The complete environment of a server: the member's own basics, and what is on the allow-list."""
    environment = Path(member.pw_dir) / paths.MEMBER_ENVIRONMENT
    result = {
        "HOME": member.pw_dir,
        "USER": member.pw_name,
        "LOGNAME": member.pw_name,
        "SHELL": member.pw_shell or "/bin/sh",
        "PATH": f"{environment}/bin:/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games",
        "VIRTUAL_ENV": str(environment),
        # Debian's trust store, as everywhere: it knows the certificate of a filtering proxy, pip's own does not.
        "PIP_CERT": str(uv.TRUST_STORE),
        "UV_SYSTEM_CERTS": "1",
        # A machine behind a proxy: pip in a notebook needs it, too.
        **uv.machine_settings(),
        **_locale(),
    }
    runtime = Path(f"/run/user/{member.pw_uid}")
    if runtime.is_dir():
        result["XDG_RUNTIME_DIR"] = str(runtime)
    if not _sockets_fit(Path(member.pw_dir), RUNTIME):
        result["JUPYTER_RUNTIME_DIR"] = f"{member.pw_dir}/{SHORT_RUNTIME}"
    for key, value in untrusted_variables.items():
        if not isinstance(value, str) or "\0" in value:
            raise UsageError(_("the variable {name} is not text", name=repr(key[:40])))
        if key in HUB_VARIABLES:
            result[key] = value
    return result


def server_arguments(home: Path) -> list[str]:
    """What a server is told beside its environment: kernels on TCP ports, if a socket's path would be too long."""
    return [] if _sockets_fit(home, SHORT_RUNTIME) else ["--ServerKernelManager.transport=tcp"]


def launcher(home: Path) -> list[str]:
    """What the member's Python runs in place of their server's program, which comes next: ours, or nothing (ADR 27).

    Ours starts lean what was tried, and becomes the program itself everywhere else.
    """
    try:
        wanted = not os.path.lexists(home / PLAIN_SERVER) and _are_servers_lean()
        return [str(paths.LEAN_START)] if wanted and paths.LEAN_START.is_file() else []
    except OSError:
        return []


def _are_servers_lean() -> bool:
    """The setting `lean_servers`, as the service has noted it: to read YAML takes longer than all else here."""
    noted = files.read_json(paths.LAST_GOOD_SETTINGS, LONGEST_SETTINGS)
    return not isinstance(noted, dict) or noted.get("lean_servers", True) is not False


def _sockets_fit(home: Path, directory: str) -> bool:
    return len(os.fsencode(home / directory / KERNEL_SOCKET)) <= LONGEST_SOCKET


def _locale() -> dict[str, str]:
    """LANG and LC_* as the machine sets them for logins; UTF-8 at the least."""
    result = {"LANG": "C.UTF-8"}
    try:
        lines = LOCALE_FILE.read_text("utf-8", "replace").splitlines()
    except OSError:
        return result
    for line in lines:
        found = re.fullmatch(r'\s*(LANG|LANGUAGE|LC_[A-Z]+)="?([\w.@:-]*)"?\s*', line)
        if found:
            result[found[1]] = found[2]
    return result


def log_path(member: pwd.struct_passwd, server_name: str) -> Path:
    """Where the server called `server_name` (empty: the default server) writes its log."""
    if not server_name:
        return Path(member.pw_dir) / paths.MEMBER_LOGS / "server.log"
    # Most have no name, and need not load this.
    from urllib.parse import quote

    word = quote(server_name, safe="", errors="replace")[:100]
    return Path(member.pw_dir) / paths.MEMBER_LOGS / f"server-{word}.log"


def open_log(member: pwd.struct_passwd, server_name: str) -> int:
    """Open a server's log for appending, a large one put aside first. Returns a file descriptor.

    Raises FamilyError when the home cannot be written.
    """
    path = log_path(member, server_name)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.is_file() and path.stat().st_size > LOG_LIMIT:
            path.replace(path.with_name(path.name + ".1"))
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise FamilyError(_("{path} is not a regular file", path=str(path)), _("move it away"))
        os.set_blocking(descriptor, True)
        return descriptor
    except OSError as error:
        raise FamilyError(
            _("{path} cannot be written: {reason}", path=str(path), reason=error.strerror),
            _("see whether the disk is full: {command}", command="df -h ~"),
        ) from error


def write_to_log(log: int, line: str) -> None:
    """Add a line of ours, as Jupyter writes its own."""
    now = time.strftime("%Y-%m-%d %H:%M:%S")
    os.write(log, f"[W {now} jupyterhub4family] {' '.join(line.split())}\n".encode("utf-8", "replace"))


def record_killed(member: pwd.struct_passwd, untrusted_server_name: str, count: int) -> None:
    """Note in a server's log that the kernel has ended `count` of its programs. Raises FamilyError."""
    log = open_log(member, untrusted_server_name)
    try:
        write_to_log(log, f"a program in this server needed more memory than it may use and was stopped ({count})")
    finally:
        os.close(log)


def last_log_lines(member: pwd.struct_passwd, untrusted_server_name: str, count: int = 20) -> list[str]:
    """The last lines of a server's log; an empty list if there is none."""
    try:
        with open(log_path(member, untrusted_server_name), "rb") as log:
            log.seek(max(0, os.fstat(log.fileno()).st_size - 16384))
            lines = log.read().decode("utf-8", "replace").splitlines()[-count:]
            return [line[:LONGEST_LINE] for line in lines]
    except OSError:
        return []


def kill(pid: int, number: int, start_time: int) -> bool:
    """Send signal `number` to the member's own server `pid`; returns whether that server is (still) alive.

    A pid that meanwhile belongs to something else counts as gone and gets no signal. Raises UsageError for any
    signal that stopping a server does not need.
    """
    if number not in SIGNALS:
        raise UsageError(_("signal {number} is not among those that servers get", number=number))
    if not processes.is_running(pid, start_time) or processes.environment_value(pid, processes.SERVER_MARKER) is None:
        return False
    try:
        os.kill(pid, number)
    except OSError:
        return False
    return True


def _start_detached(
    args: list[str],
    variables: Mapping[str, str],
    directory: Path,
    log: int,
    confine: Callable[[], str] = lambda: "",
) -> Started:
    """Start `args` as a process of its own session that nobody waits for, its output into `log`.

    Two forks, so that the server becomes a child of init and no helper has to stay; the pipe closes by itself
    when the program has been executed, or brings the reason why it was not. `confine` is called in the process that
    becomes the server; what it returns, if anything, is why there are no limits, and goes into the log; what it raises
    is why there must be no server. If we are ended before it has come back, there is none either: whoever has asked for
    it knows nothing of it, and may ask again.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        os.setsid()
        if os.fork() != 0:
            os._exit(0)
        _exec(args, variables, directory, log, writer, confine=confine)
    os.close(writer)
    os.waitpid(child, 0)
    with open(reader, "rb") as answers:
        lines = answers.read().splitlines()
    report = [json.loads(line) for line in lines]
    if len(report) != 1:
        reason = from_json(report[1]) if len(report) > 1 else _("it ended before it started")
        raise FamilyError(_("the server could not be started: {reason}", reason=reason))
    return Started(report[0]["pid"], report[0]["start_time"])


def _usual_file_limit() -> None:
    """As after a login, whatever the hub has for itself; a program that wants more takes it, up to the hard limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft > OPEN_FILES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, hard))


def _has_reader(pipe: int) -> bool:
    """Whether the other end of a pipe is still open."""
    looked = select.poll()
    looked.register(pipe, 0)
    return not any(events & select.POLLERR for _descriptor, events in looked.poll(0))


def _exec(
    args: list[str],
    variables: Mapping[str, str],
    directory: Path,
    log: int,
    writer: int,
    *,
    confine: Callable[[], str],
) -> NoReturn:
    """In the grandchild: tell the pid, then turn into the program. Does not return."""
    try:
        pid = os.getpid()
        os.write(writer, json.dumps({"pid": pid, "start_time": processes.start_time(pid)}).encode() + b"\n")
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.chdir(directory)
        _usual_file_limit()
        if problem := confine():
            write_to_log(log, f"this server has no limits: {problem}")
        if not _has_reader(writer):
            write_to_log(log, "nobody waits for this server any more, so it was not started")
            os._exit(127)
        os.execve(args[0], args, dict(variables))
    except FamilyError as error:
        os.write(writer, json.dumps(to_json(error.message)).encode() + b"\n")
    except (OSError, ValueError) as error:  # ValueError: a variable that cannot be one
        os.write(writer, json.dumps(str(error)).encode() + b"\n")
    finally:
        os._exit(127)
