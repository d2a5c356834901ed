"""The scenes are true: what they say is in a file is what the ffmpeg program finds there."""

import hashlib
import tomllib

import av
import numpy as np
import pytest
import scenes
from scenes import Equation, Source, Term

RATE = 48000


def some_streams(rng, *, layouts=("7.1", "stereo"), samples=2 * RATE, bits=16):
    peak = 0.8 * 2 ** (bits - 1)
    return [scenes.music_like(rng, samples, channels=len(scenes.CHANNELS[layout]), peak=peak) for layout in layouts]


@pytest.mark.parametrize("kind", [scenes.speech_like, scenes.music_like, scenes.noise_bursts])
def test_a_sound_has_the_peak_and_the_silence_asked_for(kind, rng):
    sound = kind(rng, 30_001, channels=3, peak=12_345, silent=[(7_000, 19_000)])
    assert sound.shape == (3, 30_001) and sound.dtype == np.int32
    assert np.abs(sound).max() == 12_345
    assert not sound[:, 7_000:19_000].any()
    assert np.linalg.matrix_rank(sound[:, :7_000].astype(float)) == 3


def test_the_articles_streams_are_added_by_hand():
    desktop = np.arange(8)[:, None] * 100 + np.arange(3)
    sources = {
        "zoom": Source("mono", np.array([[1, -2, 3]])),
        "voice": Source("stereo", np.array([[10, 20, 30], [-10, -20, -30]])),
        "desktop": Source("7.1", desktop),
    }
    front = Term("desktop", 1, ("FL", "FR"))
    equations = [
        Equation("7.1", (Term("desktop"), front, Term("zoom"))),
        Equation("7.1", (Term("voice"), front, Term("zoom"))),
        Equation("7.1", (Term("zoom", -2), front)),
    ]
    first, second, third = scenes.mix(equations, sources)
    assert first[:3].tolist() == [[1, 0, 7], [201, 200, 207], [200, 201, 202]]
    assert second[:3].tolist() == [[11, 19, 35], [91, 79, 75], [0, 0, 0]]
    assert third[:3].tolist() == [[-2, 5, -4], [98, 105, 96], [0, 0, 0]]
    recipe = tomllib.loads(scenes.recipe_text(equations, sources))
    assert recipe["sources"]["desktop"] == {"layout": "7.1"}
    assert recipe["streams"] == {
        "0": "desktop + desktop[FL,FR] + zoom",
        "1": "voice + desktop[FL,FR] + zoom",
        "2": "- 2 * zoom + desktop[FL,FR]",
    }
    assert all(scenes.determined_channels(equations, sources).values())


def test_sources_that_only_appear_together_are_not_determined():
    pair = {name: Source("stereo", np.zeros((2, 1), np.int32)) for name in ("voice", "game")}
    equations = [
        Equation("stereo", (Term("voice"), Term("game"))),
        Equation("stereo", (Term("voice", 1, ("FL",)),)),
    ]
    assert scenes.determined_channels(equations, pair) == {
        ("voice", "FL"): True,
        ("voice", "FR"): False,
        ("game", "FL"): True,
        ("game", "FR"): False,
    }


@pytest.mark.parametrize("bits", [16, 24, 32])
def test_a_rounded_sum_is_within_half_a_step_of_the_float_sum(bits, rng):
    peak = 0.2 * 2 ** (bits - 1)
    loud = {name: Source("mono", scenes.speech_like(rng, RATE, peak=peak, quantised=False)) for name in "abc"}
    equation = Equation("mono", (Term("a"), Term("b", 2), Term("c", -1)))
    (stream,) = scenes.mix([equation], loud, rounded=True, bits=bits)
    exact = loud["a"].samples + 2 * loud["b"].samples - loud["c"].samples
    # float32 has an eighth of a step of its own at 24 bits, for each of two additions and a source.
    assert np.abs(stream - exact).max() <= 0.5 + (0.5 if bits == 24 else 0.01)
    assert np.abs(stream - exact).max() > 0.45


def test_a_sum_beyond_full_scale_is_an_error_or_is_held():
    loud = {"a": Source("mono", np.array([[30_000, -30_000, 16_383]]))}
    equation = Equation("mono", (Term("a", 2),))
    with pytest.raises(OverflowError, match="full scale is 32767"):
        scenes.mix([equation], loud)
    (held,) = scenes.mix([equation], loud, saturate=True)
    assert held.tolist() == [[32_767, -32_768, 32_766]]


