"""Any identity: words that all rooms share. Standard library and Debian's yaml only."""
