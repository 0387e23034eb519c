"""Any identity: the registry of doors: who opens each, as whom it runs, what it can be asked for and answers.

The rules for sudo, the checks of requests, the fuzzing of doors, doctor's look at rights, docs/reference/doors.md and
SECURITY.md are derived from this table or compared with it (tests/unit/common/protocol/test_registry.py).
"""

from __future__ import annotations

from typing import Any, Optional

from jupyterhub4family.common import records
from jupyterhub4family.common.protocol.actions import Action, Nothing, Program
from jupyterhub4family.common.protocol.shapes import Text
from jupyterhub4family.common.system import accounts

ROOT = "root"
#: As whom the mediator runs: whichever member is meant, never root.
MEMBERS_NOT_ROOT = f"%{accounts.MEMBER_GROUP}, !root"


@records.dataclass(frozen=True)
class Door(Program):
    """A program that sudo lets somebody start as somebody else, without arguments."""

    #: As sudoers names them: an account, or a group with % in front.
    opened_by: str = ""
    runs_as: str = ROOT
    #: Whether it must run in its caller's own session, not in one with a terminal that sudo makes.
    in_callers_session: bool = False


# -- mediator ----------------------------------------------------------------------------------------

# SudoSpawner (sudospawner) takes any status but 0 for a broken mediator, and drops the reason.
MEDIATOR = Door(
    "mediator", "user.mediator", opened_by=accounts.SERVICE_ACCOUNT, runs_as=MEMBERS_NOT_ROOT, always_ends_with_0=True
)


@records.dataclass(frozen=True)
class Prepare:
    """Make sure that the member's environment is there and works."""

    #: Import what a server needs instead of only looking for it.
    thorough: bool = False


@records.dataclass(frozen=True)
class Prepared:
    """What was done: `nothing`, `made`, `followed` or `mended`; and from which template it is made."""

    done: str
    template: str = ""


@records.dataclass(frozen=True)
class Start:
    """Start a server as `spawn` does, if nothing is to be done to the environment before."""

    env: dict[str, str]


@records.dataclass(frozen=True)
class Started:
    """Whether it was started: if not, `prepare` comes first. As `Spawned`, and the template as in `Prepared`."""

    started: bool
    pid: int = 0
    start_time: int = 0
    template: str = ""


@records.dataclass(frozen=True)
class PrepareAhead:
    """Begin a server that somebody may want soon: `start` then takes it. It ends by itself after so many seconds.

    `env`: those of its variables that are known already.
    """

    env: dict[str, str]
    seconds: int


@records.dataclass(frozen=True)
class PreparedAhead:
    """Whether one waits now; else a start will do all that is to be done."""

    waits: bool


@records.dataclass(frozen=True)
class Spawn:
    """Start a single-user server: no arguments, and the variables that JupyterHub has for it."""

    args: list[str]
    env: dict[str, str]


@records.dataclass(frozen=True)
class Spawned:
    """The server's pid, and its start time in clock ticks since the machine started."""

    pid: int
    start_time: int


@records.dataclass(frozen=True)
class Kill:
    """Send a signal to a server, if it is the one that started then (0: whenever)."""

    pid: int
    signal: int
    start_time: int = 0


@records.dataclass(frozen=True)
class Killed:
    """Whether the server is (still) alive."""

    alive: bool


@records.dataclass(frozen=True)
class End:
    """End everything that is left of the server that started then."""

    pid: int
    start_time: int


@records.dataclass(frozen=True)
class Ended:
    """How many processes were left."""

    ended: int = 0


@records.dataclass(frozen=True)
class RecordKilled:
    """Note in a server's log that the kernel has ended so many of its programs."""

    name: str
    count: int


@records.dataclass(frozen=True)
class ReadLog:
    """The end of a server's log; the default server's without a name."""

    name: str = ""


@records.dataclass(frozen=True)
class LogLines:
    """The last lines."""

    lines: list[str] = records.field(default_factory=list)


@records.dataclass(frozen=True)
class AskActivity:
    """What goes on in the server that started then."""

    pid: int
    start_time: int


@records.dataclass(frozen=True)
class Activity:
    """What goes on in a server; nothing is known of one that does not say (`known`).

    `open`: kernels and terminals, whose variables and screens a stop would lose. `busy`: of the kernels those that
    calculate, and programs that were started in kernels, terminals or in the background.
    """

    known: bool
    open: int = 0
    busy: int = 0


# An environment may have to be fetched over a slow line.
PREPARE = Action(MEDIATOR, "prepare", Prepare, Prepared, timeout=1800)
START = Action(MEDIATOR, "start", Start, Started)
AHEAD = Action(MEDIATOR, "ahead", PrepareAhead, PreparedAhead)
SPAWN = Action(MEDIATOR, "spawn", Spawn, Spawned)
KILL = Action(MEDIATOR, "kill", Kill, Killed)
END = Action(MEDIATOR, "end", End, Ended)
KILLED = Action(MEDIATOR, "killed", RecordKilled, Nothing)
LOG = Action(MEDIATOR, "log", ReadLog, LogLines)
ACTIVITY = Action(MEDIATOR, "activity", AskActivity, Activity)

