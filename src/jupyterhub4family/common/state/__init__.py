"""Any identity: what parts of the service leave for others to read."""
