"""What was taken out is put together again: bit for bit, with other stems, and never over a file that is there."""

import json
import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import scenes
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import fftconvolve

import unsum
from unsum.analysis import Analysis, ReferenceFinding, Step
from unsum.engine import subtract
from unsum.errors import InputError, OutputExistsError, RefusedError, UsageError
from unsum.model import Contribution, Jump, MixModel, TimeWarp
from unsum.problem import ArraySource, Problem
from unsum.rendering import Silence, rendered
from unsum.report.session import record_file, save_session

RATE = 16000
STEREO = ("FL", "FR")
IDENTITY = {(0, 0): Fraction(1), (1, 1): Fraction(1)}


def source(name: str, samples: np.ndarray, *, bits: int | None = 16, rate: int = RATE) -> ArraySource:
    return ArraySource(name, samples, rate, ("FC",) if len(samples) == 1 else STEREO, bits)


def whole(canvas, sounds, model, **how) -> np.ndarray:
    return np.concatenate([block.total for block in rendered(canvas, sounds, model, **how)], axis=1)


def silence(samples: int, *, channels: tuple[str, ...] = STEREO) -> Silence:
    return Silence("silence", RATE, channels, samples)


def scipy_image(sound: np.ndarray, filters: np.ndarray, *, delay: int, samples: int) -> np.ndarray:
    """(channels, samples): every path of a sound (columns, samples) through its filter, that much later."""
    image = np.zeros((len(filters), samples))
    for paths, out in zip(filters, image, strict=True):
        heard = np.sum([fftconvolve(row, taps) for row, taps in zip(sound, paths, strict=True)], axis=0)
        heard = heard[max(0, -delay) :][: samples - max(0, delay)]
        out[max(0, delay) : max(0, delay) + len(heard)] = heard
    return image


# --- in memory ---


