"""Rooms whose decay is known by construction, measured ones beside their published figures, and what is no room."""

import math

import numpy as np
import pytest
import scipy.signal
import soundfile

from unsum.describe.decay import fit_decay, in_octaves
from unsum.describe.room import Room, describe_room, room_words

RATE = 16000


def reverberation(rng, seconds: float, *, n_taps: int, rate: int = RATE, channels: int = 1):
    """Noise (channels, taps) that falls by 60 dB in so many seconds; its first tap has the variance 1."""
    return rng.standard_normal((channels, n_taps)) * 10 ** (-3 * np.arange(n_taps) / (seconds * rate))


def filtered(coefficients, signal) -> np.ndarray:
    numerator, denominator = coefficients
    return np.asarray(scipy.signal.lfilter(numerator, denominator, signal))


def room(filters, **options) -> Room:
    found = describe_room(filters[:, None], **options)
    assert found is not None
    return found


@pytest.mark.parametrize("seconds", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("floor_db", [-40, -60, -90])
def test_the_decay_of_noise_is_found_whatever_lies_below_it(rng, seconds, floor_db):
    n_taps = round(2 * seconds * RATE)
    errors, deviations = [], []
    for _ in range(3):
        taps = reverberation(rng, seconds, n_taps=n_taps, channels=2)
        taps += 10 ** (floor_db / 20) * rng.standard_normal(taps.shape)
        found = room(taps, sample_rate=RATE)
        assert found.rt60 is not None
        errors.append(found.rt60.seconds / seconds - 1)
        assert found.rt60.lower_db == (-35 if floor_db < -50 else pytest.approx(-25, abs=5))
        known = [octave.rt60 for octave in found.octaves if octave.rt60 is not None]
        deviations += [(slope.seconds - seconds) / slope.stderr_seconds for slope in known]
        assert len(known) >= 6
    # One draw of a room this short differs from its law by up to 1 %.
    assert np.mean(errors) == pytest.approx(0, abs=0.02)
    assert math.sqrt(np.mean(np.square(deviations))) < 1.6
    assert max(map(abs, deviations)) < 4.5


@pytest.mark.parametrize(("evaluated_db", "factor"), [(30, 0.55), (20, 0.88)])
def test_errors_of_decay_times_are_those_of_iso_3382_2(rng, evaluated_db, factor):
    seconds = 1.0
    # As deep as the lower limit calls for: 5 dB more.
    taps = reverberation(rng, seconds, n_taps=round((evaluated_db + 11) / 60 * RATE))
    found = fit_decay(taps[0] ** 2, sample_rate=RATE, independent_hz=RATE / 2)
    assert found is not None
    assert found.late is not None
    assert found.late.lower_db == -5 - evaluated_db
    assert found.late.stderr_seconds == pytest.approx(factor / math.sqrt(RATE / 2), rel=0.05)


def test_stated_errors_are_those_of_repeated_rooms(rng):
    slopes, early = [], []
    for _ in range(100):
        taps = reverberation(rng, 0.5, n_taps=4000, rate=8000) + 0.003 * rng.standard_normal((1, 4000))
        found = fit_decay(taps[0] ** 2, sample_rate=8000, independent_hz=4000)
        assert found is not None
        slopes.append(found.late)
        early.append(found.early)
    for fits in (slopes, early):
        told = np.mean([fit.stderr_seconds for fit in fits])
        assert np.std([fit.seconds for fit in fits]) == pytest.approx(told, rel=0.25)
        assert np.mean([fit.seconds for fit in fits]) == pytest.approx(0.5, rel=0.01)


def test_decaying_tones_have_the_times_they_were_given():
    # A tone in every octave, each with a time of its own: nothing random is left.
    times = {125.0: 2.0, 250.0: 1.7, 500.0: 1.3, 1000.0: 1.0, 2000.0: 0.8, 4000.0: 0.5}
    t = np.arange(3 * RATE) / RATE
    taps = sum(10 ** (-3 * t / seconds) * np.cos(2 * np.pi * hz * t + hz) for hz, seconds in times.items())
    found = room(np.asarray(taps)[None], sample_rate=RATE)
    slopes = {octave.centre_hz: octave.rt60 for octave in found.octaves}
    for hz, seconds in times.items():
        slope = slopes[hz]
        assert slope is not None
        assert slope.seconds == pytest.approx(seconds, rel=0.01)
    assert found.mid_rt60_seconds == pytest.approx(1.15, rel=0.01)


def test_a_response_that_ends_before_its_noise_shows_is_extrapolated(rng):
    # 40 dB of a decay of two seconds, cut.
    taps = reverberation(rng, 2.0, n_taps=round(1.33 * RATE))
    for noise in (None, 1e-9):
        found = room(taps, sample_rate=RATE, noise=noise)
        assert found.rt60 is not None
        assert found.rt60.seconds == pytest.approx(2, rel=0.03)


def test_no_time_is_claimed_where_noise_leaves_no_range(rng):
    taps = reverberation(rng, 1.0, n_taps=2 * RATE)
    hum = np.zeros(taps.shape)
    for hz in (100, 110, 120, 130, 140, 150):
        hum += 0.04 * np.cos(2 * np.pi * hz * np.arange(2 * RATE) / RATE + hz)
    found = room(taps + hum, sample_rate=RATE)
    octaves = {octave.centre_hz: octave for octave in found.octaves}
    assert octaves[125.0].rt60 is None
    assert octaves[125.0].early_decay is None
    assert octaves[2000.0].rt60 is not None
    assert describe_room((taps + rng.standard_normal(taps.shape))[:, None], sample_rate=RATE) is None


def test_noise_that_is_louder_in_the_bass_takes_the_bass_away(rng):
    # As a reference without bass leaves it: 40 dB louder below 150 Hz.
    n_taps = 2 * RATE
    taps = reverberation(rng, 1.0, n_taps=n_taps)
    hz = np.arange(n_taps // 2 + 1) * RATE / n_taps
    deviation = 0.01 * np.where(hz < 150, 100.0, 1.0)
    coloured = np.fft.irfft(np.fft.rfft(rng.standard_normal(n_taps)) * deviation)
    found = room(taps + coloured, sample_rate=RATE, noise=(deviation**2)[None, None])
    slopes = {octave.centre_hz: octave.rt60 for octave in found.octaves}
    assert slopes[63.0] is None
    for centre in (500.0, 1000.0, 2000.0, 4000.0):
        slope = slopes[centre]
        assert slope is not None
        assert abs(slope.seconds - 1) < 3.5 * slope.stderr_seconds < 0.2
    assert found.mid_rt60_seconds == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("n_samples", [1, 7, 8, 50])
def test_a_few_samples_are_no_decay(n_samples):
    assert fit_decay(np.ones(n_samples), sample_rate=RATE, independent_hz=RATE / 2) is None
    assert fit_decay(np.zeros(n_samples), sample_rate=RATE, independent_hz=RATE / 2) is None


def test_the_octaves_add_up_to_the_whole(rng):
    taps = filtered(scipy.signal.butter(2, [200, 2000], "bandpass", fs=RATE), rng.standard_normal(8000))
    parts = [responses for _, responses, *_ in in_octaves(taps[None], np.zeros((1, 2)), RATE)]
    assert sum(float(np.sum(part**2)) for part in parts) == pytest.approx(float(np.sum(taps**2)), rel=0.01)


@pytest.mark.parametrize("gap_ms", [20.0, 43.5])
@pytest.mark.parametrize("drr_db", [-6.0, 12.0])
def test_direct_sound_and_pre_delay_of_a_send(rng, gap_ms, drr_db):
    rate = 48000
    tail = reverberation(rng, 0.6, n_taps=rate // 2, rate=rate, channels=2)
    start = 100 + round(gap_ms * rate / 1000)
    taps = np.zeros((2, start + tail.shape[1]))
    taps[:, start:] = tail
    taps[:, 100] = math.sqrt(float(np.sum(tail**2)) / 2) * 10 ** (drr_db / 20)
    sure = np.sum(tail[:, : round(0.05 * rate) + 100 - start] ** 2)
    clarity_db = 10 * math.log10((np.sum(taps[:, 100] ** 2) + sure) / (np.sum(tail**2) - sure))
    found = room(taps, sample_rate=rate, first_lag=-40)
    assert found.direct_to_reverberant is not None
    assert found.direct_to_reverberant.ratio_db == pytest.approx(drr_db, abs=0.01)
    assert found.c50 is not None
    assert found.c50.ratio_db == pytest.approx(clarity_db, abs=0.01)
    assert found.pre_delay_seconds == pytest.approx(gap_ms / 1000, abs=2e-4)
    assert found.arrival_seconds == pytest.approx(60 / rate)


def test_a_tail_that_follows_at_once_has_no_pre_delay(rng):
    taps = reverberation(rng, 0.6, n_taps=RATE)
    taps[0, 0] = 10.0
    assert room(taps, sample_rate=RATE).pre_delay_seconds is None


def test_noise_is_taken_off_the_ratios_and_its_error_told(rng):
    taps = reverberation(rng, 0.5, n_taps=RATE)
    taps[0, 0] = 20.0
    clean = room(taps, sample_rate=RATE).direct_to_reverberant
    assert clean is not None
    assert clean.stderr_db < 1e-6
    errors, told = [], []
    for _ in range(16):
        found = room(taps + 0.05 * rng.standard_normal(taps.shape), sample_rate=RATE, noise=0.0025)
        assert found.direct_to_reverberant is not None
        errors.append(found.direct_to_reverberant.ratio_db - clean.ratio_db)
        told.append(found.direct_to_reverberant.stderr_db)
    assert math.sqrt(np.mean(np.square(errors))) == pytest.approx(np.mean(told), rel=0.5)


def test_one_reverberation_in_both_channels_is_no_surer_than_in_one(rng):
    taps = reverberation(rng, 1.0, n_taps=RATE)
    alone, panned = room(taps, sample_rate=RATE).rt60, room(np.vstack([taps, 0.5 * taps]), sample_rate=RATE).rt60
    two = room(np.vstack([taps, reverberation(rng, 1.0, n_taps=RATE)]), sample_rate=RATE).rt60
    assert alone is not None
    assert panned is not None
    assert two is not None
    assert panned.seconds == pytest.approx(alone.seconds)
    assert panned.stderr_seconds == pytest.approx(alone.stderr_seconds)
    assert two.stderr_seconds == pytest.approx(alone.stderr_seconds / math.sqrt(2), rel=0.05)


def no_rooms(rng):
    pulse = np.zeros((1, RATE))
    pulse[0, 60] = 1.0
    boomy = filtered(scipy.signal.iirpeak(100, 20, fs=RATE), pulse) + pulse
    late = np.sinc(np.arange(RATE) - 400.37)[None]
    return {
        "a gain": pulse,
        "a gain in noise": pulse + 1e-3 * rng.standard_normal(pulse.shape),
        "noise": rng.standard_normal(pulse.shape),
        "a resonance": boomy,
        "a delay between samples": late,
        "a low-pass": filtered(scipy.signal.butter(4, 3000, fs=RATE), pulse),
        "too short": reverberation(rng, 0.3, n_taps=500),
        "silence": np.zeros((2, RATE)),
    }


@pytest.mark.parametrize("what", list(no_rooms(np.random.default_rng(0))))
def test_what_is_no_room_is_not_called_one(rng, what):
    assert describe_room(no_rooms(rng)[what][:, None], sample_rate=RATE) is None


def test_filters_below_their_noise_are_no_room(rng):
    taps = reverberation(rng, 0.3, n_taps=RATE // 2)[:, None]
    assert describe_room(taps, sample_rate=RATE) is not None
    assert describe_room(taps, sample_rate=RATE, noise=np.ones((1, 1, 9))) is None


def test_noise_for_other_paths_is_refused():
    with pytest.raises(ValueError, match="give"):
        describe_room(np.ones((2, 1, RATE)), sample_rate=RATE, noise=np.ones((1, 1, 9)))


# Seconds by the integrated curve from -5 to -35 dB, of recordings that are not cut off by their noise.
@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        ("genesis6_live_room", 0.25),
        ("sports_centre", 5.9),
        ("elveden_marble_hall", 4.0),
        ("kitchen_true_stereo", 0.45),
        ("big_hall", 3.5),
        ("seminar_room_clap", 0.64),
        ("greathall", 2.3),
        ("rir48000", 0.86),
    ],
)
def test_measured_rooms_have_their_published_times(audio_root, name, seconds):
    audio, rate = soundfile.read(audio_root / f"ir/{name}.flac", always_2d=True)
    found = room(audio.T, sample_rate=rate)
    assert found.rt60 is not None
    # The figures are rounded to two digits, and of one channel where there are several.
    assert found.rt60.seconds == pytest.approx(seconds, rel=0.03)
    assert found.octaves[0].centre_hz == 63
    # Air takes the treble away, in every room.
    treble, middle = found.octaves[-1].rt60, found.octaves[4].rt60
    assert treble is not None
    assert middle is not None
    assert treble.seconds < middle.seconds


def test_the_room_in_words(rng):
    taps = np.zeros((1, 2 * RATE))
    taps[0, 400:] = reverberation(rng, 1.0, n_taps=2 * RATE - 400)
    taps[0, 0] = math.sqrt(float(np.sum(taps**2)))
    words = room_words(room(taps, sample_rate=RATE))
    assert words[0].startswith("reverberation of 1.")
    assert "(T30" in words[0]
    assert words[1].startswith("by octave: ")
    assert words[2].startswith("early decay time ")
    assert words[3] == "the direct sound is as strong as the reverberation"
    assert words[4].startswith("the reverberation starts 25.")
    assert "C50" in words[5]


@pytest.mark.parametrize("cut_db", [-25, -40, -60])
def test_a_reverb_of_which_only_the_beginning_was_used_has_the_decay_of_what_was(rng, cut_db):
    # A convolution reverb ends with its last tap; a longer filter finds nothing but rounding behind it.
    taps = reverberation(rng, 0.5, n_taps=round(-cut_db / 60 * 0.5 * RATE), channels=2)
    longer = np.concatenate([taps, 1e-8 * rng.standard_normal((2, RATE))], axis=1)
    slope = room(longer, sample_rate=RATE).rt60
    assert slope is not None
    assert slope.seconds == pytest.approx(0.5, rel=0.12)
