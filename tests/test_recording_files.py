"""Files as a session knows them, behind whatever was made of them."""

import hashlib

import soundfile

from unsum.api.recording_files import recorded
from unsum.media.source import open_source
from unsum.problem import ResampledSource


def test_a_source_at_another_rate_is_recorded_as_the_file_it_was(tmp_path, rng):
    path = tmp_path / "stems" / "song.wav"
    path.parent.mkdir()
    soundfile.write(path, 0.1 * rng.standard_normal((300, 2)), 22050, subtype="PCM_24")
    source = open_source(f"{path}#a:0[FR]")
    session = tmp_path / "mix.mix.json"
    for one in (source, ResampledSource(source, 44100)):
        found = recorded(one, session)
        assert (found.file, found.stream, found.channels) == ("stems/song.wav", 0, ("FR",))
        assert (found.sample_rate, found.samples, found.bits) == (22050, 300, 24)
        assert found.blake2b == hashlib.blake2b(path.read_bytes()).hexdigest()
