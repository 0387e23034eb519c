"""Shell completion for bash, zsh and fish: commands, options, members, accounts, settings keys and their values."""

from __future__ import annotations

import argparse
import re

from jupyterhub4family.common.settings.model import KEYS
from tools.manual.commands import Command, all_commands, help_of, kind, takes_value

GENERATED = "# Made by python3 -m tools.manual; changes here are lost.\n"
#: What the shells call to know the names, as nobody in particular.
MEMBERS = "getent group jupyterhub | cut -d: -f4 | tr , '\\n'"
ACCOUNTS = "getent passwd | awk -F: '$3 >= 1000 && $3 < 60000 { print $1 }'"
BASH_OTHER_NAME = GENERATED + ". /usr/share/bash-completion/completions/jupyterhub4family\n"
FISH_OTHER_NAME = GENERATED + "source /usr/share/fish/vendor_completions.d/jupyterhub4family.fish\n"


def bash(parser: argparse.ArgumentParser) -> str:
    """The script for bash; it needs neither bash-completion's functions nor any program of ours."""
    return (
        GENERATED
        + f"""\
_jupyterhub4family_words() {{
    case $1 in
        keys) echo {" ".join(KEYS)} ;;
        values)
            case $2 in
{_values_cases(16)}
            esac ;;
        members) {MEMBERS} ;;
        accounts) {ACCOUNTS} ;;
        logs) echo hub proxy; {MEMBERS} ;;
        *) echo "$1" ;;
    esac
}}

_jupyterhub4family() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} line='' skip='' argument=0 before='' kind='' i word
    [ "${{COMP_WORDS[0]##*/}}" != jupyterhub-members ] || line=members
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${{COMP_WORDS[i]}}
        if [ -n "$skip" ]; then skip=''; continue; fi
        case $line/$word in
            {_joined(_options_with_values(parser))}) skip=1; continue ;;
            */-*) continue ;;
        esac
        case "$line $word" in
            {_joined(_paths(parser))}) line="$line $word"; line=${{line# }} ;;
            *) argument=$((argument + 1)); before=$word ;;
        esac
    done
    COMPREPLY=()
    [ -z "$skip" ] || return 0
    if [[ $current == -* ]]; then
        case $line in
{_option_cases(parser)}
        esac
    else
        case $line/$argument in
{_argument_cases(parser)}
        esac
    fi
    if [ "$kind" = files ]; then
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
    elif [ -n "$kind" ]; then
        mapfile -t COMPREPLY < <(compgen -W "$(_jupyterhub4family_words "$kind" "$before")" -- "$current")
    fi
}}

complete -F _jupyterhub4family jupyterhub4family jh4f jupyterhub-members
"""
    )


def zsh(parser: argparse.ArgumentParser) -> str:
    """The function for zsh, found by its name in a folder of $fpath."""
    following = "\n".join(
        f"            {_pattern(one.path)}) described=({' '.join(_zsh_item(*item) for item in one.following)}) ;;"
        for one in all_commands(parser)
        if one.following
    )
    options = "\n".join(
        f"            {_pattern(one.path)}) described=({' '.join(map(_zsh_option, one.options))} "
        f"{_zsh_item('--help', 'show what this command takes')}) ;;"
        for one in all_commands(parser)
    )
    return f"""\
#compdef jupyterhub4family jh4f jupyterhub-members
{GENERATED}
_jupyterhub4family() {{
    local line='' skip='' before='' kind='' word
    local -i argument=0 i
    local -a described candidates
    [[ ${{words[1]:t}} != jupyterhub-members ]] || line=members
    for ((i = 2; i < CURRENT; i++)); do
        word=${{words[i]}}
        if [[ -n $skip ]]; then skip=''; continue; fi
        case $line/$word in
            ({_joined(_options_with_values(parser))}) skip=1; continue ;;
            (*/-*) continue ;;
        esac
        case "$line $word" in
            ({_joined(_paths(parser))}) line="$line $word"; line=${{line# }} ;;
            (*) argument+=1; before=$word ;;
        esac
    done
    [[ -z $skip ]] || return 1
    if [[ $words[CURRENT] == -* ]]; then
        case $line in
{_parenthesized(options)}
        esac
        _describe -o option described
        return
    fi
    if (( argument == 0 )); then
        case $line in
{_parenthesized(following)}
        esac
        if (( $#described )); then _describe command described; return; fi
    fi
    case $line/$argument in
{_parenthesized(_argument_cases(parser, with_commands=False))}
    esac
    case $kind in
        ('') return 1 ;;
        (files) _files; return ;;
        (keys) candidates=({" ".join(KEYS)}) ;;
        (values)
            case $before in
{_parenthesized(_values_cases(16, "candidates=({})"))}
            esac ;;
        (members) candidates=(${{(f)"$({MEMBERS})"}}) ;;
        (accounts) candidates=(${{(f)"$({ACCOUNTS})"}}) ;;
        (logs) candidates=(hub proxy ${{(f)"$({MEMBERS})"}}) ;;
        (*) candidates=(${{(s: :)kind}}) ;;
    esac
    compadd -a candidates
}}

_jupyterhub4family "$@"
"""


