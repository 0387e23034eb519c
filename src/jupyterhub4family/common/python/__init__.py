"""Any identity: how venvs are made and packages fetched."""
