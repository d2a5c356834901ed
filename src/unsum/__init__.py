"""unsum takes a mix apart with what you already have.

>>> import unsum
>>> unsum.recover("lecture.mkv", recipe="obs.toml", output="fixed.mkv")  # doctest: +SKIP
"""

from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from unsum.api import align, explain, inspect, null, recover, recover_all, remove, render
    from unsum.errors import UnsumError

__all__ = ["UnsumError", "align", "explain", "inspect", "null", "recover", "recover_all", "remove", "render"]


def __getattr__(name: str):
    # The api pulls in numpy and FFmpeg; `unsum --help` needs neither.
    if name == "UnsumError":
        from unsum.errors import UnsumError

        return UnsumError
    if name in __all__:
        from unsum import api

        return getattr(api, name)
    raise AttributeError(f"module 'unsum' has no attribute '{name}'")
