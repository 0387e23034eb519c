"""Runs as root, inside the door `members`: whether sudo's rules let an account become root."""

from __future__ import annotations

import re

from jupyterhub4family.common import paths
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.system import programs
from jupyterhub4family.common.system.programs import ProgramError

#: A rule as `sudo -l` prints it: (users : groups) TAG: TAG: command, command
_RULE = re.compile(r"\s+\((?P<users>[^):]*)(?::[^)]*)?\)\s+(?P<commands>.+)")
#: Ways to write root among the users of a rule; in the group root is at least root.
_NAMES_OF_ROOT = frozenset(("root", "#0", "%root", "%#0", "ALL"))
_TAG = re.compile(r"^(?:[A-Z_]+:\s*)+")


def rights_beyond_doors(name: str) -> list[str]:
    """Sentences for those rules of sudo that let `name` run something as root, our own doors left out.

    Raises ProgramError if sudo cannot be asked.
    """
    listed = programs.run(["/usr/bin/sudo", "-n", "-l", "-U", name], check=False, timeout=30)
    # Of who may nothing it says so; silence is no answer.
    if listed.returncode != 0 and not listed.stdout.strip():
        raise ProgramError(
            _(
                "sudo could not be asked what {name} may do: {output}",
                name=name,
                output=programs.last_lines(listed.stderr, 3),
            )
        )
    return [_("sudo allows {commands}", commands=commands) for commands in root_commands(listed.stdout)]


def root_commands(listing: str) -> list[str]:
    """The commands that `listing`, the output of `sudo -l`, allows as root and that are no door of ours."""
    found = []
    for line in listing.splitlines():
        rule = _RULE.fullmatch(line)
        if not rule or not _NAMES_OF_ROOT & set(re.split(r"[,\s]+", rule["users"].strip())):
            continue
        commands = [_TAG.sub("", command.strip()) for command in rule["commands"].split(", ")]
        foreign = [command for command in commands if not command.startswith(f"{paths.LIBRARY}/")]
        if foreign:
            found.append(", ".join(foreign))
    return found
