"""Runs as the member, when one of their kernels starts: JupyterLab's debugger lets in nobody else (ADR 17).

IPython runs each file of this folder. What is defined here is not seen in notebooks. Nothing is loaded before somebody
switches the debugger on: that would cost each kernel a tenth of a second.
"""


def _for_its_owner_only():
    import functools
    import os
    import sys

    directory = os.path.join(sys.prefix, "etc", "ipython", "debugger")
    debugpy = sys.modules.get("debugpy")
    if debugpy is None:
        return  # ipykernel has loaded it, if there is one
    listen = debugpy.listen

    @functools.wraps(listen)
    def owned_listen(*args, **options):
        import importlib.util

        spec = importlib.util.spec_from_file_location("owner_only", os.path.join(directory, "owner_only.py"))
        owner_only = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(owner_only)
        owner_only.install()
        debugpy.configure(python=os.path.join(directory, "adapter"))
        return listen(*args, **options)

    debugpy.listen = owned_listen


_for_its_owner_only()
del _for_its_owner_only
