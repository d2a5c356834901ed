"""Sessions come back bit for bit, and files that are no session are refused in one line."""

import dataclasses
import hashlib
import json
import math
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType

import jsonschema
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unsum.analysis import Analysis, ReferenceFinding, Response, Step
from unsum.errors import InputError, OutputExistsError, UsageError
from unsum.model import Bend, Contribution, Jump, MixModel, TimeWarp
from unsum.report.session import (
    RecordedFile,
    Session,
    load_session,
    mix_schema,
    record_file,
    recorded_path,
    save_session,
)

VALIDATOR = jsonschema.Draft202012Validator(mix_schema())
STEREO = ("FL", "FR")
SONG = 'song 🎵 of "mine".flac'

finite = st.floats(allow_nan=False, allow_infinity=False)
levels = st.one_of(st.just(-math.inf), st.floats(-400, 100))
spreads = st.one_of(st.none(), st.floats(0, 1e6))
words = st.text(max_size=12)


@st.composite
def warps(draw) -> TimeWarp:
    n_offsets = draw(st.sampled_from([1, 3, 64, 65, 500]))
    offsets = np.random.default_rng(draw(st.integers(0, 2**32))).standard_normal(n_offsets)
    bend = Bend(draw(st.floats(-1e5, 1e5)), draw(st.floats(1e-6, 1e3)), tuple(offsets.tolist()))
    jumps = draw(st.lists(st.builds(Jump, st.floats(-1e5, 1e5), st.floats(-1e5, 1e5)), max_size=4))
    return TimeWarp(
        draw(st.floats(-1e5, 1e5)),
        draw(st.floats(-1e4, 1e4)),
        draw(st.sampled_from([None, bend])),
        tuple(sorted(jumps, key=lambda jump: jump.at_seconds)),
    )


@st.composite
def contributions(draw, n_channels: int, n_columns: int) -> Contribution:
    n_taps = draw(st.sampled_from([1, 2, 40]))
    seed = draw(st.integers(0, 2**32))
    scale = draw(st.sampled_from([1.0, 1e-30, 1e30, 0.0]))
    exact = draw(
        st.dictionaries(
            st.tuples(st.integers(0, n_channels - 1), st.integers(0, n_columns - 1)),
            st.fractions(max_denominator=64),
            max_size=3,
        )
    )
    return Contribution(
        present=draw(st.booleans()),
        warp=draw(warps()),
        filters=scale * np.random.default_rng(seed).standard_normal((n_channels, n_columns, n_taps)),
        first_lag=draw(st.integers(-70000, 70000)),
        exact_gains=exact,
    )


@st.composite
def analyses(draw) -> tuple[Analysis, RecordedFile, dict[str, RecordedFile]]:
    rate = draw(st.sampled_from([8000, 44100, 192000]))
    channels = draw(st.sampled_from([("FC",), STEREO, ("FL", "FR", "LFE")]))
    names = draw(st.lists(words, min_size=1, max_size=3, unique=True))
    files, parts, findings = {}, {}, {}
    for name in names:
        columns = draw(st.sampled_from([("FC",), STEREO]))
        files[name] = RecordedFile(
            draw(st.one_of(st.none(), st.just(f"stems/{len(files)} 🎸.flac"))),
            draw(st.one_of(st.none(), st.integers(0, 9))),
            columns,
            draw(st.sampled_from([rate, 48000])),
            draw(st.one_of(st.none(), st.integers(0, 2**40))),
            draw(st.one_of(st.none(), st.just("0123456789abcdef" * 8))),
            draw(st.sampled_from([None, 8, 16, 20, 24, 32])),
        )
        parts[name] = draw(contributions(len(channels), len(columns)))
        findings[name] = ReferenceFinding(
            draw(st.one_of(st.none(), levels)), draw(st.floats(0, 1)), draw(words), draw(spreads)
        )
    steps = draw(
        st.lists(
            st.builds(Step, words, st.booleans(), levels, levels, st.lists(words, max_size=2).map(tuple), words),
            max_size=3,
        )
    )
    analysis = Analysis(
        MixModel(rate, channels, parts),
        tuple(steps),
        findings,
        draw(levels),
        draw(st.integers(0, 2**40)),
        (draw(finite), draw(finite)),
        tuple(draw(st.lists(words, max_size=2, unique=True))),
    )
    return analysis, RecordedFile("mix.wav", 0, channels, rate, 1000, None), files


