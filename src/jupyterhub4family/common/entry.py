"""Any identity: what each of our programs does first, before it imports anything else.

A program inherits more than its arguments from whoever starts it, and sudo passes most of it on: limits, signals,
timers, umask, priority, descriptors, the current folder; and by a rule of the machine's own even the environment.

Nothing but what Python itself has loaded by then is imported before the check: where Python is not isolated, any other
module could be somebody else's.
"""

import os
import sys

#: Mask of files that a door makes as root: what others may read is given to them on purpose.
_ROOTS_UMASK, _MEMBERS_UMASK = 0o077, 0o022
#: What a terminal, or a timer that was set before sudo, can send to root's programs though its owner may not (tty(4),
#: setitimer(2)): what has begun goes to its end. Ctrl-C is an exception of Python's own and stays one.
_NOT_HEARD_BY_ROOT = (
    *("SIGHUP", "SIGQUIT", "SIGTSTP", "SIGTTIN", "SIGTTOU"),
    *("SIGALRM", "SIGVTALRM", "SIGPROF", "SIGIO", "SIGUSR1", "SIGUSR2"),
    # A timer that rings in sudo has it end its program: SIGHUP and SIGTERM, and two seconds later SIGKILL.
    "SIGTERM",
)
#: What Python ignores: writing fails instead (signal in the library reference).
_IGNORED_BY_PYTHON = ("SIGPIPE", "SIGXFSZ")
_UNLIMITED = -1
_MEBIBYTE = 1 << 20
#: getrlimit(2): soft and hard limit of a door of root's. All others are lifted.
_ROOTS_LIMITS = {
    # No copy of its memory, in which passwords are, on any disk.
    "RLIMIT_CORE": (0, 0),
    "RLIMIT_NOFILE": (1024, 4096),
    "RLIMIT_STACK": (8 * _MEBIBYTE, _UNLIMITED),
    # The right to a higher priority, not a limit.
    "RLIMIT_NICE": (0, 0),
    "RLIMIT_RTPRIO": (0, 0),
}
#: With less than this nothing can be promised: where root may lift no limit (some containers), a door refuses.
_LEAST = {
    "RLIMIT_AS": 512 * _MEBIBYTE,
    "RLIMIT_CPU": 300,
    "RLIMIT_DATA": 512 * _MEBIBYTE,
    "RLIMIT_FSIZE": 512 * _MEBIBYTE,
    "RLIMIT_NOFILE": 256,
    "RLIMIT_NPROC": 64,
    "RLIMIT_STACK": _MEBIBYTE,
}
#: What a server of a member's must not inherit from the hub, which has more of it.
_MEMBERS_FILES = 1024
#: sudo's own, which nobody else can set.
_KEPT_VARIABLES = ("SUDO_UID", "SUDO_GID", "SUDO_USER")
#: As common.system.programs has them: nothing may be imported here yet.
_VARIABLES = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
_ADJUSTMENT = "/proc/self/oom_score_adj"
#: More than any computer at home has.
_PROCESSORS = 1024
#: Where Debian's packages put their modules, for whichever Python 3.
_DEBIANS_MODULES = "/usr/lib/python3/dist-packages"
#: So many things more have Python look for those that nobody needs any more: as long as most doors live it does not.
_THINGS = 100_000
#: What is not loaded with `pathlib`, but for a function of this name.
_ADDRESSES, _QUOTE = "urllib.parse", "quote_from_bytes"
#: By how many nanoseconds the kernel may wake a program too late: what all have that ask for no more (prctl(2)).
_TIMER_SLACK, _USUAL_SLACK = "/proc/self/timerslack_ns", 50_000


def program() -> None:
    """For the command and all programs that are no doors. Ends a program that is not isolated."""
    if not sys.flags.isolated:
        _end_not_isolated(door=False)
    _open_standard_streams()


