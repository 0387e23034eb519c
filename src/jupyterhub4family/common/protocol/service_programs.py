"""Any identity: what the programs beside the doors can be asked for. No rule of sudo names them.

Each runs with the rights of whoever starts it: the service's through runuser, root's only by root.
"""

from __future__ import annotations

from typing import Optional

from jupyterhub4family.common import records
from jupyterhub4family.common.protocol import shapes
from jupyterhub4family.common.protocol.actions import Action, Nothing, Program
from jupyterhub4family.common.protocol.responses import Bounds
from jupyterhub4family.common.protocol.shapes import Text

#: Seconds to fetch a release or template over a slow line.
BUILD_TIMEOUT = 3600
#: For answers with a list of files or backups in them.
LISTS = Bounds(line=1024 * 1024, lines=10_000)
#: The hub's state crosses in one line: a database of at most 64 MiB (service/hub_state/export.py), in base64. Root has
#: all of it in memory; a family's has less than one.
STATE = Bounds(line=90 * 2**20)
#: Thousands of packages with their versions.
PACKAGES = Bounds(line=256 * 1024)

# -- service: the hub's users ------------------------------------------------------------------------

HUB_USERS = Program("tell-hub", "service.hub_state.users")


@records.dataclass(frozen=True)
class Names:
    """These accounts."""

    names: list[str]


ADD_USERS = Action(HUB_USERS, "know", Names, Nothing, timeout=120)
REMOVE_USERS = Action(HUB_USERS, "forget", Names, Nothing, timeout=120)
SYNC_USERS = Action(HUB_USERS, "synchronize", Nothing, Nothing, timeout=120)

# -- service: releases -------------------------------------------------------------------------------


@records.dataclass(frozen=True)
class Built:
    """Whether there is another release or template now."""

    changed: bool


@records.dataclass(frozen=True)
class TreeReport:
    """What is wrong with the release or template in use: names of files and programs, at most 200 of each."""

    complete: bool
    wanted: bool = False
    files: int = 0
    missing: list[str] = records.field(default_factory=list)
    changed: list[str] = records.field(default_factory=list)
    broken: list[str] = records.field(default_factory=list)
    versions: dict[str, str] = records.field(default_factory=dict)
    being_built: bool = False


BUILD_RELEASE = Action(Program("build-release", "service.releases.contents"), "", Nothing, Built, timeout=BUILD_TIMEOUT)
BUILD_TEMPLATE = Action(
    Program("build-template", "service.releases.contents"), "", Nothing, Built, timeout=BUILD_TIMEOUT
)
VERIFY_TREE = Action(
    Program("verify-tree", "service.releases.verify"), "", Nothing, TreeReport, timeout=1800, bounds=LISTS
)


@records.dataclass(frozen=True)
class TemplateTrial:
    """Everything works in the template: what its files are like, and the directories in which they are."""

    likeness: str
    directories: list[str] = records.field(default_factory=list)


TRY_TEMPLATE = Action(
    Program("try-template", "service.releases.trial"), "", Nothing, TemplateTrial, timeout=600, bounds=LISTS
)

# -- service: upgrades -------------------------------------------------------------------------------

CHANGE_OVER = Program("change-over", "service.cutover")


@records.dataclass(frozen=True)
class Ready:
    """Whether the release that the package asks for is there already."""

    ready: bool


@records.dataclass(frozen=True)
class Release:
    """The id of a release."""

    release: str


@records.dataclass(frozen=True)
class DatabaseCopy:
    """The name of a copy of the database; empty if there is none."""

    copy: str = ""


@records.dataclass(frozen=True)
class Fit:
    """Whether a release knows the database's form; if not, the newest copy whose form it knows."""

    fits: bool
    copy: str = ""
    #: The release itself is not there any more.
    missing: bool = False


@records.dataclass(frozen=True)
class Switch:
    """Use this release from the next start of hub and proxy on."""

    release: str
    keep_old: bool = True


RELEASE_READY = Action(CHANGE_OVER, "ready", Nothing, Ready)
WANTED_RELEASE = Action(CHANGE_OVER, "build", Nothing, Release, timeout=BUILD_TIMEOUT)
COPY_DATABASE = Action(CHANGE_OVER, "copy", Nothing, DatabaseCopy, timeout=600)
DATABASE_FITS = Action(CHANGE_OVER, "fit", Release, Fit)
SWITCH_RELEASE = Action(CHANGE_OVER, "switch", Switch, Built, timeout=600)
RESTORE_DATABASE = Action(CHANGE_OVER, "restore", DatabaseCopy, Nothing)

# -- service: the hub's state ------------------------------------------------------------------------

HUB_STATE = Program("hub-state", "service.hub_state.export")


