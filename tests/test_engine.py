"""References on the mixture's time line, and what is left when their images are taken out."""

import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.interpolate import BSpline

from unsum.engine import LONGEST_HELD_SECONDS, aligned_blocks, stacked, subtract
from unsum.errors import InputError
from unsum.model import Bend, Contribution, Jump, MixModel, TimeWarp
from unsum.problem import ArraySource, Problem

RATE = 8000
CHANNELS = {1: ("FC",), 2: ("FL", "FR")}


@dataclass(frozen=True)
class Chord:
    """A sum of cosines in each channel, known at any time; silent outside ``seconds``."""

    seconds: float
    frequencies: NDArray[np.float64]  # (channels, tones)
    phases: NDArray[np.float64]

    @classmethod
    def random(cls, rng: np.random.Generator, seconds: float, channels: int = 2, *, highest: float = 0.38) -> "Chord":
        shape = (channels, 12)
        return cls(seconds, rng.uniform(20, highest * RATE, shape), rng.uniform(0, 2 * np.pi, shape))

    def __call__(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        angle = 2 * np.pi * self.frequencies[..., np.newaxis] * times + self.phases[..., np.newaxis]
        return 0.05 * np.sum(np.cos(angle), axis=1)

    def sampled(self) -> NDArray[np.float64]:
        return self(np.arange(round(self.seconds * RATE)) / RATE)


@dataclass
class Tape:
    """A source in blocks of uneven length that counts how often it is opened and how much of it is alive."""

    name: str
    samples_read: NDArray[np.float64]
    block_lengths: tuple[int, ...] = (1152, 577, 4096)
    sample_rate: int = RATE
    bits: None = None
    lossless: bool = True
    opened: int = 0
    alive: int = 0
    most_alive: int = 0
    read_up_to: int = 0

    @property
    def channels(self) -> tuple[str, ...]:
        return CHANNELS[len(self.samples_read)]

    @property
    def samples(self) -> int:
        return self.samples_read.shape[1]

    def blocks(self) -> Iterator[NDArray[np.float64]]:
        self.opened += 1
        start = turn = 0
        while start < self.samples:
            block = self.samples_read[:, start : start + self.block_lengths[turn % 3]].copy()
            length = block.shape[1]
            self.alive += length
            self.most_alive = max(self.most_alive, self.alive)
            weakref.finalize(block, self._forget, length)
            start, turn = start + length, turn + 1
            self.read_up_to = max(self.read_up_to, start)
            yield block
            del block

    def _forget(self, length: int) -> None:
        self.alive -= length


def array(name: str, samples: NDArray, bits: int | None = None) -> ArraySource:
    return ArraySource(name, samples, RATE, CHANNELS[len(samples)], bits=bits)


def silence(seconds: float, channels: int = 1) -> ArraySource:
    return array("mix", np.zeros((channels, round(seconds * RATE))))


def heard(problem: Problem, warp: TimeWarp, *, block_samples: int = 4096) -> NDArray:
    """The one reference of a problem on the mixture's time line."""
    name = problem.references[0].name
    blocks = aligned_blocks(problem, {name: warp}, block_samples=block_samples)
    return np.concatenate([block.references[name] for block in blocks], axis=1)


def times(seconds: float) -> NDArray[np.float64]:
    return np.arange(round(seconds * RATE)) / RATE


def error_db(got: NDArray, chord: Chord, where: NDArray[np.float64], *, margin: int = 90) -> float:
    """Error over the chord at ``where`` seconds in it, away from its own ends; outside it has to be silent."""
    spare = margin / RATE
    outside = (where < -spare) | (where > chord.seconds + spare)
    assert not got[:, outside].any()
    inside = (where > spare) & (where < chord.seconds - spare)
    assert np.count_nonzero(inside) > 100
    truth = chord(where[inside])
    return float(10 * np.log10(np.sum((got[:, inside] - truth) ** 2) / np.sum(truth**2)))


@pytest.mark.parametrize("delay", [0, 1, 5000, -1, -5000, 100_000, -100_000])
@pytest.mark.parametrize("block_samples", [777, 65536])
def test_a_whole_number_of_samples_leaves_integers_as_they_came(rng, delay, block_samples):
    song = rng.integers(-(2**23), 2**23, (2, 30_000), dtype=np.int32)
    problem = Problem(silence(4), (array("song", song, bits=24),))
    expected = np.zeros((2, 4 * RATE), np.int32)
    first, last = max(0, delay), min(4 * RATE, 30_000 + delay)
    if first < last:
        expected[:, first:last] = song[:, first - delay : last - delay]
    got = heard(problem, TimeWarp(delay / RATE), block_samples=block_samples)
    assert got.dtype.kind == "i" and np.array_equal(got, expected)


@pytest.mark.parametrize("delay_samples", [0.5, 1234.56, -0.001, -777.77])
def test_a_fraction_of_a_sample_late_is_the_chord_so_much_later(rng, delay_samples):
    chord = Chord.random(rng, 3.0)
    got = heard(Problem(silence(4), (array("song", chord.sampled()),)), TimeWarp(delay_samples / RATE))
    assert error_db(got, chord, times(4) - delay_samples / RATE) < -125


@pytest.mark.parametrize("ppm", [1, -1, 100, 1000, -1000, 60_000, -60_000])
def test_another_clock_is_the_chord_at_that_speed(rng, ppm):
    chord = Chord.random(rng, 6.0)
    got = heard(Problem(silence(8), (array("song", chord.sampled()),)), TimeWarp(0.7, ppm))
    assert error_db(got, chord, (times(8) - 0.7) * (1 + ppm / 1e6)) < -125


def test_wow_and_flutter_are_the_chord_at_the_bent_times(rng):
    chord = Chord.random(rng, 6.0)
    # 60 nodes a second, about 2 per mille of speed.
    offsets = 1e-5 * np.cumsum(rng.standard_normal(500))
    spline = BSpline(-0.5 + np.arange(-2, 502) / 60, offsets, 3)
    warp = TimeWarp(0.1234, 35.0, Bend(-0.5, 1 / 60, tuple(offsets)))
    got = heard(Problem(silence(7), (array("song", chord.sampled()),)), warp)
    where = (times(7) - 0.1234) * (1 + 35e-6) + spline(times(7))
    assert error_db(got, chord, where) < -125


JUMPS = {
    "dropped buffers": ((1.0, 441 / RATE), (2.0, 441 / RATE), (2.5, 0.3)),
    "repeated buffers": ((1.0, -441 / RATE), (1.05, -441 / RATE), (1.1, -441 / RATE), (2.5, -0.3)),
    "three at once": ((2.0, 0.5), (2.0, -0.25), (2.0, 1.0)),
    "far ahead and back": ((1.00003, 3.0), (2.3, -2.9), (3.1, 0.1)),
    "before the first sample and behind the last": ((-3.0, 0.25), (3.0, -0.5), (99.0, 1.0)),
    "to before it began": ((2.0, -2.5),),
    "beyond its end": ((2.0, 7.0), (3.0, -6.0)),
}


def jumped(start: NDArray[np.float64], jumps: tuple[tuple[float, float], ...]) -> NDArray[np.float64]:
    now = np.arange(len(start)) / RATE
    return start + sum(length * (now >= at) for at, length in jumps)


@pytest.mark.parametrize("ppm", [0.0, 80.0])
@pytest.mark.parametrize("jumps", JUMPS.values(), ids=JUMPS)
def test_at_a_jump_the_chord_goes_on_elsewhere_at_once(rng, jumps, ppm):
    chord = Chord.random(rng, 6.0)
    warp = TimeWarp(0.25, ppm, jumps=tuple(Jump(*jump) for jump in jumps))
    problem = Problem(silence(4), (array("song", chord.sampled()),))
    got = heard(problem, warp)
    # Nothing is left out around the jumps: every sample is the chord's, up to the last before and the first after.
    assert error_db(got, chord, jumped((times(4) - 0.25) * (1 + ppm * 1e-6), jumps)) < -125


@pytest.mark.parametrize("block_samples", [1, 7, 509, 4096, 9_999])
def test_any_chunking_gives_the_same_samples_to_the_last_bit(rng, block_samples):
    warp = TimeWarp(
        0.0123,
        1000.0,
        Bend(0.0, 0.1, tuple(1e-4 * rng.standard_normal(10))),
        (Jump(0.2, 0.1), Jump(0.3, -0.25), Jump(0.5, 0.4)),
    )
    source = array("song", rng.standard_normal((2, RATE)))
    problem = Problem(silence(0.7), (source,))
    once = heard(problem, warp, block_samples=1 << 16)
    assert np.array_equal(heard(problem, warp, block_samples=block_samples), once)
    # Nor does it matter how the reference comes.
    tape = Problem(silence(0.7), (Tape("song", source.array, block_lengths=(1, 50, 333)),))
    assert np.array_equal(heard(tape, warp, block_samples=2048), once)


@pytest.mark.parametrize("warp", [TimeWarp(1e6 + 0.3e-4), TimeWarp(-1e6 - 0.3e-4), TimeWarp(2.0, -3e5)])
def test_a_reference_that_lies_elsewhere_is_silence(rng, warp):
    got = heard(Problem(silence(2), (array("song", rng.standard_normal((2, RATE))),)), warp)
    assert got.shape == (2, 2 * RATE) and got.dtype == np.float64
    assert not got[:, :-100].any()  # the last begins where the mixture ends


def test_a_reference_of_one_sample_is_one_click(rng):
    got = heard(Problem(silence(1), (array("click", np.ones((1, 1))),)), TimeWarp(0.5 + 0.25 / RATE))
    middle = RATE // 2
    assert np.argmax(np.abs(got[0])) == middle
    assert got[0, middle] == pytest.approx(np.sinc(0.25), abs=0.01)
    assert np.sum(got) == pytest.approx(1.0, abs=1e-6)
    assert not got[0, : middle - 45].any() and not got[0, middle + 45 :].any()


def test_an_empty_reference_is_silence():
    assert not heard(Problem(silence(1), (array("none", np.zeros((1, 0))),)), TimeWarp(0.1, 10.0)).any()


@pytest.mark.parametrize(("back", "times_opened"), [(20.0, 1), (LONGEST_HELD_SECONDS + 5, 2)])
def test_a_jump_back_is_served_from_what_is_held_or_from_the_start(rng, back, times_opened):
    chord = Chord.random(rng, 45.0, channels=1)
    tape = Tape("song", chord.sampled())
    got = heard(Problem(silence(44), (tape,)), TimeWarp(0.0, 10.0, jumps=(Jump(40.0, -back),)))
    assert error_db(got, chord, jumped(times(44) * (1 + 1e-5), ((40.0, -back),))) < -125
    assert tape.opened == times_opened


def test_a_stuttering_player_is_served_from_what_is_held(rng):
    tape = Tape("song", rng.standard_normal((1, 12 * RATE)))
    stutter = tuple(Jump(10.0 + 0.01 * n, -2.0) for n in range(4))
    heard(Problem(silence(14), (tape,)), TimeWarp(0.0, 10.0, jumps=stutter), block_samples=512)
    assert tape.opened == 1


@pytest.mark.parametrize(
    "warp", [TimeWarp(0.1, 200_000.0), TimeWarp(0.1, 0.0, Bend(0.0, 1.0, tuple(0.2 * np.arange(-3.0, 9.0))))]
)
def test_a_reference_played_fast_has_no_aliases(warp):
    tones = Chord(4.0, np.array([[0.48 * RATE, 0.495 * RATE]]), np.zeros((1, 2)))
    got = heard(Problem(silence(3), (array("song", tones.sampled()),)), warp)
    assert np.sqrt(np.mean(got[:, RATE : 2 * RATE] ** 2)) < 0.05 * 10 ** (-110 / 20)


@pytest.mark.parametrize(
    ("warp", "held_seconds"),
    [
        (TimeWarp(0.1, 1000.0), 0),
        (TimeWarp(-30.0, -60_000.0), 0),
        (TimeWarp(0.1, 1000.0, jumps=(Jump(3.0, 25.0),)), 0),
        (TimeWarp(0.1, 1000.0, jumps=(Jump(9.0, -1.0), Jump(9.1, -1.0), Jump(15.0, -0.5))), 2),
        (TimeWarp(0.1, 0.0, jumps=(Jump(50.0, -45.0),)), 0),
        (TimeWarp(-25.0), 0),
    ],
)
def test_no_more_of_a_reference_is_held_than_its_warp_needs(rng, warp, held_seconds):
    tape = Tape("song", rng.standard_normal((1, 60 * RATE)))
    heard(Problem(silence(55), (tape,)), warp, block_samples=4096)
    # Two blocks of the mixture, two of the tape, and the kernel's reach.
    assert tape.most_alive <= 1.1 * held_seconds * RATE + 2 * 4096 + 2 * 4096 + 200
    assert tape.opened <= 2


def test_a_reference_is_read_no_farther_than_it_is_heard(rng):
    tape = Tape("song", rng.standard_normal((1, 60 * RATE)))
    heard(Problem(silence(5), (tape,)), TimeWarp(1.0, 500.0))
    assert tape.read_up_to < 4.1 * RATE + 4096


def test_a_hundred_jumps_back_and_forth_cost_a_few_readings_at_most(rng):
    tape = Tape("song", rng.standard_normal((1, 30 * RATE)))
    jumps = tuple(Jump(1.0 + 0.1 * n, 5.0 if n % 2 else -5.0) for n in range(100))
    heard(Problem(silence(20), (tape,)), TimeWarp(-10.0, 3.0, jumps=jumps))
    assert tape.opened == 1


def test_stacked_references_have_full_scale_one_whether_warped_or_not(rng):
    chord = Chord.random(rng, 2.0)
    integers = np.rint(chord.sampled() * 2**23).astype(np.int32)
    problem = Problem(silence(2), (array("still", integers, bits=24), array("moved", integers, bits=24)))
    warps = {"still": TimeWarp(), "moved": TimeWarp(0.0, 1.0)}
    got = np.concatenate(
        [stacked(problem, block, ("moved", "still")) for block in aligned_blocks(problem, warps)], axis=1
    )
    np.testing.assert_allclose(got[2:], chord(times(2)), atol=2**-23)
    np.testing.assert_allclose(got[:2, 100:-100], chord(times(2) * (1 + 1e-6))[:, 100:-100], atol=4 * 2**-23)


def model_of(parts: Mapping[str, Contribution], channels: int = 1, rate: int = RATE) -> MixModel:
    return MixModel(rate, CHANNELS[channels], parts)


@pytest.mark.parametrize("reference_bits", [None, 32])
def test_a_warped_image_leaves_the_talk(rng, reference_bits):
    song = Chord.random(rng, 5.0, channels=1)
    talk = 0.1 * rng.standard_normal((1, 4 * RATE))
    where = (times(4) + 0.3) * (1 + 200e-6)
    reference = song.sampled() if reference_bits is None else np.rint(song.sampled() * 2.0**31).astype(np.int64)
    problem = Problem(array("mix", talk + 0.5 * song(where)), (array("song", reference, reference_bits),))
    part = Contribution(True, TimeWarp(-0.3, 200.0), np.full((1, 1, 1), 0.5))
    blocks = list(subtract(problem, model_of({"song": part})))
    residual = np.concatenate([block.residual for block in blocks], axis=1)
    image = np.concatenate([block.images["song"] for block in blocks], axis=1)
    for got, truth in ((residual, talk), (image, 0.5 * song(where))):
        assert 10 * np.log10(np.sum((got - truth) ** 2) / np.sum((0.5 * song(where)) ** 2)) < -125


def test_gains_that_are_exact_hold_for_whole_samples_only(rng):
    song = Chord.random(rng, 3.0, channels=1)
    talk = rng.integers(-3000, 3000, (1, 2 * RATE), dtype=np.int32)
    reference = array("song", np.rint(song.sampled() * 2.0**31).astype(np.int64), 32)
    part = Contribution(True, TimeWarp(-0.5 / RATE), np.ones((1, 1, 1)), exact_gains={(0, 0): Fraction(1)})
    inner = slice(100, -100)  # before its first sample the song is silence
    for shift in (0.5, 1.0):
        moved = replace(part, warp=TimeWarp(-shift / RATE))
        mixture = np.floor(talk * 2.0**16 + song(times(2) + shift / RATE) * 2.0**31 + 0.5).astype(np.int64)
        problem = Problem(array("mix", mixture, 32), (reference,))
        blocks = list(subtract(problem, model_of({"song": moved})))
        residual = np.concatenate([block.residual for block in blocks], axis=1)
        assert residual.dtype == np.int64
        off = np.abs(residual - talk.astype(np.int64) * 2**16)[:, inner].max()
        # In integers only two roundings are left; the kernel's error is under -125 dB of a chord of about 2**29.
        assert off <= (1 if shift == 1.0 else 2**29 * 10 ** (-120 / 20))


def test_a_model_of_another_rate_is_refused(rng):
    problem = Problem(silence(1), (array("song", rng.standard_normal((1, RATE))),))
    with pytest.raises(InputError, match="48000 Hz"):
        subtract(problem, model_of({"song": Contribution(True)}, rate=48000))


def test_a_model_of_another_song_is_refused(rng):
    problem = Problem(silence(1), (array("song", rng.standard_normal((1, RATE))),))
    with pytest.raises(InputError, match="name the same files"):
        subtract(problem, model_of({"tune": Contribution(True)}))


def test_progress_reaches_the_end_and_may_stop_the_work(rng):
    problem = Problem(silence(1), (array("song", rng.standard_normal((1, RATE))),))
    told: list[tuple[float, float]] = []

    def note(done: float, total: float, what: str) -> None:
        told.append((done, total))

    list(aligned_blocks(problem, {"song": TimeWarp(0.1, 5.0)}, block_samples=3000, progress=note))
    assert told == [(3000, RATE), (6000, RATE), (RATE, RATE)]

    class Enough(Exception):
        pass

    def stop(done: float, total: float, what: str) -> None:
        raise Enough

    with pytest.raises(Enough):
        list(aligned_blocks(problem, {"song": TimeWarp(0.1, 5.0)}, progress=stop))


@pytest.mark.parametrize(("n_taps", "first_lag"), [(700, 0), (700, -300), (9000, -40)])
def test_what_played_before_the_recording_began_rings_on_in_it(rng, n_taps, first_lag):
    song = rng.standard_normal(40_000) * 0.1
    response = rng.standard_normal(n_taps) / n_taps**0.5
    # The recording is the middle of what was heard: the song was on before and goes on behind.
    heard = np.convolve(song, response)[12_000 - first_lag : 28_000 - first_lag]
    mixture = ArraySource("mix", heard[np.newaxis], 8000, ("FC",))
    problem = Problem(mixture, (ArraySource("song", song[np.newaxis], 8000, ("FC",)),))
    part = Contribution(True, TimeWarp(-12_000 / 8000), response[np.newaxis, np.newaxis], first_lag)
    blocks = list(subtract(problem, MixModel(8000, ("FC",), {"song": part})))
    left = np.concatenate([block.residual for block in blocks], axis=1)
    assert left.shape == (1, 16_000)
    assert np.abs(left).max() < 1e-12


@pytest.mark.parametrize("block_samples", [1, 777, 4096, 50_000])
def test_jumps_by_whole_samples_leave_integers_as_they_came(rng, block_samples):
    song = rng.integers(-(2**15), 2**15, (2, 3 * RATE), dtype=np.int32)
    # On in it from sample 100, silence, on where it stopped, and back to what was heard before.
    delays = [-100, 12_000 + RATE, 2900, 11_000]
    at = [9000, 12_000, 20_001]
    jumps = tuple(Jump(n / RATE, (one - other) / RATE) for n, one, other in zip(at, delays, delays[1:], strict=False))
    warp = TimeWarp(-100 / RATE, jumps=jumps)
    problem = Problem(silence(3.5, 2), (array("song", song, 16),))
    got = heard(problem, warp, block_samples=block_samples)
    n = np.arange(got.shape[1])
    where = np.rint(warp.reference_time(n / RATE) * RATE).astype(int)
    inside = (where >= 0) & (where < song.shape[1])
    wanted = np.where(inside, song[:, np.clip(where, 0, song.shape[1] - 1)], 0)
    assert got.dtype.kind == "i"
    assert np.array_equal(got, wanted)


def test_a_silence_from_the_first_sample_on_was_one_before(rng):
    song = rng.integers(-1000, 1000, (1, RATE), dtype=np.int32)
    warp = TimeWarp(-0.5, jumps=(Jump(0.0, -3.0), Jump(0.25, 3.0)))
    problem = Problem(silence(0.5), (array("song", song, 16),))
    for way in (warp, replace(warp, clock_ppm=1e-9)):
        blocks = list(aligned_blocks(problem, {"song": way}, before=1000))
        assert not blocks[0].references["song"].any()


@pytest.mark.parametrize("bits", [16, None])
@pytest.mark.parametrize("first_lag, n_taps", [(-40, 100), (0, 300), (17, 5)])
def test_where_the_reference_is_silent_the_mixture_stays_as_it_was_to_the_last_bit(rng, bits, first_lag, n_taps):
    song, talk = rng.normal(0, 0.1, (1, 20 * RATE)), rng.normal(0, 1e-9, (1, 20 * RATE))
    if bits is not None:
        song, talk = (np.rint(x * 2**15).astype(np.int32) for x in (song, talk * 1e6))
    jumps = (Jump(5.0, -12.5), Jump(12.0, 12.5))
    filters = rng.normal(0, 1, (1, 1, n_taps))
    model = model_of({"song": Contribution(True, TimeWarp(jumps=jumps), filters, first_lag)})
    problem = Problem(array("mix", talk, bits), (array("song", song, bits),))
    left = np.concatenate([block.residual for block in subtract(problem, model)], axis=1)
    silent = slice(5 * RATE + first_lag + n_taps - 1, 12 * RATE + first_lag)
    assert np.array_equal(left[:, silent], talk[:, silent])
    assert not np.array_equal(left[:, silent.start - 1], talk[:, silent.start - 1])
    assert not np.array_equal(left[:, silent.stop], talk[:, silent.stop])
