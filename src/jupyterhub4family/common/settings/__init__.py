"""Any identity: the settings: what keys there are, what the file says, and what counts now."""
