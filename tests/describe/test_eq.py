"""Equalisers read back from responses made with the cookbook's own coefficients, with scipy, sox and ffmpeg."""

import math
import shutil
import subprocess

import numpy as np
import pytest
import scipy.io.wavfile
import scipy.signal

from unsum.describe.eq import describe_eq

RATE = 48_000
N_TAPS = 4096
BINS = N_TAPS + 1
FREQUENCY = np.arange(BINS) * RATE / (2 * N_TAPS)
PINK = 1 / (1 + FREQUENCY / 100)
# Sure to -110 dB where the reference is loudest: a mixture of 24 bit.
DEVIATION_24, DEVIATION_16 = 10 ** (-110 / 20), 10 ** (-70 / 20)


def cookbook(kind: str, frequency: float, gain_db: float, q: float):
    """Numerator and denominator, as Bristow-Johnson prints them."""
    a, omega = 10 ** (gain_db / 40), 2 * np.pi * frequency / RATE
    cos, alpha = np.cos(omega), np.sin(omega) / (2 * q)
    root = 2 * np.sqrt(a) * alpha
    table = {
        "peak": ([1 + alpha * a, -2 * cos, 1 - alpha * a], [1 + alpha / a, -2 * cos, 1 - alpha / a]),
        "lowshelf": (
            [a * (a + 1 - (a - 1) * cos + root), 2 * a * (a - 1 - (a + 1) * cos), a * (a + 1 - (a - 1) * cos - root)],
            [a + 1 + (a - 1) * cos + root, -2 * (a - 1 + (a + 1) * cos), a + 1 + (a - 1) * cos - root],
        ),
        "highshelf": (
            [a * (a + 1 + (a - 1) * cos + root), -2 * a * (a - 1 + (a + 1) * cos), a * (a + 1 + (a - 1) * cos - root)],
            [a + 1 - (a - 1) * cos + root, 2 * (a - 1 - (a + 1) * cos), a + 1 - (a - 1) * cos - root],
        ),
        "highpass": ([(1 + cos) / 2, -(1 + cos), (1 + cos) / 2], [1 + alpha, -2 * cos, 1 - alpha]),
        "lowpass": ([(1 - cos) / 2, 1 - cos, (1 - cos) / 2], [1 + alpha, -2 * cos, 1 - alpha]),
    }
    return table[kind]


def response_of(*bands) -> np.ndarray:
    """Of bands in a row: (kind, frequency, gain, Q), or (numerator, denominator)."""
    out = np.ones(BINS, complex)
    for band in bands:
        top, bottom = cookbook(*band) if len(band) == 4 else band
        out *= quotient(top, bottom, np.exp(-2j * np.pi * FREQUENCY / RATE))
    return out


def quotient(top, bottom, later) -> np.ndarray:
    """Of two polynomials in the delay of one sample."""
    return np.polyval(np.flip(top), later) / np.polyval(np.flip(bottom), later)


def measured(rng, shape, *, gains=(1.0,), delay=100.25, deviation=DEVIATION_24, power=PINK):
    """Noisy responses (paths, bins) of a shape that came late, and their variance; noise is that of 4096 taps."""
    variance = np.tile(deviation**2 / power, (len(gains), 1))
    taps = rng.standard_normal((len(gains), N_TAPS)) / math.sqrt(N_TAPS)
    noise = np.fft.rfft(taps, 2 * N_TAPS) * np.sqrt(variance)
    late = shape * np.exp(-2j * np.pi * FREQUENCY / RATE * delay)
    return np.array(gains)[:, None] * late + noise, variance


def read(rng, *bands, power=PINK, first_lag=-64, **how):
    responses, variance = measured(rng, response_of(*bands), power=power, **how)
    return describe_eq(responses, variance, power, sample_rate=RATE, first_lag=first_lag)


