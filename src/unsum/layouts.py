"""Channel layouts: the names of the loudspeakers a stream's channels belong to.

Names and orders are FFmpeg's (libavutil/channel_layout.h), which recorders and
Matroska, FLAC and WAV files share. Channels of a stream are always given as a
tuple of names, in the order they are stored.
"""

import difflib
import re

from unsum.errors import UsageError

LAYOUTS: dict[str, tuple[str, ...]] = {
    name: tuple(channels.split())
    for name, channels in {
        "mono": "FC",
        "stereo": "FL FR",
        "2.1": "FL FR LFE",
        "3.0": "FL FR FC",
        "3.0(back)": "FL FR BC",
        "4.0": "FL FR FC BC",
        "quad": "FL FR BL BR",
        "quad(side)": "FL FR SL SR",
        "3.1": "FL FR FC LFE",
        "5.0": "FL FR FC BL BR",
        "5.0(side)": "FL FR FC SL SR",
        "4.1": "FL FR FC LFE BC",
        "5.1": "FL FR FC LFE BL BR",
        "5.1(side)": "FL FR FC LFE SL SR",
        "6.0": "FL FR FC BC SL SR",
        "6.1": "FL FR FC LFE BC SL SR",
        "7.0": "FL FR FC BL BR SL SR",
        "7.1": "FL FR FC LFE BL BR SL SR",
    }.items()
}
_NAMES = {channels: name for name, channels in LAYOUTS.items()}


def layout_channels(name: str) -> tuple[str, ...]:
    """Channel names of a layout: ``"5.1"``, or a list such as ``"FL+FR+LFE"``.

    Raises
    ------
    UsageError
        If no layout has this name.
    """
    if name in LAYOUTS:
        return LAYOUTS[name]
    channels = tuple(name.split("+"))
    # Any channel that a file may have: FLC, TFL, SL, or C0 where it names none.
    named = all(re.fullmatch(r"[A-Z]{1,4}\d{0,2}", channel) for channel in channels)
    if len(channels) > 1 and named and len(set(channels)) == len(channels):
        return channels
    near = difflib.get_close_matches(name, LAYOUTS, n=1)
    hint = f"did you mean '{near[0]}'?" if near else "known: " + ", ".join(LAYOUTS)
    raise UsageError(f"unknown layout '{name}'; {hint}")


def layout_name(channels: tuple[str, ...]) -> str:
    """The layout with exactly these channels, or their names joined by ``+``."""
    return _NAMES.get(channels, "+".join(channels))
