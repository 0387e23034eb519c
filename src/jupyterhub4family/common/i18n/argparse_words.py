"""Any identity: argparse's own words in the reader's language.

argparse asks gettext for its words, in a domain that Debian's python3 has no German for. Here it is told to ask our
catalogue instead. The words stand below so that tools/messages finds them; those of all Pythons from 3.9 on.
"""

from __future__ import annotations

import argparse

from jupyterhub4family.common.i18n.messages import N_, catalogue, process_language

#: Never read: what is marked here, and nothing else of argparse's, can be German.
WORDS = (
    N_("usage: "),
    N_("positional arguments"),
    N_("optional arguments"),
    N_("options"),
    N_("show this help message and exit"),
    N_("show program's version number and exit"),
    N_("%(prog)s: error: %(message)s\n"),
    N_("argument %(argument_name)s: %(message)s"),
    N_("the following arguments are required: %s"),
    N_("one of the arguments %s is required"),
    N_("unrecognized arguments: %s"),
    N_("not allowed with argument %s"),
    N_("ambiguous option: %(option)s could match %(matches)s"),
    N_("ignored explicit argument %r"),
    N_("expected one argument"),
    N_("expected at most one argument"),
    N_("expected at least one argument"),
    N_("invalid %(type)s value: %(value)r"),
    N_("invalid choice: %(value)r (choose from %(choices)s)"),
    N_("unknown parser %(parser_name)r (choices: %(choices)s)"),
)


def translate_argparse() -> None:
    """Have argparse speak the process's language from now on; called before a parser is made."""
    words = catalogue(process_language())
    # Not in typeshed, but in every Python: `from gettext import gettext as _, ngettext` (argparse.py).
    setattr(argparse, "_", words.gettext)  # noqa: B010
    setattr(argparse.ArgumentError, "__str__", _translated)  # noqa: B010


def _translated(error: argparse.ArgumentError) -> str:
    """The whole sentence: Python 3.9 puts its first words together without asking gettext."""
    if error.argument_name is None:
        return str(error.message)
    message = catalogue(process_language()).gettext("argument %(argument_name)s: %(message)s")
    return message % {"argument_name": error.argument_name, "message": error.message}
