"""Every source in an audio file of its own: ``NAME.SOURCE.wav`` and the like.

Each file is written in a thread of its own, under a temporary name, and all get
their names together when all are complete.
"""

import queue
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import soundfile
from numpy.typing import NDArray

from unsum.errors import OutputError
from unsum.media.encode import OutputAudio, SoundFileWriter
from unsum.media.remux import give_name, write_error

_BLOCKS_WAITING = 3
_POLL_SECONDS = 0.2


class StemWriter:
    """Writes the new streams as separate audio files; nothing is copied from the source.

    Has the interface of `remux.RemuxWriter`.

    Parameters
    ----------
    paths : the final names, one for each of ``audio``
    partials : the temporary names, from `remux.reserve_output`
    expected_samples : refuses at once what an AIFF cannot hold; 0: not known
    """

    def __init__(
        self,
        paths: Sequence[Path],
        *,
        partials: Sequence[Path],
        audio: Sequence[OutputAudio],
        expected_samples: int = 0,
    ) -> None:
        self.paths, self.partials = tuple(paths), tuple(partials)
        self.failure: BaseException | None = None
        self._published = False
        self._files: list[SoundFileWriter] = []
        try:
            for path, partial, stream in zip(paths, partials, audio, strict=True):
                suffix = path.suffix.lower()
                self._files.append(SoundFileWriter(partial, stream, suffix=suffix, expected_samples=expected_samples))
        except BaseException:
            self._discard()
            raise
        self._blocks: list[queue.Queue] = [queue.Queue(_BLOCKS_WAITING) for _ in audio]
        self._threads = [
            threading.Thread(target=self._write_blocks, args=(n,), name=f"stem {n}", daemon=True)
            for n in range(len(audio))
        ]
        for thread in self._threads:
            thread.start()

    def copy_packet(self, packet: object, container_index: int) -> None:
        """Stems carry no video: nothing to do."""

    def write(self, number: int, samples: NDArray) -> None:
        """Give the next samples, (channels, samples), of stem ``number``."""
        self._put(number, samples)

    def complete(self) -> None:
        """Finish all files, still under their temporary names.

        Raises
        ------
        OutputError
            If anything could not be written.
        """
        for number in range(len(self._blocks)):
            self._put(number, None)
        for thread in self._threads:
            thread.join()
        self._raise_failure()

    def publish(self) -> None:
        """Give the completed files their names, or none of them its name.

        Raises
        ------
        OutputExistsError, OutputError
            If one cannot be given; those already given are taken back.
        """
        named: list[Path] = []
        try:
            for partial, path in zip(self.partials, self.paths, strict=True):
                give_name(partial, path)
                named.append(path)
        except BaseException:
            for path in named:
                path.unlink(missing_ok=True)
            raise
        self._published = True

    def __enter__(self) -> "StemWriter":
        return self

    def __exit__(self, *exc) -> None:
        if not self._published:
            self.failure = self.failure or exc[1] or RuntimeError("not finished")
            for thread in self._threads:
                thread.join()
            self._discard()

    def _discard(self) -> None:
        for file in self._files:
            with suppress(soundfile.LibsndfileError, OSError, RuntimeError):
                file.close()
        for partial in self.partials:
            partial.unlink(missing_ok=True)

    def _put(self, number: int, item: NDArray | None) -> None:
        while True:
            self._raise_failure()
            with suppress(queue.Full):
                self._blocks[number].put(item, timeout=_POLL_SECONDS)
                return

    def _raise_failure(self) -> None:
        if self.failure is not None:
            raise self.failure

    def _write_blocks(self, number: int) -> None:
        file = self._files[number]
        try:
            while self.failure is None:
                with suppress(queue.Empty):
                    samples = self._blocks[number].get(timeout=_POLL_SECONDS)
                    if samples is None:
                        break
                    file.write(samples)
            file.close()
        except BaseException as error:
            failure: BaseException = error
            if isinstance(error, (OSError, soundfile.LibsndfileError)) and not isinstance(error, OutputError):
                failure = write_error(self.paths[number], error)
                failure.__cause__ = error
            self.failure = self.failure or failure
