"""The commands, a file for each kind of thing they work on."""
