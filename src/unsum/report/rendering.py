"""A rendering in words for a terminal, and as JSON for scripts."""

import json
import math
import textwrap

from unsum.recovery.outputs import stored_as
from unsum.rendering import Rendering
from unsum.timecode import clock_time

WIDTH = 79


def rendering_text(rendering: Rendering) -> str:
    """What was written, of which sounds."""
    audio = rendering.audio
    level = "silent" if rendering.peak == 0 else f"peak {_peak_db(rendering):.1f} dBFS"
    length = clock_time(rendering.samples / audio.sample_rate)
    head = f"{rendering.output.name}: {stored_as(audio, rendering.output)}, {length}, {level}"
    if rendering.exact:
        head += "; in integers"
    lines = _wrapped(head)
    for name, file in rendering.sounds.items():
        heard = f"{file.name} in the place of {name}" if name in rendering.replaced else name
        lines += _wrapped(f"  {heard}")
    if rendering.onto is not None:
        lines += _wrapped(f"  added to {rendering.onto.name}")
    for remark in rendering.remarks:
        lines += _wrapped(f"note: {remark}")
    lines += [f"image of {name}: {path.name}" for name, path in rendering.images.items()]
    return "\n".join(lines)


def rendering_json(rendering: Rendering) -> str:
    """One object for a whole call."""
    audio = rendering.audio
    return json.dumps(
        {
            "output": str(rendering.output),
            "onto": None if rendering.onto is None else str(rendering.onto),
            "images": {name: str(path) for name, path in rendering.images.items()},
            "references": [
                {"reference": name, "file": str(path), "replaced": name in rendering.replaced}
                for name, path in rendering.sounds.items()
            ],
            "exact": rendering.exact,
            "sample_rate": audio.sample_rate,
            "channels": list(audio.channels),
            "samples": rendering.samples,
            "bits": audio.bits,
            "stored_as": stored_as(audio, rendering.output),
            "peak_dbfs": None if rendering.peak == 0 else _peak_db(rendering),
            "remarks": list(rendering.remarks),
        },
        indent=1,
        ensure_ascii=False,
    )


def _peak_db(rendering: Rendering) -> float:
    return 20 * math.log10(rendering.peak)


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent="    ", break_on_hyphens=False)
