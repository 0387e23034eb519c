"""A small plot as SVG, drawn by hand: two panels, one line for each stack."""

from __future__ import annotations

from bench.stacks import OURS, STOCK

_COLOURS = {OURS: "#1b7f5c", STOCK: "#b4552d"}
_WIDTH, _HEIGHT, _LEFT, _TOP = 300, 180, 60, 40
_PANELS = (("start", "start of one more server, seconds"), ("hub", "memory of the hub, MB (PSS)"))


def plot(growth: dict[str, list[dict[str, float]]]) -> str:
    """Return the SVG of start time and hub memory over the number of running servers."""
    panels = [_panel(growth, key, title, number) for number, (key, title) in enumerate(_PANELS)]
    width, height = 2 * (_WIDTH + _LEFT) + 40, _TOP + _HEIGHT + 50
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif"'
            ' font-size="12">',
            f'<rect width="{width}" height="{height}" fill="white"/>',
            *panels,
            "</svg>\n",
        ]
    )


def _panel(growth: dict[str, list[dict[str, float]]], key: str, title: str, number: int) -> str:
    steps = [step for each in growth.values() for step in each]
    most = max(step["members"] for step in steps)
    top = _round_up(max(step[key] for step in steps))
    left, bottom = _LEFT + number * (_WIDTH + _LEFT + 10), _TOP + _HEIGHT
    parts = [f'<text x="{left}" y="{_TOP - 16}" font-weight="bold">{title}</text>']
    for fraction in (0, 0.25, 0.5, 0.75, 1):
        y = bottom - fraction * _HEIGHT
        parts.append(f'<path d="M{left} {y:.1f} h{_WIDTH}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{fraction * top:g}</text>')
    for members in sorted({step["members"] for step in steps}):
        x = left + members / most * _WIDTH
        parts.append(f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{members:.0f}</text>')
    parts.append(f'<text x="{left + _WIDTH / 2}" y="{bottom + 38}" text-anchor="middle">running servers</text>')
    for stack, each in growth.items():
        points = [(left + step["members"] / most * _WIDTH, bottom - step[key] / top * _HEIGHT) for step in each]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{_COLOURS[stack]}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{_COLOURS[stack]}"/>' for x, y in points]
        x, y = points[-1]
        parts.append(f'<text x="{x - 4:.1f}" y="{y - 8:.1f}" text-anchor="end" fill="{_COLOURS[stack]}">{stack}</text>')
    return "\n".join(parts)


def _round_up(value: float) -> float:
    """The next number that can be halved and quartered without ugly fractions."""
    step = 1.0
    while step * 40 < value:
        step *= 10
    while (nice := step * 4) < value:
        step += 1 if step < 10 else 10 ** (len(str(int(step))) - 1)
    return nice
