"""Writes docs/reference/performance.md, .json and the plot; and prints the table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.book import Value
from bench.plot import plot
from bench.stacks import OURS, STOCK

NAME = "performance"
PLOT = f"{NAME}-growth.svg"
_WORDS = {True: "yes", False: "**no**", None: "–"}


def read(directory: Path) -> dict[str, Any]:
    """What an earlier run wrote, if there was one."""
    try:
        found: dict[str, Any] = json.loads((directory / f"{NAME}.json").read_text())
        return found
    except (OSError, ValueError):
        return {}


def write(directory: Path, report: dict[str, Any]) -> None:
    """Write all files."""
    directory.mkdir(parents=True, exist_ok=True)
    text = json.dumps(_rounded(report), indent=1, ensure_ascii=False)
    (directory / f"{NAME}.json").write_text(text + "\n")
    if report.get("growth"):
        (directory / PLOT).write_text(plot(report["growth"]))
    (directory / f"{NAME}.md").write_text(page(report))


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 3)
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list) else value


def table(rows: dict[str, dict[str, Any]]) -> list[str]:
    """The table, in Markdown."""
    lines = [
        "| figure | ours | stock | ratio | mark | reached |",
        "|---|---:|---:|---:|---|---|",
    ]
    for row in rows.values():
        ratio = "–" if row["ratio"] is None else f"{row['ratio']:.3f}"
        cells = [row["title"], _cell(row, OURS), _cell(row, STOCK), ratio, row["mark"] or "–", _WORDS[row["reached"]]]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _cell(row: dict[str, Any], stack: str) -> str:
    values: list[Value] = row[stack]["values"]
    if not values:
        return "–"
    known = [value for value in values if value is not None]
    if not known:
        return f"never (n={len(values)})"
    spread = f" ({_number(min(known))}–{_number(max(known))}, n={len(values)})"
    middle = row[stack]["median"]
    return ("never" if middle is None else f"{_number(middle)} {row['unit']}".strip()) + spread


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def page(report: dict[str, Any]) -> str:
    """The page for the documentation."""
    rows = report["figures"]
    missed = [row for row in rows.values() if row["reached"] is False]
    judged = [row for row in rows.values() if row["reached"] is not None]
    lines = [
        "# Performance",
        "",
        "Written by `bench/run`; every single value is in [performance.json](performance.json). *Ours* is"
        " jupyterhub4family; *stock* is JupyterHub, sudospawner and configurable-http-proxy installed as their own"
        " documentation says, with an environment by `venv` and `pip` for each member (`bench/stock.py`).",
        "",
        *table(rows),
        "",
        "Cells: median (smallest–largest, number of repeats). Ratio: the median of the ratios of neighbouring repeats,"
        " ours/stock; smaller is better.",
        f"{len(judged) - len(missed)} of {len(judged)} marks are reached.",
        "",
        "## Where a mark is missed",
        "",
        *([f"- **{row['title']}**: {row['reason']}" for row in missed] or ["None is."]),
        "",
        *_growth(report.get("growth", {})),
        "## How each is measured",
        "",
        *[f"- **{row['title']}**: {row['how']}." for row in rows.values()],
        "",
        *_circumstances(report),
    ]
    return "\n".join(lines)


def _growth(growth: dict[str, list[dict[str, float]]]) -> list[str]:
    if not growth:
        return []
    lines = [
        "## 1, 5, 20 and 50 members",
        "",
        f"![start time and memory of the hub over the number of running servers]({PLOT})",
        "",
        "| running servers | stack | start of the last one | hub | proxy | all servers |",
        "|---:|---|---:|---:|---:|---:|",
    ]
    for stack, steps in growth.items():
        for step in steps:
            lines.append(
                f"| {step['members']:.0f} | {stack} | {step['start']:.2f} s | {step['hub']:.0f} MB"
                f" | {step['proxy']:.0f} MB | {step['servers']:.0f} MB |"
            )
    lines += [
        "",
        "All are real servers, none simulated; one run. Memory is PSS. Of the stock stack's members the first ten have"
        " an environment of their own and the others share one, to spare the disk: that helps stock a little.",
        "",
    ]
    return lines


def _circumstances(report: dict[str, Any]) -> list[str]:
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    lines = [
        "## Circumstances",
        "",
        *[f"- {name}: {value}" for name, value in report["machine"].items()],
        f"- Both sides: {versions}. Everything below these is what pip resolves (stock) or what our lock holds (ours).",
        *[f"- {key}: {value}" for key, value in report["differs"].items()],
        f"- Package: {report['package']}.",
        f"- Dates of the rows: {', '.join(sorted({row['date'] for row in report['figures'].values()}))}.",
        f"- Noise: the load average of the computer was between {report['load'][0]:.1f} and {report['load'][1]:.1f}"
        " while this ran (the bench itself included); other work went on beside it. Therefore trust the ratios more"
        " than the seconds.",
        *[f"- {note}" for note in report["notes"]],
        *[f"- A repeat failed and is missing: {problem}" for problem in report["troubles"]],
        "",
    ]
    return lines
