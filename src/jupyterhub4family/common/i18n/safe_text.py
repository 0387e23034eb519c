"""Any identity: text from elsewhere, made so that a terminal only shows it.

What members, the service, devices and other programs have written may hold sequences that change a terminal's title,
colours and cursor, have it answer as if somebody had typed, or show text in another order than it stands there. Such
characters are taken out twice: where text enters (answers and progress of programs, files of the service) and where it
is printed (`PrintableOutput`, which every program of ours prints through).
"""

from __future__ import annotations

from typing import IO, Any

from jupyterhub4family.common import patterns

#: Stands in place of a character that is not shown.
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
#: Colours, as programs write them into logs: nobody misses them.
_COLOUR = patterns.compiled(r"\x1b\[[0-9;:]{0,40}m")
#: C0 and C1 controls but newline and tab, DEL; marks, embeddings, overrides and isolates of direction; separators of
#: lines and paragraphs; annotations and tags, which nobody sees; halves of characters, which cannot be written.
_UNPRINTABLE = patterns.compiled(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


def printable(text: str) -> str:
    """`text` for a terminal: newlines and tabs stay, everything else that is no character to be seen does not."""
    if text.isprintable():
        return text
    if "\x1b" in text:
        text = _COLOUR.sub("", text)
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _UNPRINTABLE.sub(REPLACEMENT, text)


def one_line(text: str, longest: int = 300) -> str:
    """As `printable`, for a name or a word: on one line, and no longer than so many characters."""
    return " ".join(printable(text[: 4 * longest]).split())[:longest]


class PrintableOutput:
    """In place of stdout or stderr: what is printed there is made printable on its way, whoever prints it."""

    def __init__(self, stream: IO[str]) -> None:
        #: For what is ours: colours, a bar that moves (cli/base/terminal.py).
        self.unfiltered = stream

    def write(self, text: str) -> int:
        """Write `text` without what could do something to a terminal."""
        self.unfiltered.write(printable(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        """As `write`, for each of them."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        """Everything else is the stream's own."""
        return getattr(self.unfiltered, name)


def unfiltered(stream: IO[str]) -> IO[str]:
    """The stream behind a `PrintableOutput`; any other one is that itself."""
    return getattr(stream, "unfiltered", stream)
