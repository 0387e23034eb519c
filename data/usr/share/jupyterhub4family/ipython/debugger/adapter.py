"""Runs as the member, started by a kernel in place of debugpy's adapter: the adapter, for its owner only."""

import runpy
import sys

import owner_only  # from this folder

owner_only.install()
# debugpy.listen() gives the adapter's place in place of a program's name.
sys.argv = sys.argv[1:]
sys.path.pop(0)
runpy.run_module("debugpy.adapter", run_name="__main__", alter_sys=True)
