"""What is in a file, measured: its streams one by one, and against each other."""