def fish(parser: argparse.ArgumentParser) -> str:
    """The script for fish."""
    paths = " ".join(f"'{_one_space(path)}'" for path in _paths(parser))
    skipping = " ".join(f"'{option.partition('/')[2]}'" for option in _options_with_values(parser))
    lines = [
        GENERATED,
        f"""\
function __jupyterhub4family_at --description 'whether the words so far are this command and that many arguments'
    set -l words (commandline -opc)
    set -l line ''
    set -l skip 0
    set -l arguments 0
    string match -qr '(^|/)jupyterhub-members$' -- $words[1]; and set line ' members'
    for word in $words[2..-1]
        if test $skip = 1
            set skip 0
        else if contains -- $word {skipping}
            set skip 1
        else if string match -q -- '-*' $word
            continue
        else if contains -- "$line $word" {paths}
            set line "$line $word"
        else
            set arguments (math $arguments + 1)
            set -g __jupyterhub4family_before $word
        end
    end
    test "$skip" = 0; and test "$line" = "$argv[1]"; and test "$argv[2]" = any -o "$arguments" = "$argv[2]"
end

function __jupyterhub4family_members
    {MEMBERS}
end

function __jupyterhub4family_accounts
    {ACCOUNTS}
end

function __jupyterhub4family_values
    switch $__jupyterhub4family_before
{_fish_values()}
    end
end

for name in jupyterhub4family jh4f jupyterhub-members
    complete -c $name -f
    complete -c $name -s h -l help -d 'Show what there is'
""",
    ]
    for command in all_commands(parser):
        at = f" {command.path}" if command.path else ""
        condition = f"-n '__jupyterhub4family_at \"{at}\" any'"
        for option in command.options:
            names = " ".join(
                f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.option_strings
            )
            value = " -x" if takes_value(option) else ""
            lines.append(f"    complete -c $name {condition} {names}{value} -d {_quoted(help_of(option))}\n")
        for name, text in command.following:
            first = f"-n '__jupyterhub4family_at \"{at}\" 0'"
            lines.append(f"    complete -c $name {first} -a {name} -d {_quoted(text)}\n")
        for number, (many, what) in enumerate(_arguments(command)):
            count = "any" if many and number == 0 else str(number)
            source = {
                "keys": f"'{' '.join(KEYS)}'",
                "values": "'(__jupyterhub4family_values)'",
                "members": "'(__jupyterhub4family_members)'",
                "accounts": "'(__jupyterhub4family_accounts)'",
                "logs": "'hub proxy (__jupyterhub4family_members)'",
                "files": "'(__fish_complete_path)'",
            }.get(what, f"'{what}'")
            lines.append(f"    complete -c $name -n '__jupyterhub4family_at \"{at}\" {count}' -a {source}\n")
    return "".join(lines) + "end\n"


# -- tables --------------------------------------------------------------------------------------------


def _paths(parser: argparse.ArgumentParser) -> list[str]:
    """Patterns of all commands, as words with a space in front of each, aliases included."""
    found = []
    for command in all_commands(parser):
        names = [name for name, _help in command.following] + command.aliases
        found += [f"{command.path} {name}" for name in names]
    return found


def _options_with_values(parser: argparse.ArgumentParser) -> list[str]:
    return [
        f"{command.path}/{name}"
        for command in all_commands(parser)
        for option in command.options
        if takes_value(option)
        for name in option.option_strings
    ]


def _arguments(command: Command) -> list[tuple[bool, str]]:
    """For each argument whether it may stand several times, and its kind."""
    return [(one.nargs in ("+", "*"), kind(command, one)) for one in command.arguments]


def _joined(patterns: list[str]) -> str:
    return " | ".join(f'"{one}"' for one in patterns)


def _one_space(path: str) -> str:
    return " " + path.lstrip()


def _pattern(text: str) -> str:
    return f'"{text}"' if text else "''"


def _option_cases(parser: argparse.ArgumentParser) -> str:
    lines = []
    for command in all_commands(parser):
        names = [name for option in command.options for name in option.option_strings] + ["--help"]
        lines.append(f"            {_pattern(command.path)}) kind='{' '.join(names)}' ;;")
    return "\n".join(lines)


def _argument_cases(parser: argparse.ArgumentParser, with_commands: bool = True) -> str:
    lines = []
    for command in all_commands(parser):
        if command.following and with_commands:
            names = " ".join(name for name, _help in command.following)
            lines.append(f"            \"{command.path}/0\") kind='{names}' ;;")
        for number, (many, what) in enumerate(_arguments(command)):
            # Of several values only the first is one of the choices; of several names each is a name.
            count = "*" if many and what != "values" else str(number)
            if what:
                lines.append(f'            "{command.path}"/{count}) kind={_shell_word(what)} ;;')
    return "\n".join(lines)


def _values_cases(indent: int, form: str = "echo {}") -> str:
    return "\n".join(
        f"{' ' * indent}{key.name}) {form.format(' '.join(key.alternatives()))} ;;"
        for key in KEYS.values()
        if key.alternatives()
    )


def _fish_values() -> str:
    return "\n".join(
        f"        case {key.name}\n            string split ' ' '{' '.join(key.alternatives())}'"
        for key in KEYS.values()
        if key.alternatives()
    )


def _shell_word(text: str) -> str:
    return f"'{text}'" if " " in text else text


def _parenthesized(cases: str) -> str:
    """zsh wants both parentheses inside of $(…) and arrays; they never hurt."""
    return re.sub(r"(?m)^( +)(\S.*?)\) ", r"\1(\2) ", cases)


def _zsh_item(name: str, text: str) -> str:
    return _quoted(f"{name}:{text.replace(':', chr(92) + ':')}")


def _zsh_option(option: argparse.Action) -> str:
    return " ".join(_zsh_item(name, help_of(option)) for name in option.option_strings)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
