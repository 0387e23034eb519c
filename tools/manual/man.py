"""Manual pages, in roff."""

from __future__ import annotations

import argparse
import re

from jupyterhub4family import __version__
from jupyterhub4family.cli.settings.document import written
from jupyterhub4family.common.exit_meanings import STATUS_MEANINGS
from jupyterhub4family.common.i18n.messages import N_, _
from jupyterhub4family.common.paths import EXPERT_DIRECTORY, SERVICE_HOME, SETTINGS_FILE
from jupyterhub4family.common.settings.model import KEYS
from tools.manual.commands import Command, all_commands, help_of, placeholder, takes_value

GENERATED = '.\\" Made by python3 -m tools.manual; changes here are lost.\n'
FILES = (
    (str(SETTINGS_FILE), N_("Settings; may be missing. See jupyterhub4family-config(5).")),
    (f"{EXPERT_DIRECTORY}/*.py", N_("More settings for JupyterHub, in Python, for experts.")),
    (str(SERVICE_HOME), N_("Everything the service needs; home of the account jupyterhub.")),
)
VARIABLES = (
    ("LANG", N_("The language of all messages: English or German.")),
    ("NO_COLOR", N_("If it is set, nothing is coloured.")),
    ("VISUAL, EDITOR", N_("The editor of config edit.")),
)


def command_page(parser: argparse.ArgumentParser) -> str:
    """jupyterhub4family(1)."""
    commands = all_commands(parser)
    leaves = [one for one in commands if not one.following]
    parts = [
        _head("JUPYTERHUB4FAMILY", 1, _("User Commands")),
        _section(_("NAME")),
        "jupyterhub4family, jh4f, jupyterhub\\-members \\- " + roff(_("manage the family's JupyterHub")) + "\n",
        _section(_("SYNOPSIS")),
        ".B jupyterhub4family\n.I " + roff(_("COMMAND")) + "\n.RI [ " + roff(_("OPTIONS")) + " ]\n",
        _section(_("DESCRIPTION")),
        paragraph(
            _(
                "The package jupyterhub4family serves JupyterLab to everybody at home, each with their own Debian "
                "account. This command manages it. jh4f is a shorter name for it, and jupyterhub-members add, "
                "remove and show are short for jupyterhub4family members."
            )
        ),
        _section(_("COMMANDS")),
        *map(_command, leaves),
        _section(_("OPTIONS")),
        *(_option(one) for one in commands[0].options),
        _item("\\fB\\-h\\fR, \\fB\\-\\-help\\fR", _("Show all commands or, after a command, its arguments.")),
        _section(_("EXIT STATUS")),
        *(_item(f"\\fB{int(status)}\\fR", _(meaning)) for status, meaning in STATUS_MEANINGS.items()),
        _section(_("ENVIRONMENT")),
        *(_item(f"\\fB{name}\\fR", _(text)) for name, text in VARIABLES),
        _section(_("FILES")),
        *(_item(f"\\fI{roff(name)}\\fR", _(text)) for name, text in FILES),
        _section(_("SEE ALSO")),
        ".BR jupyterhub4family\\-config (5),\n.BR sudo (8),\n.BR screen (1),\n.BR journalctl (1)\n",
    ]
    return "".join(parts)


