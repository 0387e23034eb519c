"""Runs as root: accounts, membership, passwords, maintainer-script steps. Trusts nothing it reads."""
