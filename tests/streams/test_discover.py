"""Recordings are summed here in plain loops from sources that are known; the finder sees the sums only."""

from collections.abc import Callable, Mapping, Sequence
from math import gcd

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.strategies import integers
from numpy.typing import NDArray

from unsum.errors import InputError
from unsum.streams.discover import Discovery, RelationFinder
from unsum.streams.recipe import Recipe, format_recipe, parse_recipe

RATE = 48000
SEVEN_ONE = ("FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR")
STEREO = ("FL", "FR")
MONO = ("FC",)

Sound = NDArray[np.float64]
Gains = dict[tuple[int, str], int]  # (stream, channel): gain


def noise(rng: np.random.Generator, seconds: float, peak: float = 3000.0) -> Sound:
    """Bursts whose level wanders, never silent."""
    samples = int(seconds * RATE)
    knots = rng.uniform(0.2, 1, samples // 9000 + 2)
    level = np.interp(np.arange(samples), 9000 * np.arange(len(knots)), knots)
    return np.clip(rng.standard_normal(samples) * level * peak / 3, -peak, peak)


def notes(rng: np.random.Generator, seconds: float, peak: float = 3000.0) -> Sound:
    """Decaying harmonics, one note after the other."""
    sound = np.zeros(int(seconds * RATE))
    at = 0
    while at < len(sound):
        time = np.arange(min(len(sound) - at, int(rng.uniform(0.1, 0.4) * RATE))) / RATE
        pitch = rng.uniform(100, 800)
        for harmonic in range(1, 12):
            tone = np.cos(2 * np.pi * pitch * harmonic * time + rng.uniform(0, 6))
            sound[at : at + len(time)] += peak / 4 / harmonic * np.exp(-(2 + harmonic) * time) * tone
        at += len(time)
    return sound


def cosines(rng: np.random.Generator, seconds: float, peak: float = 3000.0) -> Sound:
    time = np.arange(int(seconds * RATE)) / RATE
    frequencies = np.geomspace(60, 9000, 12) * rng.uniform(0.9, 1.1, 12)
    return sum((np.cos(2 * np.pi * f * time + rng.uniform(0, 6)) for f in frequencies), np.zeros(len(time))) * peak / 12


def silenced(sound: Sound, *passages: tuple[float, float]) -> Sound:
    sound = sound.copy()
    for start, stop in passages:
        sound[..., int(start * RATE) : int(stop * RATE)] = 0
    return sound


def summed(
    layouts: Sequence[Sequence[str]], parts: Sequence[tuple[Sound, Gains]], *, rounded: bool = False
) -> dict[int, NDArray[np.int32]]:
    """Every stream as the sum of sounds with gains, each sound whole numbers unless rounded."""
    samples = len(parts[0][0])
    sums = {stream: np.zeros((len(names), samples)) for stream, names in enumerate(layouts)}
    for sound, gains in parts:
        for (stream, channel), gain in gains.items():
            sums[stream][layouts[stream].index(channel)] += gain * (sound if rounded else np.rint(sound))
    return {stream: np.rint(held).astype(np.int32) for stream, held in sums.items()}


def stereo(gains: Mapping[int, int], *sounds: Sound) -> list[tuple[Sound, Gains]]:
    return [
        (sound, {(stream, name): gain for stream, gain in gains.items()})
        for sound, name in zip(sounds, STEREO, strict=True)
    ]


def mono(gains: Mapping[int, int], sound: Sound, layouts: Sequence[Sequence[str]]) -> tuple[Sound, Gains]:
    return sound, {
        (stream, name): gain
        for stream, gain in gains.items()
        for name in (MONO if len(layouts[stream]) == 1 else STEREO)
    }


def discovered(
    layouts: Sequence[Sequence[str]], streams: Mapping[int, NDArray[np.number]], *, chunk: int | None = None
) -> Discovery:
    finder = RelationFinder({stream: tuple(names) for stream, names in enumerate(layouts)})
    samples = streams[0].shape[1]
    for start in range(0, samples, chunk or samples):
        stop = min(samples, start + (chunk or samples))
        finder.observe(start, {stream: held[:, start:stop] for stream, held in streams.items()})
    return finder.conclude()


def coprime(gains: Gains) -> tuple[tuple[tuple[int, str], int], ...]:
    heard = sorted((key, gain) for key, gain in gains.items() if gain)
    divisor = gcd(*(gain for _, gain in heard)) * (1 if heard[0][1] > 0 else -1)
    return tuple((key, gain // divisor) for key, gain in heard)


def columns(recipe: Recipe, layouts: Sequence[Sequence[str]]) -> set[tuple[tuple[tuple[int, str], int], ...]]:
    """Where each channel of each source goes, read from the recipe with the rules of design.md 4.1."""
    gains: dict[tuple[str, str], Gains] = {}
    layout_of = {source.name: source.channels for source in recipe.sources}
    for stream, terms in recipe.streams.items():
        for term in terms:
            names = layout_of[term.source]
            if len(names) == 1:
                targets = term.channels or (MONO if len(layouts[stream]) == 1 else STEREO)
                routes = [(names[0], target) for target in targets]
            else:
                routes = [(name, name) for name in (term.channels or names)]
            for name, target in routes:
                held = gains.setdefault((term.source, name), {})
                held[stream, target] = held.get((stream, target), 0) + int(term.gain)
    return {coprime(held) for held in gains.values()}


def article(rng: np.random.Generator, *, rounded: bool = False) -> dict[int, NDArray[np.int32]]:
    """Desktop twice on FL and FR of stream 0, voice in 1, zoom in all; each is silent at times."""
    layouts = [SEVEN_ONE] * 3
    desktop = [silenced(noise(rng, 10), (0, 2), (5, 6)) for _ in SEVEN_ONE]
    voice = [silenced(notes(rng, 10), (1.5, 3.3)) for _ in STEREO]
    zoom = silenced(notes(rng, 10), (0.7, 1.7), (3, 4.1), (7, 8))
    parts = [
        (sound, {(0, name): 2, (1, name): 1, (2, name): 1} if name in STEREO else {(0, name): 1})
        for sound, name in zip(desktop, SEVEN_ONE, strict=True)
    ]
    parts += [*stereo({1: 1}, *voice), mono({0: 1, 1: 1, 2: 1}, zoom, layouts)]
    return summed(layouts, parts, rounded=rounded)


@pytest.fixture(scope="module")
def article_streams() -> dict[int, NDArray[np.int32]]:
    return article(np.random.default_rng(20210114))


ARTICLE = """
[sources]
a = { layout = "mono", title = "in streams 0, 1 and 2" }
b = { layout = "7.1", title = "in streams 0, 1 and 2" }
c = { layout = "stereo", title = "in stream 1 only" }

[streams]
0 = "a + 2*b[FL,FR] + b[FC,LFE,BL,BR,SL,SR]"
1 = "a + b[FL,FR] + c"
2 = "a + b[FL,FR]"
"""


def test_the_articles_recording_is_untangled(article_streams: dict[int, NDArray[np.int32]]):
    found = discovered([SEVEN_ONE] * 3, article_streams)
    assert found.missing == ()
    assert found.recipe == parse_recipe(ARTICLE)
    assert found.exact == "exact"
    assert found.recipe is not None
    assert parse_recipe(format_recipe(found.recipe)) == found.recipe
    assert found.assumptions[0].startswith("FC, LFE, BL, BR, SL and SR belong to the FL and FR in streams 0 (gain 2)")
    desktop = next(c for c in found.columns if (c.source, c.channel) == ("b", "FL"))
    assert str(desktop) == "b.FL: 2 in s0.FL, 1 in s1.FL, 1 in s2.FL"
    assert abs(desktop.first_sample - 2 * RATE) < 4096
    assert abs(desktop.samples - 7 * RATE) < 20000


def test_the_articles_recording_is_untangled_when_it_was_mixed_in_float():
    found = discovered([SEVEN_ONE] * 3, article(np.random.default_rng(7), rounded=True))
    assert found.missing == ()
    assert found.recipe == parse_recipe(ARTICLE)
    assert found.exact == "rounded"


@pytest.mark.parametrize("chunk", [997, 4096, 50_001])
def test_any_chunking_finds_the_same(article_streams: dict[int, NDArray[np.int32]], chunk: int):
    streams = {stream: held[:2, : 5 * RATE] for stream, held in article_streams.items()}
    assert discovered([STEREO] * 3, streams, chunk=chunk) == discovered([STEREO] * 3, streams)


def test_a_source_that_is_never_silent_is_named_and_nothing_is_guessed(rng: np.random.Generator):
    layouts = [STEREO] * 2
    hum = [noise(rng, 4) for _ in STEREO]
    guest = [silenced(notes(rng, 4), (1, 2)) for _ in STEREO]
    found = discovered(layouts, summed(layouts, stereo({1: 1}, *hum) + stereo({0: 1, 1: 1}, *guest)))
    assert found.recipe is None
    assert found.missing == (
        "FL and FR of streams 0 and 1: a source never sounds without the one in stream 1 only, "
        "so its share in stream 1 cannot be told",
    )


def test_two_sources_that_only_sound_together_cannot_be_told_apart(rng: np.random.Generator):
    layouts = [MONO] * 2
    both = [silenced(noise(rng, 4), (1, 2)) for _ in range(2)]
    parts = [mono({0: 1}, both[0], layouts), mono({0: 1, 1: 1}, both[1], layouts)]
    found = discovered(layouts, summed(layouts, parts))
    assert found.recipe is None
    assert found.missing == ("FC of streams 0 and 1: 2 sources, and none of them sounds alone in any passage",)


def test_a_stereo_source_that_plays_mono_for_a_while_stays_one_source(rng: np.random.Generator):
    layouts = [STEREO] * 2
    left, right = (silenced(noise(rng, 6), (0, 1.5)) for _ in STEREO)
    right[2 * RATE : 3 * RATE] = left[2 * RATE : 3 * RATE]
    other = silenced(notes(rng, 6), (1, 3.6))
    parts = [*stereo({0: 1, 1: 1}, left, right), mono({1: 1}, other, layouts)]
    found = discovered(layouts, summed(layouts, parts))
    assert found.recipe is not None
    assert [source.layout for source in found.recipe.sources] == ["stereo", "mono"]
    assert columns(found.recipe, layouts) == {coprime(gains) for _, gains in parts}


def test_a_source_that_is_the_same_on_both_sides_throughout_is_found_as_mono(rng: np.random.Generator):
    layouts = [STEREO] * 2
    voice = silenced(noise(rng, 6), (0, 1.5))
    other = [silenced(notes(rng, 6), (1, 3.6)) for _ in STEREO]
    found = discovered(layouts, summed(layouts, stereo({0: 1, 1: 1}, voice, voice) + stereo({1: 1}, *other)))
    assert found.recipe is not None
    assert {source.title: source.layout for source in found.recipe.sources} == {
        "in streams 0 and 1": "mono",
        "in stream 1 only": "stereo",
    }


def test_mono_and_stereo_streams_share_a_mono_source(rng: np.random.Generator):
    layouts = [STEREO, MONO, STEREO]
    parts = [
        mono({0: 1, 1: 2, 2: -1}, silenced(notes(rng, 7), (1, 2), (4, 5)), layouts),
        *stereo({0: 1, 2: 1}, *(silenced(noise(rng, 7), (0, 0.8), (1.6, 3.2)) for _ in STEREO)),
    ]
    found = discovered(layouts, summed(layouts, parts))
    assert found.missing == ()
    assert found.recipe is not None
    assert columns(found.recipe, layouts) == {coprime(gains) for _, gains in parts}


def test_a_microphone_on_the_left_only_is_sent_to_the_left(rng: np.random.Generator):
    layouts = [STEREO] * 2
    parts = [
        (silenced(noise(rng, 5), (1, 2)), {(0, "FL"): 1, (1, "FL"): 1}),
        *stereo({1: 1}, *(silenced(notes(rng, 5), (0, 0.7), (1.6, 3)) for _ in STEREO)),
    ]
    found = discovered(layouts, summed(layouts, parts))
    assert found.recipe is not None
    assert [str(term) for term in found.recipe.streams[0]] == ["a[FL]"] or [
        str(term) for term in found.recipe.streams[0]
    ] == ["b[FL]"]
    assert columns(found.recipe, layouts) == {coprime(gains) for _, gains in parts}


@pytest.mark.parametrize("peak", [1.0, 2.0])
def test_in_exact_sums_a_source_of_one_step_is_a_source(rng: np.random.Generator, peak: float):
    layouts = [MONO] * 2
    faint = silenced(np.rint(rng.uniform(-peak, peak, 6 * RATE)), (1, 2), (4, 4.5))
    loud = silenced(noise(rng, 6), (2, 3))
    parts = [mono({0: 1, 1: 1}, loud, layouts), mono({1: 1}, faint, layouts)]
    found = discovered(layouts, summed(layouts, parts))
    assert found.recipe is not None
    assert found.exact == "exact"
    assert columns(found.recipe, layouts) == {coprime(gains) for _, gains in parts}


@pytest.mark.parametrize("peak", [0.7, 1.0, 2.0])
@pytest.mark.parametrize("often", [0.05, 1.0])
def test_in_rounded_sums_a_source_of_one_step_is_not_taken_for_rounding(
    rng: np.random.Generator, peak: float, often: float
):
    layouts = [MONO] * 3
    faint = silenced(rng.uniform(-peak, peak, 6 * RATE) * (rng.random(6 * RATE) < often), (1, 2), (4, 4.5))
    first, second = silenced(noise(rng, 6), (2, 3)), silenced(notes(rng, 6), (0, 1.5), (4.2, 5))
    parts = [
        mono({0: 1, 1: 1, 2: 2}, first, layouts),
        mono({1: 1, 2: 1}, second, layouts),
        mono({0: 1}, faint, layouts),
    ]
    found = discovered(layouts, summed(layouts, parts, rounded=True))
    assert found.recipe is None


@pytest.mark.parametrize("level_db", [0, -6, -10])
@pytest.mark.parametrize("sound", [noise, notes])
def test_a_source_that_hides_in_two_others_makes_no_false_recipe(
    rng: np.random.Generator, level_db: float, sound: Callable[[np.random.Generator, float], Sound]
):
    # s0 = a + c, s1 = b + c: with only c, a, and all three it looks like two sources.
    layouts = [MONO] * 2
    loud, hidden = noise(rng, 6), sound(rng, 6)
    hidden = silenced(hidden * loud.std() / hidden.std() * 10 ** (level_db / 20), (0, 4))
    parts = [
        mono({0: 1}, silenced(loud, (0, 2)), layouts),
        mono({0: 1, 1: 1}, silenced(noise(rng, 6), (2, 4)), layouts),
        mono({1: 1}, hidden, layouts),
    ]
    found = discovered(layouts, summed(layouts, parts))
    assert found.recipe is None
    assert "share a sound at the very same sample" in found.missing[0]


def test_sources_that_would_not_be_whole_numbers_show_that_one_is_hidden(rng: np.random.Generator):
    # (1, 1) is a third of (1, 2) and (2, 1).
    layouts = [MONO] * 2
    parts = [
        mono({0: 1, 1: 2}, silenced(noise(rng, 6), (0, 2)), layouts),
        mono({0: 2, 1: 1}, silenced(noise(rng, 6), (2, 4)), layouts),
        mono({0: 1, 1: 1}, silenced(noise(rng, 6, peak=4), (0, 4)), layouts),
    ]
    found = discovered(layouts, summed(layouts, parts))
    assert found.recipe is None
    assert "no whole numbers" in found.missing[0]


def test_more_sources_than_streams_are_refused(rng: np.random.Generator):
    layouts = [MONO] * 2
    parts = [
        mono(gains, silenced(noise(rng, 3), (0, at), (at + 1, 3)), layouts)
        for at, gains in enumerate([{0: 1}, {1: 1}, {0: 1, 1: 1}])
    ]
    found = discovered(layouts, summed(layouts, parts))
    assert found.recipe is None
    assert found.missing == ("FC of streams 0 and 1: more sources than so many streams can tell apart",)


def test_a_lossy_stream_is_called_approximate_with_its_depth(rng: np.random.Generator):
    layouts = [STEREO] * 2
    voice = [silenced(noise(rng, 4), (1, 2)) for _ in STEREO]
    music = [silenced(notes(rng, 4), (2, 3)) for _ in STEREO]
    streams = summed(layouts, stereo({0: 1, 1: 1}, *voice) + stereo({0: 1}, *music))
    error = rng.standard_normal(streams[1].shape) * np.abs(streams[1]).max() / 300
    streams[1] = np.rint(streams[1] + error).astype(np.int32)
    found = discovered(layouts, streams)
    assert found.recipe is None
    assert found.approximate_db is not None
    assert -50 < found.approximate_db < -30
    assert any("may be lossy or resampled" in text for text in found.missing)


def test_float_streams_get_a_depth_and_no_recipe(rng: np.random.Generator):
    sound = noise(rng, 2)[None] / 32768
    copy = sound + rng.standard_normal(sound.shape) * 1e-5
    found = discovered([MONO] * 2, {0: sound, 1: copy.astype(np.float32)})
    assert found.recipe is None
    assert found.approximate_db is not None
    assert found.approximate_db < -50
    assert found.missing[0] == "stream 0, 1 lossy or in floating point: no exact relation can be found there"


def test_silence_everywhere_holds_no_source():
    found = discovered([STEREO] * 2, {stream: np.zeros((2, RATE), np.int16) for stream in range(2)})
    assert found.recipe is None
    assert found.missing == ("nothing sounds in any stream",)


def test_one_sample_is_silence_to_the_finder():
    found = discovered([MONO] * 2, {stream: np.ones((1, 1), np.int16) for stream in range(2)})
    assert found.missing == ("nothing sounds in any stream",)


def test_one_stream_has_nothing_to_be_compared_with(rng: np.random.Generator):
    found = discovered([MONO], {0: noise(rng, 1)[None].astype(np.int32)})
    assert found.recipe is None
    assert found.missing == ("there is one audio stream only: nothing to compare it with",)


def test_blocks_with_missing_samples_are_left_out(article_streams: dict[int, NDArray[np.int32]]):
    finder = RelationFinder(dict.fromkeys(range(3), STEREO))
    streams = {stream: held[:2].copy() for stream, held in article_streams.items()}
    valid = np.ones(streams[0].shape[1], dtype=bool)
    valid[4 * RATE : 4 * RATE + 500] = False
    streams[1][:, 4 * RATE : 4 * RATE + 500] = 0
    half = 7 * RATE
    finder.observe(0, {stream: held[:, :half] for stream, held in streams.items()}, valid=valid[:half])
    finder.observe(half + 9, {stream: held[:, half + 9 :] for stream, held in streams.items()})
    found = finder.conclude()
    assert found.recipe is not None
    assert [source.layout for source in found.recipe.sources] == ["mono", "stereo", "stereo"]


def test_what_is_fed_must_fit():
    finder = RelationFinder({0: STEREO, 1: MONO})
    good = {0: np.zeros((2, 100), np.int16), 1: np.zeros((1, 100), np.int16)}
    finder.observe(50, good)
    with pytest.raises(InputError, match="before 150; feed in order of time"):
        finder.observe(149, good)
    with pytest.raises(InputError, match="cut all streams to one stretch"):
        finder.observe(150, {0: good[0], 1: np.zeros((1, 99), np.int16)})
    with pytest.raises(InputError, match=r"but the file has \[0, 1\]"):
        finder.observe(150, {0: good[0]})
    with pytest.raises(InputError, match="validity flags for 100 samples"):
        finder.observe(150, good, valid=np.ones(99, dtype=bool))
    with pytest.raises(InputError, match="mark them as not valid"):
        finder.observe(150, {0: good[0], 1: np.full((1, 100), np.nan)})


def random_recording(seed: int) -> tuple[Sequence[Sequence[str]], list[tuple[Sound, Gains]], bool]:
    """Streams and sources by chance, each source silent by chance."""
    rng = np.random.default_rng(seed)
    layouts = [STEREO if rng.random() < 0.7 else MONO for _ in range(rng.integers(2, 5))]
    stereo_streams = [stream for stream, names in enumerate(layouts) if names == STEREO]
    rounded = bool(rng.random() < 0.3)
    parts: list[tuple[Sound, Gains]] = []
    sounds = (noise, notes, cosines)
    hop = rng.uniform(0.2, 0.5)
    for _ in range(rng.integers(2, 5)):
        wide = bool(stereo_streams) and rng.random() < 0.6
        where = stereo_streams if wide else range(len(layouts))
        heard = {int(rng.choice(where)), *(stream for stream in where if rng.random() < 0.5)}
        gains = {stream: int(rng.choice([1, 2, -1, 3], p=[0.8, 0.1, 0.05, 0.05])) for stream in sorted(heard)}
        off = [(at, at + hop) for at in np.arange(0, 4, hop) if rng.random() < 0.45]
        peak = float(np.exp(rng.uniform(np.log(300), np.log(6000))))
        made = [silenced(sounds[rng.integers(3)](rng, 4, peak), *off) for _ in range(1 + wide)]
        parts += stereo(gains, *made) if wide else [mono(gains, made[0], layouts)]
    return layouts, parts, rounded


def told_columns(parts: Sequence[tuple[Sound, Gains]]) -> set[tuple[tuple[tuple[int, str], int], ...]]:
    """The true columns up to what no audio tells: scale, and sources with one pattern over the streams."""
    found = {coprime(gains) for sound, gains in parts if np.rint(sound[: len(sound) // 2048 * 2048]).any()}
    patterns: dict[tuple[tuple[int, int], ...], set[tuple[tuple[tuple[int, str], int], ...]]] = {}
    for column in found:
        pattern = tuple(sorted({(stream, gain) for (stream, _), gain in column}))
        patterns.setdefault(pattern, set()).add(column)
    for pattern, alike in patterns.items():
        if len(alike) > 1:
            found -= alike
            found |= {coprime({(stream, name): gain for stream, gain in pattern}) for name in STEREO}
    return found


@settings(max_examples=12, deadline=None)
@given(seed=integers(0, 2**32 - 1))
def test_a_recipe_that_is_found_is_the_true_one(seed: int):
    layouts, parts, rounded = random_recording(seed)
    found = discovered(layouts, summed(layouts, parts, rounded=rounded))
    if found.recipe is None:
        assert found.missing
    else:
        assert columns(found.recipe, layouts) == told_columns(parts)


def test_most_recordings_with_silences_are_untangled():
    untangled = 0
    for seed in range(12):
        layouts, parts, rounded = random_recording(seed)
        untangled += discovered(layouts, summed(layouts, parts, rounded=rounded)).recipe is not None
    assert untangled >= 3  # many of them have more sources than streams, or sources that are never alone


def test_a_pair_that_is_only_alike_beside_a_mono_source_is_not_told_from_a_third(rng: np.random.Generator):
    # While the mono source never stops, {mono, pair alike} is {mono, another mono in both streams}.
    layouts = [STEREO] * 2
    pair = [silenced(noise(rng, 6), (1, 3), (4, 5)) for _ in STEREO]
    third = silenced(noise(rng, 6, 200), (0, 2), (4, 6))
    parts = [
        mono({0: 1}, noise(rng, 6, 30_000), layouts),
        *stereo({1: 1}, *pair),
        mono({0: 1, 1: 1}, third, layouts),
    ]
    found = discovered(layouts, summed(layouts, parts))
    assert found.recipe is None
    assert found.missing == (
        "FL and FR of stream 1: what sounds alike on both sides while others sound is the source "
        "in stream 1 only, or a mono source, which cannot be told",
    )