def assert_equal(found, wanted) -> None:
    """Equal to the last bit, through dataclasses, mappings and arrays."""
    if isinstance(wanted, np.ndarray):
        assert found.dtype == wanted.dtype
        assert found.shape == wanted.shape
        assert found.tobytes() == wanted.tobytes()
    elif dataclasses.is_dataclass(wanted):
        assert type(found) is type(wanted)
        for field in dataclasses.fields(wanted):
            assert_equal(getattr(found, field.name), getattr(wanted, field.name))
    elif isinstance(wanted, (dict, MappingProxyType)):
        assert list(found) == list(wanted)
        for key in wanted:
            assert_equal(found[key], wanted[key])
    elif isinstance(wanted, tuple):
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            assert_equal(one, other)
    elif isinstance(wanted, float):
        assert math.copysign(1, found) == math.copysign(1, wanted)
        assert found == wanted
    else:
        assert found == wanted


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(given_analysis=analyses())
def test_what_was_saved_comes_back_bit_for_bit(tmp_path, given_analysis):
    analysis, mixture, files = given_analysis
    path = tmp_path / "a talk 🎤.mix.json"
    saved = save_session(path, analysis, command="remove", mixture=mixture, references=files, overwrite=True)
    VALIDATOR.validate(json.loads(path.read_bytes()))
    loaded = load_session(path)
    assert_equal(loaded, saved)
    assert_equal(loaded.analysis.model, analysis.model)
    assert_equal(loaded.analysis.references, analysis.references)
    # Saving what was loaded changes nothing any more.
    again = save_session(
        path, loaded.analysis, command="remove", mixture=mixture, references=loaded.references, overwrite=True
    )
    assert_equal(again, saved)


def analysis_of(filters: np.ndarray, **finding) -> Analysis:
    part = Contribution(True, TimeWarp(0.75, 0.0), filters, -64)
    absent = Contribution(False)
    return Analysis(
        MixModel(48000, STEREO, {SONG: part, "other.wav": absent}),
        (Step("fir", True, -3.1, -41.2, ("512 taps",)), Step("reverb", False, -41.2, -41.2)),
        {
            SONG: ReferenceFinding(-9.3, 0.999, "found in 14 of 15 blocks", 0.02),
            "other.wav": ReferenceFinding(None, 0.98, "found in no block"),
        },
        -41.2,
        1_440_000,
        (-0.5, 0.25),
        ("stream 1 is lossy (MP3, 128 kb/s): no linear method can cancel below about -28 dB",),
    )


MIXTURE = RecordedFile("talk.flac", 0, STEREO, 48000, 1_440_000, "ab" * 64)
FILES = {
    SONG: RecordedFile(f"music/{SONG}", 1, ("FC",), 44100, 2_000_000, "cd" * 64),
    "other.wav": RecordedFile(None, None, ("FC",), 48000),
}


@pytest.fixture
def long_filters(rng) -> np.ndarray:
    return 1e-3 * rng.standard_normal((2, 1, 600)) + (np.arange(600) == 64)


@pytest.fixture
def saved(tmp_path, long_filters) -> Path:
    path = tmp_path / "talk.mix.json"
    save_session(path, analysis_of(long_filters), command="remove", mixture=MIXTURE, references=FILES)
    return path


def rewrite(path: Path, change) -> None:
    document = json.loads(path.read_bytes())
    change(document)
    path.write_text(json.dumps(document), encoding="utf-8")


