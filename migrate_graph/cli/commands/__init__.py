"""One file per command: its options, its text and its JSON; a folder is a group of commands."""
