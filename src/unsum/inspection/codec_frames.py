"""Does the sound still show the frames of an encoder that it went through?

A lossy encoder cuts the sound into frames, transforms each, and rounds most of the high coefficients to zero. Whoever
repeats its transform on the decoded sound finds these zeros again where his frames begin at the same samples, and
nowhere else: one sample to either side they are gone [1]_ [2]_. So the mean logarithm of the coefficients' power, as
a function of where the frames begin, has a dip one sample wide. No instrument, room, filter or converter makes one.

The dip is looked for in some passages and proven on others, and it has to be deeper than with a transform that is
slightly wrong: a sound that repeats itself in step with the frames dips in both. It is lost when the sound is
resampled, warped or cut often, or when louder sounds are added; so frames prove an encoder, but none prove nothing.
Opus leaves no zeros.

References
----------
.. [1] Herre and Schug, "Analysis of decompressed audio: the inverse decoder", AES 109th convention, 2000.
.. [2] Yang, Qu and Huang, "Detecting digital audio forgeries by checking frame offsets", ACM MM&Sec, 2008.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from unsum.inspection.codec_transforms import EncoderTransform, encoder_transforms

# Passages begin at multiples of this.
_PASSAGE_EVERY = 8192
_NEIGHBOURS = (-8, -7, -6, -5, -4, -3, 3, 4, 5, 6, 7, 8)
_REACH = 8
# A dip is measured against what lies this far to either side of it.
_CONTROLS = 40
_BEFORE = _CONTROLS + _REACH
_PASSAGE_SAMPLES = 2 * _BEFORE + 2048 + 4096
_MOST_PASSAGES = 128
_SEARCHED, _PROVEN = 8, 24
_FEWEST_PASSAGES = 8
_LOWEST_HZ, _HIGHEST_HZ, _HIGHEST_SHARE = 2000.0, 16000.0, 0.9
# Rounding to 16 bit, in squared steps: below it nothing is known of a coefficient.
_ROUNDING = 1 / 12
_FULL_SCALE = 32768.0
_AT_ONCE = 128

# 76 lossless files reach 3, on passages that nothing was chosen on; decoded ones 11 to 200.
SURE = 8.0
_LEAST_DIP = 0.03
_DEEPER_THAN_DECOY = 1.8


@dataclass(frozen=True, slots=True)
class CodecFrames:
    """Frames of an encoder, found in samples that are lossless now.

    Attributes
    ----------
    codec : by FFmpeg's name
    frame_samples : from one frame to the next
    first_frame : where frames begin, 0..frame_samples - 1 samples after the stream's first sample; a frame's
        transform reaches over two frames
    dip : how much lower the mean log2 power of the coefficients is there than beside
    distinctness : the dip over its scatter at other places, on passages it was not looked for in
    """

    codec: str
    frame_samples: int
    first_frame: int
    dip: float
    distinctness: float

    @property
    def sure(self) -> bool:
        """Whether they are beyond doubt."""
        return self.distinctness >= SURE and self.dip >= _LEAST_DIP


class FrameMeter:
    """Keeps short passages from all over a stream and looks for frames in them at its end.

    Parameters
    ----------
    sample_rate : Hz
    full_scale : of the samples
    """

    def __init__(self, *, sample_rate: int, full_scale: float) -> None:
        self.sample_rate = sample_rate
        self._scale = np.float32(_FULL_SCALE / full_scale)
        self._every = _PASSAGE_EVERY
        self._passages: dict[int, NDArray[np.float32]] = {}

    def observe(self, start: int, rows: NDArray, missing: Sequence[tuple[int, int]] = ()) -> None:
        """Take a block, (channels, samples) from ``start`` on; ``missing`` are ranges of it that hold no sound."""
        length = rows.shape[1]
        for at in range(-(-start // self._every) * self._every, start + length - _PASSAGE_SAMPLES + 1, self._every):
            begin = at - start
            if any(a < begin + _PASSAGE_SAMPLES and b > begin for a, b in missing):
                continue
            passage = self._loudest(rows[:, begin : begin + _PASSAGE_SAMPLES])
            if passage is not None:
                self._passages[at] = passage
        while len(self._passages) > _MOST_PASSAGES:
            self._every *= 2
            self._passages = {at: kept for at, kept in self._passages.items() if at % self._every == 0}

    def _loudest(self, rows: NDArray) -> NDArray[np.float32] | None:
        """Of the two channels with most in the treble the louder one, and their difference.

        A coefficient that is zero in both channels is zero in either; coded as sum and difference, the latter has
        most of the zeros.
        """
        treble = np.sum(np.diff(rows.astype(np.float32), axis=1) ** 2, axis=1)
        if not treble.any():
            return None
        chosen = sorted(np.argsort(treble)[-2:])
        passage = rows[[row for row in chosen if treble[row]]].astype(np.float32) * self._scale
        if len(passage) == 1 or np.array_equal(*passage):
            return passage[:1]
        louder = passage[int(treble[chosen].argmax())]
        return np.stack([louder, np.float32(np.sqrt(0.5)) * (passage[0] - passage[1])])

    def frames(self, *, first_sample: int, edge_hz: float | None) -> CodecFrames | None:
        """The encoder whose frames show most clearly; None where none does beyond doubt.

        Parameters
        ----------
        first_sample : of the stream, on the time line of the blocks
        edge_hz : where the spectrum breaks off; nothing is looked for above it
        """
        if len(self._passages) < _FEWEST_PASSAGES:
            return None
        by_treble = sorted(self._passages.items(), key=lambda kept: -float(np.sum(np.diff(kept[1]) ** 2)))
        chosen = [_Passage(at + _BEFORE - first_sample, samples) for at, samples in by_treble[: _SEARCHED + _PROVEN]]
        step = max(2, len(chosen) // _SEARCHED)
        searched = chosen[::step]
        proven = [passage for n, passage in enumerate(chosen) if n % step]
        highest = min(edge_hz or np.inf, _HIGHEST_HZ, _HIGHEST_SHARE * self.sample_rate / 2)
        if highest < 2 * _LOWEST_HZ:
            return None
        band = (_LOWEST_HZ / (self.sample_rate / 2), highest / (self.sample_rate / 2))
        found = [_prove(each, _search(each, searched, band), proven, band) for each in encoder_transforms()]
        best = max((frames for frames in found if frames.sure), key=lambda frames: frames.dip, default=None)
        if best is None:
            return None
        # Windows resemble each other: which one it was shows where the frames begin at the same sample.
        rivals = [each for each in encoder_transforms() if each.hop == best.frame_samples]
        proofs = [(_prove(each, best.first_frame, proven, band), each) for each in rivals]
        frames, transform = max(proofs, key=lambda proof: proof[0].dip)
        decoys = [replace(transform, coefficients=decoy) for decoy in transform.decoys]
        misled = max(_prove(decoy, best.first_frame, proven, band).dip for decoy in decoys)
        return frames if frames.dip >= _DEEPER_THAN_DECOY * misled else None


@dataclass(frozen=True, slots=True)
class _Passage:
    """Samples (rows, samples), with ``_BEFORE`` of them before sample ``start`` of the stream."""

    start: int
    samples: NDArray[np.float32]


def _lines(transform: EncoderTransform, band: tuple[float, float]) -> slice:
    return slice(int(band[0] * transform.hop), int(band[1] * transform.hop))


def _search(transform: EncoderTransform, passages: Sequence[_Passage], band: tuple[float, float]) -> int:
    """Where frames of one kind most likely begin, 0..hop - 1 samples after the first of the stream."""
    hop = transform.hop
    found = np.zeros(hop)
    for passage in passages:
        dips = _dips(_log_power(transform, passage, np.arange(-_REACH, hop + _REACH), _lines(transform, band)))
        found += np.roll(dips, passage.start % hop)
    return int(found.argmax())


def _prove(
    transform: EncoderTransform, first_frame: int, passages: Sequence[_Passage], band: tuple[float, float]
) -> CodecFrames:
    """How clearly frames begin there."""
    around = np.arange(-_CONTROLS - _REACH, _CONTROLS + _REACH + 1)
    dips = np.mean(
        [
            _dips(_log_power(transform, p, (first_frame - p.start) % transform.hop + around, _lines(transform, band)))
            for p in passages
        ],
        axis=0,
    )
    dip = float(dips[_CONTROLS])
    beside = np.delete(dips, np.arange(_CONTROLS - 1, _CONTROLS + 2))
    scatter = 1.4826 * float(np.median(np.abs(beside - np.median(beside))))
    return CodecFrames(transform.codec, transform.hop, first_frame, dip, dip / max(scatter, 1e-9))


def _log_power(
    transform: EncoderTransform, passage: _Passage, starts: NDArray[np.intp], lines: slice
) -> NDArray[np.float64]:
    """Mean log2 power of the coefficients of frames that begin at each of ``starts`` of a passage, (starts,)."""
    windows = sliding_window_view(passage.samples, transform.support, axis=1)[:, starts[0] + _BEFORE :]
    out = np.zeros(len(starts))
    for row in windows:
        for first in range(0, len(starts), _AT_ONCE):
            last = min(first + _AT_ONCE, len(starts))
            coefficients = transform.coefficients(row[first:last])[:, lines]
            power = coefficients * coefficients + np.float32(_ROUNDING)
            # One logarithm for two coefficients: their product is far from the end of the range.
            half = power.shape[1] // 2
            out[first:last] += 0.5 * np.log2(power[:, :half] * power[:, half : 2 * half]).mean(axis=1)
    return out / len(windows)


def _dips(levels: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far each level lies below its neighbours; the outermost have none."""
    inner = len(levels) - 2 * _REACH
    beside = np.stack([levels[_REACH + k : _REACH + k + inner] for k in _NEIGHBOURS])
    return np.median(beside, axis=0) - levels[_REACH : _REACH + inner]
