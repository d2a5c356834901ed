"""What was found, rendered; no arithmetic on audio."""
