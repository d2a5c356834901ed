"""From a recording to its sources and back: every sample, and every word that is said about it."""

import importlib
from pathlib import Path

import av
import numpy as np
import pytest
import scenes
from scenes import Equation, Source, Term

from unsum.errors import InputError, OutputError, RefusedError, UsageError
from unsum.media.probe import probe
from unsum.recovery.plan import make_plan
from unsum.recovery.recover import recover_recording
from unsum.streams.recipe import parse_recipe

RATE = 48000
FRONT = ("FL", "FR")
ARTICLE = (
    Equation("7.1", (Term("desktop"), Term("desktop", 1, FRONT), Term("zoom"))),
    Equation("7.1", (Term("voice"), Term("desktop", 1, FRONT), Term("zoom"))),
    Equation("7.1", (Term("desktop", 1, FRONT), Term("zoom"))),
)
PAIR = (
    Equation("stereo", (Term("voice"), Term("zoom"))),
    Equation("stereo", (Term("zoom"),)),
    Equation("stereo", (Term("voice"), Term("zoom", 2))),
)


def some_sources(rng, *, samples=2 * RATE, bits=16, quantised=True, **layouts):
    layouts = layouts or {"zoom": "mono", "voice": "stereo", "desktop": "7.1"}
    peak = 0.15 * 2 ** (bits - 1)
    kinds = (scenes.speech_like, scenes.noise_bursts, scenes.music_like)
    sources = {}
    for n, (name, layout) in enumerate(layouts.items()):
        sound = kinds[n % 3](rng, samples, channels=len(scenes.CHANNELS[layout]), peak=peak, quantised=quantised)
        # What a recorder is given that mixes in float32: the truth must not be finer.
        sources[name] = Source(layout, sound if quantised else sound.astype(np.float32).astype(np.float64))
    return sources


def pair_sources(rng, **how):
    return some_sources(rng, zoom="mono", voice="stereo", **how)


def record(path, equations, sources, *, ffmpeg, streams=None, bits=16, **how):
    """A recording of some sums, and their recipe."""
    streams = scenes.mix(equations, sources, bits=bits) if streams is None else streams
    layouts = [equation.layout for equation in equations]
    scenes.write_recording(path, streams, ffmpeg=ffmpeg, layouts=layouts, bits=bits, **how)
    return scenes.recipe_text(equations, sources)


def recover(path, recipe, *, output=None, **how):
    output = output or path.with_name(f"{path.stem}.unsum.mkv")
    return recover_recording(make_plan(probe(path), parse_recipe(recipe), output=output), **how)


def output_of(finding) -> Path:
    assert finding.output is not None
    return finding.output


def written(finding, name, *, ffmpeg, bits=16):
    """A recovered source as the ffmpeg program decodes it."""
    (number,) = [stream.number for stream in probe(output_of(finding)).audio if stream.title == name]
    return scenes.decode_pcm(output_of(finding), ffmpeg=ffmpeg, stream=number, bits=bits)


def source(finding, name):
    return next(found for found in finding.sources if found.name == name)


def assert_recovered(finding, sources, *, ffmpeg, bits=16):
    for name, true in sources.items():
        assert np.array_equal(written(finding, name, ffmpeg=ffmpeg, bits=bits), true.samples), name


def test_the_articles_recording_is_untangled_bit_for_bit(rng, ffmpeg, tmp_path):
    sources = some_sources(rng)
    path = tmp_path / "lecture.mkv"
    recipe = record(
        path,
        ARTICLE,
        sources,
        ffmpeg=ffmpeg,
        title="Lecture 7",
        languages=["eng"] * 3,
        video=True,
        chapters=[(0, 1, "One"), (1, 2, "Two")],
        subtitle=True,
        attachment=("note.txt", b"attached\n"),
    )
    finding = recover(path, recipe, verify=True)
    assert_recovered(finding, sources, ffmpeg=ffmpeg)
    assert [found.layout for found in probe(output_of(finding)).audio] == ["mono", "stereo", "7.1"]
    assert [found.language for found in probe(output_of(finding)).audio] == ["eng"] * 3
    assert [found.accuracy for found in finding.sources] == ["exact"] * 3
    assert all(check.exact for check in finding.checks) and finding.arithmetic == "exact"
    assert finding.verification is not None and finding.verification.bit_exact
    assert not any(finding.verification.lost.values()) and not finding.warnings and not finding.clipped
    before, after = scenes.packet_fingerprints(path), scenes.packet_fingerprints(output_of(finding))
    assert after[3:] == before[3:]


