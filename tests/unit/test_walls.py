"""The walls between the rooms (docs: repository; design, section 8): who may import what, and whose rights it needs.

What runs as root or as a member runs before any venv exists, and a library that the service could write must
never run as root: so the table is exact, and imports inside functions count.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import itertools
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.helpers import ROOT, SRC, TIMEOUT

PACKAGE = "jupyterhub4family"
MODULES = sorted((SRC / PACKAGE).rglob("*.py"))

HACKING = (ROOT / "HACKING.md").read_text("utf-8")


def table(first_heading: str) -> list[list[str]]:
    """The rows of the table in HACKING.md whose header begins with these words, without backticks; "–" is nothing."""
    lines = HACKING.splitlines()
    (start,) = (number for number, line in enumerate(lines) if line.startswith(f"| {first_heading}"))
    rows = itertools.takewhile(lambda line: line.startswith("|"), lines[start + 2 :])
    return [[cell.strip().strip("`").replace("–", "") for cell in row.strip("|").split("|")] for row in rows]


def names(cell: str) -> set[str]:
    return {name.strip().strip("`") for name in cell.split(",")} - {""}


#: Room: the other rooms it may use, and the packages that are not Python's own. The package itself, of no room, holds
#: its name and version.
WALLS: dict[str, tuple[set[str], set[str]]] = {
    "": (set(), set()),
    **{row[0]: (names(row[2]), names(row[3])) for row in table("room | identity")},
}
#: Room: its folders and modules, floor by floor, the uppermost first.
FLOORS = {row[0]: [names(floor) for floor in row[1].split("·")] for row in table("room | floors")}

#: How the docstring of each module begins: with the identity that runs it.
IDENTITIES = {
    "": "Any identity",
    "common": "Any identity",
    "root": "Runs as root",
    "service": "Runs as jupyterhub",
    "hub": "Runs inside JupyterHub's process",
    "user": "Runs as the member",
    "lean": "Runs as the member",
    "cli": "Runs as the caller",
}


def room_of(module: Path) -> str:
    parts = module.relative_to(SRC / PACKAGE).parts
    return parts[0] if len(parts) > 1 else ""


def name_of(module: Path) -> str:
    """The name under which a module is imported."""
    parts = module.relative_to(SRC).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@functools.cache
def imports(source: str, module: str = f"{PACKAGE}.room.module") -> frozenset[str]:
    """The full name of everything that `source` imports, anywhere in it; "?" for what cannot be told."""
    return frozenset(_imports(source, module))


def _imports(source: str, module: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*module.split(".")[: -node.level], *([base] if base else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call):
            function = ast.unparse(node.func).rpartition(".")[2]
            if function in (
                "__import__",
                "import_module",
                "run_module",
                "find_spec",
                "run_path",
                "spec_from_file_location",
            ):
                first = node.args[0] if node.args else None
                yield str(first.value) if isinstance(first, ast.Constant) else "?"


def is_standard(name: str) -> bool:
    """Whether a top-level module is Python's own."""
    if sys.version_info >= (3, 10):
        return name in sys.stdlib_module_names
    spec = importlib.util.find_spec(name)
    if name in sys.builtin_module_names:
        return True
    origin = (spec and spec.origin) or ""
    return origin.startswith(sysconfig.get_path("stdlib") + "/") and "-packages/" not in origin


def holes(source: str, room: str) -> list[str]:
    """What `source`, as a module of `room`, imports without being allowed to."""
    rooms, packages = WALLS[room]
    found = []
    for name in sorted(imports(source, f"{PACKAGE}.{room}.module")):
        top, _, rest = name.partition(".")
        if top == PACKAGE:
            other = rest.partition(".")[0]
            # `from jupyterhub4family import __version__` is for everybody.
            if other not in ({room, "__version__"} if room else {"__version__"}) | rooms:
                found.append(name)
        elif top not in packages and not is_standard(top):
            found.append(name)
    return found


def test_no_module_reaches_where_it_must_not() -> None:
    found = {name_of(module): holes(module.read_text("utf-8"), room_of(module)) for module in MODULES}
    assert {name: names for name, names in found.items() if names} == {}


