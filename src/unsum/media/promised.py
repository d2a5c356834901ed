"""How many samples a header promises, to the sample; FFmpeg takes what is there and tells nobody that more was due.

A WAV holds plain numbers, so the size of its data tells how many [1]_ [2]_; a FLAC counts them in STREAMINFO. Other
formats only say how long they last, about.

References
----------
.. [1] IBM and Microsoft, "Multimedia Programming Interface and Data Specifications 1.0", 1991: RIFF and WAVE.
.. [2] ITU-R BS.2088-1, "Long-form file format for the international exchange of audio programme materials with
   metadata", 2019: BW64, which has the form of EBU Tech 3306's RF64.
"""

import struct
from itertools import repeat
from pathlib import Path
from typing import BinaryIO

# {identifier: byte order}
_RIFFS = {b"RIFF": "<", b"RF64": "<", b"BW64": "<", b"RIFX": ">"}
_EXTENSIBLE = 0xFFFE
# Plain integers, floating point, A-law and mu-law: so many bytes for every sample.
_PLAIN = {1, 3, 6, 7}
_TELLS_64_BIT = 0xFFFFFFFF
# What programs write that do not know yet how much will come, as they do into a pipe: nothing, all ones, or the most
# that a signed number holds, which sox rounds to a page.
_UNKNOWN_FROM, _UNKNOWN_TO, _ALL_ONES_FROM = 0x7FFFF000, 0x80000000, 0xFFFFF000
_MOST_CHUNKS = 10_000


def samples_promised_by_wav(path: Path) -> int | None:
    """Samples of a channel that the header of a WAV promises; None where it does not tell, or is none.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    with path.open("rb") as file:
        form, _, kind = struct.unpack("<4sI4s", file.read(12).ljust(12, b"\0"))
        order = _RIFFS.get(form)
        if order is None or kind != b"WAVE":
            return None
        return _promised(file, order)


def _promised(file: BinaryIO, order: str) -> int | None:
    """What the chunks of a WAVE promise, from the first of them on."""
    frame_bytes, long_size = 0, None
    for _ in repeat(None, _MOST_CHUNKS):
        head = file.read(8)
        if len(head) < 8:
            return None
        name, size = struct.unpack(f"{order}4sI", head)
        if name == b"data":
            data_bytes = long_size if size == _TELLS_64_BIT else None if _is_unknown(size) else size
            return data_bytes // frame_bytes if data_bytes and frame_bytes else None
        content = file.read(min(size, 64))
        if name == b"fmt ":
            frame_bytes = _frame_bytes(content, order)
        elif name == b"ds64" and len(content) >= 16:
            (long_size,) = struct.unpack_from(f"{order}Q", content, 8)
        file.seek(size - len(content) + size % 2, 1)  # chunks begin at even places
    return None


def _frame_bytes(content: bytes, order: str) -> int:
    """Bytes of one sample of all channels; 0 where they do not take the same number each."""
    if len(content) < 16:
        return 0
    kind, _, _, _, frame_bytes, _ = struct.unpack_from(f"{order}HHIIHH", content)
    if kind == _EXTENSIBLE and len(content) >= 26:
        (kind,) = struct.unpack_from(f"{order}H", content, 24)
    return frame_bytes if kind in _PLAIN else 0


def _is_unknown(size: int) -> bool:
    return size == 0 or _UNKNOWN_FROM <= size <= _UNKNOWN_TO or size >= _ALL_ONES_FROM


def shortfall_words(promised: int | None, there: int, *, sample_rate: int) -> str | None:
    """How much less there is than a header promises; None where nothing is missing, or nothing was promised."""
    if promised is None or there >= promised:
        return None
    return (
        f"its header promises {promised} samples ({promised / sample_rate:.3f} s), but there are only {there} "
        f"({there / sample_rate:.3f} s)"
    )
