"""Where a reference lies in a mixture: to the sample when it is there, refused when it is not."""

import itertools
import tracemalloc
from dataclasses import dataclass, replace

import numpy as np
import pytest
import scenes
import scipy.signal
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr

from unsum.errors import Cancelled, InputError, UsageError
from unsum.estimators import mono
from unsum.estimators.judged_line import chance_together
from unsum.estimators.locate import locate_reference, locate_references
from unsum.estimators.places import Heard
from unsum.estimators.proof import FALSE_PROOF, followed, plan, prove
from unsum.media.source import open_source
from unsum.problem import ArraySource

RATE = 48000


def source(array, *, name="sound", rate=RATE, bits=None):
    array = np.atleast_2d(array)
    return ArraySource(name, array, rate, tuple(f"c{n}" for n in range(len(array))), bits)


def place(mixture, reference, **how):
    rate = how.pop("rate", RATE)
    return locate_reference(source(mixture, name="mix", rate=rate), source(reference, name="ref", rate=rate), **how)


def music(rng, seconds, channels=1):
    return scenes.music_like(rng, int(seconds * RATE), channels=channels, quantised=False) / 32768


def speech(rng, seconds, channels=1):
    return scenes.speech_like(rng, int(seconds * RATE), channels=channels, quantised=False) / 32768


def mixed(under, reference, delay, *, level_db):
    """The reference added to a sound from sample ``delay`` on, so many dB below it."""
    mix = under.copy()
    gain = 10 ** (level_db / 20) * np.sqrt(np.mean(under**2) / np.mean(reference**2))
    start, stop = max(0, delay), min(mix.shape[1], delay + reference.shape[1])
    mix[:, start:stop] += gain * reference[:, start - delay : stop - delay]
    return mix


@settings(max_examples=10, deadline=None, derandomize=True)
@given(delay=st.integers(0, 10 * RATE), sign=st.sampled_from([1, -1]), seed=st.integers(0, 999))
def test_a_reference_20_db_under_speech_is_found_to_the_sample(delay, sign, seed):
    rng = np.random.default_rng(seed)
    reference = music(rng, 10)
    found = place(mixed(speech(rng, 20), sign * reference, delay, level_db=-20), reference)
    assert found.present and found.confidence > 0.999
    assert (found.delay_samples, found.polarity) == (delay, sign)


@pytest.mark.parametrize(("start", "stop"), [(0, 30), (7, 13), (0, 9), (22, 30)])
def test_the_mixture_may_be_a_part_of_the_reference(start, stop):
    rng = np.random.default_rng(4)
    song = music(rng, 30, channels=2)
    mixture = song[:, start * RATE : stop * RATE] + 0.3 * speech(rng, stop - start, channels=2)
    found = place(mixture, song)
    assert found.present and found.delay_samples == -start * RATE


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 96000])
def test_every_sample_rate_is_searched(rate):
    rng = np.random.default_rng(5)
    reference = scenes.music_like(rng, 6 * rate, rate=rate, quantised=False)
    under = scenes.speech_like(rng, 12 * rate, rate=rate, quantised=False)
    found = place(mixed(under, reference, 2 * rate + 7, level_db=-10), reference, rate=rate)
    assert found.present and found.delay_samples == 2 * rate + 7


def test_integers_of_any_word_length_are_read_on_their_own_scale():
    rng = np.random.default_rng(6)
    song = scenes.music_like(rng, 8 * RATE, peak=2**21)
    mixture = scenes.speech_like(rng, 16 * RATE, peak=8000)
    mixture[:, 3 * RATE : 11 * RATE] += song // 256
    found = locate_reference(source(mixture, bits=16), source(song, bits=24))
    assert found.present and found.delay_samples == 3 * RATE


def test_a_channel_turned_over_does_not_hide_the_reference():
    rng = np.random.default_rng(7)
    song = music(rng, 8)
    mixture = np.zeros((2, 12 * RATE))
    mixture[:, RATE : 9 * RATE] = np.concatenate([song, -song])
    found = place(mixture + 0.1 * speech(rng, 12, channels=2), song)
    assert found.present and found.delay_samples == RATE