@records.dataclass(frozen=True)
class HubState:
    """Name and content, in base64, of each file of the state."""

    files: dict[str, str] = records.field(repr=False)


@records.dataclass(frozen=True)
class Kept:
    """The directory with what was there before."""

    kept: str


EXPORT_STATE = Action(HUB_STATE, "", Nothing, HubState, args=("export",), timeout=300, bounds=STATE)
IMPORT_STATE = Action(HUB_STATE, "", HubState, Kept, args=("import",), timeout=3600)

# -- service: a trial login --------------------------------------------------------------------------


@records.dataclass(frozen=True)
class TrialLogin:
    """The throw-away member."""

    name: str
    password: str = records.field(repr=False)


@records.dataclass(frozen=True)
class RoundTrip:
    """How many seconds the trial login took."""

    seconds: int


USE_PORTAL = Action(Program("probe-portal", "service.smoke_test.portal"), "", TrialLogin, Nothing, timeout=900)
SMOKE_TEST = Action(Program("probe", "root.upgrade.smoke_test"), "", Nothing, RoundTrip, timeout=1200)

# -- the member --------------------------------------------------------------------------------------

OWN_ENVIRONMENT = Program("own-environment", "user.environment_command")


@records.dataclass(frozen=True)
class EnvironmentStatus:
    """A member's environment: `made_by` says how; `extras` are packages beyond the template, with versions."""

    place: str
    exists: bool
    missing: list[str] = records.field(default_factory=list)
    changed: bool = False
    outdated: bool = False
    made_by: str = ""
    versions: dict[str, str] = records.field(default_factory=dict)
    extras: dict[str, str] = records.field(default_factory=dict)


@records.dataclass(frozen=True)
class EnvironmentChange:
    """What was done: `nothing`, `upgraded`, `mended`, `reset`; which packages could not be kept."""

    done: str
    lost: list[str] = records.field(default_factory=list)


@records.dataclass(frozen=True)
class BusyKernels:
    """How many of the member's kernels are calculating."""

    busy: int


@records.dataclass(frozen=True)
class Restored:
    """What root has read from a backup for the member: where it lies, what to call the place for what differs."""

    place: str
    aside: str
    packages: dict[str, str] = records.field(default_factory=dict)


@records.dataclass(frozen=True)
class Imported:
    """How many files or whole directories were put into the home, and how many were put aside for them."""

    taken: int = 0
    kept: int = 0


ENVIRONMENT_STATUS = Action(
    OWN_ENVIRONMENT, "", Nothing, EnvironmentStatus, args=("status",), timeout=120, bounds=PACKAGES
)
EXAMINE_ENVIRONMENT = Action(
    OWN_ENVIRONMENT, "", Nothing, EnvironmentStatus, args=("examine",), timeout=600, bounds=PACKAGES
)
UPGRADE_ENVIRONMENT = Action(OWN_ENVIRONMENT, "", Nothing, EnvironmentChange, args=("upgrade",), timeout=BUILD_TIMEOUT)
REPAIR_ENVIRONMENT = Action(OWN_ENVIRONMENT, "", Nothing, EnvironmentChange, args=("repair",), timeout=BUILD_TIMEOUT)
RESET_ENVIRONMENT = Action(OWN_ENVIRONMENT, "", Nothing, EnvironmentChange, args=("reset",), timeout=BUILD_TIMEOUT)
COUNT_BUSY_KERNELS = Action(Program("busy-kernels", "user.busy_kernels"), "", Nothing, BusyKernels)
IMPORT_RESTORED = Action(Program("take-restored", "user.import_restored"), "", Restored, Imported, timeout=None)

# -- root: members' environments ---------------------------------------------------------------------

#: What is said of a member who has no environment yet.
NO_ENVIRONMENT = "none"


@records.dataclass(frozen=True)
class CompareEnvironments:
    """These members' environments, in these directories of each."""

    names: list[str]
    directories: list[str]


@records.dataclass(frozen=True)
class Likenesses:
    """By member, what the files are like: as `TemplateTrial` has it, NO_ENVIRONMENT, or empty if that is not known."""

    found: dict[str, str]


COMPARE_ENVIRONMENTS = Action(
    Program("compare-environments", "root.setup.environments"),
    "",
    CompareEnvironments,
    Likenesses,
    timeout=900,
    bounds=LISTS,
)

# -- root: repairs and upgrades ----------------------------------------------------------------------

REPAIR = Action(Program("repair", "root.setup.repair"), "", Nothing, Nothing, timeout=2 * BUILD_TIMEOUT)
UPGRADE = Program("upgrade", "root.upgrade.program")


@records.dataclass(frozen=True)
class Available:
    """Which version is installed, which newer one apt offers (empty: none), and whether apt knows a source."""

    installed: str
    newer: str = ""
    source: bool = False


