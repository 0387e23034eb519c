"""For `make install` and tools/docs: what follows from the command's parser and the description of the settings."""
