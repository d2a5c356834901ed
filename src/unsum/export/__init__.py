"""One file per target program."""