CHAINS = {
    "one peak": [("peak", 800.0, -4.0, 1.5)],
    "shelves of one Q": [("lowshelf", 90.0, 4.0, 0.7), ("highshelf", 9000.0, 4.0, 0.7)],
    "pass and peaks": [("highpass", 100.0, 0.0, 0.7), ("peak", 900.0, -4.0, 1.5), ("peak", 2800.0, 5.0, 1.0)],
    "both passes": [("highpass", 40.0, 0.0, 0.7), ("peak", 700.0, -6.0, 0.9), ("lowpass", 6000.0, 0.0, 0.7)],
    "five bands": [
        ("highpass", 60.0, 0.0, 0.8),
        ("lowshelf", 150.0, -3.0, 0.6),
        ("peak", 1100.0, 4.0, 3.0),
        ("peak", 5200.0, -5.0, 4.0),
        ("highshelf", 8000.0, 2.0, 0.9),
    ],
}


@pytest.mark.parametrize("bands", CHAINS.values(), ids=CHAINS.keys())
@pytest.mark.parametrize(("deviation", "slack"), [(DEVIATION_24, 1), (DEVIATION_16, 10)], ids=["24 bit", "16 bit"])
def test_every_band_comes_back(rng, bands, deviation, slack):
    found = read(rng, *bands, gains=(-0.4, -0.3), delay=212.37, deviation=deviation)
    assert found.kind == "parametric"
    assert [band.type for band in found.bands] == [kind for kind, *_ in bands]
    for band, (_, frequency, gain_db, q) in zip(found.bands, bands, strict=True):
        assert band.frequency_hz == pytest.approx(frequency, rel=1e-3 * slack)
        assert band.gain_db is None or band.gain_db == pytest.approx(gain_db, abs=0.01 * slack)
        assert band.q == pytest.approx(q, rel=0.01 * slack)
    assert found.gain_db == pytest.approx(20 * math.log10(0.5), abs=0.01 * slack)
    assert found.polarity == -1
    assert found.amplitudes == pytest.approx([-0.4, -0.3], rel=1e-3 * slack)
    assert found.delay_samples == pytest.approx(212.37 - 64, abs=1e-3 * slack)
    # At 16 bit a sixth of the points are noise of 0.005 dB.
    assert found.max_deviation_db < (0.01 if slack == 1 else 0.02)
    assert found.limits == ()


def test_a_fader_a_pan_pot_and_a_delay_are_no_equaliser(rng):
    found = read(rng, gains=(0.6, -0.2), delay=33.5)
    assert (found.kind, found.bands, found.curve) == ("flat", (), None)
    assert found.amplitudes == pytest.approx([0.6, -0.2], rel=1e-4)
    assert found.delay_samples == pytest.approx(33.5 - 64, abs=1e-4)
    assert found.chi2 == pytest.approx(1, abs=0.5)


@pytest.mark.parametrize("kind", ["highpass", "lowpass"])
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_passes_of_every_order_are_butterworths(rng, kind, order):
    top, bottom, *_ = scipy.signal.butter(order, 900.0, kind, fs=RATE) or ((), ())
    found = read(rng, (top, bottom))
    (band,) = found.bands
    assert (band.type, band.order) == (kind, order)
    assert band.frequency_hz == pytest.approx(900, rel=1e-3)
    assert band.q is None if order != 2 else band.q == pytest.approx(math.sqrt(0.5), rel=1e-3)


@pytest.mark.parametrize(("frequency", "kind"), [(200.0, "lowshelf"), (5000.0, "highshelf")])
def test_a_shelf_has_one_name_whichever_it_was_set_with(rng, frequency, kind):
    low = read(rng, ("lowshelf", frequency, 5.0, 0.7))
    high = read(rng, ("highshelf", frequency, -5.0, 0.7), gains=(10 ** (5 / 20),))
    for found in (low, high):
        (band,) = found.bands
        assert band.type == kind
        assert band.gain_db == pytest.approx(5.0 if kind == "lowshelf" else -5.0, abs=1e-3)
        assert found.gain_db == pytest.approx(0.0 if kind == "lowshelf" else 5.0, abs=1e-3)


def test_standard_errors_are_those_of_repeated_noise(rng):
    bands = [("peak", 1000.0, 4.0, 2.0)]
    values, told = [], []
    for _ in range(16):
        (band,) = read(rng, *bands, deviation=DEVIATION_16).bands
        values.append([band.frequency_hz, band.gain_db, band.q])
        told.append([band.frequency_stderr_hz, band.gain_stderr_db, band.q_stderr])
    assert np.median(told, axis=0) == pytest.approx(np.std(values, axis=0), rel=0.6)
    assert np.mean(values, axis=0) == pytest.approx([1000.0, 4.0, 2.0], abs=np.max(np.std(values, axis=0)))


