"""What every job is called with: paths, and a callback that is told how far it is."""

from collections.abc import Callable
from os import PathLike

Progress = Callable[[float, float, str], None]
PathArgument = str | PathLike[str]