def test_every_module_begins_with_the_identity_that_runs_it() -> None:
    for module in MODULES:
        docstring = ast.get_docstring(ast.parse(module.read_text("utf-8"))) or ""
        assert docstring.startswith(IDENTITIES[room_of(module)]), name_of(module)


def test_there_is_no_room_without_walls() -> None:
    assert {room_of(module) for module in MODULES} == set(WALLS) == set(IDENTITIES)
    directories = {path.name for path in (SRC / PACKAGE).iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert directories == set(WALLS) - {""}


def test_third_party_packages_are_few() -> None:
    """What is in the list is used, or the list is longer than it need be; jinja2 is for the pages to come."""
    for room, (_, packages) in WALLS.items():
        used = {
            name.partition(".")[0]
            for module in MODULES
            if room_of(module) == room
            for name in imports(module.read_text("utf-8"), name_of(module))
        }
        assert {name for name in used if name != PACKAGE and not is_standard(name)} <= packages
        assert packages - used <= {"jinja2", "cryptography"}


# -- floors --------------------------------------------------------------------------------------------


def floor_arrows(source: str, module: str) -> list[str]:
    """The folders and modules of its own room that a module imports, itself and its own folder left out."""
    room, _, rest = module.removeprefix(f"{PACKAGE}.").partition(".")
    own = rest.partition(".")[0]
    prefix = f"{PACKAGE}.{room}."
    found = {name[len(prefix) :].partition(".")[0] for name in imports(source, module) if name.startswith(prefix)}
    return sorted(found - {own})


def wrong_arrows(source: str, module: str) -> list[str]:
    """What a module imports of its own room that does not stand on a lower floor."""
    room, _, rest = module.removeprefix(f"{PACKAGE}.").partition(".")
    level = {name: number for number, floor in enumerate(FLOORS[room]) for name in floor}
    own = level[rest.partition(".")[0]]
    return [name for name in floor_arrows(source, module) if level[name] <= own]


def test_every_folder_and_module_has_its_floor() -> None:
    assert set(FLOORS) == set(WALLS) - {""}
    for room, floors in FLOORS.items():
        there = {path.stem for path in (SRC / PACKAGE / room).iterdir() if path.stem not in ("__init__", "__pycache__")}
        written = [name for floor in floors for name in floor]
        assert sorted(written) == sorted(there), room


def test_imports_lead_down_only() -> None:
    found = {
        name_of(module): wrong_arrows(module.read_text("utf-8"), name_of(module))
        for module in MODULES
        if room_of(module) and module.name != "__init__.py"
    }
    assert {name: arrows for name, arrows in found.items() if arrows} == {}


def test_an_arrow_that_leads_up_is_seen() -> None:
    up = f"from {PACKAGE}.root.setup import setup"
    assert wrong_arrows(up, f"{PACKAGE}.root.base.servers") == ["setup"]
    assert wrong_arrows(up, f"{PACKAGE}.root.backup.restore") == []
    beside = f"from {PACKAGE}.cli import backup"
    assert wrong_arrows(beside, f"{PACKAGE}.cli.status") == ["backup"]


def place_of(name: str) -> str:
    """The folder in which a module lies, at any depth; the module itself where it has a floor of its own."""
    directory = name.rpartition(".")[0]
    return name if directory.count(".") < 2 else directory


def arrows_of(module: Path) -> Iterator[tuple[str, str]]:
    """From where a module lies to all other places from which it takes something."""
    ours = {name_of(one) for one in MODULES if one.name != "__init__.py"}
    found = imports(module.read_text("utf-8"), name_of(module))
    here = place_of(name_of(module))
    for name in {part for one in found for part in (one, one.rpartition(".")[0])} & ours:
        if place_of(name) != here:
            yield here, place_of(name)


def circles(arrows: set[tuple[str, str]]) -> list[str]:
    """The places that lead back to themselves."""
    places = {place for arrow in arrows for place in arrow}
    reached = arrows
    for _length in places:
        reached = reached | {(start, end) for start, middle in reached for here, end in arrows if middle == here}
    return sorted(place for place in places if (place, place) in reached)


def test_no_place_leads_back_to_itself() -> None:
    """Nor do folders inside of a feature, such as those of doctor, of which the floors say nothing."""
    arrows = {arrow for module in MODULES if module.name != "__init__.py" for arrow in arrows_of(module)}
    assert (f"{PACKAGE}.cli.doctor", f"{PACKAGE}.cli.doctor.checks") in arrows
    assert circles(arrows) == []
    assert circles({("a", "b"), ("b", "c"), ("c", "d"), ("d", "b"), ("d", "e")}) == ["b", "c", "d"]


# -- how ours is imported --------------------------------------------------------------------------------

#: Modules that are words of the language we write in: used by name.
VOCABULARIES = {f"{PACKAGE}.common.i18n.messages", f"{PACKAGE}.common.errors", f"{PACKAGE}.cli.doctor.base.finding"}


def names_not_through_a_module(source: str) -> list[str]:
    """Functions and constants of ours that are imported by their name."""
    ours = {name_of(module) for module in MODULES}
    return [
        f"{node.module}.{alias.name}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and node.module in ours - VOCABULARIES
        for alias in node.names
        if f"{node.module}.{alias.name}" not in ours and not CLASS.match(alias.name) and alias.name != "__version__"
    ]


#: How a class or a type is called.
CLASS = re.compile("[A-Z][a-z]|[A-Z]$")


def test_functions_and_constants_are_used_through_their_module() -> None:
    found = {name_of(module): names_not_through_a_module(module.read_text("utf-8")) for module in MODULES}
    assert {name: names for name, names in found.items() if names} == {}
    assert names_not_through_a_module(f"from {PACKAGE}.common.paths import STATE") == [f"{PACKAGE}.common.paths.STATE"]
    assert not names_not_through_a_module(f"from {PACKAGE}.common import paths")


# -- walls ---------------------------------------------------------------------------------------------

BAD = [
    ("root", "import yaml"),
    ("root", "import requests"),
    ("root", "from jupyterhub4family.service.hub_state import tokens"),
    ("root", "from jupyterhub4family.user.server import kill"),
    ("root", "import jupyterhub4family.service.hub_state.tokens as t"),
    ("root", "def f():\n    import jupyterhub4family.hub.doors"),
    ("root", "def f():\n    if False:\n        from yaml import safe_load"),
    ("root", "try:\n    import psutil\nexcept ImportError:\n    pass"),
    ("root", "from ..service import tokens"),
    ("root", "from .. import service"),
    ("root", "from jupyterhub4family import service"),
    ("root", "__import__('yaml')"),
    ("root", "import importlib\nimportlib.import_module('jupyterhub4family.service.hub_state.tokens')"),
    ("root", "from importlib import import_module\nimport_module(input())"),
    ("common", "from jupyterhub4family.root.doors import pam"),
    ("common", "import tornado"),
    ("service", "import jupyterhub"),
    ("service", "from jupyterhub4family.hub import doors"),
    ("user", "import yaml"),
    ("user", "from jupyterhub4family.root.base import servers"),
    ("cli", "from jupyterhub4family.root.doors import members"),
    ("cli", "def f():\n    from jupyterhub4family.root.doors.members import handle"),
    ("cli", "from jupyterhub4family.service.hub_state.tokens import ensure_token"),
    ("hub", "from jupyterhub4family.user import server"),
    ("hub", "import requests"),
    ("hub", "import yaml"),
    ("", "from jupyterhub4family.common import errors"),
]
GOOD = [
    (
        "root",
        "import os, sys\nfrom jupyterhub4family.common.system import files\n"
        "from jupyterhub4family.root.doors import pam",
    ),
    ("root", "from . import base\nfrom ..common import system\nfrom jupyterhub4family import __version__"),
    ("common", "import yaml\nfrom yaml import safe_load\nimport xml.etree.ElementTree"),
    ("service", "def f():\n    from jupyterhub4family.common.python import uv"),
    ("hub", "import jupyterhub.auth, tornado.web\nfrom jupyterhub4family.service.hub_state import tokens"),
    ("cli", "import importlib\nimportlib.import_module('json')"),
]


@pytest.mark.parametrize(("room", "source"), BAD)
def test_the_test_itself_sees_a_hole(room: str, source: str) -> None:
    assert len(holes(source, room)) == 1


@pytest.mark.parametrize(("room", "source"), GOOD)
def test_the_test_itself_sees_no_hole_where_there_is_none(room: str, source: str) -> None:
    assert holes(source, room) == []


# -- and they really need nothing else ---------------------------------------------------------------

#: Imports each of the modules that it is told in a process of its own, and prints for each which top-level modules
#: came with it. A fork of an interpreter that has imported nothing yet is as good as a new one, and much quicker.
ALONE = """
import importlib, os, sys, traceback
sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[1])
before = set(sys.modules)
for name in sys.argv[2:]:
    child = os.fork()
    if child == 0:
        try:
            importlib.import_module(name)
        except BaseException:
            found = ["BROKEN", traceback.format_exc()[-600:].replace(chr(10), " / ")]
        else:
            found = sorted({name.partition(".")[0] for name in set(sys.modules) - before})
        print(name, *found, flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


def needs_yaml(name: str, seen: set[str] | None = None) -> bool:
    """Whether a module of ours needs yaml, directly or through others of ours."""
    seen = seen if seen is not None else set()
    seen.add(name)
    path = SRC / Path(*name.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if not file.exists():
        return False  # the name of something inside a module
    found = imports(file.read_text("utf-8"), name)
    ours = {part for one in found if one.startswith(PACKAGE) for part in (one, one.rpartition(".")[0])}
    return any(one.startswith("yaml") for one in found) or any(
        needs_yaml(one, seen) for one in sorted(ours - seen) if one
    )


def needs_cryptography(name: str) -> bool:
    """Whether a module is one of the two that make certificates; they run as a program of their own."""
    file = (SRC / Path(*name.split("."))).with_suffix(".py")
    return file.exists() and "cryptography.x509" in imports(file.read_text("utf-8"), name)


def imported_alone(flags: list[str], names: list[str]) -> dict[str, list[str]]:
    """Which top-level modules came with each module."""
    arguments = [sys.executable, *flags, "-c", ALONE, str(SRC), *names]
    done = subprocess.run(arguments, capture_output=True, encoding="utf-8", timeout=4 * TIMEOUT, check=True)
    found = {name: rest.split() for name, _, rest in (line.partition(" ") for line in done.stdout.splitlines())}
    assert set(found) == set(names), done.stderr
    return found


def test_every_module_outside_the_hub_can_be_imported_with_nothing_but_python_and_yaml() -> None:
    names = [name_of(module) for module in MODULES if room_of(module) != "hub"]
    # Without -S Debian's modules can be found: only who needs one of them gets that.
    with_cryptography = {name for name in names if needs_cryptography(name)}
    assert with_cryptography == {f"{PACKAGE}.service.certificates.ca", f"{PACKAGE}.service.certificates.names"}
    with_debians = [name for name in names if needs_yaml(name) or name in with_cryptography]
    found = imported_alone(["-I"], with_debians)
    found.update(imported_alone(["-I", "-S"], [name for name in names if name not in with_debians]))
    for name, tops in found.items():
        assert "BROKEN" not in tops, f"{name}: {' '.join(tops)}"
        # yaml brings a module of Cython's along. What a .pth file of the machine's own brings was there before.
        known = {PACKAGE, "yaml", "_yaml", "cython_runtime"}
        # Debian 13's cryptography brings the last two along.
        known |= {"cryptography", "_cffi_backend", "six", "_openssl", "bcrypt"} if name in with_cryptography else set()
        foreign = [top for top in tops if top not in known and not top.startswith("_cython_") and not is_standard(top)]
        assert foreign == [], name


def test_importing_alone_sees_what_is_missing_and_what_comes_along() -> None:
    found = imported_alone(["-I", "-S"], ["json", "jupyterhub4family.cli.settings.document", "no_such_module"])
    assert "json" in found["json"] and "BROKEN" not in found["json"]
    assert found["no_such_module"][0] == found["jupyterhub4family.cli.settings.document"][0] == "BROKEN"


def test_yaml_is_needed_where_settings_are_read_only() -> None:
    assert needs_yaml(f"{PACKAGE}.common.settings.model") and needs_yaml(f"{PACKAGE}.cli.status")
    # Of the doors that run as root for everybody, or as a member, one reads settings: root's own file.
    assert needs_yaml(f"{PACKAGE}.root.doors.limit_server")
    for name in (
        "root.doors.members",
        "root.doors.authenticate",
        "root.doors.environment",
        "user.mediator",
        "user.environment_command",
    ):
        assert not needs_yaml(f"{PACKAGE}.{name}"), name