def test_the_document_reads_as_the_contract_says(saved):
    document = json.loads(saved.read_text(encoding="utf-8"))
    VALIDATOR.validate(document)
    assert document["schema"] == "unsum/mix/1"
    song, other = document["contributions"]
    assert song["reference"] == SONG
    assert song["file"]["file"] == f"music/{SONG}"
    assert song["timing"]["delay_seconds"]["value"] == pytest.approx(0.75, abs=1e-5)
    assert song["timing"]["delay_seconds"]["stderr"] == pytest.approx(0.02 / 48000)
    assert song["mixer"]["pan_degrees"]["value"] == pytest.approx(45, abs=3)
    assert song["mixer"]["polarity"] == 1
    assert song["image_db"] == -9.3
    assert (other["present"], other["timing"], other["mixer"], other["image_db"]) == (False, None, None, None)
    assert document["arrays"]["file"] == "talk.mix.npz"
    assert json.dumps(SONG, ensure_ascii=False) in saved.read_text(encoding="utf-8"), "names stay readable"
    assert not list(saved.parent.glob(".*")), "no temporary file stays"


def test_long_filters_lie_beside_and_short_ones_inline(tmp_path, saved):
    with np.load(saved.with_suffix(".npz"), allow_pickle=False) as packed:
        assert [packed[name].shape for name in packed.files] == [(2, 1, 600)]
    short = tmp_path / "gains.mix.json"
    save_session(short, analysis_of(np.ones((2, 1, 1))), command="remove", mixture=MIXTURE, references=FILES)
    assert not short.with_suffix(".npz").exists()
    assert_equal(load_session(short).analysis.model.contributions[SONG].filters, np.ones((2, 1, 1)))


BENT = TimeWarp(0.75, 12.5, Bend(-1.0, 0.25, (0.0, 1e-3, -2e-3)), (Jump(10.0, 0.01), Jump(20.5, -30.0)))


def analysis_with(warp: TimeWarp) -> Analysis:
    analysis = analysis_of(np.ones((2, 1, 1)))
    parts = dict(analysis.model.contributions)
    parts[SONG] = dataclasses.replace(parts[SONG], warp=warp)
    return dataclasses.replace(analysis, model=dataclasses.replace(analysis.model, contributions=parts))


def test_a_warp_that_bends_and_jumps_stands_in_the_document(tmp_path):
    path = tmp_path / "bent.mix.json"
    save_session(path, analysis_with(BENT), command="remove", mixture=MIXTURE, references=FILES)
    document = json.loads(path.read_bytes())
    VALIDATOR.validate(document)
    jumps = [{"at_seconds": 10.0, "skipped_seconds": 0.01}, {"at_seconds": 20.5, "skipped_seconds": -30.0}]
    song, other = document["contributions"]
    assert song["timing"]["jumps"] == song["model"]["jumps"] == jumps
    assert song["model"]["bend"] == {
        "start_seconds": -1.0,
        "step_seconds": 0.25,
        "offsets_seconds": {"shape": [3], "values": [0.0, 1e-3, -2e-3]},
    }
    assert (other["model"]["bend"], other["model"]["jumps"]) == (None, [])
    assert load_session(path).analysis.model.contributions[SONG].warp == BENT


def test_a_long_bend_lies_beside(tmp_path, rng):
    path = tmp_path / "wow.mix.json"
    wow = TimeWarp(0.1, 0.0, Bend(0.0, 0.1, tuple((1e-3 * rng.standard_normal(36_000)).tolist())))
    save_session(path, analysis_with(wow), command="remove", mixture=MIXTURE, references=FILES)
    VALIDATOR.validate(json.loads(path.read_bytes()))
    assert path.stat().st_size < 10_000
    with np.load(path.with_suffix(".npz"), allow_pickle=False) as packed:
        assert [packed[name].shape for name in packed.files] == [(36_000,)]
    assert load_session(path).analysis.model.contributions[SONG].warp == wow


