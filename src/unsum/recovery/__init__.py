"""Untangling the streams of a recording, from the file to the file."""