@pytest.mark.parametrize(
    ("name", "codec", "bits"),
    [
        ("a b'c.mkv", "flac", 16),
        ("flac.mkv", "flac", 24),
        ("pcm.mkv", "pcm", 32),
        ("alac.mp4", "alac", 16),
        ("alac.mov", "alac", 24),
        ("wavpack.mka", "wavpack", 16),
        ("wavpack.mka", "wavpack", 24),
        ("pcm.mov", "pcm", 24),
    ],
)
def test_ffmpeg_reads_back_every_sample(name, codec, bits, ffmpeg, rng, tmp_path):
    layouts = ("mono", "5.1", "stereo")
    streams = some_streams(rng, layouts=layouts, samples=RATE // 2 + 17, bits=bits)
    streams[0][0, :2] = 2 ** (bits - 1) - 1, -(2 ** (bits - 1))
    path = scenes.write_recording(tmp_path / name, streams, ffmpeg=ffmpeg, layouts=layouts, bits=bits, codec=codec)
    for number, stream in enumerate(streams):
        assert np.array_equal(scenes.decode_pcm(path, ffmpeg=ffmpeg, stream=number, bits=bits), stream)


def test_each_stream_has_its_own_rate_word_length_and_codec(ffmpeg, rng, tmp_path):
    streams = some_streams(rng, layouts=("stereo", "mono", "mono"), samples=RATE)
    streams[2] = streams[2] / 40_000
    path = scenes.write_recording(
        tmp_path / "odd.mkv",
        streams,
        ffmpeg=ffmpeg,
        layouts=("stereo", "mono", "mono"),
        rate=(44100, 48000, 48000),
        bits=(24, 16, 32),
        codec=("flac", "aac", "pcm"),
    )
    with av.open(str(path)) as container:
        found = [(s.codec_context.name, s.codec_context.sample_rate) for s in container.streams.audio]
    assert found == [("flac", 44100), ("aac", 48000), ("pcm_f32le", 48000)]


def test_a_recording_has_what_obs_and_mkvtoolnix_put_in(ffmpeg, rng, tmp_path):
    path = scenes.write_recording(
        tmp_path / "lecture.mkv",
        some_streams(rng),
        ffmpeg=ffmpeg,
        layouts=("7.1", "stereo"),
        start_ms=(0, 120),
        titles=("Track1", "Größe"),
        languages=("eng", "deu"),
        title="Lecture 7",
        video=True,
        chapters=[(0, 1, "One"), (1, 2, "Two")],
        subtitle=True,
        attachment=("note.txt", b"attached\n"),
    )
    with av.open(str(path)) as container:
        kinds = sorted(stream.type for stream in container.streams)
        audio = container.streams.audio
        assert kinds == ["attachment", "audio", "audio", "subtitle", "video"]
        assert [stream.metadata["title"] for stream in audio] == ["Track1", "Größe"]
        assert [stream.language for stream in audio] == ["eng", "deu"]
        assert [stream.layout.name for stream in audio] == ["7.1", "stereo"]
        assert [chapter["metadata"]["title"] for chapter in container.chapters()] == ["One", "Two"]
        assert container.metadata["title"] == "Lecture 7"
        assert [stream.start_time for stream in audio] == [0, 120]
        (note,) = container.streams.attachments
        assert (note.name, note.data) == ("note.txt", b"attached\n")
    if (probed := scenes.probe_json(path)) is not None:
        assert len(probed["streams"]) == 5 and len(probed["chapters"]) == 2


@pytest.fixture
def lecture(ffmpeg, rng, tmp_path):
    """Three seconds with pictures, and the streams in it."""
    streams = some_streams(rng, samples=3 * RATE)
    path = tmp_path / "lecture.mkv"
    scenes.write_recording(
        path, streams, ffmpeg=ffmpeg, layouts=("7.1", "stereo"), video=True, subtitle=True, title="Lecture"
    )
    return path, streams


def test_a_hole_takes_the_packets_of_one_stream_and_nothing_else(lecture, ffmpeg, tmp_path):
    path, streams = lecture
    holed = tmp_path / "holed.mkv"
    lost = scenes.drop_packets(path, holed, stream=1, start_s=1.0, length_s=0.5)
    assert abs(lost.start - RATE) < 5000 and abs(lost.stop - lost.start - RATE // 2) < 5000
    left = np.delete(streams[1], np.s_[lost.start : lost.stop], axis=1)
    assert np.array_equal(scenes.decode_pcm(holed, ffmpeg=ffmpeg, stream=1), left)
    assert np.array_equal(scenes.decode_pcm(holed, ffmpeg=ffmpeg, stream=0), streams[0])
    before, after = scenes.packet_fingerprints(path), scenes.packet_fingerprints(holed)
    assert set(after[1]) < set(before[1])
    assert before[:1] + before[2:] == after[:1] + after[2:]


def test_pictures_without_a_decoding_time_survive_a_hole(lecture, tmp_path):
    path, _ = lecture
    holed = tmp_path / "holed.mkv"
    scenes.drop_packets(path, holed, stream=0, start_s=1.0, length_s=0.3)
    for file in (path, holed):
        with av.open(str(file)) as container:
            packets = [p for p in container.demux(container.streams.video[0]) if p.size]
        assert sum(packet.dts is None for packet in packets) == 2
        assert len(packets) == 75


def test_shifted_time_stamps_change_no_sample(lecture, ffmpeg, tmp_path):
    path, streams = lecture
    shifted = tmp_path / "shifted.mkv"
    scenes.shift_timestamps(path, shifted, offsets_ms={1: 37})
    assert np.array_equal(scenes.decode_pcm(shifted, ffmpeg=ffmpeg, stream=1), streams[1])
    before, after = scenes.packet_fingerprints(path), scenes.packet_fingerprints(shifted)
    assert [(pts + 37, *rest) for pts, *rest in before[1] if pts is not None] == after[1]
    assert before[:1] + before[2:] == after[:1] + after[2:]


def test_a_corrupt_packet_keeps_the_container_whole(lecture, ffmpeg, tmp_path):
    path, streams = lecture
    corrupt = tmp_path / "corrupt.mkv"
    harmed = scenes.corrupt_bytes(path, corrupt, stream=1, at_s=1.5)
    assert harmed.start <= 1.5 * RATE < harmed.stop + 48  # Matroska counts milliseconds
    before, after = scenes.packet_fingerprints(path), scenes.packet_fingerprints(corrupt)
    differ = [
        (number, one[0])
        for number, (some, others) in enumerate(zip(before, after, strict=True))
        for one, other in zip(some, others, strict=True)
        if one != other
    ]
    assert [number for number, _ in differ] == [1]
    assert np.array_equal(scenes.decode_pcm(corrupt, ffmpeg=ffmpeg, stream=0), streams[0])


def test_a_truncated_file_is_the_first_part_of_the_whole(lecture, tmp_path):
    path, _ = lecture
    part = tmp_path / "part.mkv"
    scenes.truncate(path, part, fraction=0.6)
    assert path.read_bytes().startswith(part.read_bytes())
    assert abs(part.stat().st_size - 0.6 * path.stat().st_size) < 1


def test_random_scenes_are_what_their_recipes_say():
    for seed in range(12):
        scene = scenes.random_scene(np.random.default_rng(seed), seconds=(2.0, 3.0))
        limit = 2 ** (scene.bits - 1)
        recipe = tomllib.loads(scene.recipe)
        assert list(recipe["streams"]) == [str(number) for number in range(len(scene.streams))]
        for number, (equation, stream, clipped) in enumerate(
            zip(scene.equations, scene.streams, scene.clipped, strict=True)
        ):
            assert stream.min() >= -limit and stream.max() < limit
            beside = {name: scenes.source_beside_stream(scene, name, number).astype(float) for name in scene.sources}
            expected = np.zeros(stream.shape)
            for term in equation.terms:
                source_layout = scene.sources[term.source].layout
                for here, there in scenes.routes(term, source_layout, equation.layout):
                    expected[there] += term.gain * beside[term.source][here]
            error = np.abs(np.where(clipped, 0, stream - expected)).max()
            assert error <= (0.51 if scene.bits != 24 else 1.0) if scene.rounded else error == 0
            assert np.all(np.abs(stream[clipped] + 0.5) == limit - 0.5)


def test_random_scenes_show_every_kind_of_trouble():
    drawn = [scenes.random_scene(np.random.default_rng(seed), seconds=(0.5, 0.6)) for seed in range(60)]
    assert {scene.bits for scene in drawn} == {16, 24, 32}
    assert {len(scene.streams) for scene in drawn} == {2, 3, 4, 5, 6}
    assert {len(scene.sources) for scene in drawn} == {2, 3, 4, 5}
    assert 10 <= sum(scene.rounded for scene in drawn) <= 30
    assert sum(any(scene.late_samples) for scene in drawn) >= 15
    assert sum(scene.hole is not None for scene in drawn) >= 4
    assert sum(any(mask.any() for mask in scene.clipped) for scene in drawn) >= 4
    known = [scenes.determined_channels(scene.equations, scene.sources) for scene in drawn]
    assert sum(all(channels.values()) for channels in known) >= 15
    assert sum(not all(channels.values()) for channels in known) >= 10


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_written_scene_reads_back_with_its_hole(seed, ffmpeg, tmp_path):
    scene = scenes.random_scene(np.random.default_rng(seed), seconds=(3.0, 3.5), hole=True)
    path = tmp_path / "scene.mkv"
    lost = scenes.write_scene(scene, path, ffmpeg=ffmpeg)
    assert lost is not None and scene.hole is not None and lost.stream == scene.hole[0]
    for number, stream in enumerate(scene.streams):
        held = np.delete(stream, np.s_[lost.start : lost.stop], axis=1) if number == lost.stream else stream
        assert np.array_equal(scenes.decode_pcm(path, ffmpeg=ffmpeg, stream=number, bits=scene.bits), held)


def test_the_same_seed_makes_the_same_scene():
    digests = set()
    for _ in range(2):
        scene = scenes.random_scene(np.random.default_rng(7), seconds=(0.5, 0.6))
        digests.add(hashlib.md5(b"".join(stream.tobytes() for stream in scene.streams)).hexdigest())
    assert len(digests) == 1