def root_door() -> None:
    """For a door of root's: nothing of its caller's remains. Ends a door that is not isolated, or too narrowly limited.

    What stays is the caller's control group, which is root's to give, and the process group, by which the door
    `confine` knows its caller.
    """
    if not sys.flags.isolated:
        _end_not_isolated(door=True)
    _load_little()
    os.umask(_ROOTS_UMASK)
    _own_signals(_NOT_HEARD_BY_ROOT)
    narrow = _own_limits()
    _own_priority()
    _own_timer_slack()
    _adjust_oom_score(may_lower=True)
    _close_foreign_descriptors()
    _open_standard_streams()
    os.chdir("/")
    _own_environment()
    if narrow:
        _end_too_narrow(narrow)


def member_door() -> None:
    """For the door that runs as a member: a server that it starts inherits nothing of the hub's.

    It may narrow what is the hub's, not widen it. Ends a door that is not isolated.
    """
    if not sys.flags.isolated:
        # sudospawner takes any other status for a broken mediator.
        _end_not_isolated(door=True, status=0)
    _load_little()
    os.umask(_MEMBERS_UMASK)
    _own_signals(())
    _own_files_limit()
    if os.getpriority(os.PRIO_PROCESS, 0) < 0:
        _own_priority()
    _own_timer_slack()
    _adjust_oom_score(may_lower=False)
    _close_foreign_descriptors()
    _open_standard_streams()
    os.chdir("/")
    _own_environment()


def command() -> None:
    """For the command: as `program`, and nearly as quick as a door; settings are written in YAML, which is Debian's."""
    program()
    _load_little()
    with_debians_modules()


def with_debians_modules() -> None:
    """For what a door, which starts with nothing but Python's own (-S), needs of Debian's: after everything else.

    The folder alone: no .pth file in it is read, and nothing of /usr/local is looked at.
    """
    if sys.flags.no_site and _DEBIANS_MODULES not in sys.path:
        sys.path.append(_DEBIANS_MODULES)


# -- what is made our own ----------------------------------------------------------------------------


def _load_little() -> None:
    """Before a program that lives for a moment loads its modules: what of that nobody needs is left out."""
    import gc

    # Python looks for circles whenever it has made 700 things more: all the time while it loads modules, and in vain.
    gc.set_threshold(_THINGS)
    # For one function, by which a path becomes an address, all that reads addresses would be loaded with paths.
    parse = type(sys)(_ADDRESSES)
    setattr(parse, _QUOTE, _quote)
    sys.modules[_ADDRESSES] = parse
    try:
        import pathlib  # noqa: F401
    finally:
        # Whoever imports it from now on gets the real one.
        del sys.modules[_ADDRESSES]


def _quote(*args: object) -> str:
    """What Path.as_uri calls."""
    import urllib.parse

    quoted: str = getattr(urllib.parse, _QUOTE)(*args)
    return quoted


def _own_signals(ignored: tuple[str, ...]) -> None:
    """Dispositions as Python has them at its start, but for the `ignored`; nothing blocked, no timer running."""
    import signal

    for timer in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF):
        signal.setitimer(timer, 0)
    for number in signal.sigpending():
        # What was sent to the caller, and blocked: being ignored it is gone (sigaction(2)).
        signal.signal(number, signal.SIG_IGN)
    ignored_numbers = {getattr(signal, name) for name in (*_IGNORED_BY_PYTHON, *ignored)}
    for number in range(1, signal.NSIG):
        if number not in (signal.SIGKILL, signal.SIGSTOP, signal.SIGINT):
            try:
                signal.signal(number, signal.SIG_IGN if number in ignored_numbers else signal.SIG_DFL)
            except (OSError, ValueError):
                # Those that the C library keeps for itself.
                continue
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _own_limits() -> list[str]:
    """Lift or set every limit that the kernel knows; returns those that may not be lifted and are too narrow."""
    import resource

    narrow = []
    # RLIMIT_OFILE is another name of RLIMIT_NOFILE.
    for name in (name for name in dir(resource) if name.startswith("RLIMIT_") and name != "RLIMIT_OFILE"):
        kind = getattr(resource, name)
        soft, hard = _ROOTS_LIMITS.get(name, (_UNLIMITED, _UNLIMITED))
        try:
            resource.setrlimit(kind, (soft, hard))
        except (OSError, ValueError):
            # Without CAP_SYS_RESOURCE the hard limit stays where it is.
            hard = resource.getrlimit(kind)[1]
            soft = hard if soft == _UNLIMITED or (hard != _UNLIMITED and hard < soft) else soft
            resource.setrlimit(kind, (soft, hard))
            if soft != _UNLIMITED and soft < _LEAST.get(name, 0):
                narrow.append(name)
    return narrow


