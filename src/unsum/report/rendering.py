"""A rendering in words for a terminal, and as JSON for scripts."""

import json
import math

from unsum.recovery.outputs import stored_as
from unsum.rendering import Rendering
from unsum.report.lines import harmless, wrapped
from unsum.timecode import clock_time


def rendering_text(rendering: Rendering) -> str:
    """What was written, of which sounds."""
    audio = rendering.audio
    level = "silent" if rendering.peak == 0 else f"peak {_peak_db(rendering):.1f} dBFS"
    length = clock_time(rendering.samples / audio.sample_rate)
    head = f"{rendering.output.name}: {stored_as(audio, rendering.output)}, {length}, {level}"
    if rendering.exact:
        head += "; in integers"
    lines = wrapped(head, rest="    ")
    for name, file in rendering.sounds.items():
        heard = f"{file.name} in the place of {name}" if name in rendering.replaced else name
        lines += wrapped(heard, first="  ", rest="    ")
    if rendering.onto is not None:
        lines += wrapped(f"added to {rendering.onto.name}", first="  ", rest="    ")
    for remark in rendering.remarks:
        lines += wrapped(f"note: {remark}", rest="    ")
    lines += [harmless(f"image of {name}: {path.name}") for name, path in rendering.images.items()]
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
