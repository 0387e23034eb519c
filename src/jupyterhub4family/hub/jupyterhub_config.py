"""Runs inside JupyterHub's process, as `jupyterhub`: JupyterHub's configuration file.

JupyterHub executes this file; everything it does is in the modules beside it, where tests can reach it.
"""

import sys

sys.path.insert(0, "/usr/lib/jupyterhub4family")

from jupyterhub4family.hub import configuration

configuration.configure(get_config())  # type: ignore[name-defined]  # noqa: F821 (traitlets puts get_config here)