@pytest.mark.parametrize("bits", [16, 24, 32])
def test_every_word_length_is_exact(bits, rng, ffmpeg, tmp_path):
    sources = pair_sources(rng, bits=bits, samples=RATE)
    path = tmp_path / "a.mkv"
    codec = "pcm" if bits == 32 else "flac"
    recipe = record(path, PAIR, sources, ffmpeg=ffmpeg, bits=bits, codec=codec)
    finding = recover(path, recipe, verify=True)
    assert_recovered(finding, sources, ffmpeg=ffmpeg, bits=bits)
    assert finding.verification is not None and finding.verification.bit_exact
    assert {found.bits for found in finding.sources} == {bits}


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "alac"), (".mov", "pcm"), (".mka", "wavpack")])
def test_other_containers_and_planar_codecs_are_exact(suffix, codec, rng, ffmpeg, tmp_path):
    sources = pair_sources(rng, samples=RATE)
    path = tmp_path / f"a{suffix}"
    recipe = record(path, PAIR, sources, ffmpeg=ffmpeg, codec=codec)
    finding = recover(path, recipe, output=tmp_path / f"out{suffix}", verify=True)
    assert_recovered(finding, sources, ffmpeg=ffmpeg)
    assert finding.verification is not None and finding.verification.bit_exact


@pytest.mark.parametrize("level", [0, 8, 12])
def test_any_compression_level_is_exact(level, rng, ffmpeg, tmp_path):
    sources = pair_sources(rng, samples=RATE)
    path = tmp_path / "a.mkv"
    recipe = record(path, PAIR, sources, ffmpeg=ffmpeg)
    assert_recovered(recover(path, recipe, compression_level=level), sources, ffmpeg=ffmpeg)


def test_every_source_can_have_a_file_of_its_own(rng, ffmpeg, tmp_path):
    sources = some_sources(rng, samples=RATE)
    path = tmp_path / "a.mkv"
    recipe = record(path, ARTICLE, sources, ffmpeg=ffmpeg)
    finding = recover(path, recipe, output=tmp_path / "out.wav", verify=True)
    assert sorted(found.name for found in finding.written) == ["out.desktop.wav", "out.voice.wav", "out.zoom.wav"]
    for name, true in sources.items():
        assert np.array_equal(scenes.decode_pcm(tmp_path / f"out.{name}.wav", ffmpeg=ffmpeg), true.samples)
    assert finding.verification is not None and finding.verification.bit_exact


# What recorders do ---------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [16, 24])
def test_a_recorder_that_rounds_is_told_from_one_that_adds_integers(bits, rng, ffmpeg, tmp_path):
    sources = pair_sources(rng, bits=bits, quantised=False)
    streams = scenes.mix(PAIR, sources, rounded=True, bits=bits)
    path = tmp_path / "a.mkv"
    recipe = record(path, PAIR, sources, ffmpeg=ffmpeg, streams=streams, bits=bits)
    finding = recover(path, recipe, verify=True)
    assert finding.arithmetic == "rounded"
    # Stream 1 is zoom itself, rounded once; a quieter combination would be rounded again.
    claims = {"zoom": "exact", "voice": "within rounding, ±1 LSB"}
    assert {found.name: found.accuracy for found in finding.sources} == claims
    for name, bound in {"zoom": 0, "voice": 1}.items():
        error = np.abs(written(finding, name, ffmpeg=ffmpeg, bits=bits) - np.rint(sources[name].samples))
        assert bool(bound) <= error.max() <= bound
    assert finding.verification is not None and not finding.verification.bit_exact
    assert any(finding.verification.differing.values())


