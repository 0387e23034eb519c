"""user.server: what a server gets of what the hub sends, and where its log goes."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path
from typing import Any

import pytest

from jupyterhub4family.common.errors import FamilyError, UsageError
from jupyterhub4family.common.paths import MEMBER_ENVIRONMENT, MEMBER_LOGS
from jupyterhub4family.common.python import uv
from jupyterhub4family.user import server
from jupyterhub4family.user.server import last_log_lines, log_path, open_log, server_environment
from tests.unit.helpers import account

#: What would make a server run something else, or with other rights, than the member's own program.
DANGEROUS = """
    PATH HOME USER LOGNAME SHELL VIRTUAL_ENV XDG_RUNTIME_DIR XDG_CONFIG_HOME XDG_DATA_HOME LANG LC_ALL
    LD_PRELOAD LD_LIBRARY_PATH LD_AUDIT GCONV_PATH GLIBC_TUNABLES MALLOC_CHECK_ HOSTALIASES NLSPATH LOCPATH TZ TZDIR
    PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHONUSERBASE PYTHONINSPECT PYTHONBREAKPOINT PYTHONWARNINGS PYTHONEXECUTABLE
    BASH_ENV ENV SHELLOPTS PS4 PROMPT_COMMAND IFS EDITOR PAGER TERMINFO TMPDIR SUDO_UID SUDO_USER
    JUPYTER_CONFIG_PATH JUPYTER_CONFIG_DIR JUPYTER_PATH JUPYTER_DATA_DIR JUPYTER_RUNTIME_DIR JUPYTER_NO_CONFIG
    JUPYTER_PREFER_ENV_PATH JUPYTERHUB_SINGLEUSER_APP JUPYTERHUB_SINGLEUSER_EXTENSION JUPYTERHUB_SINGLEUSER_APPLICATION
    JUPYTERHUB_SSL_KEYFILE JUPYTERHUB_SSL_CERTFILE JUPYTERHUB_SSL_CLIENT_CA JUPYTERHUB_CONFIG JUPYTERHUB_ANYTHING_NEW
    jupyterhub_api_token JUPYTERHUB_API_TOKEN_ PIP_INDEX_URL UV_INDEX_URL SSL_CERT_FILE http_proxy IPYTHONDIR
    NODE_OPTIONS PERL5LIB GIT_SSH_COMMAND BASH_FUNC_ls%%