def test_a_reference_in_one_of_eight_channels_is_found():
    rng = np.random.default_rng(8)
    song = music(rng, 8)
    mixture = speech(rng, 12, channels=8)
    mixture[5:6, RATE : 9 * RATE] -= 0.3 * song
    found = place(mixture, song)
    assert found.present and (found.delay_samples, found.polarity) == (RATE, -1)


def test_channels_that_speak_in_turn_need_but_one_that_is_heard():
    """Eight channels, each a second and a half every three; only the sixth and a piece of the next are in the mix."""
    rng = np.random.default_rng(30)
    reference = np.zeros((8, 24 * RATE))
    for channel in range(8):
        reference[channel, 3 * channel * RATE : 3 * channel * RATE + 3 * RATE // 2] = music(rng, 1.5)
    start = round(14.2 * RATE)
    mixture = 0.1 * speech(rng, 9, channels=8)
    mixture[:, : 4 * RATE] += reference[:, start : start + 4 * RATE]
    found = place(mixture, reference)
    assert found.present and (found.delay_samples, found.polarity) == (-start, 1)


def bars(rng, seconds, rate):
    """A bar of two seconds, again and again, sample for sample."""
    bar = scenes.music_like(rng, 2 * rate, rate=rate, quantised=False) / 32768
    return np.tile(bar, (1, seconds // 2))


def test_loops_of_one_tempo_are_not_taken_for_each_other_and_are_found_in_their_mix():
    for seed in range(2):
        rng, rate = np.random.default_rng([31, seed]), 16000
        one, other = bars(rng, 30, rate), bars(rng, 20, rate)
        found = place(one, other, rate=rate)
        assert not found.present, (seed, found)
        tune = scenes.speech_like(rng, 20 * rate, rate=rate, quantised=False) / 131072  # a loop alone has no one place
        other = other + tune
        found = place(mixed(one, other, 3 * rate + 5, level_db=-3), other, rate=rate)
        assert found.present and found.delay_samples == 3 * rate + 5, (seed, found)


def test_a_narrow_band_is_found_at_a_high_rate():
    """Partials up to 4 kHz at 192 kHz: a twenty-fourth of all frequencies."""
    rng = np.random.default_rng(32)
    rate, seconds = 192_000, 6
    reference = np.zeros((1, seconds * rate))
    for f, phase, born in rng.uniform((80, 0, -1), (4000, 7, seconds), (700, 3)):
        now = slice(max(0, round(born * rate)), round((born + 0.6) * rate))
        t = np.arange(*now.indices(seconds * rate)) / rate
        reference[0, now] += np.cos(2 * np.pi * f * t + phase)
    mixture = np.zeros((1, 10 * rate))
    mixture[:, 2 * rate + 4321 : 8 * rate + 4321] = reference
    found = place(mixture + 0.01 * rng.standard_normal(mixture.shape), reference, rate=rate)
    assert found.present and abs(found.delay_samples - 2 * rate - 4321) <= 1


def test_the_verse_decides_between_two_choruses():
    """Verse, chorus, verse, chorus: at the other chorus half of the windows agree, at the right place all."""
    rng = np.random.default_rng(9)
    chorus, first, second = music(rng, 6), music(rng, 6), music(rng, 6)
    song = np.concatenate([first, chorus, second, chorus], axis=1)
    found = place(mixed(speech(rng, 60), song, 20 * RATE + 11, level_db=-10), song)
    assert found.present and found.delay_samples == 20 * RATE + 11
    assert found.peak_to_side > 1.3


def test_a_loop_in_a_longer_loop_is_remarked_as_ambiguous():
    bar = music(np.random.default_rng(10), 2)
    found = place(np.tile(bar, (1, 10)), np.tile(bar, (1, 5)))
    assert found.present and found.delay_samples % (2 * RATE) == 0
    assert found.peak_to_side < 1.1
    assert "almost as well" in found.remarks[0]


@pytest.mark.parametrize("ppm", [-150, 40])
def test_clocks_that_differ_are_no_obstacle_and_are_remarked(ppm):
    """Partials that come and go, each stretched exactly, as by another clock."""
    rng = np.random.default_rng(11)
    rate, seconds = 8000, 40
    frequency, phase, born = rng.uniform(80, 3500, 900), rng.uniform(0, 7, 900), rng.uniform(0, seconds, 900)

    def song(t):
        wave = np.zeros(len(t))
        for f, p, b in zip(frequency, phase, born, strict=True):
            now = slice(*np.searchsorted(t, [b, b + 1.5]))
            wave[now] += np.cos(2 * np.pi * f * t[now] + p)
        return wave

    t = np.arange(seconds * rate) / rate
    under = scenes.speech_like(rng, len(t) + 5 * rate, rate=rate, quantised=False)
    mixture = mixed(under, song(t * (1 + ppm * 1e-6))[None], 4 * rate, level_db=-6)
    found = place(mixture, song(t)[None], rate=rate)
    assert found.present
    assert found.clock_ppm == pytest.approx(ppm, abs=6)
    middle = 4 * rate - ppm * 1e-6 * seconds / 2 * rate
    assert abs(found.delay_samples - middle) < 1 + abs(ppm) * 1e-6 * 10 * rate


def test_40_absent_references_are_refused():
    rng = np.random.default_rng(12)
    kinds = (scenes.music_like, scenes.speech_like, scenes.noise_bursts)
    for n, (mine, yours) in enumerate(itertools.islice(itertools.cycle(itertools.product(kinds, kinds)), 40)):
        rate = 16000
        mixture = mine(rng, rate * (4 + n % 7), rate=rate, quantised=False)
        reference = yours(rng, rate * (2 + n % 5), rate=rate, quantised=False)
        found = place(mixture, reference, rate=rate)
        assert not found.present, (n, found)


MUSIC = [
    "music/hungarian_dance.ogg",
    "music/desert.ogg",
    "music/upbeat.ogg",
    "pairs/viper/viper_b.ogg",
    "multitrack/reggae_try/mix.flac",
    "multitrack/anchors_song/drums.flac",
    "multitrack/metal_internal_degeneration/song.flac",
]


def test_40_absent_real_references_are_refused(audio_root):
    sounds = [soundfile.read(audio_root / name, frames=11 * 44100, always_2d=True)[0].T for name in MUSIC]
    for n, (mixture, reference) in enumerate(itertools.islice(itertools.permutations(sounds, 2), 40)):
        heard, looked_for = source(mixture, name="mix", rate=44100), source(reference, name="ref", rate=44100)
        # Every tenth at every speed too, which takes ten times as long.
        found = locate_references(heard, [looked_for], speed="auto" if n % 10 == 0 else "own")["ref"]
        assert not found.present and found.remarks, (n, found)


@pytest.mark.parametrize(
    ("mixture", "reference", "delay"),
    [
        ("pairs/viper/viper_a.mp3", "pairs/viper/viper_b.ogg", 0),
        ("pairs/viper/viper_a.mp3", "pairs/viper/viper_c.mp3", 3163),
        ("pairs/viper/viper_c.mp3", "pairs/viper/viper_a.mp3", -3163),
        ("multitrack/reggae_try/mix.flac", "multitrack/reggae_try/00_bd_03_dry.flac", 0),
        ("multitrack/reggae_try/mix.flac", "multitrack/reggae_try/05_e_piano_dry.flac", 0),
    ],
)
def test_real_pairs_are_found_to_the_sample(audio_root, mixture, reference, delay):
    mix, song = (soundfile.read(audio_root / name, always_2d=True)[0].T for name in (mixture, reference))
    found = place(mix, song, rate=44100)
    assert found.present and (found.delay_samples, found.polarity) == (delay, 1)


def test_real_echoes_are_found_in_the_microphone(audio_root):
    heard = 0
    for mic in sorted((audio_root / "echo").glob("farend_singletalk_*_mic.flac")):
        played = mic.with_name(mic.name.replace("_mic", "_played"))
        found = place(*(soundfile.read(path, always_2d=True)[0].T for path in (mic, played)), rate=16000)
        heard += found.present and 0 < found.delay_samples < 4000
    assert heard == 6


def test_a_mixture_that_is_the_reference_has_no_delay():
    song = music(np.random.default_rng(13), 5, channels=2)
    found = place(song, song)
    assert found.present and (found.delay_samples, found.polarity) == (0, 1)


@pytest.mark.parametrize("samples", [0, 1, RATE // 8])
def test_too_short_is_refused(samples):
    sound = music(np.random.default_rng(14), 4)
    short = sound[:, :samples]
    assert "ref is" in place(sound, short).remarks[0] and not place(sound, short).present
    assert "mix is" in place(short, sound).remarks[0] and not place(short, sound).present


def test_silence_holds_nothing_and_is_nowhere():
    sound, silence = music(np.random.default_rng(15), 4), np.zeros((1, 4 * RATE))
    assert place(sound, silence).remarks == ("ref is silent",)
    for mixture, reference in [(silence, sound), (sound, silence), (silence, silence)]:
        assert not place(mixture, reference).present


@pytest.mark.parametrize("frequency", [480, 520])
def test_a_steady_tone_is_refused_as_it_is_the_same_everywhere(frequency):
    t = np.arange(8 * RATE) / RATE
    tone, heard = np.sin(2 * np.pi * 480 * t)[None], np.sin(2 * np.pi * frequency * t)[None]
    found = place(heard + 0.01 * music(np.random.default_rng(16), 8), tone)
    assert not found.present and "steady tones" in found.remarks[0]


def test_a_sample_that_is_no_number_is_named():
    sound = music(np.random.default_rng(17), 2)
    broken = sound.copy()
    broken[0, 100] = np.nan
    for mixture, reference in [(broken, sound), (sound, broken)]:
        with pytest.raises(InputError, match="NaN or infinity"):
            place(mixture, reference)


def test_different_sample_rates_are_refused():
    sound = np.zeros((1, 100))
    with pytest.raises(ValueError, match="ref is at 44100 Hz, mix at 48000 Hz; resample"):
        locate_reference(source(sound, name="mix"), source(sound, name="ref", rate=44100))


@pytest.mark.parametrize("block", [1, 7, 509, 4096, 100_000])
def test_any_chunking_gives_the_same_decimation(block, monkeypatch):
    rng = np.random.default_rng(18)
    samples = 3000 if block == 1 else 20_000
    sound = source(rng.standard_normal((2, samples)))
    whole = np.concatenate(list(mono.decimated(sound, 6)))
    monkeypatch.setattr("unsum.problem._ARRAY_BLOCK", block)
    np.testing.assert_allclose(np.concatenate(list(mono.decimated(sound, 6))), whole, atol=1e-6)
    assert len(whole) == -(-samples // 6)


def test_progress_is_told_and_may_cancel():
    sound = music(np.random.default_rng(19), 3)
    told = []
    place(sound, sound, progress=lambda done, total, what: told.append((done, total, what)))
    assert told[-1][0] >= 3 * RATE - 1 and {what for *_, what in told} == {"locating"}

    def stop(*_):
        raise Cancelled("enough")

    with pytest.raises(Cancelled):
        place(sound, sound, progress=stop)


def spoken(rng, seconds, *, times, sound, level_db):
    """Speech with a sound in it at some times, in seconds, so many dB below it."""
    mixture = speech(rng, seconds)
    gain = 10 ** (level_db / 20) * np.sqrt(np.mean(mixture**2) / np.mean(sound**2))
    for at in times:
        start = round(at * RATE)
        mixture[:, start : start + sound.shape[1]] += gain * sound
    return mixture


def test_a_jingle_played_three_times_is_heard_in_three_passages():
    rng = np.random.default_rng(20)
    jingle = music(rng, 6)
    found = place(spoken(rng, 50, times=(3, 17.25, 40), sound=jingle, level_db=-6), jingle)
    assert found.present and "3 passages" in found.remarks[0]
    assert [passage.delay_seconds for passage in found.passages] == pytest.approx([3, 17.25, 40], abs=1e-4)
    for passage in found.passages:
        assert passage.start_seconds == pytest.approx(passage.delay_seconds, abs=0.5)
        assert passage.stop_seconds == pytest.approx(passage.delay_seconds + 6, abs=0.5)


def test_a_song_that_is_paused_goes_on_in_a_second_passage():
    rng = np.random.default_rng(21)
    song = music(rng, 32)
    mixture = speech(rng, 50)
    mixture[:, 2 * RATE : 18 * RATE] += 0.5 * song[:, : 16 * RATE]
    mixture[:, 25 * RATE : 41 * RATE] += 0.5 * song[:, 16 * RATE :]
    found = place(mixture, song)
    first, second = found.passages
    assert (first.delay_seconds, second.delay_seconds) == pytest.approx((2, 9), abs=1e-4)
    assert (first.start_seconds, second.stop_seconds) == pytest.approx((2, 41), abs=0.5)
    assert first.stop_seconds == pytest.approx(18, abs=4) and second.start_seconds == pytest.approx(25, abs=4)


def test_a_song_heard_once_is_one_passage():
    rng = np.random.default_rng(22)
    song = music(rng, 12)
    (passage,) = place(mixed(speech(rng, 25), song, 5 * RATE, level_db=-10), song).passages
    assert (passage.start_seconds, passage.stop_seconds, passage.delay_seconds) == pytest.approx((5, 17, 5), abs=0.01)


class CountedSource(ArraySource):
    """Counts how often it is read from its start."""

    def blocks(self):
        readings.append(self.name)
        return super().blocks()


readings: list[str] = []


def test_several_references_are_found_in_two_passes_over_the_mixture():
    rng = np.random.default_rng(23)
    songs = [music(rng, seconds) for seconds in (6, 9, 30)]
    mixture = speech(rng, 25)
    for song, at in zip(songs, (2, 14, -4), strict=True):
        start, stop = max(at, 0) * RATE, min(25 * RATE, at * RATE + song.shape[1])
        mixture[:, start:stop] += 0.4 * song[:, start - at * RATE : stop - at * RATE]
    readings.clear()
    heard = CountedSource("mix", mixture, RATE, ("FC",), None)
    found = locate_references(heard, [source(song, name=f"song {n}") for n, song in enumerate(songs)])
    assert readings == ["mix", "mix"]
    assert list(found) == ["song 0", "song 1", "song 2"]
    assert [one.delay_samples / RATE for one in found.values()] == [2, 14, -4]


@pytest.mark.parametrize(("percent", "asked"), [(3.3, None), (-4.1, "auto"), (-4.1, -4.0), (11.0, 10.9)])
def test_another_speed_is_found_to_a_hundred_ppm(percent, asked):
    """Partials that come and go, each stretched exactly."""
    rng = np.random.default_rng(24)
    rate, seconds = 8000, 14
    frequency, phase, born = rng.uniform(80, 3000, 400), rng.uniform(0, 7, 400), rng.uniform(-1, seconds, 400)

    def song(t):
        wave = np.zeros(len(t))
        for f, p, b in zip(frequency, phase, born, strict=True):
            now = slice(*np.searchsorted(t, [b, b + 1.0]))
            wave[now] += np.cos(2 * np.pi * f * t[now] + p)
        return wave

    speed = 1 + percent / 100
    heard = song(np.arange(round(seconds / speed * rate)) / rate * speed)[None]
    under = scenes.speech_like(rng, 25 * rate, rate=rate, quantised=False)
    reference = song(np.arange(seconds * rate) / rate)[None]
    heard = source(mixed(under, heard, 6 * rate, level_db=-6), name="mix", rate=rate)
    references = [source(reference, name="ref", rate=rate)]
    if asked is not None:
        assert not locate_references(heard, references, speed="own")["ref"].present
    found = locate_references(heard, references, speed=asked)["ref"]
    assert found.present and found.clock_ppm == pytest.approx(percent * 1e4, abs=100)
    (passage,) = found.passages
    middle = (passage.start_seconds + passage.stop_seconds) / 2
    assert middle - (middle - 6) * speed == pytest.approx(found.delay_samples / rate, abs=0.1)
    assert any("of its speed" in remark for remark in found.remarks)


def test_long_mixtures_are_searched_at_their_own_speed_and_say_so():
    rng, rate = np.random.default_rng(33), 8000
    mixture = scenes.speech_like(rng, 301 * rate, rate=rate, quantised=False)
    reference = scenes.music_like(rng, 10 * rate, rate=rate, quantised=False)
    assert any("speed auto tries them" in remark for remark in place(mixture, reference, rate=rate).remarks)


def test_a_speed_that_is_no_speed_is_refused():
    sound = source(np.ones((1, 100)))
    with pytest.raises(UsageError, match="'fast' is no speed"):
        locate_references(sound, [sound], speed="fast")


@pytest.mark.parametrize("alike", [0.0, 0.6, 1.0])
def test_chances_are_put_together_honestly_however_much_they_depend_on_each_other(alike):
    rng = np.random.default_rng(25)
    common = rng.standard_normal((20_000, 1))
    tests = ndtr(np.sqrt(alike) * common + np.sqrt(1 - alike) * rng.standard_normal((20_000, 3)))
    together = np.array([chance_together(row) for row in tests.tolist()])
    for level in (0.01, 0.05, 0.2):
        assert np.mean(together <= level) <= level


def test_chances_are_put_together_by_hand():
    assert chance_together([1e-2, 1e-4, 1e-6]) == pytest.approx(np.e * 1e-4)
    assert chance_together([0.9, 0.8]) == 1.0


@pytest.mark.parametrize("seconds", [11.8, 12.0, 13.0])
def test_music_that_repeats_itself_is_found_in_itself(audio_root, seconds):
    whole = open_source(audio_root / "music" / "upbeat.ogg")
    song = np.concatenate(list(whole.blocks()), axis=1)[:, : round(seconds * whole.sample_rate)] * 0.7
    found = locate_reference(
        source(song, name="song", rate=whole.sample_rate), source(song, name="again", rate=whole.sample_rate)
    )
    assert found.present
    assert found.delay_samples == 0


@dataclass(frozen=True, slots=True)
class Announced(ArraySource):
    """A source whose header says another length than it has."""

    said: int | None = None

    @property
    def samples(self) -> int | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.said


@pytest.mark.parametrize("said", [None, 0, 1000, 10**15])
def test_a_length_that_is_announced_wrong_changes_no_place(said):
    rng = np.random.default_rng(40)
    song, talk = music(rng, 8), speech(rng, 20)
    mix = mixed(talk, song, 5 * RATE, level_db=-6)
    sources = [Announced(name, array, RATE, ("c",), said=said) for name, array in (("mix", mix), ("ref", song))]
    found = locate_reference(*sources)
    assert found.present
    assert found.delay_samples == 5 * RATE


def test_long_sounds_are_not_held_several_times():
    """Both are held once at the rate of the search; in blocks and stacks of them it had been 17 times."""
    rng = np.random.default_rng(41)
    rate, seconds = 8000, 240
    song = (rng.standard_normal((1, seconds * rate)) * np.repeat(rng.random((1, 2 * seconds)), rate // 2, 1)).astype(
        "f4"
    )
    mix = song + rng.standard_normal(song.shape).astype("f4")
    sources = source(mix, name="mix", rate=rate), source(song, name="ref", rate=rate)
    tracemalloc.start()
    try:
        found = locate_reference(*sources)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.present
    assert found.delay_samples == 0
    assert peak < 11 * song.nbytes


@pytest.mark.parametrize("speed", [float("nan"), float("inf"), -100.0, 26, True, "fast"])
def test_a_speed_that_no_player_has_is_refused_before_anything_is_read(rng, speed):
    one = ArraySource("one", rng.standard_normal((1, 100)), 8000, ("FC",))
    with pytest.raises(UsageError, match="is no speed"):
        locate_references(one, [replace(one, name="other")], speed=speed)


@pytest.mark.parametrize("seed", range(2))
def test_a_loop_under_a_quiet_tune_is_found_at_its_own_bar_in_a_room(seed):
    """The other bars explain nearly as much; reflections are louder than the direct sound."""
    rng, rate = np.random.default_rng([60, seed]), 16000
    tune = scenes.music_like(rng, 20 * rate, rate=rate, quantised=False) / 65536
    song = bars(rng, 20, rate) + tune
    room = rng.standard_normal(4000) * np.exp(-np.arange(4000) / 900)
    room[0] = 2.0
    in_room = scipy.signal.fftconvolve(song, room[None], axes=1)
    under = scenes.speech_like(rng, 90 * rate, rate=rate, quantised=False) / 32768
    under += scenes.music_like(rng, 90 * rate, rate=rate, quantised=False) / 32768
    found = place(mixed(under, in_room, 31 * rate + 77, level_db=-15), song, rate=rate)
    assert found.present and abs(found.delay_samples - 31 * rate - 77) < 0.02 * rate


def proved(rng, *, level_db, seconds=60, ppm=0.0, late=0, **known):
    """What the full rate says of a line of noise in noise; each window hears it up to ``late`` samples later."""
    rate, delay = 8000, 700
    sound = rng.standard_normal(seconds * rate)
    line = Heard(0.0, float(seconds * rate), float(delay), -1e-6 * ppm, seconds * rate / 2, 0.0, 1.0)
    where = plan(line, rate=rate)
    assert where is not None
    where = followed(where, line, factor=1, **known)
    played = [sound[None, at : at + where.window] for at in where.played.tolist()]
    heard = []
    for start in where.heard.tolist():
        at = np.arange(start, start + where.window) - rng.integers(late + 1)
        at = np.rint(at - delay + 1e-6 * ppm * (at - delay - seconds * rate / 2)).astype(int)
        heard.append(10 ** (level_db / 20) * sound[at % len(sound)][None] + rng.standard_normal((1, where.window)))
    return prove(where, heard, played, rate=rate)


def test_what_is_known_to_be_there_is_placed_by_the_loudest_windows_which_are_no_votes():
    faint, unsure = (proved(np.random.default_rng(78), level_db=-40, seconds=10, sure=sure) for sure in (True, False))
    assert faint.false_alarm > FALSE_PROOF
    assert faint.votes < faint.used == 4 and faint.windows > 4
    assert abs(faint.delay_samples - 700) <= 0.016 * 8000  # how near it is known, and as much for what windows say
    assert (unsure.used, unsure.delay_samples) == (0, 0)
    clear = proved(np.random.default_rng(78), level_db=0, sure=True)
    assert clear.votes == clear.used == clear.windows and clear.delay_samples == 700


def test_silence_is_placed_nowhere_though_it_be_sure():
    silence = np.zeros((1, 80_000))
    where = plan(Heard(0.0, 80_000.0, 0.0, 0.0, 0.0, 0.0, 1.0), rate=8000)
    assert where is not None
    pieces = [silence[:, : where.window]] * len(where.heard)
    found = prove(replace(where, sure=True), pieces, pieces, rate=8000)
    assert (found.votes, found.used, found.windows) == (0, 0, 0)


def test_a_clock_that_is_known_stays_where_windows_do_not_tell_it():
    """Each window hears another reflection."""
    for sure in (False, True):
        found = proved(np.random.default_rng(71), level_db=0, ppm=40, late=40, sure=True, clock_sure=sure)
        assert found.votes == found.windows
        assert found.slope == pytest.approx(-40e-6 if sure else 0.0, abs=1e-9)
    near = proved(np.random.default_rng(71), level_db=0, ppm=40, sure=True, clock_sure=True)
    assert near.slope == pytest.approx(-40e-6, abs=3e-6) and abs(near.delay_samples - 700) <= 2
