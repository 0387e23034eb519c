"""The bench: jupyterhub4family beside the stock stack, on the same machine, in one run. Start with `run`."""
