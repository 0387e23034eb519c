"""common.i18n.safe_text: whatever text comes, a terminal only shows it."""

from __future__ import annotations

import io
import unicodedata

import pytest

from jupyterhub4family.common.i18n import messages, safe_text
from jupyterhub4family.common.i18n.messages import Message, _, from_json, to_json
from jupyterhub4family.common.i18n.safe_text import PrintableOutput
from tests.unit.helpers import run_python


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Grüße, 😀 … „a“ – b\u00a0c\tنص\n", "Grüße, 😀 … „a“ – b\u00a0c\tنص\n"),
        ("\x1b]0;title\x07", "\ufffd]0;title\ufffd"),
        ("\x1b[31;1mred\x1b[0m", "red"),
        ("\x9b2J\x85\x08\x00\x7f", "\ufffd2J" + 4 * "\ufffd"),
        ("one\r\ntwo\rthree", "one\ntwo\nthree"),
        ("a\u202eb\u2066c\u200fd\u2028e", "a\ufffdb\ufffdc\ufffdd\ufffde"),
        ("\udc9b\ud800", "\ufffd\ufffd"),
        ("fa\u0308 \U0001f468\u200d\U0001f469", "fa\u0308 \U0001f468\u200d\U0001f469"),
        ("", ""),
    ],
)
def test_what_stays_and_what_does_not(text: str, shown: str) -> None:
    assert safe_text.printable(text) == shown == safe_text.printable(shown)


def test_every_character_alone() -> None:
    """No control, no half of a character, nothing that changes direction or breaks lines; and every letter."""
    for number in range(0x110000):
        character = chr(number)
        shown = safe_text.printable(character)
        category = unicodedata.category(character)
        if character in "\n\t" or category[0] in "LNPS" or category == "Mn":
            assert shown == character, hex(number)
        if character not in "\n\t\r" and (category in ("Cc", "Cs", "Zl", "Zp") or _turns(character)):
            assert shown == "\ufffd", hex(number)


def _turns(character: str) -> bool:
    """Whether text after this character runs in another direction than it would."""
    return unicodedata.bidirectional(character) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")


def test_on_one_line() -> None:
    assert safe_text.one_line("a\nb\r\n\tc  d\x1b") == "a b c d\ufffd"
    assert safe_text.one_line("x" * 1000) == "x" * 300 and safe_text.one_line("y" * 9, 4) == "yyyy"
    assert safe_text.one_line(10**6 * " " + "x") == ""


def test_what_comes_as_json_is_printable() -> None:
    evil = "\x1b]0;x\x07"
    reported = {"id": f"{{name}}{evil}", "text": evil, "values": {"name": evil, "other": {"text": evil}}}
    for untrusted in (evil, {"text": evil}, reported, {"text": 7, "id": evil, "values": {}}):
        assert safe_text.printable(from_json(untrusted)) == from_json(untrusted)
    kept = from_json(reported)
    assert isinstance(kept, Message) and "\x1b" not in repr(to_json(kept)) + str(messages.translated(kept, "de"))
    assert from_json(10**5000) == "" and from_json(42) == "42" and from_json(1.5) == "1.5"
    # What is ours is not touched, and what is put into a sentence of ours is made printable where it is printed.
    assert _("{name} is now a member", name="a\x1b") == "a\x1b is now a member"


def test_output_is_printable_whoever_prints() -> None:
    stream = io.StringIO()
    output = PrintableOutput(stream)
    assert output.write("a\x1b[2Jb\n") == 7
    output.writelines(["\x07", "c"])
    output.flush()
    assert stream.getvalue() == "a\ufffd[2Jb\n\ufffdc" and not output.isatty()
    safe_text.unfiltered(output).write("\x1b[1m")  # type: ignore[arg-type]
    assert stream.getvalue().endswith("\x1b[1m") and safe_text.unfiltered(stream) is stream


def test_every_program_prints_through_it() -> None:
    done = run_python(r"""
        import argparse
        from jupyterhub4family.common.errors import FamilyError, run_program
        def main():
            print("out \x1b]0;x\x07")
            print("err \x9b1m", file=sys.stderr)
            argparse.ArgumentParser(prog="x").parse_args([])
            raise FamilyError("why \x1b[2J", "try \u202e")
        try: run_program(main)
        finally: run_program(lambda: 1 // len(""))
    """)
    assert done.stdout == "out \ufffd]0;x\ufffd\n"
    assert "err \ufffd1m\njupyterhub4family: why \ufffd[2J\nTry: try \ufffd\n" in done.stderr
    assert "ZeroDivisionError" in done.stderr and "\x1b" not in done.stderr