# -- authenticate ------------------------------------------------------------------------------------

AUTHENTICATE = Door("authenticate", "root.doors.authenticate", opened_by=accounts.SERVICE_ACCOUNT)


@records.dataclass(frozen=True)
class Login:
    """Name and password as somebody has typed them; the address of their browser.

    `device`: which of this member's devices it is, if the browser could prove that the member has logged in with it.
    """

    name: str
    # No repr: what is printed of a request must not hold it.
    password: str = records.field(repr=False)
    address: str = ""
    # Left out where there is none: the door of an older version does not know it.
    device: Optional[str] = None


@records.dataclass(frozen=True)
class Verdict:
    """Whether they may log in, and the name exactly.

    `reason`: empty, `refused`, `too-many` (tries, so this one was not looked at), `broken` (PAM could not find out);
    only for who gave the right password `no-member`, `account-expired`, `password-expired`, `administrator` (it can
    become root).
    """

    allowed: bool
    reason: str = ""
    name: str = ""


CHECK_PASSWORD = Action(AUTHENTICATE, "", Login, Verdict)

# -- environment -------------------------------------------------------------------------------------

ENVIRONMENT = Door("environment", "root.doors.environment", opened_by=f"%{accounts.MEMBER_GROUP}")


@records.dataclass(frozen=True)
class Copy:
    """The directory of the caller's that holds the finished copy, called `env`."""

    place: str


COPY_TEMPLATE = Action(ENVIRONMENT, "", Nothing, Copy, timeout=300)

# -- confine -----------------------------------------------------------------------------------------

CONFINE = Door("confine", "root.doors.limit_server", opened_by=f"%{accounts.MEMBER_GROUP}", in_callers_session=True)


@records.dataclass(frozen=True)
class Confine:
    """Whether the caller may have a server, and put it into a scope; `only_check` leaves out the second."""

    only_check: bool = False


@records.dataclass(frozen=True)
class Confined:
    """The name of the scope that holds the caller now; why there is none, if it is empty."""

    scope: str = ""
    problem: Text = ""


# Longer than all that systemd is given: without an answer no server starts.
LIMIT_SERVER = Action(CONFINE, "", Confine, Confined, timeout=30)

# -- members -----------------------------------------------------------------------------------------

MEMBERS = Door("members", "root.doors.members", opened_by=f"%{accounts.DELEGATE_GROUP}")


@records.dataclass(frozen=True)
class AddMembers:
    """Let these accounts in; one that can become root only if root itself says so."""

    names: list[str]
    allow_administrator: bool = False


@records.dataclass(frozen=True)
class RemoveMembers:
    """Stop these members' servers and take them out of the group."""

    names: list[str]


@records.dataclass(frozen=True)
class MemberResult:
    """What was done: `added`, `already a member`, `removed`, `no member`; `note`: what people should know."""

    name: str
    done: str
    note: Text = ""


@records.dataclass(frozen=True)
class MemberResults:
    """One result for each name."""

    results: list[MemberResult]


@records.dataclass(frozen=True)
class Member:
    """A member, with what people want to see of them.

    An administrator is who can become root; `reasons` are the ways. One whom root has not allowed is `refused`.
    """

    name: str
    display_name: str
    uid: int
    delegate: bool
    administrator: bool
    refused: bool = False
    reasons: list[Text] = records.field(default_factory=list)


@records.dataclass(frozen=True)
class MemberList:
    """All members, sorted by name."""

    members: list[Member]


# Stopping the servers of many members, one after the other.
ADD_MEMBERS = Action(MEMBERS, "add", AddMembers, MemberResults, timeout=600)
REMOVE_MEMBERS = Action(MEMBERS, "remove", RemoveMembers, MemberResults, timeout=600)
LIST_MEMBERS = Action(MEMBERS, "list", Nothing, MemberList)

# -- the table ---------------------------------------------------------------------------------------

DOORS = (MEDIATOR, AUTHENTICATE, ENVIRONMENT, CONFINE, MEMBERS)
ACTIONS: tuple[Action[Any, Any], ...] = (
    *(PREPARE, START, AHEAD, SPAWN, KILL, END, KILLED, LOG, ACTIVITY),
    CHECK_PASSWORD,
    COPY_TEMPLATE,
    LIMIT_SERVER,
    *(ADD_MEMBERS, REMOVE_MEMBERS, LIST_MEMBERS),
)


def actions_of(program: Program) -> list[Action[Any, Any]]:
    """What this door can be asked for."""
    return [action for action in ACTIONS if action.program == program]
