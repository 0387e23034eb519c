"""Any identity: what crosses a door."""