def settings_page() -> str:
    """jupyterhub4family-config(5)."""
    parts = [
        _head("JUPYTERHUB4FAMILY-CONFIG", 5, _("File Formats")),
        _section(_("NAME")),
        "jupyterhub4family\\-config \\- " + roff(_("settings of the family's JupyterHub")) + "\n",
        _section(_("SYNOPSIS")),
        f".I {roff(str(SETTINGS_FILE))}\n",
        _section(_("DESCRIPTION")),
        paragraph(
            _(
                "The file contains lines such as port: 8010, in YAML. It may be missing, and a key that is not in "
                "it has its default. Change it with jupyterhub4family config set, unset or edit: they check it "
                "before it takes effect and restart what needs it."
            )
        ),
        ".PP\n",
        paragraph(
            _(
                "A file with a mistake never stops a running portal: the last good settings stay in use, and "
                "jupyterhub4family status, doctor and the log name file, line and key."
            )
        ),
        _section(_("KEYS")),
    ]
    for key in KEYS.values():
        text = roff(_(key.meaning)) + (" " + roff(_(key.more)) if key.more else "")
        facts = _("Value: {allowed}. Default: {default}.", allowed=key.allowed, default=written(key.plain_default))
        parts.append(f".TP\n\\fB{roff(key.name)}\\fR\n{_lines(text)}\n.br\n{_lines(roff(facts))}\n")
    example = "port: 8010\nfamily_name: The Millers\nlogin_help: Forgotten your password? Ask Mum.\nlanguage: de"
    parts += [
        _section(_("EXAMPLES")),
        f".EX\n{roff(example)}\n.EE\n",
        _section(_("FILES")),
        *(_item(f"\\fI{roff(name)}\\fR", _(text)) for name, text in FILES[:2]),
        _section(_("SEE ALSO")),
        ".BR jupyterhub4family (1)\n",
    ]
    return "".join(parts)


def _head(name: str, section: int, title: str) -> str:
    return f'{GENERATED}.TH {roff(name)} {section} "" "jupyterhub4family {__version__}" "{roff(title)}"\n.nh\n'


def _section(title: str) -> str:
    return f'.SH "{roff(title)}"\n'


def _command(command: Command) -> str:
    args = " ".join(f"\\fB{roff(word)}\\fR" for word in command.args)
    takes = [_usage_of_option(one) for one in command.options] + [_usage_of_argument(one) for one in command.arguments]
    text = command.description or message(command.help)
    result = f".TP\n{' '.join([args, *takes])}\n{_lines(roff(text))}\n"
    explained = [one for one in (*command.arguments, *command.options) if one.help]
    if explained:
        result += ".RS\n" + "".join(_option(one) for one in explained) + ".RE\n"
    return result


def _usage_of_option(option: argparse.Action) -> str:
    name = f"\\fB{roff(option.option_strings[-1])}\\fR"
    return f"[{name} \\fI{roff(placeholder(option))}\\fR]" if takes_value(option) else f"[{name}]"


def _usage_of_argument(argument: argparse.Action) -> str:
    name = f"\\fI{roff(placeholder(argument))}\\fR"
    if argument.nargs == "?":
        return f"[{name}]"
    return {"+": f"{name}...", "*": f"[{name}...]"}.get(str(argument.nargs), name)


def _option(option: argparse.Action) -> str:
    names = ", ".join(f"\\fB{roff(name)}\\fR" for name in option.option_strings)
    if not option.option_strings:
        names = f"\\fI{roff(placeholder(option))}\\fR"
    elif takes_value(option):
        names += f" \\fI{roff(placeholder(option))}\\fR"
    return _item(names, message(help_of(option)))


def _item(tag: str, text: str) -> str:
    return f".TP\n{tag}\n{_lines(roff(text))}\n"


def paragraph(text: str) -> str:
    """Text, one sentence a line, as roff likes it."""
    return _lines(roff(text)) + "\n"


def message(text: str) -> str:
    """A help text of argparse, which has neither capital letter nor full stop, as a sentence."""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".") if text else ""


def roff(text: str) -> str:
    """`text` with everything escaped that roff would act upon."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq").replace("`", "")
    escaped = escaped.replace("^", "\\(ha").replace("~", "\\(ti")
    return re.sub(r"(?m)^(?=[.'])", r"\\&", escaped)


def _lines(text: str) -> str:
    lines = re.split(r"(?<=[.!?]) +(?=[A-ZÄÖÜ])", " ".join(text.split()))
    return "\n".join(("\\&" if line.startswith((".", "'")) else "") + line for line in lines)