def test_a_band_where_the_reference_is_silent_is_not_claimed(rng):
    dark = np.where(FREQUENCY < 4000, 1.0, 1e-14)
    found = read(rng, ("peak", 500.0, 6.0, 1.0), ("peak", 12000.0, 6.0, 4.0), power=dark)
    assert [band.type for band in found.bands] == ["peak"]
    assert found.bands[0].frequency_hz == pytest.approx(500, rel=1e-3)


def test_a_linear_phase_equaliser_is_said_to_be_one(rng):
    shape = np.abs(response_of(("peak", 1000.0, 6.0, 1.0), ("highshelf", 6000.0, -4.0, 0.7)))
    responses, variance = measured(rng, shape.astype(complex), delay=700.0)
    found = describe_eq(responses, variance, PINK, sample_rate=RATE)
    assert found.kind == "linear phase"
    assert found.delay_samples == pytest.approx(700, abs=1e-3)
    assert found.curve is not None
    at = np.interp(found.curve.frequency_hz, FREQUENCY, 20 * np.log10(shape))
    apart = found.curve.gain_db - at
    assert np.ptp(apart[found.curve.frequency_hz > 100]) < 0.1
    assert [band.type for band in found.bands] == ["peak", "highshelf"]


def test_a_free_hand_curve_is_given_as_a_curve(rng):
    octaves = np.log2(np.maximum(FREQUENCY, 20) / 20)
    drawn_db = 4 * np.sin(2 * np.pi * octaves * 1.7) + 3 * np.sin(2 * np.pi * octaves * 0.9 + 1)
    responses, variance = measured(rng, (10 ** (drawn_db / 20)).astype(complex) * np.exp(0.2j * np.sin(octaves * 5)))
    found = describe_eq(responses, variance, PINK, sample_rate=RATE)
    assert found.kind == "curve"
    assert found.bands == ()
    assert found.curve is not None
    heard = found.curve.frequency_hz > 200
    apart = found.curve.gain_db - np.interp(found.curve.frequency_hz, FREQUENCY, drawn_db)
    assert np.std(apart[heard]) < 0.2


def test_the_ringing_that_the_taps_cut_off_is_no_band(rng):
    band = ("peak", 40.0, 6.0, 3.0)
    later = np.exp(-1j * np.pi * np.arange(1 << 16) / ((1 << 16) - 1))
    long = np.fft.irfft(quotient(*cookbook(*band), later))
    assert np.max(np.abs(long[N_TAPS - 100 :])) > 5e-5
    # White: least squares then gives the taps as they are, cut off.
    white = np.ones(BINS)
    cut = np.concatenate([np.zeros(100), long])[:N_TAPS]
    variance = np.full((1, BINS), DEVIATION_24**2)
    noise = DEVIATION_24 * np.fft.rfft(rng.standard_normal(N_TAPS) / math.sqrt(N_TAPS), 2 * N_TAPS)
    found = describe_eq(np.fft.rfft(cut, 2 * N_TAPS)[None] + noise, variance, white, sample_rate=RATE)
    (only,) = found.bands
    assert only.frequency_hz == pytest.approx(40, rel=1e-3)
    assert only.gain_db == pytest.approx(6, abs=0.01)
    assert only.q == pytest.approx(3, rel=0.01)


def test_paths_that_are_not_alike_are_told(rng):
    responses, variance = measured(rng, response_of(("peak", 500.0, 6.0, 1.0)), gains=(1.0, 1.0))
    responses[1] *= response_of(("peak", 300.0, -9.0, 1.0))
    found = describe_eq(responses, variance, PINK, sample_rate=RATE)
    assert found.limits[-1] == "the paths differ in more than gain, by -15 dB: describe each by itself"
    assert found.paths_apart_db == pytest.approx(-15, abs=0.5)


