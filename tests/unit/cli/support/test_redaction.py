"""cli.redaction: no secret and no name gets through, whatever line it stands in; the rest stays readable."""

from __future__ import annotations

import base64
import hashlib

import pytest

from jupyterhub4family.cli.support.redaction import REMOVED, Redaction

# The same in each process of a test run.
HEX = hashlib.sha256(b"one").hexdigest()
URLSAFE = base64.urlsafe_b64encode(hashlib.sha256(b"two").digest()).rstrip(b"=").decode()
BASE64 = base64.b64encode(bytes(range(60))).decode()
PASSWORD = "Tr0ub4dor&3"
PEM = f"-----BEGIN EC PRIVATE KEY-----\n{BASE64[:64]}\n{BASE64[64:]}\n-----END EC PRIVATE KEY-----"

SECRETS = [
    (HEX, HEX),
    (f"token {HEX[:20]}", HEX[:20]),
    (f"proxy_token: {HEX}", HEX),
    (f"Authorization: token {URLSAFE}", URLSAFE),
    (f'"Authorization": "Bearer {URLSAFE}"', URLSAFE),
    (f"Bearer {PASSWORD}", PASSWORD),
    (f"Cookie: jupyterhub-session-id={URLSAFE}; _xsrf=2|abc|def", "2|abc|def"),
    (f"Set-Cookie: a={PASSWORD}; Path=/", PASSWORD),
    (f"[I] 302 GET /hub/login?next=%2Fhub%2F&token={PASSWORD[:9]} (@1.2.3.4)", PASSWORD[:9]),
    (f"/user/anna/?token={HEX[:10]}", HEX[:10]),
    (f"c.Something.client_secret = '{PASSWORD}'", PASSWORD),
    (f'c.Something.password = "two words {PASSWORD}"', PASSWORD),
    (f"JUPYTERHUB_API_TOKEN={PASSWORD}", PASSWORD),
    (f"{{'api_token': '{PASSWORD}', 'name': 'x'}}", PASSWORD),
    (f"Passwort: {PASSWORD}", PASSWORD),
    (f"http://mum:{PASSWORD}@proxy.lan:3128/", PASSWORD),
    ("jupyterhub:$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7:1::", "X3DX6M94"),
    ("root:$6$salt$abcdefghijklmnop:1", "abcdefghijklmnop"),
    (f"before\n{PEM}\nafter", BASE64[:64]),
    (f"cut off -----BEGIN PRIVATE KEY-----\n{BASE64}", BASE64),
    (f"line: {BASE64}", BASE64),
    (f"login_help: the code is {PASSWORD}\nport: 8000", PASSWORD),
    (f"login_help: |\n  first line\n  {PASSWORD}\nport: 8000", PASSWORD),
    ("os.environ['OAUTH_CLIENT_SECRET'] = 'xyzzy4'", "xyzzy4"),
    ("os.environ.setdefault('OAUTH_CLIENT_SECRET', 'xyzzy4')", "xyzzy4"),
]


@pytest.mark.parametrize(("text", "secret"), SECRETS)
def test_secrets(text: str, secret: str) -> None:
    assert secret in text, "the test itself"
    cleaned = Redaction([]).clean(text)
    assert secret not in cleaned and REMOVED in cleaned
    if not text.startswith("login_help"):
        assert secret not in Redaction([]).clean(f"x {text} y")


@pytest.mark.parametrize("text", ["before\n" + PEM + "\nafter", f"port: 8000\nlogin_help: x {PASSWORD}\nlisten: lan"])
def test_the_rest_stays(text: str) -> None:
    first, *_middle, last = text.splitlines()
    cleaned = Redaction([]).clean(text)
    assert cleaned.startswith(first) and cleaned.endswith(last)


KEPT = """
    [I 2026-11-23 00:56:31.123 JupyterHub app:3247] JupyterHub is now running at http://:8000/
    port: 8010
    Traceback (most recent call last):
      File "/usr/lib/jupyterhub4family/jupyterhub4family/hub/spawner.py", line 12, in start
    ii  libpam-modules 1.5.2-6+deb12u1 amd64
    /var/lib/jupyterhub4family/releases/py3.11-0123456789ab/venv/lib/python3.11/site-packages/tornado/web.py
    Nov 23 00:00:00 box systemd[1]: Started jupyterhub4family-hub.service - JupyterHub for the family (hub).
    jupyter-server 2.18.2 has a known security problem (CVE-2026-44727)
    tornado.web.HTTPError: HTTP 403: Forbidden
""".strip().splitlines()