def test_a_value_that_is_not_determined_leaves_its_reason_among_the_limits(tmp_path):
    path = tmp_path / "odd.mix.json"
    opposite = np.array([[[1.0]], [[-1.0]]])
    session = save_session(path, analysis_of(opposite), command="remove", mixture=MIXTURE, references=FILES)
    assert json.loads(path.read_bytes())["contributions"][0]["mixer"]["pan_degrees"] is None
    assert any("opposite polarity" in limit for limit in session.analysis.limits)
    assert len(session.analysis.limits) == 2


def test_nothing_left_at_all_survives_json(tmp_path):
    path = tmp_path / "exact.mix.json"
    exact = dataclasses.replace(
        analysis_of(np.ones((2, 1, 1))), null_db=-math.inf, steps=(Step("exact", True, 0.0, -math.inf),)
    )
    gains = {(0, 0): Fraction(1), (1, 0): Fraction(-1, 2)}
    parts = dict(exact.model.contributions)
    parts[SONG] = dataclasses.replace(parts[SONG], exact_gains=gains)
    exact = dataclasses.replace(exact, model=dataclasses.replace(exact.model, contributions=parts))
    save_session(path, exact, command="remove", mixture=MIXTURE, references=FILES)
    assert json.loads(path.read_bytes())["null_db"] == "-Infinity"
    loaded = load_session(path).analysis
    assert loaded.null_db == loaded.steps[0].null_db == -math.inf
    assert loaded.model.contributions[SONG].exact_gains == gains


def test_spectra_and_variance_give_standard_errors(tmp_path, long_filters):
    path = tmp_path / "sure.mix.json"
    response = Response(1 / (1 + np.arange(65.0))[None], np.full((2, 1, 65), 1e-6))
    analysis = dataclasses.replace(analysis_of(long_filters), responses={SONG: response})
    save_session(path, analysis, command="remove", mixture=MIXTURE, references=FILES)
    VALIDATOR.validate(json.loads(path.read_bytes()))
    mixer = load_session(path).mixers[SONG]
    assert mixer.gain_stderr_db is not None
    assert 0 < mixer.gain_stderr_db < 0.1
    assert mixer.pan_stderr_degrees is not None
    assert 0 < mixer.pan_stderr_degrees < 1


def test_what_disturbs_both_sides_alike_and_a_codec_count_in_the_errors(tmp_path, long_filters):
    def mixer(name, correlation, *, lossless=True):
        power = 1 / (1 + np.arange(65.0))
        response = Response(
            power[None],
            np.full((2, 1, 65), 1e-6),
            correlation=np.full((2, 2, 65), correlation),
            left=0.1 * np.array([power, power]),
        )
        analysis = dataclasses.replace(analysis_of(long_filters), responses={SONG: response}, samples=28_800_000)
        path = tmp_path / f"{name}.mix.json"
        save_session(path, analysis, command="remove", mixture=MIXTURE, references=FILES, lossless=lossless)
        return load_session(path).mixers[SONG]

    apart, alike, lossy = mixer("apart", 0j), mixer("alike", 1 + 0j), mixer("lossy", 0j, lossless=False)
    assert apart.gain_stderr_db and alike.gain_stderr_db and lossy.gain_stderr_db
    assert alike.gain_stderr_db != pytest.approx(apart.gain_stderr_db, rel=0.01)
    assert lossy.gain_stderr_db > 1.1 * apart.gain_stderr_db