@pytest.mark.parametrize("bits", [16, 24])
def test_the_order_of_additions_in_float_is_no_contradiction(bits, rng, ffmpeg, tmp_path):
    """Three sounds added in another order round to another step now and then."""
    sources = some_sources(rng, bits=bits, quantised=False, samples=3 * RATE, zoom="mono", voice="mono", game="mono")
    names = ("zoom", "voice", "game")
    equations = [
        Equation("mono", tuple(map(Term, names))),
        Equation("mono", tuple(map(Term, names[::-1]))),
        Equation("mono", (Term("zoom"),)),
        Equation("mono", (Term("voice"),)),
    ]
    streams = scenes.mix(equations, sources, rounded=True, bits=bits)
    assert np.any(streams[0] != streams[1])
    path = tmp_path / "a.mkv"
    recipe = record(path, equations, sources, ffmpeg=ffmpeg, streams=streams, bits=bits)
    finding = recover(path, recipe)
    assert finding.arithmetic == "unchecked" or "rounding" in source(finding, "game").accuracy
    error = np.abs(written(finding, "game", ffmpeg=ffmpeg, bits=bits) - np.rint(sources["game"].samples))
    assert error.max() <= (2 if bits == 16 else 4)


@pytest.mark.parametrize("lag", [480, -961])
def test_a_late_stream_with_the_same_time_stamps_is_put_right_to_the_sample(lag, rng, ffmpeg, tmp_path):
    sources = pair_sources(rng, samples=3 * RATE)
    streams = scenes.mix(PAIR, sources)
    lead = 1000
    starts = [lead, lead, lead - lag]
    cut = [stream[:, first : first + 2 * RATE] for stream, first in zip(streams, starts, strict=True)]
    path = tmp_path / "a.mkv"
    recipe = record(path, PAIR, sources, ffmpeg=ffmpeg, streams=cut)
    finding = recover(path, recipe, verify=True)
    assert finding.late_samples == {2: lag}
    assert any(f"{abs(lag)} samples" in text and "corrected" in text for text in finding.warnings)
    assert any(f"first {lag} samples" in text for text in finding.warnings) == (lag > 0)
    for name, true in sources.items():
        found = written(finding, name, ffmpeg=ffmpeg)[:, : 2 * RATE - max(0, -lag)]
        assert np.array_equal(found[:, 1000:], true.samples[:, lead : lead + found.shape[1]][:, 1000:])


