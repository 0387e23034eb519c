"""Sphinx builds the pages of this folder: tools/docs."""

import re
import sys
from pathlib import Path

# What tools/manual makes of the source: reference pages of commands and settings.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tools.manual.generated import whole_page

project = "JupyterHub for the family"
copyright = "The maintainers of jupyterhub4family, BSD-3-Clause"
extensions = ["myst_parser"]
myst_heading_anchors = 3
nitpicky = True
html_theme = "furo"
html_title = project
html_show_sphinx = False
html_copy_source = False
html_theme_options = {"top_of_page_buttons": []}
# The lexer for a terminal's words knows sudo, pipes and comments.
highlight_language = "bash"

# A git server shows README.md of a folder and SECURITY.md of a project: so they are written there, and read here.
BESIDE = {
    "index": "README.md",
    "adr/index": "adr/README.md",
    "de/index": "de/README.md",
    "reference/threat-model": "../SECURITY.md",
}
exclude_patterns = ["README.md", "**/README.md"]


def read_beside(app, docname, content):
    """Put the text of README.md (and SECURITY.md) before the page that stands for it, and bend the links to those.

    Commands and settings are told by the source itself; here their lists come into their pages.
    """
    text = content[0]
    if docname in BESIDE:
        file = Path(app.srcdir, BESIDE[docname])
        app.env.note_dependency(str(file), docname=docname)
        text = file.read_text("utf-8") + "\n" + text
    if docname == "reference/threat-model":
        text = text.replace("](docs/", "](/")
    text = re.sub(r"\]\(((?:[\w.-]+/)*)README\.md(?=[)#])", r"](\1index.md", text)
    text = whole_page(docname, text)
    content[0] = re.sub(r"\]\((?:\.\./)+SECURITY\.md(?=[)#])", "](/reference/threat-model.md", text)


def setup(app):
    """What Sphinx calls first."""
    app.connect("source-read", read_beside)