def test_numbers_of_numpy_are_written_as_numbers(tmp_path):
    path = tmp_path / "numpy.mix.json"
    analysis = analysis_of(np.ones((2, 1, 1)))
    part = dataclasses.replace(
        analysis.model.contributions[SONG], first_lag=np.int64(-3), warp=TimeWarp(np.float64(0.1), np.float64(0.0))
    )
    model = dataclasses.replace(analysis.model, contributions={**analysis.model.contributions, SONG: part})
    step = Step("gain", np.bool_(True), np.float64(0.0), np.float64(-3.0))  # type: ignore[arg-type]
    analysis = dataclasses.replace(
        analysis, model=model, steps=(step,), samples=np.int64(7), residual_range=(np.int32(-3), np.int32(4))
    )
    save_session(path, analysis, command="remove", mixture=MIXTURE, references=FILES)
    assert load_session(path).analysis.model.contributions[SONG].first_lag == -3


def test_files_are_known_relative_and_by_their_bytes(tmp_path):
    music, out = tmp_path / "mü sic", tmp_path / "out"
    music.mkdir()
    out.mkdir()
    song = music / SONG
    song.write_bytes(b"RIFF" * 300_000)
    session = out / "talk.mix.json"
    recorded = record_file(song, session=session, channels=STEREO, sample_rate=44100, stream=1, samples=9, bits=24)
    assert recorded.file == f"../mü sic/{SONG}"
    assert recorded.bits == 24
    assert recorded.blake2b == hashlib.blake2b(song.read_bytes()).hexdigest()
    assert recorded_path(session, recorded).samefile(song)
    song.write_bytes(b"RIFX" * 300_000)
    with pytest.raises(InputError, match=r"is not the file that talk\.mix\.json was made from"):
        recorded_path(session, recorded)
    song.unlink()
    with pytest.raises(InputError, match="is not there"):
        recorded_path(session, recorded)
    with pytest.raises(InputError, match="arrays, not files"):
        recorded_path(session, FILES["other.wav"])
    with pytest.raises(InputError, match="cannot read"):
        record_file(song, session=session, channels=STEREO, sample_rate=44100)


def test_a_name_that_is_no_text_is_still_written(tmp_path):
    path = tmp_path / "odd.mix.json"
    odd = dataclasses.replace(MIXTURE, file="caf\udce9.wav")
    save_session(path, analysis_of(np.ones((2, 1, 1))), command="remove", mixture=odd, references=FILES)
    assert load_session(path).mixture.file == "caf\udce9.wav"


def test_nothing_is_overwritten_unasked(saved, long_filters):
    before = {path: path.read_bytes() for path in saved.parent.iterdir()}
    analysis = analysis_of(2 * long_filters)
    with pytest.raises(OutputExistsError):
        save_session(saved, analysis, command="remove", mixture=MIXTURE, references=FILES)
    saved.unlink()
    with pytest.raises(OutputExistsError, match=r"talk\.mix\.npz"):
        save_session(saved, analysis, command="remove", mixture=MIXTURE, references=FILES)
    del before[saved]
    assert {path: path.read_bytes() for path in saved.parent.iterdir()} == before
    save_session(saved, analysis, command="remove", mixture=MIXTURE, references=FILES, overwrite=True)
    assert_equal(load_session(saved).analysis.model.contributions[SONG].filters, 2 * long_filters)


def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def full(self, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="disk full"):
        save_session(
            tmp_path / "talk.mix.json",
            analysis_of(np.ones((2, 1, 1))),
            command="remove",
            mixture=MIXTURE,
            references=FILES,
        )
    assert not list(tmp_path.iterdir())


def test_what_does_not_fit_together_is_not_written(tmp_path):
    analysis, how = analysis_of(np.ones((2, 1, 1))), {"command": "remove", "references": FILES}
    with pytest.raises(UsageError, match=r"NAME\.mix\.json"):
        save_session(tmp_path / "talk.txt", analysis, mixture=MIXTURE, **how)
    path = tmp_path / "talk.mix.json"
    with pytest.raises(ValueError, match="different references"):
        save_session(path, analysis, command="remove", mixture=MIXTURE, references={})
    with pytest.raises(ValueError, match="not those of the model"):
        save_session(path, analysis, mixture=dataclasses.replace(MIXTURE, sample_rate=44100), **how)
    with pytest.raises(ValueError, match="has 2 channels"):
        wide = {**FILES, SONG: dataclasses.replace(FILES[SONG], channels=STEREO)}
        save_session(path, analysis, command="remove", mixture=MIXTURE, references=wide)
    with pytest.raises(ValueError, match="NaN"):
        save_session(path, analysis_of(np.full((2, 1, 600), np.nan)), mixture=MIXTURE, **how)
    assert not list(tmp_path.iterdir())