def test_noise_that_differs_from_path_to_path_makes_no_other_path(rng):
    # -20 dB over the response: a hundred times what two paths may differ by.
    responses, variance = measured(rng, response_of(("peak", 500.0, 6.0, 1.0)), gains=(1.0, 0.7), deviation=0.1)
    found = describe_eq(responses, variance, PINK, sample_rate=RATE)
    assert found.paths_apart_db is None
    assert not any("paths differ" in limit for limit in found.limits)


def test_errors_that_both_paths_share_are_not_lessened_by_their_mean(rng):
    responses, variance = measured(rng, response_of(("peak", 500.0, 6.0, 1.0)), gains=(1.0, 1.0), deviation=1e-3)
    together = np.ones((2, 2, BINS), complex)
    apart = describe_eq(responses, variance, PINK, sample_rate=RATE)
    alike = describe_eq(responses, variance, PINK, sample_rate=RATE, correlation=together)
    assert alike.gain_stderr_db == pytest.approx(np.sqrt(2) * apart.gain_stderr_db, rel=0.1)


def test_what_a_codec_may_have_taken_widens_every_interval(rng):
    responses, variance = measured(rng, response_of(("peak", 500.0, 6.0, 1.0)))
    sure = describe_eq(responses, variance, PINK, sample_rate=RATE)
    unsure = describe_eq(responses, variance, PINK, sample_rate=RATE, unsure=np.full((1, BINS), 0.01))
    (narrow,), (wide,) = sure.bands, unsure.bands
    assert wide.frequency_hz == pytest.approx(500, rel=0.01)
    # A hundredth is 0.087 dB, and the band spans some thirds of octaves.
    assert wide.gain_stderr_db is not None and narrow.gain_stderr_db is not None
    assert 0.03 < wide.gain_stderr_db < 0.3
    assert narrow.gain_stderr_db < 0.01 * wide.gain_stderr_db


def test_a_band_that_is_no_bilinear_one_is_not_said_to_fit_where_it_does_not():
    # Matched Z: poles and zeros of the analogue peak at 9 kHz by exp(s / rate). It leaves the bilinear one near half
    # the rate, by 2 dB.
    w, q, a = 2 * np.pi * 9000, 1.0, 10 ** (6 / 40)
    top, bottom = ([np.exp(root / RATE) for root in np.roots([1, w * b / q, w * w])] for b in (a, 1 / a))
    shape = response_of((np.real(np.poly(top)), np.real(np.poly(bottom))))
    shape /= np.abs(shape[1])
    variance = np.full((1, BINS), 1e-12)
    found = describe_eq(shape[None], variance, np.ones(BINS), sample_rate=RATE)
    if found.kind == "parametric":
        read = np.full(BINS, 10 ** (found.gain_db / 20), complex)
        for band in found.bands:
            assert band.q is not None
            read *= response_of((band.type, band.frequency_hz, band.gain_db or 0.0, band.q))
        heard = (FREQUENCY > 20) & (FREQUENCY < 20000)
        off = np.max(np.abs(20 * np.log10(np.abs(read / shape)))[heard])
        assert off < found.max_deviation_db + 0.02
    else:
        assert found.max_deviation_db > 0.1


def test_silence_and_noise_have_no_equaliser(rng):
    nothing = describe_eq(np.zeros((1, BINS), complex), np.ones((1, BINS)), PINK, sample_rate=RATE)
    assert (nothing.kind, nothing.bands) == ("flat", ())
    assert "zero" in nothing.limits[0]
    responses, variance = measured(rng, np.zeros(BINS, complex))
    noise = describe_eq(responses, variance, PINK, sample_rate=RATE)
    assert noise.bands == ()
    assert "does not stand out" in noise.limits[0]


def test_shapes_and_values_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="give \\(paths, bins\\) twice"):
        describe_eq(np.ones((1, 65), complex), np.ones((2, 65)), np.ones(65), sample_rate=RATE)
    with pytest.raises(ValueError, match="variance: 65 values are not finite"):
        describe_eq(np.ones((1, 65), complex), np.full((1, 65), np.nan), np.ones(65), sample_rate=RATE)
    with pytest.raises(ValueError, match="65 bins for 100 taps"):
        describe_eq(np.ones((1, 65), complex), np.ones((1, 65)), np.ones(65), sample_rate=RATE, n_taps=100)


