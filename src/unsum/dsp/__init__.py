"""Arrays in, arrays out: no files, no logging, no settings objects."""
