"""Numbers with no more digits than are sure, and where a song stands in stereo, with its error."""

import math
from dataclasses import replace

from unsum.describe.mixer import Mixer, mixer_words
from unsum.describe.pan import CENTRE_DEGREES, EQUAL_POWER
from unsum.describe.timing import Timing, timing_words


def sure_digits(stderr: float | None, most: int) -> int:
    """Digits behind the point, the last of which a standard error leaves standing; not more than ``most``."""
    if stderr is None or not stderr > 0 or not math.isfinite(stderr):
        return most
    return min(max(math.floor(-math.log10(stderr)), 0), most)


def sure_number(value: float, stderr: float | None, most: int, *, sign: str = "") -> str:
    """A number with as many digits as are sure; with its error where not even the last one before the point is.

    Parameters
    ----------
    sign : "+" to have one before positive numbers as well
    """
    digits = sure_digits(stderr, most)
    value = 0.0 if abs(value) < 0.5 * 10.0**-digits else value
    unsure = stderr is not None and math.isfinite(stderr) and stderr > 1
    return f"{value:{sign}.{digits}f}" + (f"±{stderr:.0f}" if unsure else "")


def pan_column(mixer: Mixer) -> str:
    """Degrees from the centre, C for none, for a table."""
    if mixer.pan_degrees is None:
        return "-"
    off, stderr = mixer.pan_degrees - CENTRE_DEGREES, mixer.pan_stderr_degrees
    told = sure_number(abs(off), stderr, 1)
    nothing = float(told.partition("±")[0]) == 0
    return "C" + told.removeprefix("0.0").removeprefix("0") if nothing else f"{'L' if off < 0 else 'R'} {told}"


def strip_words(mixer: Mixer) -> tuple[str, ...]:
    """Gain, polarity, pan and loudness as one would say them, each with its error where one is known."""
    words = list(mixer_words(replace(mixer, pan_degrees=None)))
    if mixer.pan_degrees is not None:
        by_law = "" if mixer.pan_law == EQUAL_POWER else f" by the {mixer.pan_law} law"
        words.insert(len(words) - (mixer.image_db is not None), _pan_words(mixer) + by_law)
    return tuple(words)


def _pan_words(mixer: Mixer) -> str:
    assert mixer.pan_degrees is not None
    off, stderr = mixer.pan_degrees - CENTRE_DEGREES, mixer.pan_stderr_degrees
    digits = 0 if stderr is not None and stderr >= 1 else 1
    size, within = f"{abs(off):.{digits}f}", f" ± {stderr:.2g}" if stderr else ""
    if float(size) == 0:
        return f"in the centre,{within} degrees" if within else "in the centre"
    side = "left" if off < 0 else "right"
    if abs(off) > CENTRE_DEGREES - 0.5 * 10.0**-digits:
        return f"hard {side}"
    return f"{size}{within} degrees {side} of the centre"


def arrival_words(timing: Timing, first_of_many: float | None) -> tuple[str, ...]:
    """Delay and clock; of many paths, which have no one delay, about when the first is heard.

    Parameters
    ----------
    first_of_many : seconds; None where there is one path
    """
    words = timing_words(timing)
    if first_of_many is None:
        return words
    way = "later" if first_of_many >= 0 else "earlier"
    size = f"{abs(first_of_many):.4f} s ({abs(first_of_many) * timing.sample_rate:.0f} samples)"
    return (f"heard along many paths, as in a room, the first about {size} {way} than in the reference", *words[1:])
