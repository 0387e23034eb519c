"""A film of a terminal (asciicast v2) as the text that somebody would see who scrolls back through it."""

from __future__ import annotations

import json
import re
from pathlib import Path

_SEQUENCE = re.compile(
    r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"  # titles and the like
    r"|\x1b\[([0-9;?]*)([@-~])"  # colours, cursor
    r"|\x1b[()][A-Z0-9]|\x1b[=>78cDEHM]"
    r"|\r|\n|\x08|[^\x1b]|\x1b"
)


def events(cast: Path) -> list[tuple[float, str]]:
    """What was shown and when, in seconds from the start. Raises ValueError for what is no asciicast v2."""
    lines = cast.read_text("utf-8").splitlines()
    if json.loads(lines[0]).get("version") != 2:
        raise ValueError(f"{cast} is no asciicast of version 2")
    return [(float(at), str(text)) for at, kind, text in map(json.loads, lines[1:]) if kind == "o"]


def as_text(cast: Path) -> str:
    """The whole session as plain text: lines that were written over show what they showed last."""
    screen: list[list[str]] = [[]]
    row = column = 0
    for found in _SEQUENCE.finditer("".join(text for _, text in events(cast))):
        piece, numbers, letter = found[0], found[1] or "", found[2]
        if piece == "\n":
            row += 1
            if row == len(screen):
                screen.append([])
        elif piece == "\r":
            column = 0
        elif piece == "\b":
            column = max(0, column - 1)
        elif letter == "K" and numbers in ("", "0"):
            del screen[row][column:]
        elif letter == "K":
            screen[row] = [" "] * column
        elif letter == "A":
            row = max(0, row - int(numbers or 1))
        elif letter == "G":
            column = int(numbers or 1) - 1
        elif letter == "J" and numbers in ("", "0"):
            del screen[row][column:], screen[row + 1 :]
        elif not piece.startswith("\x1b"):
            line = screen[row]
            line.extend(" " * (column - len(line)))
            line[column : column + 1] = [piece]
            column += 1
    return "\n".join("".join(line).rstrip() for line in screen).rstrip() + "\n"
