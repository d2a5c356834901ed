"""What one can do today with a recording and what played in it: the peers of ``unsum remove``.

Each takes a mixture (channels, samples) and references of the same length, already at its sample rate, and gives
what is left, (channels, samples). None of them is told where a reference begins unless it finds that itself.

- plain inversion: turn the reference over, put both at the start, add;
- whole-sample alignment and one gain, as the align tool of Ultimate Vocal Remover does: by cross-correlation, and
  where it is better by its phases alone;
- ffmpeg's ``anlms``, behind the same alignment or none, with the best of several orders and step sizes.
"""

import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

Audio = NDArray[np.float64]

# (order, mu): from short and coarse to long and fine.
ADAPTIVE_SETTINGS = ((32, 0.5), (512, 0.005), (512, 0.05), (512, 0.5), (2048, 0.005), (2048, 0.05), (2048, 0.5))
# The filter's own constant in the denominator is made for sounds of about this level.
_ADAPTIVE_LEVEL = 0.1


@dataclass(frozen=True, slots=True)
class Adapted:
    """What an adaptive filter left, and with which settings."""

    order: int
    mu: float
    aligned: bool
    residual: Audio


def onto_channels(reference: Audio, n_channels: int) -> Audio:
    """A reference with as many channels as the mixture: mono everywhere, several into one as their mean."""
    if len(reference) == n_channels:
        return reference
    if len(reference) == 1:
        return np.repeat(reference, n_channels, axis=0)
    if n_channels == 1:
        return reference.mean(axis=0, keepdims=True)
    raise ValueError(f"no usual way from {len(reference)} channels to {n_channels}")


def shifted(audio: Audio, delay_samples: int, length: int) -> Audio:
    """Later by ``delay_samples``, or earlier where it is negative; silence where there is nothing."""
    out = np.zeros((len(audio), length))
    start, stop = max(0, delay_samples), min(length, audio.shape[1] + delay_samples)
    if start < stop:
        out[:, start:stop] = audio[:, start - delay_samples : stop - delay_samples]
    return out


def plain_inversion(mixture: Audio, references: Sequence[Audio]) -> Audio:
    """Sample 0 on sample 0, gain 1."""
    length = mixture.shape[1]
    return mixture - sum(shifted(onto_channels(one, len(mixture)), 0, length) for one in references)


def correlation_delay(mixture: Audio, reference: Audio, *, phases_only: bool = False) -> int:
    """The whole-sample delay at the highest peak of the cross-correlation of both in mono."""
    heard, played = mixture.mean(axis=0), reference.mean(axis=0)
    n_fft = 1 << (len(heard) + len(played) - 1).bit_length()
    cross = np.fft.rfft(heard, n_fft) * np.conj(np.fft.rfft(played, n_fft))
    if phases_only:
        cross /= np.maximum(np.abs(cross), 1e-12 * np.abs(cross).max(initial=1e-300))
    peak = int(np.argmax(np.abs(np.fft.irfft(cross, n_fft))))
    return peak if peak < len(heard) else peak - n_fft


def align_and_scale(mixture: Audio, references: Sequence[Audio]) -> tuple[Audio, list[int]]:
    """One whole-sample delay and one gain for each reference; what is left, and the delays."""
    best: tuple[float, Audio, list[int]] | None = None
    for phases_only in (False, True):
        delays = [correlation_delay(mixture, one, phases_only=phases_only) for one in references]
        columns = np.stack([column.ravel() for column in _aligned(mixture, references, delays)], axis=1)
        gains = np.linalg.lstsq(columns, mixture.ravel(), rcond=None)[0]
        residual = mixture - (columns @ gains).reshape(mixture.shape)
        energy = float(np.sum(residual**2))
        if best is None or energy < best[0]:
            best = energy, residual, delays
    assert best is not None
    return best[1], best[2]


def _aligned(mixture: Audio, references: Sequence[Audio], delays: Sequence[int]) -> Iterator[Audio]:
    for one, delay in zip(references, delays, strict=True):
        yield shifted(onto_channels(one, len(mixture)), delay, mixture.shape[1])


def adaptive_filter(
    mixture: Audio,
    references: Sequence[Audio],
    delays: Sequence[int],
    *,
    ffmpeg: str,
    sample_rate: int,
    order: int,
    mu: float,
) -> Audio:
    """What ffmpeg's ``anlms`` leaves; several references are taken out one after the other.

    The references come a quarter of the filter early, so that it can also look ahead, and at a level that suits it.
    """
    with tempfile.TemporaryDirectory() as folder:
        inputs, chain, desired = [], [], "[0:a]"
        early = [delay - order // 4 for delay in delays]
        for number, audio in enumerate([mixture, *_aligned(mixture, references, early)]):
            path = Path(folder, f"{number}.wav")
            level = float(np.sqrt(np.mean(audio**2))) if number else 0.0
            soundfile.write(path, audio.T * (_ADAPTIVE_LEVEL / level if level else 1.0), sample_rate, subtype="FLOAT")
            inputs += ["-i", str(path)]
            if number:
                settings = f"order={order}:mu={mu}:out_mode=n"
                chain.append(f"[{number}:a]{desired}anlms={settings}[left{number}]")
                desired = f"[left{number}]"
        told = [ffmpeg, "-nostdin", "-v", "error", *inputs, "-filter_complex", ";".join(chain)]
        told += ["-map", desired, "-c:a", "pcm_f32le", str(Path(folder, "left.wav"))]
        subprocess.run(told, check=True, capture_output=True)
        left = np.asarray(soundfile.read(Path(folder, "left.wav"), always_2d=True)[0].T, float)
    # Cut, or filled up: the filter gives back whole frames.
    return shifted(left, 0, mixture.shape[1])


def best_adaptive_filter(
    mixture: Audio,
    references: Sequence[Audio],
    delays: Sequence[int],
    *,
    ffmpeg: str,
    sample_rate: int,
    trial: slice,
    score: Callable[[Audio], float],
) -> Adapted:
    """The best of `ADAPTIVE_SETTINGS` on a part of the mixture, then let loose on all of it.

    The references are aligned first, or left to the filter where it is long enough for that, whichever is better.

    Parameters
    ----------
    trial : samples of the mixture on which the settings are compared
    score : of what is left of the trial; greater is better
    """
    best: tuple[float, int, float, list[int]] | None = None
    longest = max(order for order, _ in ADAPTIVE_SETTINGS)
    within_reach = any(delays) and all(0 <= delay < longest for delay in delays)
    for used in [list(delays), [0] * len(delays)] if within_reach else [list(delays)]:
        # The references of the trial begin where it does: only the filter's own delay is left to be learnt.
        excerpts = [aligned[:, trial] for aligned in _aligned(mixture, references, used)]
        for order, mu in ADAPTIVE_SETTINGS:
            how = {"ffmpeg": ffmpeg, "sample_rate": sample_rate, "order": order, "mu": mu}
            left = adaptive_filter(mixture[:, trial], excerpts, [0] * len(used), **how)
            reached = score(left) if np.isfinite(left).all() else -np.inf
            if best is None or reached > best[0]:
                best = reached, order, mu, used
    assert best is not None
    _, order, mu, used = best
    left = adaptive_filter(mixture, references, used, ffmpeg=ffmpeg, sample_rate=sample_rate, order=order, mu=mu)
    return Adapted(order, mu, used == list(delays), left)
