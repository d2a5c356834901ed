"""What one stream's samples tell of themselves: levels, true word length, silence, full scale."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unsum.inspection.band_holes import HoleMeter
from unsum.inspection.codec_frames import CodecFrames, FrameMeter
from unsum.inspection.findings import ChannelFinding, FullScaleRange, LowPass
from unsum.inspection.lossy import SpectrumMeter
from unsum.inspection.samples import without_infinities
from unsum.media.probe import AudioStream

Missing = tuple[tuple[int, int], ...]

QUIET_DBFS = -90.0  # one step of 16 bits lies just below
RANGES_KEPT = 5
_CHUNK = 1024
_JOIN_SECONDS = 0.1
# Words tried for floating point that may hold integers; 24 bits always fit into the mantissa of float64.
_INTEGER_WORDS = (16, 24)


@dataclass(frozen=True, slots=True)
class StreamMeasures:
    """What the meter found, before what the decoder said is put beside it."""

    samples: int
    true_bits: int | None
    channels: tuple[ChannelFinding, ...]
    full_scale: tuple[FullScaleRange, ...]
    quiet_share: float | None
    not_finite: int
    low_pass: LowPass | None
    hole_share: float | None
    codec_frames: CodecFrames | None


class StreamMeter:
    """Watches the blocks of one stream."""

    def __init__(self, stream: AudioStream) -> None:
        channels = len(stream.channels)
        self.stream = stream
        self.full_scale = 1.0 if stream.bits is None else float(1 << (stream.bits - 1))
        self.first: int | None = None  # where the stream begins on the time line
        self.samples = 0
        self.not_finite = 0
        self._least = np.zeros(channels)
        self._greatest = np.zeros(channels)
        self._energy = np.zeros(channels)
        self._used_bits = np.zeros(channels, np.int64)
        self._words = dict.fromkeys(_INTEGER_WORDS if stream.bits is None and stream.lossless else (), True)
        self._chunks = 0
        self._quiet = np.zeros(channels, np.int64)
        self._all_quiet = 0
        self._full = np.zeros(channels, np.int64)
        self._ranges: list[tuple[int, int, int, NDArray[np.bool_]]] = []
        self._spectrum = SpectrumMeter(sample_rate=stream.sample_rate)
        self._holes = HoleMeter(sample_rate=stream.sample_rate)
        # Of a lossy stream the encoder is known.
        self._frames = (
            FrameMeter(sample_rate=stream.sample_rate, full_scale=self.full_scale) if stream.lossless else None
        )
        # A channel for low frequencies is cut off by design.
        self._broad = [at for at, name in enumerate(stream.channels) if not name.startswith("LFE")]

    def observe(self, start: int, rows: NDArray, missing: Missing) -> NDArray:
        """Take the next block.

        Parameters
        ----------
        start : of the block, on the time line
        rows : (channels, samples), contiguous
        missing : ranges of the block in which the stream has no samples

        Returns
        -------
        rows : the same, with zeros for samples that are no number
        """
        length = rows.shape[1]
        present = length - sum(b - a for a, b in missing)
        if not present:
            return rows
        if self.first is None:
            self.first = start + (missing[0][1] if missing and missing[0][0] == 0 else 0)
        self.samples += present
        rows, no_numbers = without_infinities(rows)
        self.not_finite += no_numbers
        least, greatest = self._extremes(rows, missing)
        self._least = np.minimum(self._least, least)
        self._greatest = np.maximum(self._greatest, greatest)
        sounding = np.flatnonzero((least < 0) | (greatest > 0))
        if not len(sounding):
            return rows
        if len(sounding) < len(rows):
            self._observe_sound(start, rows[sounding], sounding, missing)
        else:
            self._observe_sound(start, rows, sounding, missing)
        # In floating point full scale is 1, not one step below it: that may be passed, and is not.
        limit = self.full_scale - (max(1.0, self.full_scale / 32768) if self.stream.bits else 0.0)
        if greatest.max() >= limit or least.min() <= -self.full_scale:
            self._observe_full_scale(start, rows, limit)
        return rows

    def _extremes(self, rows: NDArray, missing: Missing) -> tuple[NDArray, NDArray]:
        whole = rows.shape[1] // _CHUNK * _CHUNK
        chunks = rows[:, :whole].reshape(len(rows), -1, _CHUNK)
        low, high = chunks.min(axis=2), chunks.max(axis=2)
        there = np.ones(low.shape[1], bool)
        for a, b in missing:
            there[a // _CHUNK : -(-b // _CHUNK)] = False
        threshold = self.full_scale * 10 ** (QUIET_DBFS / 20)
        quiet = ((high <= threshold) & (low >= -threshold))[:, there]
        self._chunks += quiet.shape[1]
        self._quiet += quiet.sum(axis=1)
        self._all_quiet += int(quiet.all(axis=0).sum())
        rest = rows[:, whole:]
        return (
            np.minimum(low.min(axis=1, initial=0), rest.min(axis=1, initial=0)),
            np.maximum(high.max(axis=1, initial=0), rest.max(axis=1, initial=0)),
        )

    def _observe_sound(self, start: int, rows: NDArray, at: NDArray[np.intp], missing: Missing) -> None:
        values = rows.astype(np.float64)
        self._energy[at] += np.einsum("ij,ij->i", values, values)
        if rows.dtype.kind == "i":
            for row, channel in zip(rows, at, strict=True):
                if not self._used_bits[channel] & 1:  # the last bit once seen, there is no more to learn
                    self._used_bits[channel] |= int(np.bitwise_or.reduce(row))
        else:
            for bits, fits in self._words.items():
                if fits:
                    steps = values * (1 << (bits - 1))
                    self._words[bits] = bool((steps == np.rint(steps)).all())
        broad = [row for row, channel in enumerate(at) if channel in self._broad]
        if broad:
            values = values if len(broad) == len(values) else values[broad]
            self._spectrum.observe(values, missing)
            self._holes.observe(values, missing)
            if self._frames is not None:
                self._frames.observe(start, values, missing)

    def _observe_full_scale(self, start: int, rows: NDArray, limit: float) -> None:
        full = (rows >= limit) | (rows <= -self.full_scale)
        self._full += full.sum(axis=1)
        at = np.flatnonzero(full.any(axis=0))
        join = int(_JOIN_SECONDS * self.stream.sample_rate)
        for run in np.split(at, np.flatnonzero(np.diff(at) > join) + 1):
            first, stop = start + int(run[0]), start + int(run[-1]) + 1
            hit = full[:, run]
            count, channels = int(hit.sum()), np.asarray(hit.any(axis=1))
            if self._ranges and first - self._ranges[-1][1] <= join:
                begun, _, before, others = self._ranges[-1]
                self._ranges[-1] = begun, stop, before + count, others | channels
            elif len(self._ranges) <= RANGES_KEPT:  # one more, so that the last one kept is whole
                self._ranges.append((first, stop, count, channels))

    def measures(self) -> StreamMeasures:
        """What all the blocks together say."""
        names, rate, first = self.stream.channels, self.stream.sample_rate, self.first or 0
        ranges = tuple(
            FullScaleRange(
                (start - first) / rate,
                (stop - first) / rate,
                count,
                tuple(name for name, hit in zip(names, channels, strict=True) if hit),
            )
            for start, stop, count, channels in self._ranges[:RANGES_KEPT]
        )
        channels = tuple(self._channel(at) for at in range(len(names)))
        low_pass = self._spectrum.low_pass()
        edge_hz = rate / 2 if low_pass is None else low_pass.cutoff_hz
        known = [channel.true_bits for channel in channels if channel.true_bits is not None]
        return StreamMeasures(
            samples=self.samples,
            true_bits=max(known, default=None),
            channels=channels,
            full_scale=ranges,
            quiet_share=self._all_quiet / self._chunks if self._chunks else None,
            not_finite=self.not_finite,
            low_pass=low_pass,
            hole_share=self._holes.share(edge_hz=edge_hz),
            codec_frames=None if self._frames is None else self._frames.frames(first_sample=first, edge_hz=edge_hz),
        )

    def _channel(self, at: int) -> ChannelFinding:
        peak = max(-float(self._least[at]), float(self._greatest[at])) / self.full_scale
        rms = math.sqrt(float(self._energy[at]) / max(1, self.samples)) / self.full_scale
        return ChannelFinding(
            name=self.stream.channels[at],
            peak_dbfs=20 * math.log10(peak) if peak else None,
            rms_dbfs=20 * math.log10(rms) if rms else None,
            true_bits=self._true_bits(at) if peak else None,
            full_scale_samples=int(self._full[at]),
            quiet_share=float(self._quiet[at] / self._chunks) if self._chunks else None,
        )

    def _true_bits(self, at: int) -> int | None:
        if not self.stream.lossless:
            return None
        if self.stream.bits is None:
            return next((bits for bits, fits in self._words.items() if fits), None)
        used = int(self._used_bits[at])
        return self.stream.bits - ((used & -used).bit_length() - 1)
