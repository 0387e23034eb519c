"""The commands as a part of a page of the handbook."""

from __future__ import annotations

import argparse
from collections.abc import Iterator


def commands(parser: argparse.ArgumentParser) -> str:
    """What docs/reference/commands.md has of each command."""
    return "".join(f"{line}\n" for line in _described(parser, [], "")).lstrip("\n")


def _described(parser: argparse.ArgumentParser, args: list[str], meaning: str) -> Iterator[str]:
    """The lines about one command and those below it."""
    below = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    rest = [action for action in parser._actions if action not in below and action.help != argparse.SUPPRESS]
    names = [f"`{action.metavar or action.dest}`" for action in rest if not action.option_strings]
    if args:
        yield ""
        line = " ".join([*args, *(_placed(action) for action in rest if not action.option_strings)])
        yield f"{'#' * min(1 + len(args), 3)} `{line}`"
        if meaning:
            yield ""
            yield _sentence(meaning)
    rows = [(", ".join(_option(action)), _explained(action)) for action in rest if action.option_strings]
    rows = [(option, text) for option, text in rows if not option.endswith("`--help`")]
    rows = [*((name, _explained(a)) for name, a in zip(names, (a for a in rest if not a.option_strings))), *rows]
    rows = [(name, text) for name, text in rows if text]
    if rows:
        yield ""
        yield "| | |"
        yield "|---|---|"
        for name, text in rows:
            yield f"| {name} | {text} |".replace("`|", "`\\|")
    for action in below:
        reported = {choice.dest: choice.help or "" for choice in action._choices_actions}
        for name, one in action.choices.items():
            if name in reported:
                yield from _described(one, [*args, name], reported[name])


def _placed(action: argparse.Action) -> str:
    """An argument as it stands on the command line."""
    name = str(action.metavar or ("|".join(map(str, action.choices)) if action.choices else action.dest))
    return {"+": f"{name} …", "*": f"[{name} …]", "?": f"[{name}]"}.get(str(action.nargs), name)


def _option(action: argparse.Action) -> list[str]:
    """An option in all its spellings, with the name of its value."""
    value = "" if action.nargs == 0 else " " + str(action.metavar or action.dest.upper())
    return [f"`{name}{value if name.startswith('--') else ''}`" for name in action.option_strings]


def _explained(action: argparse.Action) -> str:
    text = (action.help or "") % {**vars(action), "prog": "jupyterhub4family"}
    return text.replace("|", "\\|")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "?", "!")) else ".")
