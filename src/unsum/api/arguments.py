"""What every job is called with."""

from os import PathLike

PathArgument = str | PathLike[str]
