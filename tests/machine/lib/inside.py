"""What a test can do inside a running machine: commands, files, waiting.

Commands enter the machine's namespaces with `nsenter`; files go through `/proc/PID/root`, which
shows the machine's own mounts (`/tmp`, `/run`) too. Neither needs anything inside the machine.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from tests.machine.lib.places import PLAIN_PATH

_ENVIRONMENT = (
    f"PATH={PLAIN_PATH}",
    "LANG=C.UTF-8",
    "HOME=/root",
    "DEBIAN_FRONTEND=noninteractive",
)


class Inside:
    """A machine seen from a test. `machine.Machine` adds its life: start, stop, power, network."""

    suite: str
    init: str
    ip: str
    name: str
    pid: int | None

    def __init__(self) -> None:
        self.expected_logs: list[re.Pattern[str]] = []
        self.expected_failed: set[str] = set()

    # -- commands ---------------------------------------------------------------------------

    def execute(
        self, cmd: str, user: str | None = None, timeout: float = 600, input: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell command as root, or in a login shell of `user`; never raise for its status.

        There is no session of logind and no group of systemd; `login` gives both.
        """
        args = ["bash", "-c", cmd]
        if user is not None:
            args = ["runuser", "-l", user, "-w", "LANG", "-c", cmd]
        enter = ["nsenter", "-t", str(self._pid()), "-a", "env", "-i", *_ENVIRONMENT]
        return _run([*enter, *args], timeout, input)

    def run(
        self,
        cmd: str,
        user: str | None = None,
        check: bool = True,
        timeout: float = 600,
        input: str | None = None,
    ) -> str:
        """Like `execute`, but return stdout, and fail the test when the command fails."""
        done = self.execute(cmd, user=user, timeout=timeout, input=input)
        if check and done.returncode:
            raise AssertionError(
                f"[{self.suite} {self.name}] {user or 'root'}: {cmd} -> {done.returncode}\n"
                f"--- stdout\n{done.stdout[-4000:]}\n--- stderr\n{done.stderr[-4000:]}"
            )
        return done.stdout

    def login(self, user: str, cmd: str, timeout: float = 600, check: bool = True) -> str:
        """Run a shell command in a full PAM session, as if `user` had logged in at the machine."""
        if self.init != "systemd":
            raise NotImplementedError("a PAM session of logind needs a machine with systemd")
        # `-l` of the shell reads /etc/profile, as a login at the console does.
        return self.run(
            f"systemd-run --quiet --wait --pipe --collect -p PAMName=login -p User={user}"
            f' -p "WorkingDirectory=~" -- bash -lc {shlex.quote(cmd)}',
            timeout=timeout,
            check=check,
        )

    def add_account(self, name: str, password: str, groups: Sequence[str] = ()) -> None:
        """Create an ordinary Debian account."""
        more = f"-G {shlex.quote(','.join(groups))}" if groups else ""
        self.run(f"useradd -m -s /bin/bash {more} {shlex.quote(name)}")
        self.run("chpasswd", input=f"{name}:{password}\n")

    # -- files ------------------------------------------------------------------------------

    def path(self, p: str | Path) -> Path:
        """Return a path of the machine as the host reaches it. Beware of absolute symlinks in it."""
        return Path(f"/proc/{self._pid()}/root") / str(p).lstrip("/")

    def put(self, src: str | Path, dst: str | Path) -> None:
        """Copy a file or a directory of the host into the machine, owned by root."""
        target = self.path(dst)
        target.parent.mkdir(parents=True, exist_ok=True)
        if Path(src).is_dir():
            shutil.copytree(src, target, symlinks=True, dirs_exist_ok=True)
        else:
            shutil.copy(src, target)

    def write(self, dst: str | Path, text: str, mode: int = 0o644) -> None:
        """Write a file of root's into the machine."""
        target = self.path(dst)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(mode)

    def read(self, p: str | Path) -> str:
        """Return a file's text; `cat` inside, so that symlinks lead where the machine means."""
        return self.run(f"cat -- {shlex.quote(str(p))}")

    def exists(self, p: str | Path) -> bool:
        """Say whether there is something at this path, a broken symlink included."""
        quoted = shlex.quote(str(p))
        return self.execute(f"test -e {quoted} || test -L {quoted}").returncode == 0

    # -- waiting ----------------------------------------------------------------------------

    def wait(self, cmd: str, timeout: float = 60, every: float = 0.2) -> float:
        """Repeat a shell command until it succeeds; return how many seconds that took."""
        start = time.monotonic()
        while True:
            done = self.execute(cmd)
            waited = time.monotonic() - start
            if done.returncode == 0:
                return waited
            if waited > timeout:
                raise TimeoutError(
                    f"[{self.suite} {self.name}] after {timeout} s still {done.returncode}: {cmd}\n"
                    f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
                )
            time.sleep(every)

    def wait_http(self, url_path: str = "/", port: int = 8000, timeout: float = 60, scheme: str = "https") -> float:
        """Ask from the host until the answer is 200 (redirects followed); return the seconds.

        Only who is certified by the machine's own authority counts.
        """
        url = f"{scheme}://{self.ip}:{port}{url_path}"
        start, waited = time.monotonic(), 0.0
        while True:
            # Patient with a slow answer, but not beyond the time that is left.
            authority = self.execute("cat /var/lib/jupyterhub4family/ca.crt").stdout if scheme == "https" else ""
            answer = _answer(url, authority, patience=min(10.0, max(1.0, timeout - waited)))
            waited = time.monotonic() - start
            if answer == "200":
                return waited
            if waited > timeout:
                raise TimeoutError(f"[{self.suite} {self.name}] {url}: {answer} after {timeout} s")
            time.sleep(0.1)

    # -- what a test provokes on purpose ----------------------------------------------------

    def expect_log(self, regex: str) -> None:
        """Allow tracebacks whose text (with the line before them) matches, in this test."""
        self.expected_logs.append(re.compile(regex))

    def expect_failed(self, unit: str) -> None:
        """Allow this unit to be in the failed state when the test ends."""
        self.expected_failed.add(unit)

    def _pid(self) -> int:
        if self.pid is None:
            raise RuntimeError(f"machine {self.name} is not running")
        return self.pid


def _run(args: list[str], timeout: float, input: str | None) -> subprocess.CompletedProcess[str]:
    """Run a command that may start others: on time-out the whole process group ends."""
    process = subprocess.Popen(
        args,
        stdin=subprocess.PIPE if input is not None else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        cwd="/",
        start_new_session=True,
    )
    try:
        out, err = process.communicate(input, timeout=timeout)
    except BaseException:
        # Gently first: runuser then takes its own child, in another session, along.
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=3)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        raise
    return subprocess.CompletedProcess(args, process.returncode, out, err)


def _answer(url: str, authority: str, patience: float) -> str:
    """Ask once, trusting this authority (PEM) and nobody else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if authority:
        context.load_verify_locations(cadata=authority)
    # No proxy of the host's environment: the machine is next door.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    try:
        with opener.open(url, timeout=patience) as response:
            return str(response.status)
    except urllib.error.HTTPError as error:
        return str(error.code)
    except (OSError, ValueError) as error:
        return repr(error)
    except Exception as error:  # http.client's own: half an answer while a server starts
        return repr(error)
