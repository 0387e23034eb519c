"""Any identity: makes a lock with addresses (pylock.toml, PEP 751) for this machine, so that no lists need be read.

For a lock without addresses uv reads the list of all files of each package, which is nearly as much as the packages
themselves. Where a file lies below an index's address for files follows from the file (its BLAKE2b), so `locks/` can
say that without naming a host; the address itself is told by the index that the machine is set to, in the list of one
small package. A mirror whose files lie elsewhere is found out by that; the lock without addresses then serves (ADR 31).
"""

from __future__ import annotations

import re
from pathlib import Path

from jupyterhub4family.common import paths
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.system import programs
from jupyterhub4family.common.system.programs import Arg, ProgramError

#: The package that tells the address: hardly any has a shorter list.
REFERENCE = "sudospawner"
#: The lock that knows where the reference lies, whichever lock is wanted.
REFERENCE_LOCK = paths.LOCKS / "pylock.hub.toml"
#: Seconds for one small page.
TIMEOUT = 120
#: What an address may consist of: nothing that would end a string of TOML, or could not stand in an address; and no
#: password, for uv gets it as an argument, which everybody on the machine can read.
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://[^\s\"'\\<>@]*/", re.IGNORECASE)
_PLACE = re.compile(r'^( +\{ url = ")(?=[0-9a-f]{2}/[0-9a-f]{2}/[0-9a-f]{60}/[^/"]+\.whl")', re.MULTILINE)


def lock_file(lock: Path) -> Path:
    """The lock with places that belongs to a lock without them."""
    return lock.with_name(f"pylock.{lock.stem}.toml")


def write_lock(uv: Arg, lock: Path, cache: Path, variables: dict[str, str]) -> list[Arg]:
    """Write a pylock.toml for `lock` into `cache`, with the addresses of the machine's index; returns words for uv.

    `variables` are what uv gets otherwise, too. Raises ProgramError when there is none to be had.
    """
    try:
        text = lock_file(lock).read_text("utf-8")
        place = _reference_place(REFERENCE_LOCK.read_text("utf-8"))
        cache.mkdir(exist_ok=True)
        address = _address(_ask_index(uv, place, cache, variables), place)
        written = cache / "pylock.toml"
        written.write_text(with_addresses(text, address), "utf-8")
    except OSError as error:
        raise ProgramError(
            _("{path} could not be written: {reason}", path=str(error.filename), reason=error.strerror)
        ) from error
    # uv looks for what it has in its cache by index only, and not at all for places of files. Nothing is asked there.
    return ["--index", address, written]


def with_addresses(text: str, address: str) -> str:
    """A lock with places, made one with addresses. Raises ProgramError if it is none."""
    whole, count = _PLACE.subn(lambda found: found[1] + address, text)
    if not count or count != text.count("url = "):
        raise ProgramError(_("the lock with addresses is damaged"))
    return whole.replace("\nwheels = [", f'\nindex = "{address}"\nwheels = [')


def _reference_place(text: str) -> str:
    found = re.search(rf'url = "([^"]+/{REFERENCE}-[^/"]+\.whl)"', text)
    if found is None:
        raise ProgramError(_("the lock with addresses is damaged"))
    return found[1]


def _ask_index(uv: Arg, place: str, cache: Path, variables: dict[str, str]) -> str:
    """What uv says of the reference: it reads one page of the index that the machine is set to, and nothing else."""
    version = place.rpartition("/")[2].split("-")[1]
    asked = cache / "reference.txt"
    asked.write_text(f"{REFERENCE}=={version}\n", "ascii")
    options = ["--quiet", "--no-deps", "--no-build", "--no-header", "--no-annotate", "--format", "pylock.toml"]
    python: list[Arg] = ["--python", paths.SYSTEM_PYTHON, asked]
    command: list[Arg] = [uv, "pip", "compile", *options, *python]
    return programs.run(command, environment=variables, timeout=TIMEOUT, dies_with_us=True).stdout


def _address(untrusted_answer: str, place: str) -> str:
    """The address below which that place is. Raises ProgramError if the index has its files elsewhere."""
    for url in re.findall(r'url = "([^"]+)"', untrusted_answer):
        if url.endswith(f"/{place}") and _ADDRESS.fullmatch(url[: -len(place)]):
            return str(url[: -len(place)])
    raise ProgramError(_("the index that this machine is set to keeps its files at other places"))
