"""What must agree with the registry of doors (common/protocol/doors.py), compared one by one.

Each comparison takes the registry as an argument and returns what is missing or too much, in sentences: so that
test_registry.py can also add a door and an action to it and see that each of them notices.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any, Callable

from jupyterhub4family.common.protocol import shapes
from jupyterhub4family.common.protocol.actions import Action
from jupyterhub4family.common.protocol.doors import ROOT, Door
from tests.unit.helpers import DATA
from tests.unit.helpers import ROOT as PROJECT

Actions = Sequence[Action[Any, Any]]
NUMBERS = "no one two three four five six seven eight nine ten eleven twelve".split()
_ALIAS = re.compile(r'Cmnd_Alias JH4F_(\w+) = /usr/lib/jupyterhub4family/([\w-]+) ""')
_DEFAULTS = re.compile(r"Defaults!JH4F_(\w+) (.+)")
_RULE = re.compile(r"(\S+) ALL = \((.+)\) NOPASSWD: NOSETENV: JH4F_(\w+)")


def differences(what: str, found: Iterable[Any], wanted: Iterable[Any]) -> list[str]:
    """What `what` lacks, and what it has beyond the registry."""
    there, here = set(found), set(wanted)
    return [
        *(f"{what} lacks {one}" for one in sorted(here - there, key=str)),
        *(f"{what} has {one}, which the registry has not" for one in sorted(there - here, key=str)),
    ]


def sudoers(doors: Sequence[Door], _actions: Actions) -> list[str]:
    """One command without arguments, one line of defaults and one rule for each door, and nothing else."""
    lines = [
        line
        for line in (DATA / "etc/sudoers.d/jupyterhub4family").read_text("utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    matched = [(_ALIAS.fullmatch(line), _DEFAULTS.fullmatch(line), _RULE.fullmatch(line)) for line in lines]
    foreign = [line for line, found in zip(lines, matched) if not any(found)]
    plain = "env_reset, !env_keep, !env_check, !env_file, !setenv, !requiretty, !lecture"
    return [
        *(f"sudoers has a line of another kind: {line}" for line in foreign),
        *differences(
            "sudoers",
            [(found[1], found[2]) for found, _defaults, _rule in matched if found],
            [(door.name.upper(), door.name) for door in doors],
        ),
        *differences(
            "sudoers (Defaults)",
            [(found[1], found[2]) for _alias, found, _rule in matched if found],
            [(door.name.upper(), plain + (", !use_pty" if door.in_callers_session else "")) for door in doors],
        ),
        *differences(
            "sudoers (rules)",
            [(found[1], found[2], found[3]) for _alias, _defaults, found in matched if found],
            [(door.opened_by, door.runs_as, door.name.upper()) for door in doors],
        ),
    ]


def programs(doors: Sequence[Door], _actions: Actions) -> list[str]:
    """Each door is a program that calls the `main` of its module."""
    problems = []
    for door in doors:
        file = DATA / "usr/lib/jupyterhub4family" / door.name
        wanted = f"from jupyterhub4family.{door.module} import main\n"
        if not file.is_file() or wanted not in file.read_text("utf-8"):
            problems.append(f"the program {door.name} is missing, or does not say: {wanted.strip()}")
    return problems


def handlers(doors: Sequence[Door], actions: Actions) -> list[str]:
    """Each door does what the registry says, and nothing else."""
    problems = []
    for door in doors:
        try:
            module = importlib.import_module(f"jupyterhub4family.{door.module}")
        except ImportError:
            problems.append(f"{door.name}: there is no module {door.module}")
            continue
        found = [handler.action.name or "its only action" for handler in module.HANDLERS]
        wanted = [action.name or "its only action" for action in actions if action.program == door]
        problems += differences(f"HANDLERS of {door.module}", found, wanted)
    return problems


def fuzz(
    doors: Sequence[Door], actions: Actions, watched: Iterable[str], fuzzed: Sequence[dict[str, str]]
) -> list[str]:
    """Hostile requests are made for each action, and there is something that watches what each door does with them."""
    keys = [tuple(sorted({**shapes.fields(one.request), **({"action": 1} if one.name else {})})) for one in actions]
    found = [tuple(sorted(shape)) for shape in fuzzed]
    names = [shape["action"] for shape in fuzzed if "action" in shape]
    return [
        *differences("tests/unit/test_doors_properties.py", watched, [door.name for door in doors]),
        *differences("tests/unit/hostile.py", [*found, *names], [*keys, *(one.name for one in actions if one.name)]),
    ]


def reference(doors: Sequence[Door], actions: Actions) -> list[str]:
    """docs/reference/doors.md has a row and a section for each door, in it each action with its keys and no others."""
    text = (PROJECT / "docs/reference/doors.md").read_text("utf-8")
    rows = re.findall(r"^\| \[`([\w-]+)`\]\(#[\w-]+\) \| [^|]+ \| ([^|]+) \|", text, re.MULTILINE)
    sections = dict(re.findall(r"^## ([\w-]+)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))
    wanted = [(door.name, "root" if door.runs_as == ROOT else "the member") for door in doors]
    problems = differences("the table of docs/reference/doors.md", [(row[0], row[1].strip()) for row in rows], wanted)
    for door in doors:
        if door.name not in sections:
            problems.append(f"docs/reference/doors.md has no section {door.name}")
            continue
        named = {action.name: action for action in actions if action.program == door}
        where = f"docs/reference/doors.md ({door.name})"
        reported = dict(_examples(sections[door.name]))
        problems += differences(
            where, [name or "its only action" for name in reported], [one or "its only action" for one in named]
        )
        for name in reported.keys() & named.keys():
            for kind, found, shape in zip(
                ("request", "answer"), reported[name], (named[name].request, named[name].answer)
            ):
                problems += differences(f"{where}, the {kind} of {name or 'its only action'},", found, _keys(shape))
    return problems


def _examples(section: str) -> dict[str, tuple[set[str], set[str]]]:
    """The keys of requests and answers in a section, by action: an example of JSON belongs to the request above it."""
    found: dict[str, tuple[set[str], set[str]]] = {}
    name = ""
    for line in re.findall(r"^    (\{.*\})$", section, re.MULTILINE):
        example = json.loads(re.sub(r",? ?…\}", "}", line))
        if "percent" in example:
            continue
        if "ok" not in example:
            name = example.pop("action", "")
            found.setdefault(name, (set(), set()))[0].update(example)
            continue
        del example["ok"]
        found.setdefault(name, (set(), set()))[1].update(_keys_within(example))
    return found


def _keys_within(example: dict[str, Any]) -> set[str]:
    """The keys of an object, and those of objects in its lists."""
    inner = [one for value in example.values() if isinstance(value, list) for one in value if isinstance(one, dict)]
    return set(example).union(*inner)


def _keys(shape: type) -> list[str]:
    """All keys, also those of objects in lists."""
    found = []
    for key, field in shapes.fields(shape).items():
        kind = shapes.types_of(shape)[field.name]
        found.append(key)
        for inner in getattr(kind, "__args__", ()):
            found += _keys(inner) if hasattr(inner, "__dataclass_fields__") else []
    return found


def security(doors: Sequence[Door], _actions: Actions) -> list[str]:
    """SECURITY.md says how many doors there are."""
    found = re.search(r"Root's part is (\w+) \[doors\]", (PROJECT / "SECURITY.md").read_text("utf-8"))
    number = NUMBERS[len(doors)]
    return [] if found and found[1] == number else [f"SECURITY.md does not say that there are {number} doors"]


COMPARISONS: dict[str, Callable[[Sequence[Door], Actions], list[str]]] = {
    "sudoers": sudoers,
    "programs": programs,
    "handlers": handlers,
    "reference": reference,
    "security": security,
}