def test_late_beginnings_are_put_on_one_time_line(rng, ffmpeg, tmp_path):
    sources = pair_sources(rng)
    streams = scenes.mix(PAIR, sources)
    late = [0, 40, 120]
    cut = [stream[:, ms * RATE // 1000 :] for stream, ms in zip(streams, late, strict=True)]
    path = tmp_path / "a.mkv"
    recipe = record(path, PAIR, sources, ffmpeg=ffmpeg, streams=cut, start_ms=[1400 + ms for ms in late], video=True)
    finding = recover(path, recipe)
    zoom, voice = (written(finding, name, ffmpeg=ffmpeg) for name in ("zoom", "voice"))
    first = 40 * RATE // 1000
    assert np.array_equal(zoom[:, first:], sources["zoom"].samples[:, first:])
    assert np.array_equal(voice[:, first:], sources["voice"].samples[:, first:])
    assert not zoom[:, :first].any() and not voice[:, :first].any()
    assert [round(stream.start_seconds * 1000) for stream in probe(output_of(finding)).audio] == [1400, 1400]
    assert any("start at different times" in text for text in finding.warnings)
    assert scenes.packet_fingerprints(output_of(finding))[-1] == scenes.packet_fingerprints(path)[-1]


def test_streams_that_are_not_interleaved_are_recovered_all_the_same(rng, ffmpeg, tmp_path):
    sources = pair_sources(rng, samples=20 * RATE)
    path, apart = tmp_path / "a.mkv", tmp_path / "apart.mkv"
    recipe = record(path, PAIR, sources, ffmpeg=ffmpeg)
    one_after_another(path, apart)
    assert make_plan(probe(apart), parse_recipe(recipe), output=tmp_path / "out.mkv").look.separate
    finding = recover(apart, recipe, verify=True)
    assert_recovered(finding, sources, ffmpeg=ffmpeg)
    assert finding.verification is not None and finding.verification.bit_exact


def one_after_another(path, out):
    """Write the packets of a file stream by stream."""
    with av.open(str(path)) as before, av.open(str(out), "w", options={"max_interleave_delta": "1"}) as after:
        copies = [after.add_stream_from_template(stream) for stream in before.streams.audio]
        packets = [packet for packet in before.demux(before.streams.audio) if packet.size]
        packets.sort(key=lambda packet: packet.stream.index)
        for packet in packets:
            packet.stream = copies[packet.stream.index]
            after.mux_one(packet)


def test_a_stream_that_ends_early_is_told_and_the_rest_recovered(rng, ffmpeg, tmp_path):
    """By so much that the others cannot wait for it."""
    sources = pair_sources(rng, samples=40 * RATE)
    streams = scenes.mix(PAIR, sources)
    streams[0] = streams[0][:, : 20 * RATE]
    path = tmp_path / "a.mkv"
    recipe = record(path, PAIR, sources, ffmpeg=ffmpeg, streams=streams, video=True)
    finding = recover(path, recipe, verify=True)
    assert_recovered(finding, sources, ffmpeg=ffmpeg)  # voice is s2 - 2*s1 where s0 is missing
    streams[2] = streams[2][:, : 21 * RATE]
    path = tmp_path / "b.mkv"
    recipe = record(path, PAIR, sources, ffmpeg=ffmpeg, streams=streams)
    finding = recover(path, recipe)
    assert source(finding, "voice").gaps == ((21.0, 40.0),)
    voice = written(finding, "voice", ffmpeg=ffmpeg)
    assert np.array_equal(voice[:, : 21 * RATE], sources["voice"].samples[:, : 21 * RATE])
    assert not voice[:, 21 * RATE :].any()
    assert np.array_equal(written(finding, "zoom", ffmpeg=ffmpeg), sources["zoom"].samples)


# Harm ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", ["flac", "wavpack"])
def test_a_hole_stays_exact_on_both_sides(codec, rng, ffmpeg, tmp_path):
    sources = some_sources(rng)
    whole, path = tmp_path / "whole.mkv", tmp_path / "a.mkv"
    recipe = record(whole, ARTICLE, sources, ffmpeg=ffmpeg, codec=codec)
    lost = scenes.drop_packets(whole, path, stream=1, start_s=0.8, length_s=0.5)
    finding = recover(path, recipe)
    assert source(finding, "voice").gaps == ((lost.start / RATE, lost.stop / RATE),)
    assert any(f"{lost.stop - lost.start} samples" in text and "missing at" in text for text in finding.warnings)
    sources["voice"].samples[:, lost.start : lost.stop] = 0
    assert_recovered(finding, sources, ffmpeg=ffmpeg)


def test_a_corrupt_frame_becomes_a_reported_hole(rng, ffmpeg, tmp_path):
    sources = some_sources(rng)
    whole, path = tmp_path / "whole.mkv", tmp_path / "a.mkv"
    recipe = record(whole, ARTICLE, sources, ffmpeg=ffmpeg)
    lost = scenes.corrupt_bytes(whole, path, stream=2, at_s=1.0)
    finding = recover(path, recipe, verify=True)
    assert any("cannot be decoded" in text for text in finding.warnings)
    # Desktop and zoom cannot be told apart in front without stream 2, and voice is stream 1 less stream 2.
    gap = ((lost.start / RATE, lost.stop / RATE),)
    assert source(finding, "voice").gaps == source(finding, "zoom").gaps == gap
    span = np.s_[:, lost.start : lost.stop]
    sources["voice"].samples[span] = 0
    sources["zoom"].samples[span] = 0
    sources["desktop"].samples[:2, lost.start : lost.stop] = 0
    assert_recovered(finding, sources, ffmpeg=ffmpeg)
    assert finding.verification is not None
    # Both channels of both streams that are there hold something that nothing gives back in the hole.
    assert 0 < finding.verification.lost[0] <= 2 * (lost.stop - lost.start)
    assert not finding.verification.bit_exact
    assert not any(finding.verification.differing.values())


def test_a_truncated_recording_gives_what_is_there(rng, ffmpeg, tmp_path):
    sources = some_sources(rng, samples=4 * RATE)
    whole, path = tmp_path / "whole.mkv", tmp_path / "a.mkv"
    recipe = record(whole, ARTICLE, sources, ffmpeg=ffmpeg, video=True)
    scenes.truncate(whole, path, fraction=0.5)
    finding = recover(path, recipe)
    assert any("may be truncated" in text for text in finding.warnings)
    for name, true in sources.items():
        found = written(finding, name, ffmpeg=ffmpeg)
        ends = min(int(start * RATE) for found in finding.sources for start, _ in [*found.gaps, (9.0, 9.0)])
        ends = min(ends, found.shape[1])
        assert ends > RATE
        assert np.array_equal(found[:, :ends], true.samples[:, :ends])


def test_clipped_samples_are_counted_where_they_are(rng, ffmpeg, tmp_path):
    sources = pair_sources(rng)
    sources["zoom"].samples[0, 50_000:50_004] = 32_000
    streams = scenes.mix(PAIR, sources, saturate=True)
    path = tmp_path / "a.mkv"
    recipe = record(path, PAIR, sources, ffmpeg=ffmpeg, streams=streams)
    finding = recover(path, recipe)
    full = [int(np.count_nonzero((stream == 32767) | (stream == -32768))) for stream in streams]
    assert sum(full) > 0 and finding.clipped_samples == sum(full)
    for stretch in finding.clipped:
        assert stretch.start_seconds >= 50_000 / RATE and stretch.stop_seconds <= 50_004 / RATE
    sound = np.delete(written(finding, "voice", ffmpeg=ffmpeg), np.s_[50_000:50_004], axis=1)
    assert np.array_equal(sound, np.delete(sources["voice"].samples, np.s_[50_000:50_004], axis=1))


# What is not there, or too much --------------------------------------------------------------------


def test_a_source_that_needs_more_bits_gets_them(rng, ffmpeg, tmp_path):
    loud = {
        "zoom": Source("mono", scenes.noise_bursts(rng, RATE, peak=30_000)),
        "voice": Source("mono", scenes.speech_like(rng, RATE, peak=60_000)),
    }
    both = loud["voice"].samples + loud["zoom"].samples
    loud["voice"].samples[np.abs(both) > 32_000] = 0  # the sum fits where its parts do not
    equations = [Equation("mono", (Term("voice"), Term("zoom"))), Equation("mono", (Term("zoom"),))]
    path = tmp_path / "a.mkv"
    recipe = record(path, equations, loud, ffmpeg=ffmpeg)
    finding = recover(path, recipe, verify=True)
    assert source(finding, "voice").bits == 17 and source(finding, "zoom").bits == 16
    assert "float" in source(finding, "voice").stored_as
    (number,) = [stream.number for stream in probe(output_of(finding)).audio if stream.title == "voice"]
    raw = scenes.run_ffmpeg(ffmpeg, "-i", output_of(finding), "-map", f"0:a:{number}", "-f", "f64le", "pipe:1")
    assert np.array_equal(np.frombuffer(raw, "<f8") * 32768, loud["voice"].samples[0])
    assert np.array_equal(written(finding, "zoom", ffmpeg=ffmpeg), loud["zoom"].samples)
    assert any("17 bits" in text for text in finding.warnings)
    assert finding.verification is not None and finding.verification.bit_exact


def test_short_words_are_verified_in_their_own_steps(rng, ffmpeg, tmp_path):
    """20 bits are kept in words of 24."""
    sources = pair_sources(rng, bits=20, samples=RATE)
    streams = [stream << 4 for stream in scenes.mix(PAIR, sources, bits=20)]
    path = tmp_path / "a.mkv"
    layouts = [equation.layout for equation in PAIR]
    scenes.write_recording(path, streams, ffmpeg=ffmpeg, layouts=layouts, bits=24)
    finding = recover(path, scenes.recipe_text(PAIR, sources), verify=True)
    assert finding.verification is not None and finding.verification.bit_exact
    for name, true in sources.items():
        assert np.array_equal(written(finding, name, ffmpeg=ffmpeg, bits=24), true.samples << 4)


def test_samples_that_do_not_divide_are_counted(rng, ffmpeg, tmp_path):
    """The recorder was said to write the voice twice, but wrote something odd in places."""
    voice = scenes.speech_like(rng, RATE)
    streams = [2 * voice]
    streams[0][0, 1000:1010] += 1
    path = tmp_path / "a.mkv"
    scenes.write_recording(path, streams, ffmpeg=ffmpeg, layouts="mono")
    finding = recover(path, '[sources]\nvoice = "mono"\n[streams]\n0 = "2*voice"')
    assert source(finding, "voice").odd_samples == 10
    assert any("10 samples fall between two steps" in text for text in finding.warnings)
    assert np.abs(written(finding, "voice", ffmpeg=ffmpeg) - voice).max() <= 1


def test_sums_that_do_not_divide_show_that_the_recorder_rounded(rng, ffmpeg, tmp_path):
    """Nothing else would: there is no equation to spare."""
    sources = some_sources(rng, quantised=False, zoom="mono", voice="mono")
    equations = [Equation("mono", (Term("zoom"), Term("voice", 2))), Equation("mono", (Term("zoom"),))]
    path = tmp_path / "a.mkv"
    for rounded in (False, True):
        whole = {name: Source("mono", np.rint(true.samples).astype(np.int32)) for name, true in sources.items()}
        streams = scenes.mix(equations, sources if rounded else whole, rounded=rounded)
        recipe = record(path, equations, sources, ffmpeg=ffmpeg, streams=streams)
        finding = recover(path, recipe, overwrite=True)
        assert finding.arithmetic == ("rounded" if rounded else "unchecked")
        accuracy = source(finding, "voice").accuracy
        assert accuracy.startswith("within rounding" if rounded else "exact if the recorder adds integers")


def test_a_lag_that_cannot_be_measured_is_not_called_exact(rng, ffmpeg, tmp_path):
    """What the two streams share is drowned: nothing shows whether their time stamps are right."""
    loud = scenes.noise_bursts(rng, RATE, peak=9000)
    faint = scenes.noise_bursts(rng, RATE, peak=20)
    sources = {"music": Source("mono", loud), "hum": Source("mono", faint)}
    equations = [Equation("mono", (Term("music"), Term("hum"))), Equation("mono", (Term("hum"),))]
    path = tmp_path / "a.mkv"
    finding = recover(path, record(path, equations, sources, ffmpeg=ffmpeg))
    assert source(finding, "music").accuracy.startswith("unknown: the lag of stream")
    assert source(finding, "hum").accuracy == "exact"
    assert any("could not be measured" in text for text in finding.warnings)
    assert_recovered(finding, sources, ffmpeg=ffmpeg)


def test_what_cannot_be_told_apart_is_named_and_its_streams_kept(rng, ffmpeg, tmp_path):
    sources = some_sources(rng, samples=RATE, zoom="mono", voice="stereo", game="stereo")
    equations = [
        Equation("stereo", (Term("voice"), Term("game"))),
        Equation("stereo", (Term("zoom"),)),
        Equation("stereo", (Term("voice", 1, ("FL",)),)),
    ]
    path = tmp_path / "a.mkv"
    recipe = record(path, equations, sources, ffmpeg=ffmpeg)
    finding = recover(path, recipe, verify=True)
    assert [found.determined for found in finding.sources] == [True, False, False]
    assert set(source(finding, "voice").reasons) == set(source(finding, "game").reasons) == {"FR"}
    # Stream 2 is the left of a voice that is not written: nothing else in the output has it.
    assert finding.kept_streams == (0, 2)
    before, after = scenes.packet_fingerprints(path), scenes.packet_fingerprints(output_of(finding))
    assert before[0] in after and before[2] in after and len(after) == 3
    assert np.array_equal(written(finding, "zoom", ffmpeg=ffmpeg), sources["zoom"].samples)
    assert finding.verification is not None and finding.verification.not_rebuilt == (0, 2)


# Refusals ------------------------------------------------------------------------------------------


def only_input_is_left(tmp_path):
    return [path.name for path in tmp_path.iterdir()] == ["a.mkv"]


def test_a_recipe_that_contradicts_the_audio_is_refused_with_the_depth_and_the_moment(rng, ffmpeg, tmp_path):
    sources = pair_sources(rng)
    streams = scenes.mix(PAIR, sources)
    streams[2][:, RATE:] += sources["zoom"].samples[:, RATE:]  # from the first second on, it is another sum
    path = tmp_path / "a.mkv"
    recipe = record(path, PAIR, sources, ffmpeg=ffmpeg, streams=streams)
    with pytest.raises(RefusedError, match=r"contradicts the recipe.*first at 00:00:01\.0.*nulls to -\d+\.\d dB"):
        recover(path, recipe)
    assert only_input_is_left(tmp_path)


def test_streams_of_two_rates_are_refused(rng, ffmpeg, tmp_path):
    path = tmp_path / "a.mkv"
    recipe = record(path, PAIR, pair_sources(rng, samples=RATE), ffmpeg=ffmpeg, rate=[48000, 44100, 48000])
    with pytest.raises(RefusedError, match="stream 0: 48000 Hz, stream 1: 44100 Hz"):
        recover(path, recipe)


def test_a_missing_stream_is_refused(rng, ffmpeg, tmp_path):
    path = tmp_path / "a.mkv"
    recipe = record(path, PAIR, pair_sources(rng, samples=RATE), ffmpeg=ffmpeg)
    with pytest.raises(RefusedError, match="needs stream 3"):
        recover(path, recipe + '3 = "zoom"\n')


def test_the_output_is_never_the_input(rng, ffmpeg, tmp_path):
    path = tmp_path / "a.mkv"
    recipe = record(path, PAIR, pair_sources(rng, samples=RATE), ffmpeg=ffmpeg)
    before = path.read_bytes()
    with pytest.raises(OutputError, match="inputs are never modified"):
        recover(path, recipe, output=path, overwrite=True)
    assert path.read_bytes() == before


def test_a_recording_that_grows_meanwhile_is_not_called_recovered(rng, ffmpeg, tmp_path):
    path = tmp_path / "a.mkv"
    recipe = record(path, PAIR, pair_sources(rng, samples=RATE), ffmpeg=ffmpeg)
    plan = make_plan(probe(path), parse_recipe(recipe), output=tmp_path / "out.mkv")

    def grow(*_):
        with path.open("ab") as file:
            file.write(bytes(1000))

    with pytest.raises(InputError, match="is it still being recorded"):
        recover_recording(plan, progress=grow)
    assert only_input_is_left(tmp_path)


def test_cancelling_leaves_nothing(rng, ffmpeg, tmp_path):
    path = tmp_path / "a.mkv"
    recipe = record(path, PAIR, pair_sources(rng), ffmpeg=ffmpeg, video=True)

    def stop(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        recover(path, recipe, progress=stop)
    assert only_input_is_left(tmp_path)


def test_verification_of_floats_is_refused_before_anything_is_done(rng, ffmpeg, tmp_path):
    path = tmp_path / "a.mkv"
    sources = pair_sources(rng, samples=RATE)
    streams = [stream / 32768 for stream in scenes.mix(PAIR, sources)]
    recipe = record(path, PAIR, sources, ffmpeg=ffmpeg, streams=streams, codec="pcm")
    with pytest.raises(UsageError, match="floating point"):
        recover(path, recipe, verify=True)
    finding = recover(path, recipe)
    assert {found.accuracy for found in finding.sources} <= {"approximate", "as recorded"}


@pytest.mark.parametrize("codec", ["aac", "opus"])
def test_lossy_streams_are_recovered_as_well_as_they_can_be_and_called_lossy(codec, rng, ffmpeg, tmp_path):
    sources = pair_sources(rng, samples=3 * RATE)
    path = tmp_path / "a.mkv"
    streams = [stream / 32768 for stream in scenes.mix(PAIR, sources)]
    recipe = record(path, PAIR, sources, ffmpeg=ffmpeg, streams=streams, codec=codec)
    try:
        finding = recover(path, recipe)
    except RefusedError as error:
        assert "nulls to -" in str(error)  # too lossy to tell whether the recipe holds
        return
    assert any("lossy" in text for text in finding.warnings)
    assert "exact" not in {found.accuracy for found in finding.sources}


@pytest.mark.parametrize("seed", [13, 60, 102, 156, 217, 267, 276])
def test_random_recordings_that_once_failed(seed, ffmpeg, tmp_path, monkeypatch):
    """Kept streams, holes, float32 noise at 24 bits, sums added in another order, a lag one sample off,
    clipped sums that do not divide, a lag that cannot be measured.
    """
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    random_recipes = importlib.import_module("random_recipes")
    verdict = random_recipes.run_scene(seed, tmp_path, ffmpeg=ffmpeg, verify=True, discover=None)
    assert not verdict.wrong


def test_clipping_in_a_channel_that_no_combination_reads_touches_nothing(rng, ffmpeg, tmp_path):
    sources = some_sources(rng)
    path = tmp_path / "a.mkv"
    recipe = record(path, ARTICLE, sources, ffmpeg=ffmpeg)
    assert recover(path, recipe).clipped == ()
    # LFE of stream 0 is the desktop's own: voice and zoom do not read it.
    sources["desktop"].samples[3, 1000:1010] = 32767
    recipe = record(tmp_path / "b.mkv", ARTICLE, sources, ffmpeg=ffmpeg)
    finding = recover(tmp_path / "b.mkv", recipe)
    (stretch,) = finding.clipped
    assert stretch.sources == ("desktop",)
    assert "full scale" in source(finding, "desktop").accuracy
    assert source(finding, "voice").accuracy == source(finding, "zoom").accuracy == "exact"


@pytest.mark.parametrize("rate", [8000, 192_000])
def test_any_sample_rate_is_recovered(rate, rng, ffmpeg, tmp_path):
    desk = scenes.music_like(rng, 2 * rate, channels=2, rate=rate, peak=8000)
    voice = scenes.speech_like(rng, 2 * rate, channels=2, rate=rate, peak=8000)
    path = tmp_path / "a.mkv"
    scenes.write_recording(path, [desk + voice, desk], ffmpeg=ffmpeg, layouts="stereo", rate=rate)
    finding = recover(path, '[sources]\nd = "stereo"\nv = "stereo"\n[streams]\n0 = "d + v"\n1 = "d"\n')
    assert finding.output is not None
    assert np.array_equal(scenes.decode_pcm(finding.output, ffmpeg=ffmpeg, stream=1), voice)


def test_an_mp4_with_a_chapter_track_is_recovered(rng, ffmpeg, tmp_path):
    """Its chapters are a data stream, which no muxer takes as it is."""
    sources = some_sources(rng)
    whole = tmp_path / "a.mkv"
    desk, voice = sources["desktop"].samples[:2], sources["voice"].samples
    chapters = [(0.0, 0.5, "One"), (0.5, 1.0, "Two")]
    scenes.write_recording(
        whole, [desk + voice, desk], ffmpeg=ffmpeg, layouts="stereo", rate=RATE, video=True, chapters=chapters
    )
    path = tmp_path / "a.mp4"
    scenes.run_ffmpeg(ffmpeg, "-i", str(whole), "-map", "0:v", "-map", "0:a", "-c:v", "copy", "-c:a", "alac", str(path))
    assert "data" in " ".join(probe(path).others)
    finding = recover(path, '[sources]\nd = "stereo"\nv = "stereo"\n[streams]\n0 = "d + v"\n1 = "d"\n')
    assert finding.output is not None
    assert np.array_equal(scenes.decode_pcm(finding.output, ffmpeg=ffmpeg, stream=1), voice)
    with av.open(str(finding.output)) as container:
        assert [chapter["metadata"]["title"] for chapter in container.chapters()] == ["One", "Two"]
