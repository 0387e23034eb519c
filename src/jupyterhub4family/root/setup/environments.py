"""Runs as root, called by `doctor`: whose environment has the same files as the template, looked at by its owner.

For each member a child that has given up root for the member's account looks, and says what it found. The member's own
program (user/environment_command.py) takes several times as long to start. The child runs nothing of the member's, and
because it was root nobody but root can trace it (ptrace(2)).
"""

from __future__ import annotations

import contextlib
import gc
import os
import pwd
import re
import select
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import FamilyError, UsageError
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.protocol import service_programs, serving
from jupyterhub4family.common.protocol.service_programs import CompareEnvironments, Likenesses
from jupyterhub4family.common.python import likeness
from jupyterhub4family.common.system import accounts, files
from jupyterhub4family.root.base import sudo_caller

#: Seconds that one look may take: a home may lie on a file system that never answers.
TIMEOUT = 5.0
#: Directories, and characters of one of their names.
MOST, LONGEST = 5000, 500
#: Bytes of the note beside an environment.
_LONGEST_STATE = 1024 * 1024
#: What a child writes: what the files are like, or that there is no environment.
_ANSWER = re.compile(rf"[0-9a-f]{{64}}|{service_programs.NO_ENVIRONMENT}")


def main() -> int:
    """Program `compare-environments`: answer one request."""
    return serving.serve(sudo_caller.require_root, HANDLERS)


def compare(_caller: None, request: CompareEnvironments) -> Likenesses:
    """What the environments of these members are like. Raises UsageError."""
    for place in request.directories:
        if len(place) > LONGEST or place.startswith("/") or ".." in place.split("/") or "\0" in place:
            raise UsageError(_("the request makes no sense"))
    if len(request.directories) > MOST:
        raise UsageError(_("the request makes no sense"))
    return Likenesses({name: _looked_at(name, request.directories) for name in request.names})


def _looked_at(untrusted_name: str, directories: Sequence[str]) -> str:
    """What a child has said of one environment; empty if it said nothing in time, or nothing of sense."""
    try:
        account = accounts.find_account(accounts.check_name(untrusted_name))
    except FamilyError:
        return ""
    if not accounts.is_member(account):
        return ""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        # It ends in a moment, and touches as little of its parent's memory as it can.
        gc.disable()
        _be_the_member(account, directories, writer)
    os.close(writer)
    try:
        answer = os.read(reader, 200) if select.select([reader], [], [], TIMEOUT)[0] else b""
    finally:
        os.close(reader)
        _end(child)
    text = answer.decode("ascii", "replace")
    return text if _ANSWER.fullmatch(text) else ""


def _end(child: int) -> None:
    """End it, whatever it does; one that even so does not end is left to init."""
    deadline = time.monotonic() + 1
    os.kill(child, signal.SIGKILL)
    while os.waitpid(child, os.WNOHANG)[0] == 0 and time.monotonic() < deadline:
        time.sleep(0.001)


def _be_the_member(account: pwd.struct_passwd, directories: Sequence[str], writer: int) -> None:
    """In the child: look with the member's rights, write what was found, and end."""
    try:
        # Without the terminal, from which other programs of the member's could have it read.
        os.setsid()
        # A file system of the member's own (FUSE) can keep this from ending even when it is killed: then nobody may
        # wait for it at root's stdout.
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nothing, descriptor)
        os.initgroups(account.pw_name, account.pw_gid)
        os.setgid(account.pw_gid)
        os.setuid(account.pw_uid)
        with contextlib.suppress(OSError):
            os.write(writer, _look(Path(account.pw_dir) / paths.MEMBER_ENVIRONMENT, directories).encode("ascii"))
    finally:
        os._exit(0)


def _look(environment: Path, directories: Sequence[str]) -> str:
    """Raises OSError: then nothing can be said without trying it."""
    try:
        os.stat(environment)
    except (FileNotFoundError, NotADirectoryError):
        return service_programs.NO_ENVIRONMENT
    state = files.read_json(environment / paths.MEMBER_ENVIRONMENT_NOTE, _LONGEST_STATE)
    # One that is not ours is told apart by its owner's program.
    if not isinstance(state, dict) or not isinstance(state.get("how"), str) or not state["how"]:
        return ""
    return likeness.of(environment, directories)


HANDLERS = (serving.on(service_programs.COMPARE_ENVIRONMENTS, compare),)
