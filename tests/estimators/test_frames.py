"""Frames one by one: a gain that changes and a delay that jumps, behind a filter that stays."""

import numpy as np
import pytest
import scipy.signal

from unsum.errors import InputError
from unsum.estimators.frames import FrameFit, fit_frames
from unsum.model import Contribution, MixModel
from unsum.problem import ArraySource, Problem

RATE = 8000
LENGTH = 4 * RATE
FILTER = np.array([1.0, -0.6, 0.2])


def scene(rng: np.random.Generator, *, blocks: int) -> tuple[Problem, MixModel]:
    """One track through a filter of three taps at gain 1; in the second half at half the gain and 4 samples later."""
    track = rng.standard_normal((1, LENGTH))
    image = np.asarray(scipy.signal.lfilter(FILTER, 1, track))
    mix = image.copy()
    mix[:, LENGTH // 2 :] = 0.5 * np.pad(image, ((0, 0), (4, 0)))[:, LENGTH // 2 : LENGTH]
    sources = [_Blocks(name, sound, blocks) for name, sound in (("mix", mix), ("track", track))]
    model = MixModel(RATE, ("FC",), {"track": Contribution(True, filters=FILTER[None, None])})
    return Problem(sources[0], (sources[1],)), model


class _Blocks(ArraySource):
    """An array that comes in blocks of some length."""

    __slots__ = ("_length",)

    def __init__(self, name: str, array: np.ndarray, length: int) -> None:
        super().__init__(name, array, RATE, ("FC",))
        object.__setattr__(self, "_length", length)

    def blocks(self):
        for start in range(0, self.array.shape[1], self._length):
            yield self.array[:, start : start + self._length]


def fitted(problem: Problem, model: MixModel, window: int = 4000) -> list[FrameFit]:
    return list(fit_frames(problem, model, power={}, samples=LENGTH, window_samples=window))


def test_each_frame_tells_its_gain_and_its_lag(rng):
    frames = fitted(*scene(rng, blocks=65536))
    assert [frame.start for frame in frames] == list(range(0, LENGTH - 3999, 2000))
    size = np.linalg.norm(FILTER)
    for frame in frames:
        if frame.start < LENGTH // 2 < frame.stop:
            continue
        late = frame.start >= LENGTH // 2
        wanted = np.zeros(frame.filters["track"].shape[2])
        # The track comes at unit gain behind its filter, so that the filter's own gain is left to find.
        wanted[(4 if late else 0) - frame.first_lag] = (0.5 if late else 1.0) * size
        np.testing.assert_allclose(frame.filters["track"][0, 0], wanted, atol=1e-6)


@pytest.mark.parametrize("blocks", [509, 4096])
def test_any_chunking_gives_the_same_frames(blocks):
    one, other = (fitted(*scene(np.random.default_rng(1), blocks=length)) for length in (LENGTH, blocks))
    assert len(one) == len(other)
    for mine, theirs in zip(one, other, strict=True):
        np.testing.assert_allclose(mine.filters["track"], theirs.filters["track"], atol=1e-12)


def test_a_silent_track_takes_no_part(rng):
    problem, model = scene(rng, blocks=LENGTH)
    silent = ArraySource("silent", np.zeros((1, LENGTH)), RATE, ("FC",))
    contributions = {**model.contributions, "silent": Contribution(True, filters=np.ones((1, 1, 1)))}
    wide = MixModel(RATE, ("FC",), contributions)
    frames = fitted(Problem(problem.mixture, (*problem.references, silent)), wide)
    assert all(np.all(frame.filters["silent"] == 0) for frame in frames)
    assert np.max(np.abs(frames[0].filters["track"])) == pytest.approx(np.linalg.norm(FILTER), abs=1e-6)


def test_frames_that_say_too_little_are_refused_before_anything_is_read(rng):
    problem, model = scene(rng, blocks=LENGTH)
    with pytest.raises(InputError, match="give one of"):
        fit_frames(problem, model, power={}, samples=LENGTH, window_samples=10)
    with pytest.raises(InputError, match="longer than the mixture"):
        fit_frames(problem, model, power={}, samples=100, window_samples=4000)
