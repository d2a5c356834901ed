"""Tracks that were sent to one reverberator, and tracks in rooms of their own."""

import math

import numpy as np
import pytest
import scipy.signal
import soundfile

from unsum.describe.sends import SharedReverb, shared_reverb, shared_reverb_words


def reverberation(rng, seconds: float, *, n_taps: int, rate: int, channels: int = 1):
    """Noise (channels, taps) that falls by 60 dB in so many seconds; its first tap has the variance 1."""
    return rng.standard_normal((channels, n_taps)) * 10 ** (-3 * np.arange(n_taps) / (seconds * rate))


def test_sends_to_one_reverberator_are_found(rng):
    rate = 24000
    tail = reverberation(rng, 0.8, n_taps=rate, rate=rate, channels=2)
    other = reverberation(rng, 0.8, n_taps=rate, rate=rate, channels=2)

    def track(reverb, send, delay, dry):
        filters = np.zeros((2, 1, rate))
        filters[:, 0, delay : delay + rate // 2] = send * reverb[:, : rate // 2]
        filters[:, 0, delay // 2] += dry
        return filters + 1e-3 * rng.standard_normal(filters.shape)

    tracks = {
        "voice": track(tail, 1.0, 240, 8.0),
        "drums": track(other, 1.0, 240, 8.0),
        "guitar": track(tail, -0.25, 960, 3.0),
        "dry": track(tail, 0.0, 0, 1.0),
    }
    (found,) = shared_reverb(tracks, sample_rate=rate)
    assert found.names == ("voice", "guitar")
    assert found.correlation[1] < -0.9
    assert found.send_db == pytest.approx((0, 20 * math.log10(0.25)), abs=0.5)
    # Later by 720 samples, after a direct sound that is later by 360.
    assert found.delay_seconds[1] == pytest.approx(360 / rate, abs=1e-4)
    assert all(correlation < -0.8 for hz, correlation in found.octave_correlation.items() if hz > 100)


@pytest.mark.parametrize("rate", [8000, 44100])
@pytest.mark.parametrize("seconds", [0.3, 1.5])
def test_other_rooms_with_the_same_decay_do_not_agree(rng, rate, seconds):
    rooms = {str(k): reverberation(rng, seconds, n_taps=rate, rate=rate)[:, None] for k in range(6)}
    assert shared_reverb(rooms, sample_rate=rate) == ()


def test_measured_reverberations_agree_with_themselves_alone(audio_root, rng):
    tracks = {}
    for name in ("big_hall", "emt140_plate", "elveden_marble_hall"):
        audio, rate = soundfile.read(audio_root / f"ir/{name}.flac", always_2d=True)
        for k, tone in enumerate([[1.0], [0.4, 0.2, 0.1]]):
            taps = np.asarray(scipy.signal.lfilter(tone, [1.0], audio.T[:, :66150]))
            noise = 1e-4 * np.abs(taps).max() * rng.standard_normal(taps.shape)
            tracks[f"{name} {k}"] = (taps + noise)[:, None]
            assert rate == 44100
    found = shared_reverb(tracks, sample_rate=44100)
    assert [group.names for group in found] == [
        (f"{name} 0", f"{name} 1") for name in ("big_hall", "emt140_plate", "elveden_marble_hall")
    ]


def test_a_shared_reverb_in_words():
    shared = SharedReverb(("voice", "guitar"), (1.0, -0.93), {500.0: -0.95}, (0.0, -6.02), (0.0, 0.01))
    assert shared_reverb_words(shared) == (
        "voice, guitar share one reverb: their tails agree to 93 %",
        "guitar is sent 6.0 dB less than voice",
    )
