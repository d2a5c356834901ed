"""The audio files behind an analysis, as its session knows them."""

from pathlib import Path

from unsum.media.source import FileSource
from unsum.problem import AudioSource, ResampledSource
from unsum.report.mix_json import RecordedFile
from unsum.report.session import record_file


def recorded(source: AudioSource, session: Path) -> RecordedFile:
    """The file that a source of a problem reads, at its own rate, for the ``mix.json`` at ``session``.

    Raises
    ------
    InputError
        If the file cannot be read any more.
    """
    file = source.source if isinstance(source, ResampledSource) else source
    assert isinstance(file, FileSource)
    return record_file(
        file.path,
        session=session,
        channels=file.channels,
        sample_rate=file.sample_rate,
        stream=file.stream.number,
        samples=file.samples,
        bits=file.bits,
    )
