"""Runs as the caller, whoever that is: one module per command. Has no rights of its own."""