@pytest.mark.parametrize("line", [line.strip() for line in KEPT])
def test_what_helps_is_kept(line: str) -> None:
    assert Redaction([("anna", "Anna Example")]).clean(line) == line


def test_members_have_the_same_number_everywhere() -> None:
    redaction = Redaction([("anna", "Anna Example"), ("ben", "")], "familybox")
    cleaned = redaction.clean("anna started, Ben stopped; Anna Example on familybox; annabel; /home/anna/.local anna's")
    assert (
        cleaned
        == "member1 started, member2 stopped; member1 on this-computer; annabel; /home/member1/(removed) member1's"
    )
    assert redaction.clean("ben_x ben.") == "member2_x member2."


@pytest.mark.parametrize(
    "line",
    [
        "302 GET /user/anna/lab/tree/Diary.ipynb -> /hub/login?next=%2Fuser%2Fanna%2Flab%2Ftree%2FDiary.ipynb",
        "/user/anna/api/contents/Diary.ipynb?content=1 (anna@192.168.0.7)",
        "/hub/user-redirect/anna/Diary.ipynb /home/anna/Diary.ipynb",
        "GET /hub/api/users/zoe/server, /hub/spawn-pending/zoe /user/zoe/Diary.ipynb /home/zoe: gone",
    ],
)
def test_paths_hide_who_and_what(line: str) -> None:
    cleaned = Redaction([("anna", "Anna")]).clean(line)
    assert "anna" not in cleaned and "zoe" not in cleaned
    assert "Diary" not in cleaned.replace("user-redirect/member1/Diary", "")
    assert "member" in cleaned


@pytest.mark.parametrize(
    ("line", "cleaned"),
    [
        ("200 GET /hub/home (anna@192.168.0.7) 41ms", "200 GET /hub/home (member1@device1) 41ms"),
        ("302 GET / (@192.168.0.7)", "302 GET / (@device1)"),
        ("Login of 'carla' from 192.168.0.7 refused: no", "Login of person1 from device1 refused: no"),
        ("Failed login for 'hunter two'", "Failed login for person1"),
        ("refused 'it\\'s mine' from fe80::1%eth0: refused", "refused person1 from device1: refused"),
        ("rhost=fd00:1:2::7  user=carla", "rhost=device1  user=person1"),
        ("session opened for user carla(uid=1003) by (uid=0)", "session opened for user person1(uid=1003) by (uid=0)"),
        ("User logged in: carla", "User logged in: person1"),
        ("Disallowing invalid username 'x; y'.", "Disallowing invalid username person1."),
        ("from ::ffff:192.168.0.7 and 192.168.0.7", "from device1 and device1"),
        ("192.168.0.5:53 [fd00::5]:8000 10.1.1.9", "this-computer:53 [this-computer]:8000 device3"),
        ("to 8.8.8.8, 2001:4860:4860::8888.", "to outside1, outside2."),
        ("link/ether 52:54:00:ab:cd:ef brd", "link/ether (hardware address) brd"),
        ("mum's phone; Mum Miller", "person1's phone; person1"),
    ],
)
def test_devices_and_people_who_are_no_members(line: str, cleaned: str) -> None:
    own = [] if "outside" in cleaned or "device1" in cleaned or "person" in cleaned else ["192.168.0.5", "fd00::5"]
    others = [("mum", "Mum Miller")] if "mum" in line else []
    assert Redaction([("anna", "Anna")], "box", others, own).clean(line) == cleaned


@pytest.mark.parametrize(
    "line",
    [
        "LISTEN 0 128 127.0.0.1:8081 0.0.0.0:* [::1]:8001 [::]:*",
        "2026-11-23T00:56:31+01:00 took 00:01:02",
        "linux-image 6.1.0-18 libfoo 1.2.3.4-5 v1.2.3.4+deb12u1 2:8.39-13 ~1.2.3.4",
        "std::string abc::def dead:beef",
        "user=root USER=jupyterhub user=",
        "Debian GNU/Linux 12; the user interface",
    ],
)
def test_what_only_looks_like_an_address_or_a_name_is_kept(line: str) -> None:
    assert Redaction([("anna", "Anna")], "box", [("debian", "Debian"), ("pi", "")]).clean(line) == line


def test_a_device_has_the_same_number_everywhere() -> None:
    redaction = Redaction([])
    assert redaction.clean("192.168.0.7 192.168.0.8") == "device1 device2"
    assert redaction.clean("(@::ffff:192.168.0.8)") == "(@device2)"