def refused(path: Path) -> str:
    with pytest.raises(InputError) as refusal:
        load_session(path)
    message = str(refusal.value)
    assert "\n" not in message
    assert path.stem.split(".")[0] in message
    return message


@pytest.mark.parametrize("version", ["unsum/mix/2", "unsum/mix/0", 1, None])
def test_other_schemas_are_refused_in_one_line(saved, version):
    rewrite(saved, lambda document: document.update(schema=version))
    assert f"has the schema {version!r}, this unsum reads 'unsum/mix/1'; update unsum" in refused(saved)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"{}", b"\xff\xfe\x00", b'{"schema": NaN}', b"[" * 100_000]
)
def test_what_is_no_session_is_refused(tmp_path, content):
    path = tmp_path / "talk.mix.json"
    path.write_bytes(content)
    refused(path)


def test_a_session_that_is_not_there_is_refused(tmp_path):
    assert "No such file" in refused(tmp_path / "talk.mix.json")


def song_of(document: dict) -> dict:
    return document["contributions"][0]


def bend(**other) -> dict:
    values = {"start_seconds": 0, "step_seconds": 1, "offsets_seconds": {"shape": [2], "values": [0, 0]}}
    return {**values, **other}


BROKEN = {
    "sample_rate": lambda d: d.pop("sample_rate"),
    "samples": lambda d: d.update(samples=-1),
    "limits": lambda d: d.update(limits=[1]),
    "null_db": lambda d: d.update(null_db=None),
    "steps[0].kept": lambda d: d["steps"][0].update(kept=1),
    "steps[1].null_db_before": lambda d: d["steps"][1].update(null_db_before="deep"),
    "contributions": lambda d: d.update(contributions={}),
    "contributions[0].present": lambda d: song_of(d).update(present="yes"),
    "contributions[0].file.file": lambda d: song_of(d)["file"].update(file="/home/me/song.flac"),
    "contributions[0].file.channels": lambda d: song_of(d)["file"].update(channels="FC"),
    "contributions[0].timing": lambda d: song_of(d).update(timing=None),
    "contributions[0].timing.clock_ppm.value": lambda d: song_of(d)["timing"]["clock_ppm"].update(value="fast"),
    "contributions[0].mixer.gain_db.stderr": lambda d: song_of(d)["mixer"]["gain_db"].pop("stderr"),
    "contributions[0].model.first_lag": lambda d: song_of(d)["model"].update(first_lag=0.5),
    "contributions[0].model.filters.shape": lambda d: song_of(d)["model"]["filters"].update(shape=[2, 600]),
    "contributions[0].model.exact_gains[0].gain": lambda d: song_of(d)["model"].update(
        exact_gains=[{"mixture_channel": 0, "reference_channel": 0, "gain": "1/0"}]
    ),
    "contributions[0].file.bits": lambda d: song_of(d)["file"].update(bits=0),
    "contributions[0].timing.jumps": lambda d: song_of(d)["timing"].update(jumps=None),
    "contributions[0].model.bend": lambda d: song_of(d)["model"].pop("bend"),
    "contributions[0].model.bend.step_seconds": lambda d: song_of(d)["model"].update(bend=bend(step_seconds=0)),
    "contributions[0].model.bend.offsets_seconds.shape": lambda d: song_of(d)["model"].update(
        bend=bend(offsets_seconds={"shape": [1, 2], "values": [0, 0]})
    ),
    "contributions[0].model.jumps[0].skipped_seconds": lambda d: song_of(d)["model"].update(jumps=[{"at_seconds": 1}]),
    "contributions[1].model.filters.values": lambda d: d["contributions"][1]["model"]["filters"].update(values=None),
    "arrays.file": lambda d: d["arrays"].update(file="../talk.mix.npz"),
}