@records.dataclass(frozen=True)
class RolledBack:
    """The version that was left, the one that serves again, and the copy of the database that came with it."""

    left: str
    installed: str
    database: str = ""


# A person waits, and may end it with Ctrl-C: an upgrade may have to wait for the internet for days.
CHECK_UPGRADE = Action(UPGRADE, "", Nothing, Available, args=("check",), timeout=None, bounds=LISTS)
UPGRADE_NOW = Action(UPGRADE, "", Nothing, Available, args=("now",), timeout=None, bounds=LISTS)
UPGRADE_AGAIN = Action(UPGRADE, "", Nothing, Available, args=("now", "--again"), timeout=None, bounds=LISTS)
ROLL_BACK = Action(UPGRADE, "", Nothing, RolledBack, args=("rollback",), timeout=None, bounds=LISTS)
APPLY_SETTINGS = Action(UPGRADE, "", Nothing, Nothing, args=("settings",), timeout=600)

# -- root: hub and proxy -----------------------------------------------------------------------------

CONTROL = Program("control", "root.setup.control")


def control(*args: str) -> Action[Nothing, Nothing]:
    """Start, stop or restart hub and proxy; the words are those of the command."""
    return Action(CONTROL, "", Nothing, Nothing, args=args, timeout=300)


# -- root: backups -----------------------------------------------------------------------------------

BACKUP = Program("backup", "root.backup.program")


@records.dataclass(frozen=True)
class SetUpBackup:
    """Where backups are to go; the recovery key, if there are some already."""

    target: str
    key: Optional[str] = records.field(default=None, repr=False)


@records.dataclass(frozen=True)
class BackupSetUp:
    """`needs_key` alone, or `key` (if a new one was made), the number of backups there, and whether on one disk."""

    target: str
    needs_key: Optional[bool] = None
    key: Optional[str] = records.field(default=None, repr=False)
    backups: Optional[int] = None
    same_disk: Optional[bool] = None


@records.dataclass(frozen=True)
class BackedUp:
    """Where the backup went, and what is not in it."""

    target: str
    notes: list[Text] = records.field(default_factory=list)


@records.dataclass(frozen=True)
class BackupEntry:
    """A backup: its id, when it was made (seconds since 1970), of which computer."""

    id: str
    time: int
    host: str


@records.dataclass(frozen=True)
class BackupList:
    """All backups in the target, the oldest first."""

    target: str
    backups: list[BackupEntry]


@records.dataclass(frozen=True)
class BackupsVerified:
    """How many backups are undamaged."""

    target: str
    backups: int


@records.dataclass(frozen=True)
class BackupOff:
    """`off`, or `nothing` where there was none."""

    done: str


@records.dataclass(frozen=True)
class Restore:
    """What is to come back: everything, a member's home, or paths in it; in its place, or into the directory `to`."""

    member: str = ""
    paths: list[str] = records.field(default_factory=list)
    to: str = ""
    id: str = shapes.key("from", "")
    dry_run: bool = False


@records.dataclass(frozen=True)
class RestoredHome:
    """What came into whose home, and where what was there and differed is now."""

    name: str
    taken: int = 0
    kept: int = 0
    aside: str = ""


@records.dataclass(frozen=True)
class RestoreReport:
    """The backup that was used, and what came back from it, or, for a dry run, what would."""

    id: str
    time: int
    host: str
    #: Dry run: whose homes, who may manage members, how much; or which paths.
    members: Optional[list[str]] = None
    delegates: Optional[list[str]] = None
    files: Optional[int] = None
    bytes: Optional[int] = None
    paths: Optional[list[str]] = None
    #: Else: accounts that were made, homes, where it is, what did not work.
    made: Optional[list[str]] = None
    homes: Optional[list[RestoredHome]] = None
    place: Optional[str] = None
    notes: Optional[list[Text]] = None


SET_UP_BACKUP = Action(BACKUP, "", SetUpBackup, BackupSetUp, args=("setup",), timeout=None, bounds=LISTS)
BACK_UP_NOW = Action(BACKUP, "", Nothing, BackedUp, args=("now",), timeout=None, bounds=LISTS)
LIST_BACKUPS = Action(BACKUP, "", Nothing, BackupList, args=("list",), timeout=None, bounds=LISTS)
VERIFY_BACKUPS = Action(BACKUP, "", Nothing, BackupsVerified, args=("verify",), timeout=None, bounds=LISTS)
RESTORE_BACKUP = Action(BACKUP, "", Restore, RestoreReport, args=("restore",), timeout=None, bounds=LISTS)
SWITCH_OFF_BACKUPS = Action(BACKUP, "", Nothing, BackupOff, args=("off",), timeout=None, bounds=LISTS)
