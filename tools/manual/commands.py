"""The command line as a plain list, read out of the argparse parser."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import jupyterhub4family.cli.base.terminal  # noqa: F401 (what may be completed is told with its `completes`)


@dataclass(frozen=True)
class Command:
    """One command: its words, what it does, its options and arguments, and the words that may follow it."""

    args: tuple[str, ...]
    help: str
    description: str
    options: list[argparse.Action]
    arguments: list[argparse.Action]
    #: Name and help of each further word; other names of the same are not in it.
    following: list[tuple[str, str]]
    #: Other names of commands that may follow.
    aliases: list[str]

    @property
    def path(self) -> str:
        """The words with spaces; empty for the program itself."""
        return " ".join(self.args)


def all_commands(parser: argparse.ArgumentParser) -> list[Command]:
    """The program itself first, then every command, in the order of --help."""
    return list(_walk(parser, (), ""))


def _walk(parser: argparse.ArgumentParser, args: tuple[str, ...], help_text: str) -> Iterator[Command]:
    branches = next((one for one in parser._actions if isinstance(one, argparse._SubParsersAction)), None)
    plain = [one for one in parser._actions if one is not branches and one.help != argparse.SUPPRESS]
    helps: dict[str, str] = {}
    aliases: list[str] = []
    if branches is not None:
        helps = {choice.dest: choice.help or "" for choice in branches._choices_actions}
        # "list (show)" is how argparse notes an alias.
        helps = {name.partition(" ")[0]: text for name, text in helps.items()}
        aliases = [name for name in branches.choices if name not in helps]
    yield Command(
        args,
        help_text,
        parser.description or "",
        [one for one in plain if one.option_strings and one.dest != "help"],
        [one for one in plain if not one.option_strings],
        list(helps.items()),
        aliases,
    )
    if branches is not None:
        for name, text in helps.items():
            yield from _walk(branches.choices[name], (*args, name), text)


def takes_value(option: argparse.Action) -> bool:
    """Whether a word has to follow this option."""
    return option.nargs != 0


def placeholder(action: argparse.Action) -> str:
    """The word that stands for an argument or for an option's value."""
    if isinstance(action.metavar, str):
        return action.metavar
    if action.choices is not None:
        return "|".join(map(str, action.choices))
    return action.dest.replace("_", "-").upper()


def help_of(action: argparse.Action) -> str:
    """The help of an option, its %(default)s filled in."""
    return (action.help or "") % {"default": action.default, "prog": "jupyterhub4family"}


def kind(command: Command, action: argparse.Action) -> str:
    """What completes an argument: keys, values, accounts, members, logs, files, or words with spaces."""
    reported = getattr(action, "completes", "")
    if reported:
        return str(reported)
    if action.choices is not None:
        return " ".join(map(str, action.choices))
    name = placeholder(action)
    if name == "NAME":
        return "accounts" if command.path == "members add" else "members"
    if "MEMBER" in name:
        return "logs" if "|" in name else "members"
    return "files" if name in ("FILE", "DIR", "PATH", "CERT", "CERTIFICATE", "KEY", "ARCHIVE") else ""