@pytest.mark.parametrize("place", BROKEN)
def test_broken_fields_are_named_and_the_schema_refuses_them_too(saved, place):
    rewrite(saved, BROKEN[place])
    assert f"{place} is " in refused(saved)
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate(json.loads(saved.read_bytes()))


def test_misspelt_fields_are_refused_by_the_schema(saved):
    rewrite(saved, lambda document: song_of(document).update(prezent=True))
    with pytest.raises(jsonschema.ValidationError, match="prezent"):
        VALIDATOR.validate(json.loads(saved.read_bytes()))


def test_what_the_schema_cannot_see_is_refused(saved):
    rewrite(saved, lambda d: song_of(d).update(reference="other.wav"))
    assert "another name than those before" in refused(saved)
    rewrite(saved, lambda d: song_of(d).update(reference=SONG))
    rewrite(saved, lambda d: song_of(d)["model"]["filters"].update(shape=[1, 2, 600]))
    assert "float64 numbers of the shape (1, 2, 600)" in refused(saved)
    backwards = [{"at_seconds": 2, "skipped_seconds": 1}, {"at_seconds": 1, "skipped_seconds": 1}]
    rewrite(
        saved, lambda d: song_of(d)["model"].update(filters={"shape": [1, 2, 1], "values": [1, 1]}, jumps=backwards)
    )
    assert "not a list in order of time" in refused(saved)
    rewrite(saved, lambda d: song_of(d)["model"].update(jumps=[]))
    assert "1 mixture and 2 reference channels, the files have 2 and 1" in refused(saved)


@pytest.mark.parametrize("beyond", [(2, 0), (0, 1)])
def test_exact_gains_beyond_the_channels_are_refused(saved, beyond):
    channel, column = beyond
    gain = {"mixture_channel": channel, "reference_channel": column, "gain": "1"}
    rewrite(saved, lambda d: song_of(d)["model"].update(exact_gains=[gain]))
    words = f"contributions[0].model: an exact gain is for mixture channel {channel} and reference channel {column}"
    assert words in refused(saved)


def test_arrays_of_another_run_are_refused(saved):
    arrays = saved.with_suffix(".npz")
    content = arrays.read_bytes()
    arrays.write_bytes(content[:-100])
    assert "does not belong to talk.mix.json" in refused(saved)
    digest = hashlib.blake2b(content[:-100]).hexdigest()
    rewrite(saved, lambda document: document["arrays"].update(blake2b=digest))
    assert "damaged" in refused(saved)
    arrays.unlink()
    assert "keep it beside talk.mix.json" in refused(saved)


def test_pickled_objects_are_never_loaded(saved):
    arrays = saved.with_suffix(".npz")
    np.savez(arrays, filters_0=np.array([{"any": "object"}], dtype=object))
    digest = hashlib.blake2b(arrays.read_bytes()).hexdigest()
    rewrite(saved, lambda document: document["arrays"].update(blake2b=digest))
    assert "damaged" in refused(saved)


def test_the_schema_is_a_schema_and_knows_the_fields_of_later_commands(saved):
    jsonschema.Draft202012Validator.check_schema(mix_schema())
    value = {"value": 1.0, "stderr": None}

    def later(document):
        song_of(document).update(dynamics={"kind": "compressor"})
        document["bus"] = {"gain_db": value}

    rewrite(saved, later)
    VALIDATOR.validate(json.loads(saved.read_bytes()))
    assert isinstance(load_session(saved), Session)
