"""What the package lays on the machine fits together: programs, sudo's rules, units, crontab, manual, version."""

from __future__ import annotations

import ast
import os
import re
import shlex
from pathlib import Path

import pytest

from jupyterhub4family import __version__
from jupyterhub4family.common import paths
from jupyterhub4family.common.protocol import doors
from jupyterhub4family.common.state.supervision import UPGRADE_UNIT
from tests.unit.helpers import DATA, MACHINE_ROOT, ROOT, SRC

LIBRARY = DATA / "usr/lib/jupyterhub4family"
PROGRAMS = sorted(LIBRARY.iterdir())
COMMANDS = sorted((DATA / "usr/bin").iterdir())
SUDOERS = (DATA / "etc/sudoers.d/jupyterhub4family").read_text("utf-8")
SYSTEM = DATA / "usr/lib/systemd/system"
UNITS = sorted(path for path in SYSTEM.glob("*.service") if "-backup." not in path.name)
BACKUP_UNIT, BACKUP_TIMER = SYSTEM / "jupyterhub4family-backup.service", SYSTEM / "jupyterhub4family-backup.timer"
INSTALLED = re.compile(r"/usr/(?:lib|share|bin)/jupyterhub4family(?:/[\w./-]*\w)?")


def lines_of(text: str) -> list[str]:
    """Lines that say something: comments left out, continued lines joined."""
    joined = text.replace("\\\n", " ")
    return [line.strip() for line in joined.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def test_the_version_is_the_same_everywhere() -> None:
    changelog = (ROOT / "debian/changelog").read_text("utf-8")
    found = re.match(r"jupyterhub4family \(([^)]+)\) ", changelog)
    assert found and found[1] == __version__


# -- programs --------------------------------------------------------------------------------------


def is_python(program: Path) -> bool:
    return "python" in program.read_text("utf-8").partition("\n")[0]


@pytest.mark.parametrize("program", [*PROGRAMS, *COMMANDS], ids=lambda path: path.name)
def test_programs_are_executable_and_nobody_elses_to_write(program: Path) -> None:
    mode = program.stat().st_mode
    assert mode & 0o111 == 0o111 and not program.is_symlink()


@pytest.mark.parametrize("program", [p for p in [*PROGRAMS, *COMMANDS] if is_python(p)], ids=lambda path: path.name)
def test_programs_are_isolated_and_import_what_exists(program: Path) -> None:
    text = program.read_text("utf-8")
    # Debian's own Python, blind to PYTHON* variables and to the folder and the home it is started in. Doors also do
    # without Debian's modules and what is installed beside them: somebody waits, and they are not ours. So does the
    # command, until it needs one of them.
    options = "-IS" if program.name in {door.name for door in doors.DOORS} or program in COMMANDS else "-I"
    assert text.startswith(f"#!/usr/bin/python3 {options}\n")
    tree = ast.parse(text)
    assert ast.get_docstring(tree)
    places = [
        node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and str(node.value).startswith("/")
    ]
    assert places == [str(paths.LIBRARY)], "the one place where our package lies"
    entered, *ours = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert (entered.module, [alias.name for alias in entered.names]) == ("jupyterhub4family.common", ["entry"])
    for node in ours:
        assert node.module is not None
        module = ast.parse((SRC / Path(*node.module.split("."))).with_suffix(".py").read_text("utf-8"))
        defined = {one.name for one in module.body if isinstance(one, (ast.FunctionDef, ast.ClassDef))}
        assert {alias.name for alias in node.names} <= defined
    modules = {node.module for node in ours}
    assert "jupyterhub4family.common.errors" in modules and len(modules) == 2


@pytest.mark.parametrize("program", [p for p in [*PROGRAMS, *COMMANDS] if is_python(p)], ids=lambda path: path.name)
def test_programs_enter_as_what_they_are_before_they_import_anything(program: Path) -> None:
    of_root = {door.name: door.runs_as == doors.ROOT for door in doors.DOORS}
    others = "command" if program in COMMANDS else "program"
    kind = {True: "root_door", False: "member_door", None: others}[of_root.get(program.name)]
    assert (
        'sys.path.insert(0, "/usr/lib/jupyterhub4family")\n\n'
        f"from jupyterhub4family.common import entry\n\nentry.{kind}()\n\nfrom "
    ) in program.read_text("utf-8")
    before = program.read_text("utf-8").partition("entry.")[0]
    assert re.findall(r"^(?:import|from) .*", before, re.MULTILINE) == [
        "import sys",
        "from jupyterhub4family.common import entry",
    ]


def test_the_path_of_modules_comes_before_our_imports() -> None:
    for program in PROGRAMS:
        text = program.read_text("utf-8")
        assert text.index("sys.path.insert(0, ") < text.index("from jupyterhub4family."), program.name


def test_every_program_that_the_code_starts_is_there() -> None:
    for path in vars(paths).values():
        if isinstance(path, Path) and path.parent == paths.LIBRARY:
            assert (LIBRARY / path.name).is_file()
    for module in sorted((SRC / "jupyterhub4family").rglob("*.py")):
        for name in re.findall(r"""LIBRARY / ["']([\w-]+)["']""", module.read_text("utf-8")):
            assert (LIBRARY / name).is_file() or (SRC / name).is_dir(), f"{module.name} starts {name}"


# -- sudo's rules ------------------------------------------------------------------------------------


#: What keeps the caller's environment out, whatever other rules of the machine's keep.
CLEAN = "env_reset, !env_keep, !env_check, !env_file"


def aliases() -> dict[str, str]:
    found = re.findall(r"^Cmnd_Alias (\w+) = (.*)$", SUDOERS, re.MULTILINE)
    assert len(found) == len(dict(found))
    return dict(found)


def test_commands_are_exact_and_take_no_arguments() -> None:
    assert aliases()
    for command in aliases().values():
        program, *arguments = shlex.split(command)
        assert arguments == [""], f'{command}: without "" any argument would be allowed'
        assert re.fullmatch(r"/usr/lib/jupyterhub4family/[a-z-]+", program)
        assert (LIBRARY / Path(program).name).is_file()


@pytest.mark.parametrize(
    "dangerous", ["*", "?", "[", "]", "!authenticate", " env_keep", "SETENV:", " ALL: ", "sudoedit", "visiblepw"]
)
def test_the_rules_have_no_wildcard_and_give_nothing_else_away(dangerous: str) -> None:
    rules = "\n".join(lines_of(SUDOERS)).replace("NOSETENV:", "")
    assert dangerous not in rules


def test_there_are_only_aliases_defaults_and_rules_of_a_known_form() -> None:
    names = "|".join(aliases())
    known = (
        rf"Cmnd_Alias (?:{names}) = \S+ \"\"",
        rf"Defaults!(?:{names}) {CLEAN}, !setenv, !requiretty, !lecture(?:, !use_pty)?",
        rf"(?:%?jupyterhub|%jupyterhub_adm) ALL = \((?:root|%jupyterhub, !root)\) NOPASSWD: NOSETENV: (?:{names})",
    )
    for line in lines_of(SUDOERS):
        assert any(re.fullmatch(form, line) for form in known), line


def test_every_door_resets_the_environment_and_is_opened_to_somebody_once() -> None:
    for name in aliases():
        assert len(re.findall(rf"^Defaults!{name} {CLEAN}, !setenv", SUDOERS, re.MULTILINE)) == 1
        assert len(re.findall(rf"NOPASSWD: NOSETENV: {name}$", SUDOERS, re.MULTILINE)) == 1


def test_who_may_open_which_door() -> None:
    rules = re.findall(r"^(\S+) ALL = \(([^)]*)\) NOPASSWD: NOSETENV: (\w+)$", SUDOERS, re.MULTILINE)
    doors = {Path(shlex.split(aliases()[name])[0]).name: (who, whom) for who, whom, name in rules}
    assert doors == {
        "mediator": ("jupyterhub", "%jupyterhub, !root"),
        "authenticate": ("jupyterhub", "root"),
        "members": ("%jupyterhub_adm", "root"),
        "environment": ("%jupyterhub", "root"),
        "confine": ("%jupyterhub", "root"),
    }


# -- units, crontab, everything that names a path -----------------------------------------------------


#: One starts nothing, it is there to have been started; the other is enabled only where it has something to do.
PORTS_UNITS = ("jupyterhub4family-ports.service", "jupyterhub4family-hold-ports.service")


@pytest.mark.parametrize(
    "unit", [unit for unit in UNITS if unit.name not in (UPGRADE_UNIT, *PORTS_UNITS)], ids=lambda path: path.name
)
def test_units_run_programs_of_ours_and_not_as_root(unit: Path) -> None:
    lines = lines_of(unit.read_text("utf-8"))
    started = [line.partition("=")[2] for line in lines if re.match(r"Exec\w+=", line)]
    assert len(started) == 2
    for command in started:
        assert (LIBRARY / Path(command.split()[0]).name).is_file()
        assert command.startswith("/usr/lib/jupyterhub4family/"), "no prefix that would give more rights"
    assert "User=jupyterhub" in lines and "UMask=0077" in lines


def test_the_one_unit_of_roots_does_one_thing_and_only_when_there_is_something_to_do() -> None:
    (unit,) = (unit for unit in UNITS if unit.name == UPGRADE_UNIT)
    lines = lines_of(unit.read_text("utf-8"))
    assert [line for line in lines if line.startswith("Exec")] == ["ExecStart=/usr/lib/jupyterhub4family/upgrade run"]
    assert f"ConditionPathExists={paths.SERVICE_HOME}/upgrade/under-way.json".replace(str(MACHINE_ROOT), "") in lines
    assert not any(line.startswith(("User=", "Type=")) for line in lines), "root's, and no boot waits for it"


def test_a_unit_that_opens_doors_may_gain_rights_and_the_other_may_not() -> None:
    texts = {unit.stem: lines_of(unit.read_text("utf-8")) for unit in UNITS}
    assert not any(line.startswith("NoNewPrivileges") for line in texts["jupyterhub4family-hub"]), "sudo would not work"
    assert "KillMode=process" in texts["jupyterhub4family-hub"], "servers would end with the hub"
    assert "NoNewPrivileges=yes" in texts["jupyterhub4family-proxy"]


def test_the_units_are_those_that_the_code_knows() -> None:
    from jupyterhub4family.common.state import supervision
    from jupyterhub4family.common.state.supervision import UNITS as KNOWN
    from jupyterhub4family.common.system import cgroups

    ports = {supervision.PORTS_UNIT, supervision.HOLDER_UNIT}
    assert {unit.name for unit in UNITS} == {*KNOWN, *ports, UPGRADE_UNIT}
    assert set(supervision.ENABLED) == {*KNOWN, UPGRADE_UNIT, supervision.PORTS_SOCKET}
    for script in ("postinst", "postrm"):
        text = (ROOT / f"debian/jupyterhub4family.{script}").read_text("utf-8")
        assert all(unit in text for unit in supervision.ENABLED), script
    others = {unit.name for unit in SYSTEM.iterdir()} - {unit.name for unit in UNITS}
    assert others == {cgroups.SLICE, BACKUP_UNIT.name, BACKUP_TIMER.name, supervision.PORTS_SOCKET}
    assert BACKUP_TIMER.name == supervision.BACKUP_TIMER


def test_the_backup_of_the_night_runs_where_one_is_set_up_and_systemd_supervises() -> None:
    lines = lines_of(BACKUP_UNIT.read_text("utf-8"))
    assert "ConditionPathExists=/etc/jupyterhub4family/backup/target" in lines
    assert "ExecCondition=/usr/lib/jupyterhub4family/supervised-by systemd" in lines
    assert "ExecStart=/usr/lib/jupyterhub4family/backup nightly" in lines
    (hourly,) = [
        line for line in lines_of((DATA / "etc/cron.d/jupyterhub4family").read_text("utf-8")) if "17 * * * *" in line
    ]
    for part in (str(paths.BACKUP_TARGET).replace(str(MACHINE_ROOT), ""), "supervised-by cron", "backup nightly"):
        assert part in hourly, part


def test_the_crontab_starts_what_runs_not_every_minute_and_at_boot() -> None:
    lines = lines_of((DATA / "usr/share/jupyterhub4family/crontab").read_text("utf-8"))
    ensure = "/usr/lib/jupyterhub4family/ensure"
    assert lines == ['MAILTO=""', f"@reboot {ensure} --boot", f"* * * * * {ensure}"]


def files_with_paths() -> list[Path]:
    ours = [path for name in ("etc", "usr/lib", "usr/share/jupyterhub4family") for path in (DATA / name).rglob("*")]
    return sorted(path for path in [*ours, *(ROOT / "debian").glob("*")] if path.is_file())


@pytest.mark.parametrize("file", files_with_paths(), ids=lambda path: path.name)
def test_every_path_of_ours_that_is_named_anywhere_is_there(file: Path) -> None:
    for found in INSTALLED.findall(file.read_text("utf-8", "replace")):
        place = DATA / found[1:]
        # Beside the data lie the package (in lib) and the lock files (in share).
        others = (SRC / Path(found).name, ROOT / "locks")
        assert place.exists() or any(other.exists() and other.name == Path(found).name for other in others), found


def test_nothing_of_the_data_is_left_over_from_an_editor() -> None:
    for path in DATA.rglob("*"):
        assert not path.name.endswith(("~", ".orig", ".rej", ".swp", ".pyc")) and path.name != "__pycache__", path
        if path.is_file():
            assert os.access(path, os.R_OK) and path.stat().st_size > 0


def test_the_manual_pages_of_other_names_lead_to_the_one(manual: Path) -> None:
    assert (manual / "usr/share/man/man1/jupyterhub4family.1").is_file()
    for page in (DATA / "usr/share/man/man1").iterdir():
        assert page.read_text("utf-8") == ".so man1/jupyterhub4family.1\n"
        assert (DATA / "usr/bin" / page.stem).exists() or page.stem == "jh4f"


def test_pam_lets_nobody_in_without_a_password_and_leaves_counting_to_the_door() -> None:
    from jupyterhub4family.root.doors.authenticate import PAM_SERVICE

    lines = lines_of((DATA / "etc/pam.d" / PAM_SERVICE).read_text("utf-8"))
    assert [line.split() for line in lines if line.startswith("auth")] == [["auth", "required", "pam_unix.so"]]
    assert not any("nullok" in line or "faillock" in line for line in lines)
