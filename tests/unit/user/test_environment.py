"""user.environment: made once, left alone, followed, mended – and whatever fails, what was there is there still."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import Any

import pytest

from jupyterhub4family.common.system import files
from jupyterhub4family.user import environment
from tests.unit.helpers import write_program
from tests.unit.user.template import TEMPLATE_ID, Home, add_package, remove, site_of, tree


def test_made_and_the_second_time_nothing(home: Home) -> None:
    template = tree(home.template)
    assert home.prepare() == "made"
    assert home.works()
    assert home.beside() == set() and home.env.parent.stat().st_mode & 0o777 == 0o755
    ours = tree(home.env)
    assert {name: ours[name] for name in template} == template
    assert set(ours) - set(template) == {environment.STATE_FILE}
    assert home.events[0][0] <= 10 and home.events[-1][0] == 100
    assert [percent for percent, _ in home.events] == sorted(percent for percent, _ in home.events)
    assert home.prepare() == "nothing"
    assert home.events == [] and tree(home.env) == ours


def test_one_that_needs_nothing_is_ready_and_that_is_found_out_by_looking_only(home: Home) -> None:
    assert not environment.is_ready(home.member) and not home.env.parent.exists(), "nothing is made"
    home.prepare()
    before = tree(home.env.parent)
    assert environment.is_ready(home.member)
    assert tree(home.env.parent) == before
    add_package(home.env, "six", "1.17")
    assert environment.is_ready(home.member), "it is the member's own"


@pytest.mark.parametrize("kind", ["unfinished", "doomed", "link", "held", "wishes", "outdated"])
def test_one_that_prepare_would_wait_for_or_tidy_up_is_not_ready(home: Home, kind: str) -> None:
    home.prepare()
    with contextlib.ExitStack() as until:
        if kind in ("unfinished", "doomed"):
            home.env.with_name(f"env.{kind}").mkdir()
        elif kind == "link":
            home.env.with_name("env.unfinished").symlink_to("nowhere")
        elif kind == "held":
            until.enter_context(files.locked(home.env.with_name("lock")))
        elif kind == "wishes":
            (home.env.parent / "wishes.json").write_text("{}", "utf-8")
        else:
            home.new_template()
        assert not environment.is_ready(home.member)
    if kind not in ("wishes", "outdated"):
        assert home.prepare() == "nothing"
        assert environment.is_ready(home.member)


def test_the_folders_are_for_the_member_to_change(home: Home) -> None:
    home.prepare()
    add_package(home.env, "six", "1.17")
    assert home.prepare() == "nothing"
    assert (site_of(home.env) / "six").is_dir()
    assert not (site_of(home.template) / "six").exists()


def python_that_is_gone(env: Path) -> None:
    (env / "bin" / "python").unlink()
    (env / "bin" / "python").symlink_to("/usr/bin/python2.99")


def python_that_does_not_run(env: Path) -> None:
    (env / "bin" / "python").unlink()
    (env / "bin" / "python").write_text("", "ascii")


def python_that_fails(env: Path) -> None:
    (env / "bin" / "python").unlink()
    write_program(env / "bin" / "python", "exit 1", interpreter="/bin/sh")


def other_version(env: Path) -> None:
    """As an upgrade of Debian leaves it: python3 is another one now."""
    (directory,) = (env / "lib").glob("python3*")
    directory.rename(directory.with_name("python3.1"))


BROKEN: dict[str, Any] = {
    "jupyterhub": remove("site/jupyterhub"),
    "jupyterhub.singleuser": remove("site/jupyterhub/singleuser"),
    "jupyterlab, whose pip entry is still there": remove("site/jupyterlab"),
    "notebook": remove("site/notebook"),
    "everything": remove("site/jupyterhub", "site/jupyterlab", "site/notebook"),
    "the program": remove("bin/jupyterhub-singleuser"),
    "python": remove("bin/python"),
    "python's target": python_that_is_gone,
    "python is no program": python_that_does_not_run,
    "python fails": python_that_fails,
    "another Python version": other_version,
    "bin": remove("bin"),
    "lib": remove("lib"),
    "bin and lib": remove("bin", "lib"),
}


@pytest.mark.parametrize("break_it", BROKEN.values(), ids=list(BROKEN))
def test_a_broken_one_is_mended_and_kept_aside(home: Home, break_it: Any) -> None:
    home.prepare()
    (home.env / "mine").write_text("kept", "utf-8")
    break_it(home.env)
    assert not environment.is_ready(home.member)
    assert home.prepare() == "mended"
    assert home.works() and environment.is_ready(home.member)
    (aside,) = home.beside()
    assert aside.startswith("env.aside-")
    assert (home.env.parent / aside / "mine").read_text("utf-8") == "kept"
    assert "env.aside-" in home.events[-1][1]
    assert home.prepare() == "nothing"


def test_only_the_newest_broken_one_is_kept(home: Home) -> None:
    home.prepare()
    for name in ("env.aside-20200101-000000", "env.aside-20210101-000000"):
        (home.env.parent / name).mkdir()
    remove("bin/jupyterhub-singleuser")(home.env)
    home.prepare()
    (aside,) = home.beside()
    assert aside > "env.aside-2022"


@pytest.mark.parametrize("kind", ["a file", "a dangling link", "an empty folder", "a link to a folder"])
def test_something_else_in_its_place(home: Home, kind: str) -> None:
    home.env.parent.mkdir(parents=True)
    elsewhere = home.home / "elsewhere"
    if kind == "a file":
        home.env.touch()
    elif kind == "a dangling link":
        home.env.symlink_to(elsewhere)
    elif kind == "an empty folder":
        home.env.mkdir()
    else:
        elsewhere.mkdir()
        (elsewhere / "mine").touch()
        home.env.symlink_to(elsewhere)
    assert home.prepare() in ("made", "mended")
    assert home.works()
    if kind == "a link to a folder":
        assert (elsewhere / "mine").exists(), "what a link of the member leads to is not ours"


@pytest.mark.parametrize("thorough", [None, False, True])
def test_a_thorough_look_finds_what_cannot_be_imported(home: Home, thorough: bool | None) -> None:
    home.prepare()
    (site_of(home.env) / "jupyterlab" / "labapp.py").write_text("import no_such_module\n", "utf-8")
    # It takes seconds, so it is made only where it is asked for.
    asked = {} if thorough is None else {"thorough": thorough}
    assert home.prepare(**asked) == ("mended" if thorough else "nothing")
    if thorough:
        assert any("no_such_module" in message for _, message in home.events)
        assert home.prepare(thorough=True) == "nothing"


# -- following -------------------------------------------------------------------------------------


def test_an_unchanged_one_follows_the_template(home: Home) -> None:
    assert environment.made_from(home.member) == ""
    home.prepare()
    assert environment.made_from(home.member) == TEMPLATE_ID
    home.new_template("py3.11-bbbbbbbbbbbb")
    assert environment.made_from(home.member) == TEMPLATE_ID
    assert home.prepare() == "followed"
    assert environment.made_from(home.member) == "py3.11-bbbbbbbbbbbb"
    assert home.works() and home.beside() == set()
    assert (site_of(home.env) / "jupyterlab-4.7.0.dist-info").is_dir()
    assert home.prepare() == "nothing"


@pytest.mark.parametrize("change", ["extra", "downgraded", "removed", "program"])
def test_a_changed_one_is_left_alone(home: Home, change: str) -> None:
    home.prepare()
    site = site_of(home.env)
    if change == "extra":
        add_package(home.env, "numpy", "2.0")
    elif change == "downgraded":
        (site / "jupyterlab-4.6.6.dist-info").rename(site / "jupyterlab-4.0.0.dist-info")
    elif change == "removed":
        shutil.rmtree(site / "pip-26.0.dist-info")
    else:
        (home.env / "bin" / "black").touch()
    home.new_template()
    before = tree(home.env)
    assert home.prepare() == "nothing"
    assert tree(home.env) == before
    condition = environment.examine(home.env)
    assert condition.changed and condition.outdated and condition.missing == []


def test_one_without_a_note_is_never_replaced_unasked(home: Home) -> None:
    """Made by hand, or by something older than the note."""
    home.prepare()
    (home.env / environment.STATE_FILE).write_text("{", "utf-8")
    home.new_template()
    assert home.prepare() == "nothing"


# -- extras ----------------------------------------------------------------------------------------


def test_extras_are_installed_again_in_the_version_they_had(home: Home) -> None:
    home.prepare()
    add_package(home.env, "numpy", "2.0")
    add_package(home.env, "Six_Pack.age", "1.0")
    assert environment.extra_packages(home.env) == {"numpy": "2.0", "six-pack-age": "1.0"}
    remove("site/notebook")(home.env)
    home.uv("exit 0")
    assert home.prepare() == "mended"
    assert home.uv_calls() == ["numpy==2.0 six-pack-age==1.0"]
    assert "keeping your own packages" in home.events[-1][1]
    assert not (site_of(home.env) / "numpy").exists(), "that would have been uv's to do"


def test_extras_that_cannot_be_had_are_told_and_the_rest_is_kept(home: Home) -> None:
    home.prepare()
    for name in ("bad", "good"):
        add_package(home.env, name, "1.0")
    remove("site/notebook")(home.env)
    home.uv('case "$*" in *bad*) exit 1;; esac')
    assert home.prepare() == "mended"
    assert home.uv_calls() == ["bad==1.0 good==1.0", "bad", "good"]
    message = home.events[-1][1]
    assert "was rebuilt without bad, unavailable now" in message
    assert home.works()


def test_without_uv_the_extras_are_lost_and_the_server_starts_all_the_same(home: Home) -> None:
    home.prepare()
    add_package(home.env, "numpy", "2.0")
    remove("site/notebook")(home.env)
    assert home.prepare() == "mended"
    assert "without numpy" in home.events[-1][1]
    assert home.works()


def test_extras_survive_a_change_of_python(home: Home) -> None:
    home.prepare()
    add_package(home.env, "numpy", "2.0")
    other_version(home.env)
    home.uv("exit 0")
    assert home.prepare() == "mended"
    assert home.uv_calls() == ["numpy==2.0"]


# -- what a restore wants ----------------------------------------------------------------------------


def pending_packages(home: Home, text: str) -> Path:
    file = home.env.parent / "wishes.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, "utf-8")
    return file


def test_packages_of_a_backup_come_with_the_environment(home: Home) -> None:
    file = pending_packages(home, '{"packages": {"numpy": "2.0", "six": "1.17"}, "tries": 0}')
    home.uv("exit 0")
    assert home.prepare() == "made"
    assert home.uv_calls() == ["numpy==2.0 six==1.17"] and not file.exists()
    assert [percent for percent, _ in home.events] == sorted(percent for percent, _ in home.events)
    assert home.prepare() == "nothing" and len(home.uv_calls()) == 1


def test_a_package_that_is_there_already_is_left_alone(home: Home) -> None:
    home.prepare()
    add_package(home.env, "numpy", "1.0")
    file = pending_packages(home, '{"packages": {"numpy": "2.0"}, "tries": 0}')
    home.uv("exit 1")
    assert home.prepare() == "nothing" and home.uv_calls() == [] and not file.exists()


def test_what_cannot_be_had_is_tried_a_few_times_and_keeps_nobody_waiting_for_ever(home: Home) -> None:
    file = pending_packages(home, '{"packages": {"bad": "1.0", "good": "1.0"}, "tries": 0}')
    home.uv('case "$*" in *bad*) exit 1;; esac')
    home.prepare()
    assert "bad" in home.events[-1][1] and "good" not in file.read_text("utf-8")
    for _next_start in range(environment.PACKAGE_TRIES):
        home.prepare()
    assert not file.exists() and home.works()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"packages": 1, "tries": 0}', '{"packages": {}, "tries": "x"}'])
def test_wishes_that_cannot_be_understood_stop_nothing(home: Home, text: str) -> None:
    pending_packages(home, text)
    assert home.prepare() == "made" and home.works()