def _own_files_limit() -> None:
    import resource

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    soft = _MEMBERS_FILES if hard == _UNLIMITED else min(_MEMBERS_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _own_priority() -> None:
    """As every other process; a container may forbid it, and then a door is slow, no more."""
    try:
        os.setpriority(os.PRIO_PROCESS, 0, 0)
        if os.sched_getscheduler(0) != os.SCHED_OTHER:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    except OSError:
        return


def _own_timer_slack() -> None:
    """Wake up when it is time, on whatever processor: with a caller's slack of hours a door would sleep as long."""
    try:
        with open(_TIMER_SLACK, "w", encoding="ascii") as file:
            file.write(str(_USUAL_SLACK))
        os.sched_setaffinity(0, range(_PROCESSORS))
    except OSError:
        # A kernel without one of these, or a container that forbids it.
        return


def _adjust_oom_score(may_lower: bool) -> None:
    """Neither the first nor the last that the kernel ends when memory runs out (proc(5))."""
    try:
        with open(_ADJUSTMENT, encoding="ascii") as file:
            adjustment = int(file.read())
        if adjustment < 0 or (may_lower and adjustment > 0):
            with open(_ADJUSTMENT, "w", encoding="ascii") as file:
                file.write("0")
    except OSError:
        # A container may forbid it.
        return


def _close_foreign_descriptors() -> None:
    """sudo does so, too, unless a rule of the machine's own says otherwise (closefrom_override)."""
    try:
        descriptors = [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:
        descriptors = list(range(_ROOTS_LIMITS["RLIMIT_NOFILE"][0]))
    for descriptor in descriptors:
        if descriptor > 2:
            try:
                os.close(descriptor)
            except OSError:
                # The one by which the list was read.
                continue


def _open_standard_streams() -> None:
    """Have 0, 1 and 2 lead somewhere: else the next file that is opened would be one of them."""
    if sys.stdin is not None and sys.stdout is not None and sys.stderr is not None:
        return
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest that is free.
            os.open(os.devnull, os.O_RDWR)
    # Python has found them closed, and has none.
    sys.stdin = sys.stdin or os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", encoding="utf-8", closefd=False)


def _own_environment() -> None:
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    os.environ.clear()
    os.environ.update({**_VARIABLES, **kept})


# -- programs that must not go on --------------------------------------------------------------------


def _end_not_isolated(door: bool, status: int = 1) -> None:
    """End a program for which Python has looked at variables, folders and homes: what it imports could be anybody's."""
    # What has come into the path by these is not imported either, to say so.
    ours = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    sys.path[:] = [place for place in sys.path if place == ours or place.startswith("/usr/lib/python3")]
    _open_standard_streams()
    from jupyterhub4family.common.errors import FamilyError
    from jupyterhub4family.common.i18n.messages import _

    error = FamilyError(
        _(
            "{program} was not started as it is written (python3 -I), so it stops before it does anything",
            program=os.path.basename(sys.argv[0]),
        ),
        _(
            "call it by its name only; if that was so, install the package again: {command}",
            command="sudo apt-get install --reinstall jupyterhub4family",
        ),
    )
    _end(error, door, status)


def _end_too_narrow(names: list[str]) -> None:
    from jupyterhub4family.common.errors import FamilyError
    from jupyterhub4family.common.i18n.messages import _

    limits = ", ".join(name[len("RLIMIT_") :].lower() for name in names)
    error = FamilyError(
        _("the caller's limits are too narrow for this, and root may not lift them here: {limits}", limits=limits),
        _("see them with ulimit -a; log in again, and try once more"),
    )
    _end(error, door=True, status=1)


def _end(error: Exception, door: bool, status: int) -> None:
    """End the program as any other error does: a door with its answer, others with a sentence."""
    from jupyterhub4family.common import errors
    from jupyterhub4family.common.protocol import serving

    def refuse() -> int:
        raise error

    failed = serving.answer(refuse) if door else errors.run_program(refuse)
    sys.exit(min(failed, status))
