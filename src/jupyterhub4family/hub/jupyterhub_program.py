"""Runs inside JupyterHub's process, as `jupyterhub`: what `run-hub` executes with the release's Python.

    python jupyterhub_program.py RELEASE/venv/bin/jupyterhub -f CONFIGURATION

Everything it does is in lean_start.py, where tests can reach it.
"""

import sys

# Not the folder of this file, where modules of ours have the names of others'.
sys.path[0] = "/usr/lib/jupyterhub4family"

from jupyterhub4family.hub import lean_start  # noqa: E402 (found by the line above)

if __name__ == "__main__":
    sys.exit(lean_start.main())