""".split()


@pytest.fixture
def no_locale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(server, "LOCALE_FILE", tmp_path / "locale")
    monkeypatch.setattr(uv, "MACHINE_ENVIRONMENT", tmp_path / "environment")
    return tmp_path / "locale"


def test_a_dangerous_variable_makes_no_difference(no_locale: Path) -> None:
    member = account()
    untouched = server_environment(member, {})
    for name in (*DANGEROUS, "", "=", "A=B"):
        assert server_environment(member, {name: "/tmp/bad"}) == untouched, name


def test_what_the_hub_has_to_say_is_passed_on(no_locale: Path) -> None:
    sent = {name: f"value of {name}" for name in server.HUB_VARIABLES}
    got = server_environment(account(), {**sent, "PATH": "/tmp/bad"})
    assert {name: got[name] for name in sent} == sent


def test_the_allow_list_names_nothing_dangerous() -> None:
    assert not server.HUB_VARIABLES & set(DANGEROUS)
    allowed = ("JUPYTERHUB_", "JPY_API_TOKEN", "MEM_", "CPU_")
    assert all(name.startswith(allowed) for name in server.HUB_VARIABLES)


def test_the_basics_are_the_members_own(no_locale: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD", "/tmp/bad.so")
    monkeypatch.setenv("PATH", "/tmp/bad")
    got = server_environment(account("anna", home=Path("/home/anna"), shell="/bin/zsh"), {})
    environment = Path("/home/anna") / MEMBER_ENVIRONMENT
    assert (got["HOME"], got["USER"], got["LOGNAME"], got["SHELL"]) == ("/home/anna", "anna", "anna", "/bin/zsh")
    assert got["VIRTUAL_ENV"] == str(environment)
    directories = got["PATH"].split(":")
    assert directories[0] == f"{environment}/bin"
    assert all(directory.startswith("/") for directory in directories), "an empty entry would be the current folder"
    assert not any("sbin" in directory or "tmp" in directory for directory in directories)
    known = "HOME USER LOGNAME SHELL PATH VIRTUAL_ENV LANG XDG_RUNTIME_DIR PIP_CERT UV_SYSTEM_CERTS"
    assert set(got) <= set(known.split())


def test_the_machines_proxy_is_for_pip_in_a_notebook_and_nothing_else_comes_along(no_locale: Path) -> None:
    text = "http_proxy=http://proxy:3128\nPATH=/tmp/bad\nLD_PRELOAD=/tmp/bad.so\n"
    no_locale.with_name("environment").write_text(text, "utf-8")
    got = server_environment(account(), {"http_proxy": "http://evil"})
    assert got["http_proxy"] == "http://proxy:3128"
    assert "/tmp/bad" not in got["PATH"] and "LD_PRELOAD" not in got


@pytest.mark.parametrize(
    ("letters", "directory", "arguments"),
    [
        (4, None, []),
        (22, None, []),
        (23, ".jupyter/run", []),
        (32, ".jupyter/run", []),
        (80, ".jupyter/run", ["--ServerKernelManager.transport=tcp"]),
    ],
)
def test_a_kernels_sockets_fit_into_what_a_socket_can_be_called(
    no_locale: Path, letters: int, directory: str | None, arguments: list[str]
) -> None:
    """Linux takes 107 bytes (unix(7)): the longest name that fits is bound, one byte more is refused."""
    home = Path("/home") / ("a" * letters)
    variables = server_environment(account(home=home), {})
    assert variables.get("JUPYTER_RUNTIME_DIR") == (directory and f"{home}/{directory}")
    assert server.server_arguments(home) == arguments
    with socket.socket(socket.AF_UNIX) as one, pytest.raises(OSError, match="too long"):
        one.bind("x" * (server.LONGEST_SOCKET + 1))


def test_an_account_without_a_shell_gets_one(no_locale: Path) -> None:
    assert server_environment(account(shell=""), {})["SHELL"] == "/bin/sh"


@pytest.mark.parametrize("value", [None, 1, 1.5, True, [], ["x"], {}, "a\0b", "\0"])
@pytest.mark.parametrize("name", ["JUPYTERHUB_USER", "LD_PRELOAD"])
def test_what_is_no_text_is_refused(no_locale: Path, name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"the variable '{name}' is not text"):
        server_environment(account(), {name: value})


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", {"LANG": "C.UTF-8"}),
        ("LANG=de_DE.UTF-8\n", {"LANG": "de_DE.UTF-8"}),
        ('#  File generated by update-locale\nLANG="de_AT.UTF-8"\nLC_TIME=en_DK.UTF-8\n', None),
        ("LANGUAGE=de:en\n", {"LANG": "C.UTF-8", "LANGUAGE": "de:en"}),
        ("LD_PRELOAD=/tmp/x\nPATH=/tmp\nLANG=$(reboot)\nLC_ALL=../../tmp/x y\n", {"LANG": "C.UTF-8"}),
    ],
)
def test_the_locale_is_the_machines(no_locale: Path, text: str, wanted: dict[str, str] | None) -> None:
    no_locale.write_text(text, "utf-8")
    got = server_environment(account(), {"LANG": "xx"})
    locale = {name: got[name] for name in got if name.startswith(("LANG", "LC_"))}
    assert locale == (wanted or {"LANG": "de_AT.UTF-8", "LC_TIME": "en_DK.UTF-8"})


# -- logs ------------------------------------------------------------------------------------------

NAMES = [
    "",
    "maths",
    "../../x",
    "a/b",
    "..",
    ".",
    "x" * 300,
    "Größe",
    "日本" * 60,
    "a b",
    "-n",
    "%2F",
    "a\nb",
    "\ud800",
]


@pytest.mark.parametrize("name", NAMES, ids=[repr(name[:20]) for name in NAMES])
def test_every_name_has_a_log_in_the_logs_folder(tmp_path: Path, name: str) -> None:
    path = log_path(account(home=tmp_path), name)
    assert path.parent == tmp_path / MEMBER_LOGS
    assert path.suffix == ".log" and path.name.startswith("server") and path.name.isascii()
    assert len(path.name) < 200 and not any(sign in path.name for sign in "/\0\n ")
    os.close(open_log(account(home=tmp_path), name))
    assert path.is_file()


def test_short_names_have_logs_of_their_own(tmp_path: Path) -> None:
    member = account(home=tmp_path)
    short = [name for name in NAMES if len(name) < 30]
    assert len({log_path(member, name) for name in short}) == len(short)


def test_a_log_is_the_members_alone_and_goes_on(tmp_path: Path) -> None:
    member = account(home=tmp_path)
    mask = os.umask(0)
    try:
        for line in (b"one\n", b"two\n"):
            log = open_log(member, "")
            os.write(log, line)
            os.close(log)
    finally:
        os.umask(mask)
    path = log_path(member, "")
    assert path.read_bytes() == b"one\ntwo\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_large_log_is_put_aside_and_one_old_one_is_kept(tmp_path: Path) -> None:
    member = account(home=tmp_path)
    os.close(open_log(member, ""))
    path = log_path(member, "")
    for number in (b"1", b"2"):
        path.write_bytes(number * (server.LOG_LIMIT + 1))
        os.close(open_log(member, ""))
        assert path.stat().st_size == 0
    assert sorted(os.listdir(path.parent)) == ["server.log", "server.log.1"]
    assert (path.parent / "server.log.1").read_bytes()[:1] == b"2"
    path.write_bytes(b"x" * server.LOG_LIMIT)
    os.close(open_log(member, ""))
    assert path.stat().st_size == server.LOG_LIMIT


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    member = account(home=tmp_path)
    path = log_path(member, "")
    path.parent.mkdir(parents=True)
    precious = tmp_path / "precious"
    precious.write_text("x", "ascii")
    path.symlink_to(precious)
    with pytest.raises(FamilyError, match="cannot be written"):
        open_log(member, "")
    assert precious.read_text("ascii") == "x"


@pytest.mark.parametrize("with_reader", [False, True])
def test_a_fifo_is_refused_and_waits_for_nobody(tmp_path: Path, with_reader: bool) -> None:
    member = account(home=tmp_path)
    path = log_path(member, "")
    path.parent.mkdir(parents=True)
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK) if with_reader else None
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(FamilyError, match="not a regular file" if with_reader else "cannot be written") as caught:
        open_log(member, "")
    assert caught.value.hint
    assert len(os.listdir("/proc/self/fd")) == before
    if reader is not None:
        os.close(reader)


def test_a_folder_in_place_of_a_log_and_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    member = account(home=tmp_path)
    log_path(member, "").mkdir(parents=True)
    with pytest.raises(FamilyError, match="cannot be written") as caught:
        open_log(member, "")
    assert "df -h" in caught.value.hint
    other = account(home=tmp_path / "ben")
    (tmp_path / "ben").mkdir()
    (tmp_path / "ben" / ".local").touch()
    with pytest.raises(FamilyError, match="cannot be written"):
        open_log(other, "")


def test_the_log_is_written_without_waiting_flags(tmp_path: Path) -> None:
    log = open_log(account(home=tmp_path), "")
    assert os.get_blocking(log) and not os.get_inheritable(log)
    os.close(log)


def test_the_end_of_a_log(tmp_path: Path) -> None:
    member = account(home=tmp_path)
    assert last_log_lines(member, "maths") == []
    log = open_log(member, "maths")
    os.write(log, b"".join(b"line %d \xff\n" % number for number in range(5000)))
    os.close(log)
    assert last_log_lines(member, "maths", 2) == ["line 4998 \ufffd", "line 4999 \ufffd"]
    assert len(last_log_lines(member, "maths")) == 20
    assert last_log_lines(member, "../../../etc/passwd") == []
    assert last_log_lines(member, "\ud800") == []
