"""Requests as an attacker would send them to a door: endless, and the same ones each time for the same seed.

Machine tests carry this file into a machine, and send what it makes through a real sudo.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Callable

#: Where a machine test has laid what `door_shapes` gives: the package's modules are not beside this file there.
SHAPES_FILE = Path(__file__).with_name("door_shapes.json")


def door_shapes() -> list[dict[str, str]]:
    """The keys of every request that a door knows, with their types; `action` holds the action's name."""
    if SHAPES_FILE.exists():
        found: list[dict[str, str]] = json.loads(SHAPES_FILE.read_text("utf-8"))
        return found
    from jupyterhub4family.common.protocol import doors, shapes

    return [
        {
            **({"action": action.name} if action.name else {}),
            **{key: shapes.name_of(shapes.types_of(action.request)[field.name]) for key, field in keys.items()},
        }
        for action in doors.ACTIONS
        for keys in [shapes.fields(action.request)]
    ]


#: Derived from the registry of doors, so that many requests get past the first look at them.
SHAPES = door_shapes()
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

#: A folder that everybody can write, with modules that note who has run them.
EVIL = "/tmp/evil"
#: Where they note it: a uid on each line.
RAN = f"{EVIL}/ran"
#: Variables by which Python, the C library, libraries of doors, shells, Perl and systemd's clients can be made to run
#: or read something else; and those that doors themselves look at.
ENVIRONMENT = {
    "PYTHONPATH": EVIL,
    "PYTHONHOME": f"{EVIL}/home",
    "PYTHONSTARTUP": f"{EVIL}/sitecustomize.py",
    "PYTHONUSERBASE": f"{EVIL}/base",
    "PYTHONINSPECT": "1",
    "PYTHONWARNINGS": "error::sitecustomize.Warned",
    "PYTHONBREAKPOINT": "sitecustomize.stop",
    "PYTHONPLATLIBDIR": "evil",
    "PYTHONPYCACHEPREFIX": f"{EVIL}/cache",
    "PYTHONPROFILEIMPORTTIME": "1",
    "PYTHONVERBOSE": "1",
    "PYTHONIOENCODING": "ascii",
    "PYTHONCASEOK": "1",
    "PYTHONDUMPREFSFILE": f"{EVIL}/refs",
    "LD_PRELOAD": f"{EVIL}/evil.so",
    "LD_LIBRARY_PATH": EVIL,
    "LD_AUDIT": f"{EVIL}/evil.so",
    "GCONV_PATH": EVIL,
    "LOCPATH": EVIL,
    "NLSPATH": f"{EVIL}/%N",
    "HOSTALIASES": f"{EVIL}/hosts",
    "OPENSSL_CONF": f"{EVIL}/openssl.cnf",
    "OPENSSL_MODULES": EVIL,
    "SSL_CERT_FILE": f"{EVIL}/ca.crt",
    "BASH_ENV": f"{EVIL}/shell",
    "ENV": f"{EVIL}/shell",
    "SHELLOPTS": "xtrace",
    "PS4": f"$(id -u >> {RAN})",
    "IFS": "/",
    "PERL5LIB": EVIL,
    "PERL5OPT": "-Mevil",
    "TMPDIR": EVIL,
    "TZ": f":{EVIL}/zone",
    "HOME": EVIL,
    "XDG_CONFIG_HOME": EVIL,
    "LANGUAGE": "../../../../tmp/evil",
    "DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={EVIL}/bus",
    "SYSTEMD_LOG_LEVEL": "debug",
    "KRB5_CONFIG": f"{EVIL}/krb5.conf",
    "SUDO_UID": "0",
    "SUDO_USER": "root",
    "JUPYTERHUB_SERVICE_PREFIX": "/user/root/",
}
#: Lays what these variables lead to, as a shell command for the machine.
LAY_EVIL = f"""
mkdir -p {EVIL}/home {EVIL}/base && chmod 1777 {EVIL} && : > {RAN} && chmod 666 {RAN}
printf '%s\n' 'import os' 'with open("{RAN}", "a") as ran: ran.write(str(os.geteuid()) + chr(10))' > {EVIL}/note.py
for name in sitecustomize usercustomize json signal gettext resource _posixsubprocess pwd yaml encodings __future__; do
    cp {EVIL}/note.py {EVIL}/$name.py
done
echo "id -u >> {RAN}" > {EVIL}/shell
for python in /usr/lib/python3.*; do
    mkdir -p {EVIL}/base/lib/$(basename $python)/site-packages
    cp {EVIL}/*.py {EVIL}/base/lib/$(basename $python)/site-packages
done
"""


def sudo_keeps(*names: str) -> str:
    """Rules of sudo with which all of these variables pass, as some companies and kits for robots have them."""
    kept = " ".join(names)
    bindings = ("", ":ALL", ">root", ">ALL", "@ALL")
    return "".join(f'Defaults{bound} env_keep += "{kept}"\nDefaults{bound} env_check += "TZ"\n' for bound in bindings)


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


#: Values that are often right, for keys that need that to get anywhere.
FITTING: dict[str, Callable[[random.Random], Any]] = {
    "signal": lambda dice: dice.choice((0, 2, 9, 15, 1, 19)),
    "device": lambda dice: dice.choice(("", "0123456789abcdef" * 2)) if dice.random() < 0.8 else dice.choice(TEXTS),
    "args": lambda dice: [] if dice.random() < 0.7 else [dice.choice(TEXTS)],
}
#: And for all others, by their type.
OF_TYPE: dict[str, Callable[[random.Random], Any]] = {
    "bool": lambda dice: dice.random() < 0.5,
    "int": lambda dice: dice.choice(NUMBERS),
    "str": lambda dice: dice.choice(TEXTS),
    "list of str": lambda dice: [dice.choice(TEXTS) for _ in range(dice.randrange(4))],
    "dict of str": lambda dice: {dice.choice(TEXTS): dice.choice(TEXTS) for _ in range(dice.randrange(5))},
}


def request(dice: random.Random, mostly: Sequence[dict[str, str]] = ()) -> dict[str, Any]:
    """An object with the keys of one of the doors, most of them as they should be; `mostly` of one of these."""
    shape = dice.choice(mostly if mostly and dice.random() < 0.75 else SHAPES)
    made: dict[str, Any] = {}
    for key, kind in shape.items():
        if key == "action":
            made[key] = kind if dice.random() < 0.9 else dice.choice(SHAPES).get("action", "exec")
        elif dice.random() < 0.9:
            made[key] = (FITTING.get(key) or OF_TYPE[kind])(dice)
    for key in list(made):
        if dice.random() < 0.15:
            made[key] = value(dice)
    if dice.random() < 0.1:
        made[dice.choice([*dice.choice(SHAPES), *TEXTS])] = value(dice)
    if made and dice.random() < 0.1:
        del made[dice.choice(list(made))]
    return made


def raw(dice: random.Random, mostly: Sequence[dict[str, str]] = ()) -> bytes:
    """Bytes for a door's stdin: requests, whole or spoilt, and what is no JSON at all."""
    data = json.dumps(request(dice, mostly), ensure_ascii=dice.random() < 0.5).encode("utf-8", "surrogatepass")
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


def endless(seed: int, mostly: Sequence[dict[str, str]] = ()) -> Iterator[bytes]:
    """Requests without an end, three of four with a shape of `mostly`."""
    dice = random.Random(seed)
    while True:
        yield raw(dice, mostly)
