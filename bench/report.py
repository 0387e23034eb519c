"""Writes docs/reference/performance.md and the plots from what results.py has kept; and prints the table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.book import BUSY, Value
from bench.plot import plot
from bench.results import NAME
from bench.stacks import FLOOR, OURS, STOCK

_WORDS = {True: "yes", False: "**no**", None: "–"}
_DEBIANS = {"bullseye": "Debian 11 (bullseye)", "bookworm": "Debian 12 (bookworm)", "trixie": "Debian 13 (trixie)"}
#: Behind the figure of a row that was begun while the computer had something else to do.
_BUSY = " †"


def plot_name(suite: str) -> str:
    """The file of a release's plot."""
    return f"{NAME}-growth-{suite}.svg"


def write(directory: Path, suites: dict[str, Any], about: dict[str, Any]) -> None:
    """Write the page and the plots."""
    directory.mkdir(parents=True, exist_ok=True)
    for old in directory.glob(f"{NAME}-growth*.svg"):
        old.unlink()
    for suite, found in suites.items():
        grown = {stack: each["steps"] for stack, each in found.get("growth", {}).items() if each["steps"]}
        if grown:
            (directory / plot_name(suite)).write_text(plot(grown))
    (directory / f"{NAME}.md").write_text(page(suites, about))


def table(rows: dict[str, dict[str, Any]]) -> list[str]:
    """The table, in Markdown."""
    lines = [
        "| figure | ours | stock | ratio | mark | reached | floor |",
        "|---|---:|---:|---:|---|---|---:|",
    ]
    for row in rows.values():
        ratio = "–" if row["ratio"] is None else f"{row['ratio']:.3f}"
        cells = [
            row["title"] + (_BUSY if row["busy"] else ""),
            _cell(row, OURS),
            _cell(row, STOCK),
            ratio,
            row["mark"] or "–",
            _WORDS[row["reached"]],
            _cell(row, FLOOR),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _cell(row: dict[str, Any], column: str) -> str:
    values: list[Value] = row["values"].get(column, [])
    if not values:
        return "–"
    known = [value for value in values if value is not None]
    if not known:
        return f"never (n={len(values)})"
    spread = f" ({_number(min(known))}–{_number(max(known))}, n={len(values)})"
    middle = row["median"][column]
    return ("never" if middle is None else f"{_number(middle)} {row['unit']}".strip()) + spread


def _number(value: float) -> str:
    if value >= 100 or value == int(value):
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


def page(suites: dict[str, Any], about: dict[str, Any]) -> str:
    """The page for the documentation."""
    lines = [
        "# Performance",
        "",
        "Written by `bench/run`; every single value is in [performance.json](performance.json). *Ours* is"
        " jupyterhub4family; *stock* is JupyterHub, sudospawner and configurable-http-proxy installed as their own"
        " documentation says, with an environment by `venv` and `pip` for each member (`bench/stock.py`). *Floor* is"
        " the least that the like can cost on the same machine, and is no rival: what it is stands with each figure"
        " below.",
        "",
        "Cells: median (smallest–largest, number of repeats). Ratio: the median of the ratios of neighbouring repeats,"
        " ours/stock; smaller is better.",
        "",
    ]
    for suite, found in suites.items():
        lines += _suite(suite, found)
    lines += [*_methods(suites), *_circumstances(suites, about)]
    return "\n".join(lines)


def _suite(suite: str, found: dict[str, Any]) -> list[str]:
    rows = found.get("figures", {})
    missed = [row for row in rows.values() if row["reached"] is False]
    judged = [row for row in rows.values() if row["reached"] is not None]
    lines = [f"## {_DEBIANS.get(suite, suite)}", "", *table(rows), ""]
    lines.append(f"{len(judged) - len(missed)} of {len(judged)} marks are reached.")
    if any(row["busy"] for row in rows.values()):
        lines.append(f"†: begun while the load average was above {BUSY:g}; trust the ratio more than the values.")
    lines.append("")
    if missed:
        lines += ["Where a mark is missed:", "", *[f"- **{row['title']}**: {row['reason']}" for row in missed], ""]
    if problems := [problem for each in found.get("problems", {}).values() for problem in each]:
        lines += ["Repeats that failed and are missing:", "", *[f"- {problem}" for problem in problems], ""]
    return lines + _growth(suite, found.get("growth", {}))


def _growth(suite: str, growth: dict[str, Any]) -> list[str]:
    steps = [(stack, step) for stack, each in growth.items() for step in each["steps"]]
    if not steps:
        return []
    counts = sorted({round(step["members"]) for _, step in steps})
    lines = [
        f"### More and more running servers, {_DEBIANS.get(suite, suite)}",
        "",
        f"![start time and memory of the hub over the number of running servers]({plot_name(suite)})",
        "",
        "| running servers | stack | start of the last one | hub | proxy | all servers |",
        "|---:|---|---:|---:|---:|---:|",
    ]
    for stack, step in steps:
        lines.append(
            f"| {step['members']:.0f} | {stack} | {step['start']:.2f} s | {step['hub']:.0f} MB"
            f" | {step['proxy']:.0f} MB | {step['servers']:.0f} MB |"
        )
    lines += ["", *[f"- {stack} ended there: {each['ended']}." for stack, each in growth.items() if each["ended"]]]
    lines += [
        f"- Up to {counts[-1]} real servers, none simulated; one run, the start is the median of three. Memory is PSS."
        " Of the stock stack's members the first ten have an environment of their own and the others share one, to"
        " spare the disk: that helps stock a little.",
        *[f"- {stack}: {_origin(each)}." for stack, each in growth.items()],
        "",
    ]
    return lines


def _methods(suites: dict[str, Any]) -> list[str]:
    """How each row was measured; said once for all releases, as long as it was the same way."""
    lines = ["## How each is measured", ""]
    ways: dict[str, None] = {}
    for found in suites.values():
        for row in found.get("figures", {}).values():
            floor = f" Floor: {row['floor_is']}." if row["floor_is"] else ""
            ways[f"- **{row['title']}**: {row['how']}.{floor}"] = None
    return [*lines, *ways, ""]


def _circumstances(suites: dict[str, Any], about: dict[str, Any]) -> list[str]:
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    return [
        "## Circumstances",
        "",
        *[f"- {name}: {value}" for name, value in about["machine"].items()],
        f"- Both sides: {versions}. Everything below these is what pip resolves (stock) or what our lock holds (ours).",
        *[f"- {key}: {value}" for key, value in about["differs"].items()],
        f"- Package: {about['version']}.",
        "- When, of which commit, and how busy the computer was (load average at the beginning, and at most, the bench"
        " itself included):",
        *_origins(suites),
        "",
    ]


def _origins(suites: dict[str, Any]) -> list[str]:
    """One line for all rows of a release that were measured together."""
    lines = []
    for suite, found in suites.items():
        together: dict[str, list[str]] = {}
        for row in found.get("figures", {}).values():
            together.setdefault(_origin(row), []).append(row["title"])
        lines += [f"    - {suite}, {origin}: {'; '.join(titles)}" for origin, titles in together.items()]
    return lines


def _origin(row: dict[str, Any]) -> str:
    load = row["load"]
    return f"{row['date']}, commit {row['commit']}, load {load['begin']:.1f} to {load['most']:.1f}"