SETTINGS = [
    ("sox", ["equalizer", "1000", "1.5q", "-6"], [("peak", 1000.0, -6.0, 1.5)]),
    ("sox", ["bass", "6", "120", "0.7q"], [("lowshelf", 120.0, 6.0, 0.7)]),
    ("sox", ["lowpass", "-2", "6000", "0.6q"], [("lowpass", 6000.0, None, 0.6)]),
    (
        "ffmpeg",
        ["equalizer=f=3000:t=h:w=1000:g=5,highpass=f=60"],
        [("highpass", 60.0, None, 0.707), ("peak", 3000.0, 5.0, 3.0)],
    ),
    # A width of 0.7 is a Q of 0.7 sqrt 2 to ffmpeg's shelves.
    ("ffmpeg", ["treble=g=4:f=8000:t=q:w=0.7"], [("highshelf", 8000.0, 4.0, 0.98995)]),
]


@pytest.mark.parametrize(("program", "settings", "bands"), SETTINGS)
def test_equalisers_of_other_programs_are_read_back(tmp_path, program, settings, bands):
    if shutil.which(program) is None:
        pytest.skip(f"no {program} on the PATH")
    impulse = np.zeros(N_TAPS)
    impulse[64] = 0.25
    source, target = tmp_path / "impulse.wav", tmp_path / "heard.wav"
    scipy.io.wavfile.write(source, RATE, impulse.astype(np.float32))
    if program == "sox":
        command = ["sox", "-D", source, "-b", "32", "-e", "floating-point", target, *settings]
    else:
        command = ["ffmpeg", "-v", "error", "-i", source, "-af", *settings, "-c:a", "pcm_f32le", target]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    heard = scipy.io.wavfile.read(target)[1].astype(float)
    variance = np.full((1, BINS), (1e-6 * 0.25) ** 2)
    found = describe_eq(np.fft.rfft(heard, 2 * N_TAPS)[None], variance, np.ones(BINS), sample_rate=RATE)
    assert [band.type for band in found.bands] == [kind for kind, *_ in bands]
    for band, (_, frequency, gain_db, q) in zip(found.bands, bands, strict=True):
        assert band.frequency_hz == pytest.approx(frequency, rel=1e-3)
        assert band.gain_db == pytest.approx(gain_db, abs=0.01)
        assert band.q == pytest.approx(q, rel=0.01)
    assert found.gain_db == pytest.approx(20 * math.log10(0.25), abs=0.01)
    assert found.delay_samples == pytest.approx(64, abs=1e-3)


def test_a_variance_that_is_too_small_is_told_by_paths_that_disagree(rng):
    bands = CHAINS["pass and peaks"]
    responses, variance = measured(rng, response_of(*bands), gains=(0.5, -0.3), deviation=DEVIATION_16)
    honest = describe_eq(responses, variance, PINK, sample_rate=RATE)
    told = describe_eq(responses, variance / 1000, PINK, sample_rate=RATE)
    assert told.kind == "parametric"
    assert [band.type for band in told.bands] == [kind for kind, *_ in bands]
    for one, other in zip(told.bands, honest.bands, strict=True):
        assert one.frequency_stderr_hz == pytest.approx(other.frequency_stderr_hz, rel=0.5)


def test_the_whole_response_is_as_sure_as_its_bands_together():
    bands, misses = CHAINS["pass and peaks"], []
    heard = FREQUENCY > 20
    truth = 20 * np.log10(np.abs(response_of(*bands)[heard]))
    for seed in range(12):
        found = read(np.random.default_rng(seed), *bands, deviation=DEVIATION_16)
        assert found.response is not None
        hz = np.array([150.0, 500.0, 2000.0, 5000.0])
        error, stderr = (
            np.interp(hz, found.response.frequency_hz, values)
            for values in (found.response.gain_db, found.response.stderr_db)
        )
        misses.append((error - np.interp(hz, FREQUENCY[heard], truth)) / stderr)
    assert 0.5 < np.sqrt(np.mean(np.square(misses))) < 2
