"""Which files are generated, and their texts, in each language; and the generated parts of the handbook."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Before anything of ours is imported: not an installed package, but this one.
sys.path.insert(0, str(ROOT / "src"))

from jupyterhub4family.cli.main import build_parser  # noqa: E402
from jupyterhub4family.common.i18n import messages  # noqa: E402
from tools.manual import completion, handbook, man, reference  # noqa: E402

#: Where they belong, below the root of a machine.
SHARE = Path("usr/share")
DOMAIN = messages.DOMAIN
#: Variables that decide about the language, as gettext knows them.
LANGUAGE_VARIABLES = ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG")
#: The line in a page of the handbook behind which its generated part comes.
MARK = "<!-- tools/docs adds the rest here, from the source. -->\n"


def files() -> dict[Path, str]:
    """Every generated file of an installation with its text."""
    found: dict[Path, str] = {}
    with language("C"):
        parser = build_parser()
        found[SHARE / "jupyterhub4family/config.sample.yaml"] = reference.sample()
        found[SHARE / "man/man1/jupyterhub4family.1"] = man.command_page(parser)
        found[SHARE / "man/man5/jupyterhub4family-config.5"] = man.settings_page()
        completions = SHARE / "bash-completion/completions"
        found[completions / "jupyterhub4family"] = completion.bash(parser)
        found[SHARE / "zsh/vendor-completions/_jupyterhub4family"] = completion.zsh(parser)
        found[SHARE / "fish/vendor_completions.d/jupyterhub4family.fish"] = completion.fish(parser)
        for name in ("jh4f", "jupyterhub-members"):
            found[completions / name] = completion.BASH_OTHER_NAME
            found[SHARE / f"fish/vendor_completions.d/{name}.fish"] = completion.FISH_OTHER_NAME
    with language("de_DE.UTF-8"):
        found[SHARE / "man/de/man1/jupyterhub4family.1"] = man.command_page(build_parser())
        found[SHARE / "man/de/man5/jupyterhub4family-config.5"] = man.settings_page()
    return found


def whole_page(name: str, text: str) -> str:
    """A page of docs/ with its generated part, if it has one; `name` is as Sphinx has it, without .md."""
    makers = {
        "reference/commands": lambda: handbook.commands(build_parser()),
        "reference/configuration": reference.settings,
    }
    if name not in makers:
        return text
    before, _mark, after = text.partition(MARK)
    with language("C"):
        return before + makers[name]() + after


@contextlib.contextmanager
def language(locale: str) -> Iterator[None]:
    """Let the messages be those of `locale`, from the catalogues of this repository."""
    before = {name: os.environ.pop(name, None) for name in LANGUAGE_VARIABLES}
    places = messages.LOCALES
    with tempfile.TemporaryDirectory() as work:
        try:
            os.environ["LC_ALL"] = locale
            messages.LOCALES = Path(work)
            messages.catalogue.cache_clear()
            if locale != "C":
                _compile(Path(work), locale.partition("_")[0])
            yield
        finally:
            messages.LOCALES = places
            messages.catalogue.cache_clear()
            del os.environ["LC_ALL"]
            os.environ.update({name: value for name, value in before.items() if value is not None})


def _compile(directory: Path, code: str) -> None:
    target = directory / code / "LC_MESSAGES"
    target.mkdir(parents=True)
    source = ROOT / "locale" / code / "LC_MESSAGES" / f"{DOMAIN}.po"
    subprocess.run(["/usr/bin/msgfmt", "-o", str(target / f"{DOMAIN}.mo"), str(source)], check=True)
