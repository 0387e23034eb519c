"""The words of the code: a name that was given up for the field's own word does not come back.

Names that are defined or used count, in src, tools and tests: variables, parameters, functions, classes, modules,
attributes. Prose does not: comments, docstrings and messages are free.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.helpers import ROOT, SRC

PACKAGE = "jupyterhub4family"

#: Names that nothing is called any more, and what to say instead.
RETIRED = {
    "announcement": "avahi",
    "answered_error": "error_of",
    "_as_sentence": "_as_error",
    "ask_door": "call_door",
    "_ask_for_state": "_export_hub_state",
    "ask_service": "call_service",
    "BACKUP_NOTE": "BACKUP_STATE",
    "BackupNote": "BackupState",
    "_belong_together": "_match",
    "_bring_people_back": "_restore_accounts",
    "build_aside": "build",
    "change_note": "change_state",
    "change_over": "cutover",
    "check_folders": "check_directories",
    "_check_room": "_check_space",
    "configuration_troubles": "configuration_problems",
    "DATABASE_BACK": "DATABASE_RESTORED",
    "DATABASE_STAYED": "DATABASE_UNCHANGED",
    "doomed": "discarded",
    "DOOR_PATIENCE": "DOOR_TIMEOUT",
    "ensure_announcement": "ensure_service_file",
    "_ensure_folder": "_ensure_directory",
    "ensure_folders": "ensure_directories",
    "ensure_runtime": "ensure_run_dir",
    "ensure_spare_room": "ensure_reserve",
    "FAREWELL": "GRACE_PERIOD",
    "Finished": "CompletedProcess",
    "FOLDER": "DIRECTORY",
    "_folder": "_directory",
    "folder": "directory",
    "_folder_locked": "_settings_locked",
    "_folders": "_directories",
    "folders": "directories",
    "forget_limits": "remove_limits",
    "_forget_old_ones": "_remove_old_copies",
    "forget_target": "remove_target",
    "FRESH": "STAGING_PREFIX",
    "fresh_folder": "staging_directory",
    "_fulfil_wishes": "_install_pending_packages",
    "_give_folders": "_chown_directories",
    "_go_back": "_rollback",
    "_go_forward": "_upgrade",
    "go_round": "run_smoke_test",
    "granted": "unwrap",
    "hand_over": "transfer",
    "HANDOVER": "STAGING",
    "Held": "MemoryUse",
    "install_kept": "install_saved",
    "_is_folder": "_is_directory",
    "JUST_KEPT": "PENDING",
    "just_kept": "pending_edition",
    "keep_away": "pin_away",
    "keep_installed": "save_installed",
    "keep_running": "supervise",
    "KEPT_DAILY": "DAILY_COPIES_KEPT",
    "KERNEL_PATIENCE": "KERNEL_TIMEOUT",
    "Known": "AptPolicy",
    "literally": "escape_glob",
    "LOOK": "POLL_INTERVAL",
    "_look_for_killed": "_report_killed",
    "look_into": "read_manifest",
    "make_folder": "make_directory",
    "MAXIMUM_NOTE": "MAXIMUM_SIZE",
    "MEMBER_WISHES": "MEMBER_PENDING_PACKAGES",
    "_mend": "_repair_file",
    "mend": "repair",
    "mend_accounts": "repair_accounts",
    "mend_database": "repair_database",
    "mend_files": "repair_files",
    "mend_rights": "repair_rights",
    "mend_supervision": "repair_supervision",
    "Mended": "Repaired",
    "_nobody_else_builds": "_exclusive",
    "note_killed": "record_killed",
    "note_skipped_files": "record_skipped_files",
    "note_wishes": "write_pending_packages",
    "_one_at_a_time": "_exclusive",
    "own_environment": "environment_command",
    "PATIENCE": "TIMEOUT or GRACE_PERIOD",
    "_people": "_users",
    "Person": "AccountRecord",
    "_person": "_account_record",
    "PORTAL_PATIENCE": "PORTAL_TIMEOUT",
    "print_sentence": "print_message",
    "probe_portal": "smoke_test",
    "_prove": "_run_smoke_test",
    "_put_aside": "_move_to_backup",
    "put_back_wanted_copy": "restore_wanted_copy",
    "put_together": "build_tree",
    "_read_note": "_read_state",
    "read_note": "read_state",
    "ready_folder": "ready_directory",
    "_refusal": "_error_at",
    "refusal": "error, or what was refused",
    "_refuse_if_under_way": "_refuse_if_in_progress",
    "remove_announcement": "remove_service_file",
    "_remove_doomed": "_remove_discarded",
    "remove_probe": "remove_trial_member",
    "renew_outdated_proxy": "end_outdated_proxy",
    "renew_proxy": "end_proxy",
    "_renew_release": "_upgrade_release",
    "Room": "DiskSpace",
    "_ROOM": "_LONGEST",
    "_room_for_code": "_fits_code",
    "_said": "_output",
    "said": "output",
    "said_nothing": "no_answer",
    "_say_there_is_none": "_report_no_upgrade",
    "see_through": "run_to_completion",
    "Sentence": "Text",
    "SERVICE_FOLDERS": "SERVICE_DIRECTORIES",
    "_show_home": "_mount_home",
    "show_without_links": "mount_without_links",
    "Situation": "CheckContext",
    "_situation": "_context",
    "situation": "context or condition",
    "spare_room": "disk_reserve",
    "SYSTEMD_NOTES": "SYSTEMD_CONTROL",
    "take_back": "import_state",
    "take_over": "start_or_upgrade",
    "take_restored": "import_restored",
    "Tell": "ProgressCallback",
    "_tell": "_report",
    "_tell_everybody": "_write_public",
    "TELL_HUB": "HUB_USERS",
    "_tell_hub": "_update_hub",
    "tell_hub": "update_hub",
    "_throw_away_interrupted": "_remove_interrupted",
    "TOLD": "REPORTED_FOR",
    "_told": "_reported",
    "told": "reported",
    "_TOLD_BY": "_MARKS",
    "_trouble": "_problem",
    "trouble": "problem",
    "trusted_folder": "safe_directory",
    "trusted_folders": "safe_paths",
    "UNDER_WAY": "IN_PROGRESS",
    "under_way": "in_progress",
    "upgrade_under_way": "upgrade_in_progress",
    "upgrade_under_way_backwards": "rollback_in_progress",
    "Visitor": "PortalClient",
    "_Visitor": "_Client",
    "_visitor": "_client",
    "visitor": "client",
    "_visitors": "_clients",
    "visitors": "clients",
    "want_copy": "choose_copy",
    "_wants_to_go_on": "_confirm_retry",
    "whats_missing": "missing_programs",
    "_why": "_reason",
    "why": "reason or problem",
    "_why_renew": "_renewal_reason",
    "wish": "pending_packages or preferred language",
    "WISH_TRIES": "PACKAGE_TRIES",
    "_wishes": "packages",
    "wishes": "pending_packages, requirements or preferred_languages",
    "Word": "Arg",
    "write_mended": "write_repaired",
    "_write_note": "_write_state",
    "write_note": "write_state",
}

#: Names that one module of ours has given up; elsewhere they may be the right ones.
RETIRED_IN = {
    "cli.backup": {"_ask": "_call"},
    "cli.base.snapshot": {"find_out": "take_snapshot"},
    "cli.base.terminal": {"say": "report"},
    "cli.doctor.command": {"_known": "_check_named"},
    "cli.logs": {"whose": "owner"},
    "cli.status": {"_SENTENCES": "_MESSAGES"},
    "cli.upgrade": {"_ask": "_call"},
    "common.paths": {"NOT_AGAIN": "PIN"},
    "common.state.database": {"NOTE": "STATE_FILE", "mended_database": "repaired_database"},
    "common.system.disk_space": {"rooms": "disk_spaces"},
    "common.system.programs": {"converse": "call_json", "show": "run_attached"},
    "hub.doors": {"_converse": "_exchange", "ask": "call_program"},
    "hub.memory": {"held": "memory_use", "look": "snapshot"},
    "hub.pages": {"looks": "appearances"},
    "hub.startup": {"complaint": "problem"},
    "root.backup.accounts": {"people": "account_records"},
    "root.backup.program": {"bring_back": "restore_request"},
    "root.backup.restic": {"plain": "printable"},
    "root.backup.restore": {"_ask": "_call_member", "give": "chown_tree", "whose": "owner_of"},
    "root.backup.tree": {"_show": "_mount_read_only"},
    "root.base.run_dir": {"RUNTIME": "RUN_DIR"},
    "root.upgrade.apt": {"known": "policy"},
    "root.upgrade.smoke_test": {"probe": "run_smoke_test"},
    "root.upgrade.transaction": {
        "_ask": "_call_cutover",
        "_note": "_write_progress",
        "going_on": "resuming",
        "is_kept": "is_saved",
        "keep": "save_previous",
        "word": "checked_name",
    },
    "service.hub_state.database": {
        "KEPT": "COPIES_KEPT",
        "WANTED": "CHOSEN",
        "_explained": "_disk_error",
        "_known": "_existing_copy",
    },
    "service.hub_state.disk_reserve": {"SPARE": "RESERVE"},
    "service.releases.builds": {"_explained": "_disk_error"},
    "service.releases.progress": {"_speak": "_report", "speak": "report"},
    "user.environment": {"NOTE": "STATE_FILE", "renew": "rebuild"},
    "user.import_restored": {"Taking": "Import"},
    "user.server": {"_become": "_exec"},
}

#: Modules that have another name, or another place, now.
RETIRED_MODULES = {
    "cli.cert": "cli.certificates.command",
    "cli.checks.accounts": "cli.doctor.checks.accounts",
    "cli.checks.backup": "cli.doctor.checks.backup",
    "cli.checks.certificates": "cli.doctor.checks.certificates",
    "cli.checks.database": "cli.doctor.checks.database",
    "cli.checks.finding": "cli.doctor.finding",
    "cli.checks.floors": "cli.doctor.minimum_versions",
    "cli.checks.limits": "cli.doctor.checks.limits",
    "cli.checks.machine": "cli.doctor.checks.machine",
    "cli.checks.members": "cli.doctor.checks.members",
    "cli.checks.names": "cli.doctor.checks.names",
    "cli.checks.people": "cli.base.accounts",
    "cli.checks.ports": "cli.doctor.checks.ports",
    "cli.checks.registry": "cli.doctor.registry",
    "cli.checks.rights": "cli.doctor.checks.rights",
    "cli.checks.settings": "cli.doctor.checks.settings",
    "cli.checks.supervision": "cli.doctor.checks.supervision",
    "cli.checks.trees": "cli.doctor.checks.release_integrity",
    "cli.checks.upgrades": "cli.doctor.checks.upgrade",
    "cli.config": "cli.settings.command",
    "cli.own_certificate": "cli.certificates.own",
    "cli.redaction": "cli.support.redaction",
    "cli.servers": "cli.base.servers",
    "cli.settings_document": "cli.settings.document",
    "cli.settings_editor": "cli.settings.editor",
    "cli.snapshot": "cli.base.snapshot",
    "cli.terminal": "cli.base.terminal",
    "common.accounts": "common.system.accounts",
    "common.addresses": "common.system.network",
    "common.arguments": "common.i18n.argparse_words",
    "common.authority": "common.state.certificates",
    "common.backups": "common.state.backup",
    "common.confinement": "common.system.cgroups",
    "common.documents": "common.protocol.json_lines",
    "common.environments": "common.python.venv",
    "common.files": "common.system.files",
    "common.listeners": "common.system.sockets",
    "common.mended": "common.state.database",
    "common.messages": "common.i18n.messages",
    "common.offline": "common.python.offline",
    "common.processes": "common.system.processes",
    "common.programs": "common.system.programs",
    "common.room": "common.system.disk_space",
    "common.setting_key": "common.settings.types",
    "common.settings_in_use": "common.settings.effective",
    "common.supervision": "common.state.supervision",
    "common.upgrades": "common.state.upgrade",
    "common.uv": "common.python.uv",
    "root.announcement": "root.base.avahi",
    "root.authenticate": "root.doors.authenticate",
    "root.auto_upgrade": "root.upgrade.apt_sources",
    "root.backup_accounts": "root.backup.accounts",
    "root.backup_target": "root.backup.target",
    "root.backup_tree": "root.backup.tree",
    "root.caller": "root.base.sudo_caller",
    "root.confine": "root.doors.limit_server",
    "root.control": "root.setup.control",
    "root.environment": "root.doors.environment",
    "root.members": "root.doors.members",
    "root.mounts": "root.backup.mounts",
    "root.packages": "root.upgrade.apt",
    "root.pam": "root.doors.pam",
    "root.probe": "root.upgrade.smoke_test",
    "root.repair": "root.setup.repair",
    "root.repository": "root.backup.restic",
    "root.restore": "root.backup.restore",
    "root.runtime": "root.base.run_dir",
    "root.servers": "root.base.servers",
    "root.sudo_rights": "root.doors.sudo_rights",
    "root.supervisor": "root.base.supervisor",
    "root.tell_hub": "root.doors.hub_users",
    "root.transaction": "root.upgrade.transaction",
    "root.trusted_folders": "root.base.safe_paths",
    "service.builds": "service.releases.builds",
    "service.change_over": "service.cutover",
    "service.database": "service.hub_state.database",
    "service.ensure": "service.run.ensure",
    "service.names": "service.certificates.names",
    "service.probe_portal": "service.smoke_test.portal",
    "service.progress": "service.releases.progress",
    "service.run_hub": "service.run.hub",
    "service.run_proxy": "service.run.proxy",
    "service.setup_page": "service.releases.setup_page",
    "service.spare_room": "service.hub_state.disk_reserve",
    "service.supervise": "service.run.supervise",
    "service.tell_hub": "service.hub_state.users",
    "service.tokens": "service.hub_state.tokens",
    "service.verify": "service.releases.verify",
    "service.websocket": "service.smoke_test.websocket",
    "user.confinement": "user.limit_server",
    "user.own_environment": "user.environment_command",
    "user.packages": "user.installed_packages",
    "user.take_restored": "user.import_restored",
}


def python_files() -> list[Path]:
    """Everything of src, tools and tests that is Python, also programs whose name does not say so."""
    found = [path for top in ("src", "tools", "tests") for path in (ROOT / top).rglob("*") if path.is_file()]
    return sorted(path for path in found if path.suffix == ".py" or (path.suffix == "" and is_python(path)))


def is_python(path: Path) -> bool:
    """Whether a program says in its first line that it is Python."""
    with path.open("rb") as file:
        first = file.readline(100)
    return first.startswith(b"#!") and b"python3" in first


def module_of(path: Path) -> str:
    """The name of a module of ours, without the package's; empty for what is none."""
    ours = SRC / PACKAGE
    return ".".join(path.relative_to(ours).with_suffix("").parts) if ours in path.parents else ""


