"""For developers: writes what follows from the command's parser and from the description of the settings."""
