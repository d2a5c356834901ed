"""``python -m unsum``."""

from unsum.cli import main

main()