def retired_names(source: str, module: str = "") -> list[str]:
    """What `source` defines or uses and should not, with its line and the word to use; `module` is its own name."""
    standard = {
        **RETIRED,
        **{f"{where}.{name}": word for where, names in RETIRED_IN.items() for name, word in names.items()},
    }
    standard.update(RETIRED_MODULES)
    tree = ast.parse(source)
    found = {(line, name) for line, name in [*names_in(tree), *qualified_names(tree, module)] if name in standard}
    if module in standard:
        found.add((1, module))
    return [f"{line}: {name}: say {standard[name]}" for line, name in sorted(found)]


def names_in(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every name in `tree`, whatever it is a name of."""
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        for field in ("id", "attr", "arg", "name", "asname"):
            value = getattr(node, field, None)
            if isinstance(value, str):
                yield from ((line, part) for part in value.split("."))
        if isinstance(node, (ast.Global, ast.Nonlocal)):
            yield from ((line, name) for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((line, part) for part in node.module.split("."))
        elif isinstance(node, ast.Call) and (name := attribute_by_text(node)):
            yield node.lineno, name


def attribute_by_text(call: ast.Call) -> str:
    """The name in `setattr(module, "NAME", …)` and its like, as tests replace things."""
    function = ast.unparse(call.func).rpartition(".")[2]
    if function in ("setattr", "getattr", "hasattr", "delattr") and len(call.args) > 1:
        second = call.args[1]
        return second.value if isinstance(second, ast.Constant) and isinstance(second.value, str) else ""
    return ""


def qualified_names(tree: ast.Module, module: str) -> Iterator[tuple[int, str]]:
    """Names of ours with their module before them: what `module` defines, and what others use of ours."""
    for line, name in defined_in(tree):
        yield line, f"{module}.{name}"
    ours = dict(imported_from_ours(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGE):
            where = str(node.module)[len(PACKAGE) + 1 :]
            yield from ((node.lineno, f"{where}.{alias.name}".lstrip(".")) for alias in node.names)
            yield node.lineno, where
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ours:
            yield node.lineno, f"{ours[node.value.id]}.{node.attr}"
        elif isinstance(node, ast.Call) and isinstance(node.args[0] if node.args else None, ast.Name):
            first = node.args[0]
            if isinstance(first, ast.Name) and first.id in ours and (name := attribute_by_text(node)):
                yield node.lineno, f"{ours[first.id]}.{name}"


def defined_in(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """What a module defines for others: functions and classes at any depth, and its constants."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.lineno, node.name
    for statement in tree.body:
        if isinstance(statement, (ast.Assign, ast.AnnAssign)):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            names = [node for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)]
            yield from ((node.lineno, node.id) for node in names)


