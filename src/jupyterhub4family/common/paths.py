"""Any identity: where things lie on the machine. Only names, nothing is opened here."""

from pathlib import Path

#: Doors, service programs and the Python package; owned by root.
LIBRARY = Path("/usr/lib/jupyterhub4family")
#: The first file of a member's server that starts lean.
LEAN_START = LIBRARY / "jupyterhub4family" / "lean" / "start.py"
#: Lock files, page templates, static files; owned by root.
SHARE = Path("/usr/share/jupyterhub4family")
LOCKS = SHARE / "locks"
#: Copies, as they were packaged, of what `doctor` compares and repairs: `sudoers`, `pam`, and two folders of programs.
ORIGINALS = SHARE / "originals"
#: Where the commands lie; the other programs lie in LIBRARY.
COMMANDS = Path("/usr/bin")

SUDOERS = Path("/etc/sudoers.d/jupyterhub4family")
PAM_FILE = Path("/etc/pam.d/jupyterhub4family")

CONFIGURATION = Path("/etc/jupyterhub4family")
SETTINGS_FILE = CONFIGURATION / "config.yaml"
EXPERT_DIRECTORY = CONFIGURATION / "jupyterhub_config.d"

#: Home of the service account. Root owns it; the account owns what lies in releases, templates, state and cache.
SERVICE_HOME = Path("/var/lib/jupyterhub4family")
RELEASES = SERVICE_HOME / "releases"
CURRENT_RELEASE = RELEASES / "current"
#: The program uv, below a release.
UV = "uv/bin/uv"
TEMPLATES = SERVICE_HOME / "templates"
CURRENT_TEMPLATE = TEMPLATES / "current"
STATE = SERVICE_HOME / "state"
#: Fetched packages, while something is being built.
CACHE = SERVICE_HOME / "cache"
#: Root's: where the door `environment` builds what a member then moves into their home.
STAGING = SERVICE_HOME / "handover"
#: Root's: the package before the last upgrade, what is known of an upgrade under way, and of one that failed.
UPGRADES = SERVICE_HOME / "upgrade"
#: Root's: what the last backup was like (for everybody to read), and in folders of its own what is being worked on.
BACKUP = SERVICE_HOME / "backup"
BACKUP_STATE = BACKUP / "note.json"
SERVICE_LOGS = STATE / "log"
#: Unix sockets, in a folder that only the account enters: whoever answers on them is the service itself.
SOCKETS = STATE / "sockets"
#: Of the hub, for the proxy and the service's programs; of the proxy, for the hub.
HUB_SOCKET = SOCKETS / "hub"
PROXY_API_SOCKET = SOCKETS / "proxy-api"
#: Of the program that holds the service's TCP ports where systemd does not.
HOLDER_SOCKET = SOCKETS / "ports"
#: The family's own certificate authority and the portal's certificate, with their keys.
TLS = STATE / "tls"
#: The account's, readable for everybody: nothing secret is in here, and nobody may trust it more than the account.
PUBLIC = SERVICE_HOME / "public"
AUTHORITY_CERTIFICATE = PUBLIC / "ca.crt"
#: What the certificate in use holds, as JSON, for `cert show` and `doctor`.
CERTIFICATE_REPORT = PUBLIC / "certificate.json"
#: A certificate that the family brought along (`cert use`), and its key: used in place of our own.
OWN_TLS = CONFIGURATION / "tls"
#: Root's: the members who may be members although they can become root. Everybody may read it.
ALLOWED_ADMINISTRATORS = CONFIGURATION / "allowed-administrators"
#: Root's alone: where backups go, and the key that opens them.
BACKUP_SETTINGS = CONFIGURATION / "backup"
BACKUP_TARGET = BACKUP_SETTINGS / "target"
BACKUP_KEY = BACKUP_SETTINGS / "key"
LAST_GOOD_SETTINGS = PUBLIC / "settings.last-good.json"
SKIPPED_EXPERT_FILES = PUBLIC / "expert-files.skipped.json"

#: Root's, for everybody to read: the computers on which members' servers can run besides this one, a file of JSON each.
NODES = CONFIGURATION / "nodes"
#: The account's: its key for them, and a directory for each with its host key, the tunnel's control socket, and the
#: sockets by which the proxy reaches servers there.
NODE_STATE = STATE / "nodes"
NODE_KEY = NODE_STATE / "key"
#: On a node. Root's: whose key may come in; the account `jupyterhub_node` reads it.
NODE_HOME = Path("/var/lib/jupyterhub4family-node")
#: The way back: what servers say to their hub goes through this socket, which the tunnel's ssh opens.
NODE_RUNTIME = Path("/run/jupyterhub4family-node")
NODE_HUB_SOCKET = NODE_RUNTIME / "hub.sock"
#: On a node, root's: a directory for each slot, which its member and the account `jupyterhub_node` enter.
SERVER_SLOTS = Path("/run/jupyterhub4family-servers")

#: What `setup` makes and `doctor` looks at: every folder of the service with its mode, and whether it is root's or the
#: account's. Outer ones come first.
SERVICE_DIRECTORIES = {
    SERVICE_HOME: (0o755, True),
    STAGING: (0o711, True),
    UPGRADES: (0o755, True),
    BACKUP: (0o755, True),
    RELEASES: (0o755, False),
    TEMPLATES: (0o755, False),
    PUBLIC: (0o755, False),
    STATE: (0o700, False),
    CACHE: (0o700, False),
}

#: In apt's folders, by root, as the settings say: where newer versions come from, with which keys, and whether they
#: come by themselves; and which version shall not come again, because it did not work.
SOURCE_LIST = Path("/etc/apt/sources.list.d/jupyterhub4family.list")
SOURCE_KEYS = Path("/etc/apt/jupyterhub4family.keys")
AUTO_UPGRADE = Path("/etc/apt/apt.conf.d/52jupyterhub4family")
PIN = Path("/etc/apt/preferences.d/jupyterhub4family-not-again")
#: What may come from that source. Read after PIN, for apt takes the first word on a version (apt_preferences(5)).
SOURCE_PIN = Path("/etc/apt/preferences.d/jupyterhub4family-source")

#: Written last, after everything beside it has reached the disk.
COMPLETE_MARKER = ".complete"

#: Debian's own interpreter: the doors and every environment are built on it.
SYSTEM_PYTHON = Path("/usr/bin/python3")

#: Copies of all programs, and where the programs themselves lie.
ORIGINAL_PROGRAMS = {ORIGINALS / "programs": LIBRARY, ORIGINALS / "commands": COMMANDS}

#: There exactly when systemd is PID 1 (sd_booted(3)).
SYSTEMD_RUNS = Path("/run/systemd/system")

#: Below a member's home.
MEMBER_ENVIRONMENT = Path(".local/share/jupyterhub4family/env")
#: Beside its packages: from which template it was made, how, and what it looked like then. A template has none.
MEMBER_ENVIRONMENT_NOTE = ".jupyterhub4family.json"
MEMBER_LOGS = Path(".local/state/jupyterhub4family")
#: Where a server that is prepared ahead waits until it is wanted.
MEMBER_WAITING = MEMBER_LOGS / "waiting.sock"
#: Packages that a restore wants in the member's environment.
MEMBER_PENDING_PACKAGES = Path(".local/share/jupyterhub4family/wishes.json")
