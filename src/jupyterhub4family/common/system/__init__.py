"""Any identity: what the machine is asked and told: accounts, processes, files, programs, addresses."""
