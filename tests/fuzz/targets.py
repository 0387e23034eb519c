"""What is fuzzed: each parser may refuse with the errors it documents, and do nothing else. Runs as nobody."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Iterator

from jupyterhub4family.common.errors import ConfigurationError, ExitStatus, FamilyError, UsageError
from jupyterhub4family.common.i18n.messages import from_json
from jupyterhub4family.common.protocol import calling, doors, serving, shapes
from jupyterhub4family.common.protocol.json_lines import clean_text, error_of, read_request, unwrap
from jupyterhub4family.common.protocol.responses import DEFAULT, ResponseError, ResponseReader
from jupyterhub4family.common.settings.model import KEYS, parse_text, settings_of
from jupyterhub4family.common.settings.types import BadValue
from jupyterhub4family.root.doors import doas_rights, sudo_rights


def requests(data: bytes) -> None:
    """What comes through a door, up to where it is known to be one of its requests."""
    with refusing():
        request = read_request(io.BytesIO(data))
        assert isinstance(request, dict) and all(isinstance(key, str) for key in request)
        for handlers in HANDLERS:
            with refusing():
                handler, known = serving.choose(handlers, dict(request))
                assert type(known) is handler.action.request
                crossed = json.loads(json.dumps(shapes.encode(known)))
                assert shapes.decode_request(type(known), crossed) == known
        assert clean_text(str(request.get("action", "")), "action", 40).isprintable()


@contextlib.contextmanager
def refusing() -> Iterator[None]:
    """What is refused is refused as the documents say."""
    try:
        yield
    except UsageError as error:
        assert error.status == ExitStatus.USAGE and str(error.message)


#: What each door can be asked for; here nothing is done.
HANDLERS: list[list[serving.Handler[None]]] = [
    [serving.on(action, lambda _caller, _request: None) for action in doors.actions_of(door)] for door in doors.DOORS
]


def answers(data: bytes) -> None:
    """What a door or a member's program answers: root and the hub read it."""
    reported: list[tuple[int, str]] = []
    reader = ResponseReader("door", DEFAULT, lambda percent, message: reported.append((percent, message)))
    with contextlib.suppress(ResponseError):
        reader.feed_stdout(data[: len(data) // 2])
        reader.feed_stdout(data[len(data) // 2 :])
        answer = reader.answer(0)
        error = error_of(answer)
        assert isinstance(error.status, ExitStatus) and isinstance(str(error), str)
        for value in answer.values():
            assert isinstance(str(from_json(value)), str)
        with contextlib.suppress(FamilyError):
            unwrap(answer)
        for action in doors.ACTIONS:
            with contextlib.suppress(ResponseError):
                assert type(calling.understood(action, answer)) is action.answer
    assert all(0 <= percent <= 100 and isinstance(message, str) for percent, message in reported)


def settings(data: bytes) -> None:
    """The settings file, as its owner or a failing disk may leave it."""
    try:
        found = settings_of(parse_text(data.decode("utf-8", "replace"), "file"), "file")
        json.dumps(found.__dict__, default=str)
    except ConfigurationError as error:
        assert str(error.message)


def values(data: bytes) -> None:
    """What is typed after `config set KEY`."""
    text = data.decode("utf-8", "replace")
    for key in KEYS.values():
        with contextlib.suppress(BadValue):
            value = key.from_text(text)
            assert key.from_plain(key.to_plain(value)) == value


def sudo_listing(data: bytes) -> None:
    """What sudo says of an account: rules that others have written."""
    with contextlib.suppress(sudo_rights.UnreadableListing):
        for rule in sudo_rights.parse(data.decode("utf-8", "replace")):
            # An empty one, which sudo never writes, is nobody that is known: the rule counts as dangerous.
            assert all(isinstance(one, str) for one in (*rule.users, *rule.groups, *rule.options))
            assert not any(command.startswith("!") for command in rule.commands)
            rule.is_own_door()


def doas_conf(data: bytes) -> None:
    """/etc/doas.conf, which root writes by hand."""
    with contextlib.suppress(doas_rights.UnreadableRules):
        for rule in doas_rights.parse(data.decode("utf-8", "replace")):
            assert isinstance(rule.permit, bool) and isinstance(rule.identity, str)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "requests": requests,
    "answers": answers,
    "settings": settings,
    "values": values,
    "sudo_listing": sudo_listing,
    "doas_conf": doas_conf,
}
#: What the fuzzer begins with; it finds the rest by itself.
SEEDS: dict[str, tuple[bytes, ...]] = {
    "requests": (
        b'{"action": "spawn", "args": [], "env": {"A": "b"}}',
        b'{"action": "kill", "pid": 1, "signal": 15}',
        b'{"action": "add", "names": ["a"], "allow_administrator": true}',
        b'{"name": "a", "password": "b"}',
    ),
    "answers": (
        b'noise\n{"ok": false, "error": {"text": "no {name}", "values": {"name": "x"}}, "hint": "try", "status": 3}',
        b'{"ok": true, "error": "x", "status": [1]}',
        b'{"percent": 5, "message": "m"}\n{"ok": true, "results": [{"name": "a", "done": "added", "note": "n"}]}',
    ),
    "settings": (
        b"port: 8000\nfamily_name: No\nextra_names: [a.home, b]\n",
        b"listen: local\nmember_limits: [a.cpu=5]\n",
    ),
    "sudo_listing": (
        b"User ben may run the following commands on box:\n\nSudoers entry: /etc/x\n    RunAsUsers: ALL, !root\n"
        b'    RunAsGroups: "a b", #0\n    Options: !setenv, !authenticate\n    Commands:\n\t/bin/ls ""\n\t!/bin/sh\n',
        b"User ben is not allowed to run sudo on box.\n",
    ),
    "doas_conf": (b'permit nopass setenv { -A B=c } :kin as root cmd /bin/ls args -l\ndeny "ben" # x\n',),
    "values": (b"8000", b"anna.memory=4G, ben.cpu=50", b"https://example.org/x", b"de", b"on", b"75%"),
}