def imported_from_ours(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Under which name each module of ours is used."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGE):
            for alias in node.names:
                yield alias.asname or alias.name, f"{str(node.module)[len(PACKAGE) + 1 :]}.{alias.name}".lstrip(".")


def test_no_retired_word_is_back() -> None:
    found = {
        str(path.relative_to(ROOT)): retired_names(path.read_text("utf-8"), module_of(path)) for path in python_files()
    }
    assert {name: words for name, words in found.items() if words} == {}


def test_all_of_it_is_read() -> None:
    names = {str(path.relative_to(ROOT)) for path in python_files()}
    assert {"tools/messages", "tools/audit", "tests/unit/test_words.py", f"src/{PACKAGE}/cli/main.py"} <= names
    assert len(names) > 300


def test_what_stands_in_for_a_retired_word_is_not_retired_itself() -> None:
    assert set(RETIRED) & set(RETIRED.values()) == set()
    for names in RETIRED_IN.values():
        assert set(names) & (set(RETIRED) | set(names.values())) == set()
    assert set(RETIRED_MODULES) & set(RETIRED_MODULES.values()) == set()


@pytest.mark.parametrize(
    "source",
    [
        "def see_through(): ...",
        "async def see_through(): ...",
        "class Visitor: ...",
        "see_through()",
        "transaction.see_through()",
        "def f(doomed): ...",
        "def f(*, doomed=1): ...",
        "f(doomed=1)",
        "lambda doomed: 1",
        "doomed = 1",
        "for doomed in (): ...",
        "try: ...\nexcept OSError as doomed: ...",
        "with open('x') as doomed: ...",
        "[doomed for doomed in ()]",
        "f'{doomed}'",
        "def f():\n    global doomed",
        "import a.tell_hub",
        "from a.tell_hub import b",
        "from a import tell_hub",
        "import a as tell_hub",
        "monkeypatch.setattr(transaction, 'see_through', 1)",
        "getattr(transaction, 'see_through')",
    ],
)
def test_a_retired_word_is_found_wherever_it_is_a_name(source: str) -> None:
    (found,) = retired_names(source)
    assert found.rpartition("say ")[2] in RETIRED.values()


@pytest.mark.parametrize(
    ("source", "module"),
    [
        ("def show(): ...", "common.system.programs"),
        ("NOTE = 1", "user.environment"),
        ("NOTE: int = 1", "user.environment"),
        (f"from {PACKAGE}.common.system import programs\nprograms.show()", ""),
        (f"from {PACKAGE}.common.system import programs as p\np.show()", ""),
        (f"from {PACKAGE}.common.system.programs import show", "cli.env"),
        (f"from {PACKAGE}.common.system import programs\nm.setattr(programs, 'show', 1)", ""),
        (f"from {PACKAGE}.cli import own_certificate", ""),
        (f"from {PACKAGE}.cli.own_certificate import check", ""),
        ("", "cli.own_certificate"),
    ],
)
def test_a_word_that_one_module_has_given_up_is_found(source: str, module: str) -> None:
    assert len(retired_names(source, module)) == 1


@pytest.mark.parametrize(
    ("source", "module"),
    [
        ('"""see_through"""\nprint("see_through")  # see_through', ""),
        ("x = {'see_through': 1}['see_through']", ""),
        ("def show(): ...", "cli.env"),
        ("def f():\n    NOTE = 1", "user.environment"),
        ("import show\nshow.show()", ""),
        (f"from {PACKAGE}.common.system import programs\nprograms.run_attached(show)", ""),
        (f"from {PACKAGE}.common.system import files\nfiles.show()", ""),
    ],
)
def test_what_is_no_retired_word_is_left_alone(source: str, module: str) -> None:
    assert retired_names(source, module) == []