@pytest.mark.parametrize("delay", [0, 70_001, -70_001])
def test_an_image_is_what_scipy_convolves(delay, rng):
    sound, n = 0.1 * rng.standard_normal((2, 150_000)), 200_000
    filters = rng.standard_normal((2, 2, 700)) * np.exp(-np.arange(700) / 90)
    part = Contribution(True, TimeWarp(delay / RATE), filters, first_lag=-64)
    model = MixModel(RATE, STEREO, {"song": part})
    total = whole(silence(n), [source("song", sound, bits=None)], model, samples=n)
    wanted = scipy_image(sound, filters, delay=delay - 64, samples=n)
    # As far from both ends of the mixture as the filters reach.
    np.testing.assert_allclose(total[:, 700:-64], wanted[:, 700:-64], atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(
    numerator=st.integers(-7, 7).filter(bool),
    denominator=st.integers(1, 9),
    bits=st.sampled_from([8, 16, 20]),
    sound_bits=st.sampled_from([8, 16, 24]),
    seed=st.integers(0, 2**16),
)
def test_exact_gains_round_on_the_mixtures_own_grid_and_halves_go_up(numerator, denominator, bits, sound_bits, seed):
    rng = np.random.default_rng(seed)
    top = 1 << (sound_bits - 1)
    sound = rng.integers(-top, top, (1, 300))
    gain = Fraction(numerator, denominator)
    model = MixModel(RATE, ("FC",), {"s": Contribution(True, TimeWarp(5 / RATE), exact_gains={(0, 0): gain})})
    total = whole(silence(300, channels=("FC",)), [source("s", sound, bits=sound_bits)], model, samples=300, bits=bits)
    scaled = [gain * int(x) * Fraction(2) ** (bits - sound_bits) + Fraction(1, 2) for x in sound[0]]
    wanted = [0] * 5 + [value.numerator // value.denominator for value in scaled][:-5]
    assert np.array_equal(total[0] * 2.0 ** (bits - 1), wanted)


def test_several_images_are_given_one_by_one_and_summed_onto_what_is_there(rng):
    songs = [source(f"s{n}", rng.integers(-3000, 3000, (2, 70_000))) for n in range(3)]
    parts = {song.name: Contribution(True, exact_gains=IDENTITY) for song in songs}
    parts["other"] = Contribution(False)
    canvas = rng.integers(-3000, 3000, (2, 70_000))
    blocks = list(rendered(source("talk", canvas), songs, MixModel(RATE, STEREO, parts), samples=70_000, bits=16))
    for song in songs:
        image = np.concatenate([block.images[song.name] for block in blocks], axis=1)
        assert np.array_equal(image * 2**15, song.array)
    total = np.concatenate([block.total for block in blocks], axis=1)
    assert np.array_equal(total * 2**15, canvas + sum(song.array for song in songs))


@pytest.mark.parametrize("length", [1, 40_000, 65_536, 100_000, 140_000])
def test_the_sum_is_as_long_as_what_is_added_to_and_images_end_with_the_mixture(length, rng):
    song, canvas = rng.integers(-3000, 3000, (2, 200_000)), rng.integers(-3000, 3000, (2, length))
    model = MixModel(RATE, STEREO, {"song": Contribution(True, exact_gains=IDENTITY)})
    total = whole(source("talk", canvas), [source("song", song)], model, samples=100_000, bits=16)
    wanted = canvas.copy()
    wanted[:, :100_000] += song[:, : min(length, 100_000)]
    assert np.array_equal(total * 2**15, wanted)


def test_what_is_added_to_stays_as_it_is_where_the_mixture_had_no_samples(rng):
    song, canvas = rng.integers(-3000, 3000, (2, 70_000)), rng.integers(-3000, 3000, (2, 70_000))
    model = MixModel(RATE, STEREO, {"song": Contribution(True, exact_gains=IDENTITY), "other": Contribution(False)})
    blocks = list(rendered(source("talk", canvas), [source("song", song)], model, samples=0, bits=16))
    assert np.array_equal(np.concatenate([block.total for block in blocks], axis=1) * 2**15, canvas)
    for block in blocks:
        assert list(block.images) == ["song"]
        assert np.array_equal(block.images["song"], np.zeros(block.total.shape))


def test_a_stem_of_another_rate_or_in_floating_point_is_heard_through_the_exact_gains_too():
    t, other = np.arange(3 * RATE) / RATE, np.arange(3 * 44100) / 44100
    model = MixModel(
        RATE, ("FC",), {"s": Contribution(True, TimeWarp(0.5), 0.5 * np.ones((1, 1, 1)), 0, {(0, 0): Fraction(1, 2)})}
    )
    sound = ArraySource("s", 0.4 * np.cos(2 * np.pi * 440 * other)[np.newaxis], 44100, ("FC",))
    total = whole(silence(3 * RATE, channels=("FC",)), [sound], model, samples=3 * RATE, bits=16)[0]
    wanted = 0.2 * np.cos(2 * np.pi * 440 * (t - 0.5)) * (t >= 0.5)
    middle = slice(RATE, -RATE)
    assert np.abs(total - wanted)[middle].max() < 1e-5
    assert np.abs(total[: RATE // 2 - 1000]).max() < 1e-6


def test_a_clock_that_runs_fast_and_a_jump_are_heard_where_the_model_has_them():
    times = np.arange(4 * RATE) / RATE
    tone = lambda seconds: 0.3 * np.cos(2 * np.pi * 310.7 * seconds)  # noqa: E731
    warp = TimeWarp(0.25, 300.0, jumps=(Jump(2.0, 0.35),))
    model = MixModel(RATE, ("FC",), {"s": Contribution(True, warp, np.ones((1, 1, 1)))})
    sound = source("s", tone(np.arange(6 * RATE) / RATE)[np.newaxis], bits=None)
    total = whole(silence(4 * RATE, channels=("FC",)), [sound], model, samples=4 * RATE)[0]
    wanted = tone((times - 0.25) * (1 + 300e-6) + 0.35 * (times >= 2.0))
    assert np.abs(total - wanted)[RATE:].max() < 1e-5


def test_what_was_subtracted_and_rounded_comes_back_bit_for_bit(rng):
    song, mixture = rng.integers(-999, 999, (1, 90_000)), rng.integers(-9999, 9999, (1, 90_000))
    filters = 0.1 * rng.standard_normal((1, 1, 300))
    model = MixModel(RATE, ("FC",), {"s": Contribution(True, TimeWarp(-1.0), filters, -30)})
    problem = Problem(source("mix", mixture), (source("s", song),))
    residual = np.concatenate([block.residual for block in subtract(problem, model)], axis=1)
    total = whole(source("rest", residual), [source("s", song)], model, samples=90_000, bits=16)
    assert np.array_equal(np.floor(total * 2**15 + 0.5), mixture)


# --- files ---


def write(path: Path, samples: np.ndarray, *, bits: int = 16, rate: int = RATE) -> Path:
    scaled = (samples.astype(np.int64) << (32 - bits)).astype(np.int32)
    soundfile.write(path, scaled.T, rate, subtype=f"PCM_{bits}")
    return path


def read(path: Path, *, bits: int = 16) -> np.ndarray:
    return soundfile.read(path, dtype="int32", always_2d=True)[0].T.astype(np.int64) >> (32 - bits)


def read_float(path: Path) -> np.ndarray:
    return soundfile.read(path, dtype="float64", always_2d=True)[0].T


def save(folder: Path, part: Contribution, song: Path, *, samples: int, bits: int | None = 16, name="") -> Path:
    """A session as remove leaves it, of a mixture that is not needed any more."""
    path = folder / "party.unsum.mix.json"
    info = soundfile.info(song)
    columns = ("FC",) if info.channels == 1 else STEREO
    names = ("FC",) if len(part.filters) == 1 else STEREO
    analysis = Analysis(
        MixModel(RATE, names, {name or song.name: part}),
        (Step("fir", True, 0.0, -20.0),),
        {name or song.name: ReferenceFinding(-3.0, 1.0, "found")},
        -20.0,
        samples,
    )
    mixture = record_file(song, session=path, channels=names, sample_rate=RATE, samples=samples, bits=bits)
    recorded = record_file(song, session=path, channels=columns, sample_rate=info.samplerate, bits=16)
    save_session(path, analysis, command="remove", mixture=mixture, references={name or song.name: recorded})
    return path


@pytest.fixture
def filtered(tmp_path, rng) -> Path:
    """A session with a stereo song through a matrix of 200 taps, heard from 1.25 s."""
    song = scenes.music_like(rng, 4 * RATE, channels=2, rate=RATE, peak=8000)
    filters = 0.2 * rng.standard_normal((2, 2, 200)) * np.exp(-np.arange(200) / 30)
    write(tmp_path / "song.flac", song)
    return save(tmp_path, Contribution(True, TimeWarp(1.25), filters, -20), tmp_path / "song.flac", samples=6 * RATE)


@pytest.fixture
def summed(tmp_path, rng) -> Path:
    """A session with a song that was added in integers."""
    write(tmp_path / "song.flac", scenes.music_like(rng, 2 * RATE, channels=2, rate=RATE, peak=20_000))
    part = Contribution(True, TimeWarp(100 / RATE), np.eye(2)[..., np.newaxis], 0, IDENTITY)
    return save(tmp_path, part, tmp_path / "song.flac", samples=2 * RATE)


def recorded_image(session: Path, sound: np.ndarray) -> np.ndarray:
    """What the files of a session say a sound is like in its mixture, by scipy."""
    document = json.loads(session.read_bytes())
    model = document["contributions"][0]["model"]
    with np.load(session.with_suffix(".npz")) as arrays:
        filters = arrays[model["filters"]["array"]]
    delay = round(model["delay_seconds"] * document["sample_rate"]) + model["first_lag"]
    return scipy_image(sound / 2.0**15, filters, delay=delay, samples=document["samples"])


def test_a_recording_that_was_taken_apart_in_integers_comes_back_bit_for_bit(tmp_path, rng):
    full = 1 << 8  # 24 bits
    song = full * scenes.music_like(rng, 6 * RATE, channels=2, rate=RATE, peak=8000) + rng.integers(
        0, full, (2, 6 * RATE)
    )
    talk = full * scenes.speech_like(rng, 6 * RATE, channels=2, rate=RATE, peak=8000)
    mixture = talk.copy()
    mixture[:, 3000:] += song[:, :-3000]
    write(tmp_path / "song.flac", song, bits=24)
    write(tmp_path / "party.flac", mixture, bits=24)
    removed = unsum.remove(tmp_path / "party.flac", [tmp_path / "song.flac"])
    assert removed.output is not None
    found = unsum.render(tmp_path / "party.unsum.mix.json", onto=removed.output)
    assert found.output == tmp_path / "party.unsum.render.flac"
    assert found.exact
    assert np.array_equal(read(found.output, bits=24), mixture)
    alone = unsum.render(tmp_path / "party.unsum.mix.json", output=tmp_path / "heard.flac")
    assert np.array_equal(read(alone.output, bits=24), mixture - talk)


def test_a_recording_that_filters_were_fitted_to_comes_back_too(tmp_path, rng):
    song = scenes.music_like(rng, 10 * RATE, channels=1, rate=RATE, peak=9000)
    talk = scenes.speech_like(rng, 10 * RATE, channels=1, rate=RATE, peak=1500)
    room = 0.3 * rng.standard_normal((1, 1, 60)) * np.exp(-np.arange(60) / 12)
    mixture = np.rint(scipy_image(song, room, delay=4000, samples=10 * RATE) + talk).astype(int)
    write(tmp_path / "song.flac", song)
    write(tmp_path / "party.flac", mixture)
    removed = unsum.remove(tmp_path / "party.flac", [tmp_path / "song.flac"])
    found = unsum.render(tmp_path / "party.unsum.mix.json", onto=removed.output)
    assert not found.exact
    back = read(found.output)
    # The same sums in the same order: nothing but a tie within 1e-10 LSB could differ, and that by one.
    assert np.abs(back - mixture).max() <= 1
    assert np.mean(back != mixture) < 1e-4


def test_images_are_written_as_the_recorded_filters_make_them(filtered, tmp_path):
    found = unsum.render(filtered, images=True)
    assert found.output.name == "party.unsum.render.wav"
    assert {name: path.name for name, path in found.images.items()} == {"song.flac": "party.unsum.render.song.wav"}
    wanted = recorded_image(filtered, read(tmp_path / "song.flac"))
    for path in (found.output, *found.images.values()):
        assert soundfile.info(path).subtype == "FLOAT"
        np.testing.assert_allclose(read_float(path), wanted, atol=1e-7)


def test_another_stem_in_its_place_gets_the_recorded_delay_and_filters(filtered, tmp_path, rng):
    other, talk = rng.integers(-9000, 9000, (2, 3 * RATE)), rng.integers(-90, 90, (2, 6 * RATE))
    write(tmp_path / "instrumental.wav", other)
    write(tmp_path / "talk.flac", talk)
    (tmp_path / "song.flac").unlink()  # not needed, as another one is heard
    found = unsum.render(
        filtered, replacements={"song.flac": tmp_path / "instrumental.wav"}, onto=tmp_path / "talk.flac"
    )
    assert found.replaced == ("song.flac",)
    wanted = recorded_image(filtered, other) * 2**15 + talk
    assert np.abs(read(found.output) - wanted).max() <= 0.5 + 1e-6


def test_a_flac_of_filtered_images_has_24_bits(filtered, tmp_path):
    found = unsum.render(filtered, output=tmp_path / "heard.flac")
    assert soundfile.info(found.output).subtype == "PCM_24"
    wanted = recorded_image(filtered, read(tmp_path / "song.flac"))
    assert np.abs(read(found.output, bits=24) - wanted * 2**23).max() <= 0.5 + 1e-6


def test_a_folder_that_moved_renders_as_before(filtered, tmp_path):
    before = read_float(unsum.render(filtered).output)
    moved = tmp_path / "elsewhere 🎧"
    moved.mkdir()
    for name in ("song.flac", "party.unsum.mix.json", "party.unsum.mix.npz"):
        shutil.move(tmp_path / name, moved / name)
    found = unsum.render(moved / "party.unsum.mix.json")
    assert found.output.parent == moved
    assert np.array_equal(read_float(found.output), before)


def test_a_reference_that_changed_is_refused_unless_it_is_named(filtered, tmp_path):
    song = tmp_path / "song.flac"
    write(song, read(song)[:, ::-1])
    with pytest.raises(InputError, match=r"is not the file that party.*--with 'song\.flac=FILE'"):
        unsum.render(filtered)
    assert not list(tmp_path.glob("*render*"))
    assert unsum.render(filtered, replacements={"song.flac": song}).replaced == ("song.flac",)


def test_a_reference_that_is_missing_is_refused(filtered, tmp_path):
    (tmp_path / "song.flac").unlink()
    with pytest.raises(InputError, match=r"song\.flac is not there.*--with"):
        unsum.render(filtered)
    assert not list(tmp_path.glob("*render*"))


def test_a_session_without_its_arrays_is_refused(filtered, tmp_path):
    filtered.with_suffix(".npz").unlink()
    with pytest.raises(InputError, match=r"keep it beside party\.unsum\.mix\.json"):
        unsum.render(filtered)


@pytest.mark.parametrize("name", ["party.unsum.render.wav", "party.unsum.render.song.wav"])
def test_what_is_there_stays_unless_told_otherwise(name, filtered, tmp_path):
    (tmp_path / name).write_text("precious")
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(OutputExistsError):
        unsum.render(filtered, images=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert (tmp_path / name).read_text() == "precious"
    unsum.render(filtered, images=True, overwrite=True)
    assert soundfile.info(tmp_path / name).frames == 6 * RATE


def test_no_input_is_written_over(filtered, tmp_path):
    content = (tmp_path / "song.flac").read_bytes()
    with pytest.raises(OSError, match="inputs are never modified"):
        unsum.render(filtered, output=tmp_path / "song.flac", overwrite=True)
    assert (tmp_path / "song.flac").read_bytes() == content


def test_what_is_louder_than_full_scale_is_written_in_floating_point(summed, tmp_path):
    loud = np.full((2, 2 * RATE), 30_000)
    write(tmp_path / "loud.flac", loud)
    with pytest.raises(UsageError, match=r"\.flac cannot hold unclipped; write \.wav"):
        unsum.render(summed, onto=tmp_path / "loud.flac")
    assert not list(tmp_path.glob("*render*"))
    found = unsum.render(summed, onto=tmp_path / "loud.flac", output=tmp_path / "both.wav")
    wanted = loud.copy()
    wanted[:, 100:] += read(tmp_path / "song.flac")[:, :-100]
    assert soundfile.info(found.output).subtype == "FLOAT"
    assert np.array_equal(read_float(found.output) * 2**15, wanted)
    assert found.peak == pytest.approx(wanted.max() / 2**15)
    assert "louder than full scale by" in found.remarks[0]


def test_a_mono_stem_takes_the_place_of_a_stereo_one_where_that_is_said(summed, tmp_path, rng):
    mono = write(tmp_path / "voice.wav", rng.integers(-900, 900, (1, RATE)))
    with pytest.raises(InputError, match=r"has 1 channel and song\.flac has 2; .*FILE#a:0\[FC,FC\]"):
        unsum.render(summed, replacements={"song.flac": mono})
    found = unsum.render(summed, replacements={"song.flac": f"{mono}#a:0[FC,FC]"})
    wanted = np.zeros((2, 2 * RATE))
    wanted[:, 100 : 100 + RATE] = read(mono)
    assert found.exact
    assert np.array_equal(read(found.output), wanted)


@pytest.mark.parametrize(
    ("channels", "rate", "words"), [(1, RATE, "the mixture had FL,FR"), (2, 48000, "48000 Hz and the mixture was at")]
)
def test_images_are_not_added_to_a_file_of_another_layout_or_rate(channels, rate, words, summed, tmp_path):
    write(tmp_path / "other.wav", np.zeros((channels, 100)), rate=rate)
    with pytest.raises(InputError, match=words):
        unsum.render(summed, onto=tmp_path / "other.wav")


@pytest.mark.parametrize(("seconds", "word"), [(1, "shorter"), (3, "longer")])
def test_a_residual_of_another_length_is_told_of(seconds, word, summed, tmp_path):
    write(tmp_path / "talk.wav", np.zeros((2, seconds * RATE)))
    found = unsum.render(summed, onto=tmp_path / "talk.wav")
    assert found.samples == seconds * RATE
    assert f"talk.wav is {RATE} samples (1.0000 s) {word}" in found.remarks[0]


def test_a_mixture_in_which_nothing_was_found_is_refused(tmp_path):
    song = write(tmp_path / "song.flac", np.zeros((2, 100)))
    session = save(tmp_path, Contribution(False, filters=np.zeros((2, 2, 1))), song, samples=100)
    with pytest.raises(RefusedError, match="nothing to render"):
        unsum.render(session)
    with pytest.raises(UsageError, match=r"no reference 'song\.flac' is in this mixture; it has none"):
        unsum.render(session, replacements={"song.flac": song})


def test_a_name_that_is_no_reference_is_refused_with_those_there_are(summed, tmp_path):
    with pytest.raises(UsageError, match=r"no reference 'sing\.flac' .* it has song\.flac"):
        unsum.render(summed, replacements={"sing.flac": tmp_path / "song.flac"})


def test_images_of_files_with_the_same_name_stay_apart(tmp_path, rng):
    path = tmp_path / "two.mix.json"
    sounds, parts, files = {}, {}, {}
    for n, folder in enumerate(("a", "b")):
        (tmp_path / folder).mkdir()
        name = f"song.flac ({n + 1})"
        sounds[name] = rng.integers(-900, 900, (1, 500))
        file = write(tmp_path / folder / "song.flac", sounds[name])
        parts[name] = Contribution(True, exact_gains={(0, 0): Fraction(1)}, filters=np.ones((1, 1, 1)))
        files[name] = record_file(file, session=path, channels=("FC",), sample_rate=RATE, bits=16)
    findings = {name: ReferenceFinding(-3.0, 1.0, "found") for name in parts}
    analysis = Analysis(MixModel(RATE, ("FC",), parts), (), findings, -3.0, 500)
    save_session(path, analysis, command="remove", mixture=files["song.flac (1)"], references=files)
    found = unsum.render(path, images=True)
    assert np.array_equal(read(found.output), sum(sounds.values()))
    for name, image in found.images.items():
        assert np.array_equal(read_float(image) * 2**15, sounds[name])


@pytest.mark.parametrize(("suffix", "codec"), [(".mkv", "flac"), (".mp4", "alac")])
def test_the_picture_of_a_residual_is_kept(suffix, codec, summed, tmp_path, rng, ffmpeg):
    talk = scenes.speech_like(rng, 2 * RATE, channels=2, rate=RATE, peak=5000)
    video = scenes.write_recording(
        tmp_path / f"party.unsum{suffix}", [talk], ffmpeg=ffmpeg, layouts="stereo", rate=RATE, video=True, codec=codec
    )
    found = unsum.render(summed, onto=video)
    assert (found.output.name, found.audio.codec) == (f"party.unsum.render{suffix}", codec)
    wanted = talk.copy()
    wanted[:, 100:] += read(tmp_path / "song.flac")[:, :-100]
    assert np.array_equal(scenes.decode_pcm(found.output, ffmpeg=ffmpeg), wanted)
    kept = [
        packets for packets in scenes.packet_fingerprints(video) if packets in scenes.packet_fingerprints(found.output)
    ]
    assert len(kept) == 1
    assert len(kept[0]) == 50  # two seconds of 25 pictures
    with pytest.raises(UsageError, match=r"images alone make no \.mkv"):
        unsum.render(summed, output=tmp_path / "heard.mkv")


@pytest.mark.parametrize("wrong", ["scene.yaml", "party.txt", "party"])
def test_only_sessions_are_rendered(wrong, tmp_path):
    (tmp_path / wrong).write_text("{}")
    with pytest.raises(UsageError, match=r"give the mix\.json"):
        unsum.render(tmp_path / wrong)


def test_stopping_leaves_nothing_half_written(filtered, tmp_path):
    before = sorted(path.name for path in tmp_path.iterdir())

    def stop(done, total, what):
        raise unsum.UnsumError("enough")

    with pytest.raises(unsum.UnsumError, match="enough"):
        unsum.render(filtered, images=True, progress=stop)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
