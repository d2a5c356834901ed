"""How long work tells how far it is, and how it is stopped."""

from collections.abc import Callable

# Called with (done, total, what) now and then; what it raises, such as `Cancelled`, stops the work.
Progress = Callable[[float, float, str], None]
