"""Requests as an attacker would send them to a door: endless, and the same ones each time for the same seed.

Standard library only: machine tests carry this file into a machine and send what it makes through a real sudo.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any, Callable

#: Words of the doors themselves, so that many requests get past the first look at them.
SHAPES = [
    line.split()
    for line in (
        "name password",
        "name password address",
        "action names",
        "action names allow_administrator",
        "action names",
        "action",
        "action args env",
        "action pid signal start_time",
        "action name",
        "action thorough",
        "",
    )
]
# Those of the door `members` twice, because it refuses most names.
ACTIONS = "prepare spawn kill log list add remove list add remove know forget synchronize exec confine".split()
#: What names, paths, options, variables and texts could do harm with.
TEXTS = [
    *(
        "",
        " ",
        "\0",
        "alice\0",
        "\0alice",
        "alice\n",
        "\n",
        "\r\n",
        "\x1b[2J",
        "\x7f",
        "\ud800",
        "\udcff",
        "\u202e",
        "\ufeff",
    ),
    *(
        "root",
        "jupyterhub",
        "nobody",
        "www-data",
        "alice",
        "Alice",
        "аlice",
        "älice",
        "alice ",
        "alice;id",
        "$(id)",
        "`id`",
    ),
    *("-", "--", "-rf", "--help", "--allow-administrator", "-u root", "--config=/etc/shadow", "-oProxyCommand=id"),
    *("/", "..", "../..", "/etc/shadow", "/root/.ssh/authorized_keys", "/proc/self/mem", "~root", "file:///etc/passwd"),
    *("%s%s%s%n", "{name}", "{0.__class__}", "%00", "' or 1=1 --", "<script>alert(1)</script>", "a" * 33, "a" * 5000),
    *("0", "-1", "4294967295", "4294967296", "1000", "NaN", "true", "null", "[]", "{}"),
    *(
        "LD_PRELOAD",
        "LD_LIBRARY_PATH",
        "PYTHONPATH",
        "PYTHONSTARTUP",
        "PATH",
        "BASH_ENV",
        "ENV",
        "HOME",
        "IFS",
        "SHELLOPTS",
    ),
    *(
        "JUPYTER_CONFIG_PATH",
        "JUPYTER_PATH",
        "JUPYTERHUB_SINGLEUSER_APP",
        "JUPYTERHUB_USER",
        "JUPYTERHUB_SERVICE_PREFIX",
    ),
    *(
        "GIT_SSH_COMMAND",
        "LESSOPEN",
        "TMPDIR",
        "XDG_CONFIG_HOME",
        "SUDO_UID",
        "SUDO_COMMAND",
        "A=B",
        "=",
        "JUPYTERHUB_X",
    ),
]
NUMBERS: list[Any] = [
    0,
    1,
    -1,
    2,
    9,
    15,
    19,
    1000,
    65534,
    2**22,
    2**31,
    2**32,
    2**63,
    2**64,
    10**400,
    0.5,
    1e308,
    True,
    False,
]
NO_REQUESTS = [b"", b"[]", b"null", b"1", b'"x"', b"NaN", b'{"pid":1e999}', b'{"pid":NaN}', b"\xff\xfe{\0}\0"]


def value(dice: random.Random, depth: int = 0) -> Any:
    """Anything that JSON can say."""
    kind = dice.randrange(10 if depth < 4 else 7)
    if kind < 4:
        return dice.choice(TEXTS)
    if kind < 6:
        return dice.choice(NUMBERS)
    if kind == 6:
        return None
    many = dice.randrange(4)
    if kind == 7:
        return [value(dice, depth + 1) for _ in range(many)]
    return {dice.choice(TEXTS): value(dice, depth + 1) for _ in range(many)}


def request(dice: random.Random) -> dict[str, Any]:
    """An object with the keys of one of the doors, most of them as they should be."""
    fitting: dict[str, Callable[[], Any]] = {
        "action": lambda: dice.choice(ACTIONS),
        "name": lambda: dice.choice(TEXTS),
        "names": lambda: [dice.choice(TEXTS) for _ in range(dice.randrange(4))],
        "password": lambda: dice.choice(TEXTS),
        "address": lambda: dice.choice(TEXTS),
        "pid": lambda: dice.choice(NUMBERS),
        "signal": lambda: dice.choice((0, 2, 9, 15, 1, 19)),
        "start_time": lambda: dice.choice(NUMBERS),
        "args": lambda: [] if dice.random() < 0.7 else [dice.choice(TEXTS)],
        "env": lambda: {dice.choice(TEXTS): dice.choice(TEXTS) for _ in range(dice.randrange(5))},
        "thorough": lambda: dice.random() < 0.5,
        "allow_administrator": lambda: dice.random() < 0.5,
    }
    made = {key: fitting[key]() for key in dice.choice(SHAPES)}
    for key in list(made):
        if dice.random() < 0.15:
            made[key] = value(dice)
    if dice.random() < 0.1:
        made[dice.choice([*fitting, *TEXTS])] = value(dice)
    if made and dice.random() < 0.1:
        del made[dice.choice(list(made))]
    return made


def raw(dice: random.Random) -> bytes:
    """Bytes for a door's stdin: requests, whole or spoilt, and what is no JSON at all."""
    data = json.dumps(request(dice), ensure_ascii=dice.random() < 0.5).encode("utf-8", "surrogatepass")
    if dice.random() < 0.6:
        return data
    place = dice.randrange(len(data) + 1)
    spoilt: list[Callable[[], bytes]] = [
        lambda: data[:place],
        lambda: data[:place] + dice.randbytes(dice.randrange(1, 5)) + data[place:],
        lambda: data[:-1] + b',"action":"list","action":"add"}',
        lambda: data + dice.choice((b"\n", b"{}", b"\0", b" x", data)),
        lambda: dice.choice((b"\xef\xbb\xbf", b"\xff", b"\0")) + data,
        lambda: b'{"action":' * dice.choice((1, 50, 5000)) + b"[" * dice.choice((0, 10, 20000)),
        lambda: dice.choice(NO_REQUESTS),
        lambda: dice.randbytes(dice.randrange(200)),
    ]
    return dice.choice(spoilt)()


def endless(seed: int) -> Iterator[bytes]:
    """Requests without an end."""
    dice = random.Random(seed)
    while True:
        yield raw(dice)
