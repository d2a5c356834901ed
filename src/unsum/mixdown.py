"""From a scene to its mix: every track through its equaliser, filters, delay and place, summed and written.

Equalisers run as recursive filters. All else is one matrix of filters for each track: a free-hand filter, the part of
a sample of its delay, pan and gain, and the response of its reverb. So a scene is a model, and is rendered as one.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unsum.dsp.equaliser import band_sections
from unsum.dsp.transforms import fast_length, irfft, rfft
from unsum.errors import UsageError
from unsum.media.encode import OutputAudio
from unsum.media.probe import parse_address
from unsum.media.remux import reserve_output
from unsum.media.source import open_source
from unsum.media.stems import StemWriter
from unsum.media.stored import DoesNotFit, as_stored
from unsum.model import Contribution, MixModel, TimeWarp
from unsum.problem import AudioSource, PassedOn, ResampledSource, as_float
from unsum.progress import Progress
from unsum.removal import images_beside
from unsum.rendering import Rendering, Silence, rendered
from unsum.scene import Reverb, Scene, SceneTrack, check_band

# Half the length of the filter for a part of a sample: flat to 0.49 of the sample rate within -120 dB.
_FRACTION_REACH = 256
_FRACTION_BETA = 12.0
_NO_FRACTION = 1e-9
# Below the last bit of 24, whatever was played.
_RUNG_OUT_DB, _LONGEST_RINGING_SECONDS = 180.0, 10.0
_CENTRE = math.radians(45)


@dataclass(frozen=True, slots=True)
class EqualisedSource(PassedOn):
    """A source behind a chain of recursive filters, in floating point, until they have rung out.

    Parameters
    ----------
    sections : (sections, 6), as `scipy.signal.sosfilt` takes them
    """

    source: AudioSource
    sections: NDArray[np.float64]

    @property
    def bits(self) -> None:
        return None

    @property
    def samples(self) -> int | None:
        known = self.source.samples
        return None if known is None else known + self._ringing()

    def blocks(self) -> Iterator[NDArray[Any]]:
        from scipy.signal import sosfilt

        state = np.zeros((len(self.sections), len(self.channels), 2))
        silence = np.zeros((len(self.channels), self._ringing()))
        for block in chain((as_float(block, self.source.bits) for block in self.source.blocks()), [silence]):
            values, state = sosfilt(self.sections, block, axis=1, zi=state)
            yield np.asarray(values)

    def _ringing(self) -> int:
        """Samples in which the slowest pole falls by `_RUNG_OUT_DB`."""
        slowest = max(float(np.max(np.abs(np.roots(section[3:])), initial=0.0)) for section in self.sections)
        if slowest <= 0:
            return 0
        seconds_at_most = round(_LONGEST_RINGING_SECONDS * self.sample_rate)
        return min(math.ceil(_RUNG_OUT_DB / (-20 * math.log10(slowest))), seconds_at_most)


def open_tracks(scene: Scene) -> tuple[list[AudioSource], int]:
    """The sources of a scene at its sample rate, before any filter, and that rate.

    Raises
    ------
    InputError
        If a file cannot be read.
    """
    opened = [open_source(str(track.file), name=track.name) for track in scene.tracks]
    rate = scene.sample_rate or opened[0].sample_rate
    return [one if one.sample_rate == rate else ResampledSource(one, rate) for one in opened], rate


def mix_model(scene: Scene, sources: Sequence[AudioSource], sample_rate: int) -> MixModel:
    """What a scene does to its tracks beside their equalisers.

    Raises
    ------
    InputError
        If the file of a filter or a reverb cannot be read.
    UsageError
        If channels do not fit.
    """
    parts = {}
    for track, source in zip(scene.tracks, sources, strict=True):
        for n, band in enumerate(track.eq):
            check_band(band, sample_rate, f"track {track.name}, band {n + 1}")
        parts[track.name] = _contribution(scene, track, source.channels, sample_rate)
    return MixModel(sample_rate, scene.channels, parts)


def _contribution(scene: Scene, track: SceneTrack, channels: tuple[str, ...], rate: int) -> Contribution:
    delay_samples = track.delay_seconds * rate
    whole = round(delay_samples) if abs(delay_samples - round(delay_samples)) < _NO_FRACTION * rate else None
    at = math.floor(delay_samples) if whole is None else whole
    common, first_lag = np.ones(1), 0
    if whole is None:
        common, first_lag = _later(delay_samples - at), -_FRACTION_REACH
    if track.fir:
        taps = np.array(track.fir) if isinstance(track.fir, tuple) else _response(track.fir, rate)
        if taps.ndim == 2 and len(taps) > 1:
            raise UsageError(f"track {track.name}: {track.fir} has {len(taps)} channels; a filter has one")
        common = _convolved(common, taps.reshape(-1))
    routes = track.polarity * 10 ** (track.gain_db / 20) * _routes(scene, track, channels)
    filters = routes[:, :, None] * common
    if track.reverb is not None:
        wet = _wet(track.reverb, routes, track.name, rate)
        wet = np.array([[_convolved(common, path) for path in row] for row in wet])
        longer = np.zeros((*wet.shape[:2], max(wet.shape[2], filters.shape[2])))
        longer[..., : filters.shape[2]] = filters
        longer[..., : wet.shape[2]] += wet
        filters = longer
    return Contribution(True, TimeWarp(at / rate), filters, first_lag)


def _later(part: float) -> NDArray[np.float64]:
    """Taps that delay by a part of a sample, the middle one at lag 0."""
    lags = np.arange(-_FRACTION_REACH, _FRACTION_REACH + 1)
    window = np.i0(_FRACTION_BETA * np.sqrt(np.maximum(1 - ((lags - part) / (_FRACTION_REACH + 1)) ** 2, 0.0)))
    return np.sinc(lags - part) * window / np.i0(_FRACTION_BETA)


def _routes(scene: Scene, track: SceneTrack, channels: tuple[str, ...]) -> NDArray[np.float64]:
    """Gains (mixture channels, track channels) of pan, balance or direct ways."""
    routes = np.zeros((len(scene.channels), len(channels)))
    pan = math.radians(track.pan_degrees)
    sides = {"FL": math.cos(pan), "FR": math.sin(pan)}
    if len(channels) == 1:
        ways = dict.fromkeys(track.to, 1.0)
        if not ways:
            ways = sides if set(sides) <= set(scene.channels) else {scene.channels[0]: 1.0}
        for channel, gain in ways.items():
            routes[scene.channels.index(channel), 0] = gain
        return routes
    if track.to:
        raise UsageError(f"track {track.name} has {len(channels)} channels, which go where their names say: no 'to'")
    if len(scene.channels) == 1:
        return np.full(routes.shape, 1 / len(channels))
    missing = [channel for channel in channels if channel not in scene.channels]
    if missing:
        raise UsageError(
            f"track {track.name} has the channels {', '.join(channels)}, the mix {', '.join(scene.channels)}; "
            'name some of them, as in file = "NAME#a:0[FL,FR]"'
        )
    for d, channel in enumerate(channels):
        balance = sides[channel] / math.cos(_CENTRE) if channel in sides else 1.0
        routes[scene.channels.index(channel), d] = balance
    return routes


def _wet(reverb: Reverb, routes: NDArray[np.float64], name: str, rate: int) -> NDArray[np.float64]:
    """Responses (mixture channels, track channels, taps) of a send."""
    response = _response(reverb.file, rate)
    n_channels, n_columns = routes.shape
    if len(response) == 1:
        paths = routes[:, :, None] * response[0]
    elif len(response) == n_channels:
        paths = routes[:, :, None] * response[:, None]
    elif len(response) == n_channels * n_columns:
        # Every path has a response of its own, so the pan is in them; what is left of it is its size.
        size = np.sqrt(np.sum(routes**2, axis=0))
        paths = size[:, None] * np.swapaxes(response.reshape(n_columns, n_channels, -1), 0, 1)
    else:
        raise UsageError(
            f"track {name}: {reverb.file.name} has {len(response)} channels; a reverb has 1, one for each of the "
            f"{n_channels} channels of the mix, or {n_channels * n_columns}"
        )
    later = round(reverb.pre_delay_seconds * rate)
    return 10 ** (reverb.send_db / 20) * np.pad(paths, ((0, 0), (0, 0), (later, 0)))


def _response(path: Path, rate: int) -> NDArray[np.float64]:
    """The samples (channels, taps) of a file at another rate where it has one."""
    source: AudioSource = open_source(str(path))
    if source.sample_rate != rate:
        source = ResampledSource(source, rate)
    blocks = [as_float(block, source.bits) for block in source.blocks()]
    if not blocks:
        raise UsageError(f"{path} holds no samples; name a response that has some")
    return np.concatenate(blocks, axis=1)


def _convolved(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    if len(one) == 1:
        return one[0] * other
    length = len(one) + len(other) - 1
    n_fft = fast_length(length)
    return irfft(rfft(one, n_fft) * rfft(other, n_fft), n_fft)[:length]


def equalised(scene: Scene, sources: Sequence[AudioSource]) -> list[AudioSource]:
    """The tracks behind their equalisers."""
    found: list[AudioSource] = []
    for track, source in zip(scene.tracks, sources, strict=True):
        sections = [
            band_sections(
                band.type,
                frequency_hz=band.frequency_hz,
                sample_rate=source.sample_rate,
                gain_db=band.gain_db,
                q=band.q,
                order=band.order,
            )
            for band in track.eq
        ]
        found.append(EqualisedSource(source, np.concatenate(sections)) if sections else source)
    return found


def write_mixdown(
    scene: Scene,
    *,
    output: Path,
    images: bool = False,
    inputs: Sequence[Path] = (),
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Rendering:
    """Mix a scene and write it, and each track alone where asked for.

    Raises
    ------
    UsageError
        If the mix is louder than full scale and its word length holds no more.
    InputError, OutputExistsError, OutputError
        As they say; nothing is left half written.
    """
    sources, rate = open_tracks(scene)
    model = mix_model(scene, sources, rate)
    sounding = equalised(scene, sources)
    samples = _length(scene, sounding, model, rate)
    bits = scene.bits if isinstance(scene.bits, int) else None
    if bits is None and output.suffix.lower() == ".flac":
        raise UsageError(f"FLAC holds no floating point, which bits = '{scene.bits}' asks for; write .wav")
    stored = bits or (64 if scene.bits == "double" else 32)
    audio = OutputAudio(output.stem, scene.channels, rate, bits, stored)
    paths = images_beside(output, model.present) if images else {}
    files = {track.name: track.file for track in scene.tracks}
    peak = _write(
        sounding,
        model,
        samples,
        audio,
        output,
        paths,
        inputs=[*inputs, *files_read(scene)],
        overwrite=overwrite,
        progress=progress,
    )
    return Rendering(output, paths, files, (), None, audio, False, samples, peak)


def files_read(scene: Scene) -> tuple[Path, ...]:
    """The files that a scene is made of: of its tracks, filters and reverbs, without the stream that is meant."""
    named: list[Path] = []
    for track in scene.tracks:
        named.append(track.file)
        named += [track.fir] if isinstance(track.fir, Path) else []
        named += [track.reverb.file] if track.reverb is not None else []
    return tuple(parse_address(path).path for path in named)


def _length(scene: Scene, sources: Sequence[AudioSource], model: MixModel, rate: int) -> int:
    if scene.seconds is not None:
        return max(1, round(scene.seconds * rate))
    ends = [1]
    for source in sources:
        part = model.contributions[source.name]
        delay = part.warp.whole_samples(rate)
        assert delay is not None
        counted = sum(block.shape[1] for block in source.blocks())
        ends.append(delay + part.first_lag + counted + part.n_taps - 1)
    return max(ends)


def _write(
    sources: Sequence[AudioSource],
    model: MixModel,
    samples: int,
    audio: OutputAudio,
    output: Path,
    images: Mapping[str, Path],
    *,
    inputs: Sequence[Path],
    overwrite: bool,
    progress: Progress | None,
) -> float:
    """Write the sum and the images in one pass; the peak of the sum."""
    partials: list[Path] = []
    peak = 0.0
    canvas = Silence(output.stem, model.sample_rate, model.mixture_channels, samples)
    try:
        for path in (output, *images.values()):
            partials.append(reserve_output(path, overwrite=overwrite, inputs=inputs))
        with ExitStack() as stack:
            mix, *alone = (
                stack.enter_context(StemWriter([path], partials=[partial], audio=[how], expected_samples=samples))
                for path, partial, how in zip(
                    (output, *images.values()),
                    partials,
                    (audio, *(replace(audio, title=name, bits=None, stored_bits=32) for name in images)),
                    strict=True,
                )
            )
            for block in rendered(canvas, sources, model, samples=samples, progress=progress):
                peak = max(peak, float(np.abs(block.total).max(initial=0.0)))
                mix.write(0, as_stored(block.total, None, audio)[0])
                for name, writer in zip(images, alone, strict=True):
                    writer.write(0, block.images[name].astype(np.float32))
            for each in (mix, *alone):
                each.complete()
            for each in (mix, *alone):
                each.publish()
    except DoesNotFit:
        raise UsageError(
            f"the mix goes {20 * math.log10(peak):.1f} dB beyond full scale, and {audio.bits} bit holds no more; lower "
            'the gains, or write bits = "float"'
        ) from None
    finally:
        for partial in partials:
            partial.unlink(missing_ok=True)
    return peak
