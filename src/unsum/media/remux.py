"""A new file beside the old one: streams copied packet for packet, some replaced.

Everything that is not replaced comes through as it was: packets, timestamps,
chapters, attachments, titles, dispositions. The file is written under a temporary
name and renamed when it is complete; whatever ends the run early leaves nothing.
"""

import contextlib
import errno
import os
import queue
import secrets
import threading
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Disposition, Stream
from numpy.typing import NDArray

from unsum.errors import OutputError, OutputExistsError
from unsum.media.encode import Encoder, OutputAudio, add_audio
from unsum.media.probe import container_url, open_input

CONTAINERS = {
    ".mkv": "matroska",
    ".mka": "matroska",
    ".mp4": "mp4",
    ".m4a": "mp4",
    ".m4v": "mp4",
    ".mov": "mov",
}
# Written anew by the muxer; a copy would contradict it.
_STALE_TAGS = {"DURATION", "ENCODER"}
_BLOCKS_WAITING = 3
# Packets travel in bundles: handing each one over by itself would cost more than copying it.
_BUNDLE = 64
_BUNDLE_BYTES = 256 << 10  # pictures are large: what waits is bounded by this too
_BUNDLES_WAITING = 16
_POLL_SECONDS = 0.2
# In a temporary name: whether its file may take the place of another one.
_OVERWRITES = ".overwrites"


def reserve_output(path: Path, *, overwrite: bool, inputs: Collection[Path] = ()) -> Path:
    """Check that an output may be written and give the temporary name to write it under.

    The name carries ``overwrite`` on to `give_name`.

    Raises
    ------
    OutputExistsError
        If the file exists and ``overwrite`` is not given.
    OutputError
        If it is an input, or its folder does not exist or may not be written to.
    """
    folder = path.parent
    try:
        for source in inputs:
            if path.exists() and source.exists() and path.samefile(source):
                raise OutputError(f"{path} is the input; inputs are never modified: choose another name")
        if (path.exists() or path.is_symlink()) and not overwrite:
            raise OutputExistsError(f"{path} exists; choose another name or overwrite with -y")
        if path.is_dir():
            raise OutputError(f"{path} is a folder; name a file")
        if not folder.is_dir():
            raise OutputError(f"no such folder: {folder}; make it first")
    except (OutputError, OutputExistsError):
        raise
    except OSError as error:  # a name too long, a folder that may not be looked into
        raise OutputError(f"cannot write {path}: {error.strerror}; choose another name or folder") from error
    # A test write: permissions alone do not tell of read-only file systems.
    # File systems count a name's bytes, of which a letter may have four.
    stem = path.stem.encode(errors="ignore")[:80].decode(errors="ignore")
    # The token keeps two jobs of one process apart.
    partial = folder / (
        f".{stem}.{os.getpid()}-{secrets.token_hex(4)}{_OVERWRITES if overwrite else ''}.partial{path.suffix}"
    )
    try:
        partial.touch()
    except OSError as error:
        raise OutputError(f"cannot write into {folder}: {error.strerror}; choose another folder") from error
    return partial


def give_name(partial: Path, path: Path) -> None:
    """Give a completed file its name; one that appeared meanwhile is replaced only where that was asked for.

    Raises
    ------
    OutputExistsError
        If there is such a file by now.
    OutputError
        If the name cannot be given.
    """
    try:
        if partial.name.removesuffix(f".partial{path.suffix}").endswith(_OVERWRITES):
            partial.replace(path)
            return
        try:
            path.hardlink_to(partial)  # unlike renaming, this never replaces
        except FileExistsError as error:
            raise _appeared(path) from error
        except (OSError, NotImplementedError) as error:  # exFAT and some network drives have no links
            if path.exists() or path.is_symlink():
                raise _appeared(path) from error
            partial.replace(path)
        else:
            with contextlib.suppress(OSError):
                partial.unlink()
    except OutputExistsError:
        raise
    except OSError as error:
        raise write_error(path, error) from error


def _appeared(path: Path) -> OutputExistsError:
    return OutputExistsError(
        f"{path} appeared while it was being written; nothing was kept: choose another name or overwrite with -y"
    )


def make_folder(folder: Path) -> None:
    """Make the folder that results go to, where only its last level is missing.

    Raises
    ------
    OutputError
        If it cannot be made.
    """
    if folder.is_dir():
        return
    try:
        folder.mkdir()
    except OSError as error:
        raise OutputError(f"cannot make the folder {folder}: {error.strerror}; make it first") from error


def write_error(path: Path, error: BaseException) -> OutputError:
    """An error of the muxer in words."""
    code = getattr(error, "errno", None)
    if code == errno.ENOSPC:
        return OutputError(f"disk full while writing {path}; nothing was kept: make room or choose another folder")
    reason = getattr(error, "strerror", None) or str(error)
    return OutputError(f"cannot write {path}: {reason}; nothing was kept")


class RemuxWriter:
    """Writes one output file; encoders and the muxer run in threads of their own.

    Use as a context manager: leaving it without `publish` removes what was written.

    Parameters
    ----------
    path : the final name; its suffix tells the container
    source : the file whose streams, chapters and tags are copied
    copy : container indices of the source's streams to copy
    audio : the new streams
    position : how many copied streams come before the new ones
    start_seconds : time of the new streams' first sample
    partial : the temporary name, from `reserve_output`
    """

    def __init__(
        self,
        path: Path,
        *,
        partial: Path,
        source: Path,
        copy: Sequence[int],
        audio: Sequence[OutputAudio],
        position: int,
        start_seconds: float = 0.0,
    ) -> None:
        self.path, self.partial = path, partial
        self.failure: BaseException | None = None
        self._finished = False
        self._copied: list[Packet] = []
        self._copied_bytes = 0
        self._packets: queue.Queue = queue.Queue(_BUNDLES_WAITING)
        self._threads: list[threading.Thread] = []
        try:
            self.container = av.open(container_url(partial), "w", format=CONTAINERS[path.suffix.lower()])
        except (FFmpegError, OSError) as error:
            partial.unlink(missing_ok=True)
            raise write_error(path, error) from error
        try:
            self._encoders: list[Encoder] = []
            self._copies: dict[int, Stream] = {}
            self._add_streams(source, copy, audio, position)
        except (FFmpegError, ValueError) as error:
            self._discard()
            raise OutputError(
                f"{path.suffix} cannot hold the streams of {source.name}: {error}; write .mkv, which holds them all"
            ) from error
        except BaseException:
            self._discard()
            raise
        self._offsets = [round(start_seconds * stream.sample_rate) for stream in audio]
        self._blocks: list[queue.Queue] = [queue.Queue(_BLOCKS_WAITING) for _ in audio]
        self._threads.append(threading.Thread(target=self._mux, name="mux", daemon=True))
        for number in range(len(audio)):
            thread = threading.Thread(target=self._encode, args=(number,), name=f"encode {number}", daemon=True)
            self._threads.append(thread)
        for thread in self._threads:
            thread.start()

    def _add_streams(self, source: Path, copy: Sequence[int], audio: Sequence[OutputAudio], position: int) -> None:
        with open_input(source) as template:
            for index in copy[:position]:
                self._add_copy(template, index)
            for stream in audio:
                encoder = add_audio(self.container, stream)
                self._encoders.append(encoder)
                out = encoder.stream
                out.metadata["title"] = stream.title
                if CONTAINERS[self.path.suffix.lower()] != "matroska":
                    out.metadata["handler_name"] = stream.title  # what players show of MP4 and MOV
                if stream.language:
                    out.metadata["language"] = stream.language
                out.disposition = Disposition.default if stream.default else Disposition(0)
            for index in copy[position:]:
                self._add_copy(template, index)
            self.container.metadata.update(_kept_tags(template.metadata))
            chapters = template.chapters()
            if chapters:
                self.container.set_chapters(chapters)

    def _add_copy(self, template: InputContainer, index: int) -> None:
        stream = template.streams[index]
        copied = self.container.add_stream_from_template(stream)
        copied.metadata.update(_kept_tags(stream.metadata))
        if "name" in stream.metadata:  # as MP4 calls the title
            copied.metadata.setdefault("title", stream.metadata["name"])
        copied.disposition = stream.disposition
        if stream.time_base:
            copied.time_base = stream.time_base
        self._copies[index] = copied

    def copy_packet(self, packet: Packet, container_index: int) -> None:
        """Pass a packet of the source on as it is."""
        packet.stream = self._copies[container_index]
        self._copied.append(packet)
        self._copied_bytes += packet.size
        if len(self._copied) >= _BUNDLE or self._copied_bytes >= _BUNDLE_BYTES:
            self._flush_copied()

    def _flush_copied(self) -> None:
        copied, self._copied, self._copied_bytes = self._copied, [], 0
        if copied:
            self._put(self._packets, copied)

    def write(self, number: int, samples: NDArray) -> None:
        """Give the next samples, (channels, samples), of the new stream ``number``."""
        self._flush_copied()
        self._put(self._blocks[number], samples)

    def complete(self) -> None:
        """Finish the encoders and close the file, still under its temporary name.

        Raises
        ------
        OutputError
            If anything could not be written.
        """
        self._flush_copied()
        for blocks in self._blocks:
            self._put(blocks, None)
        for thread in self._threads[1:]:
            thread.join()
        self._put(self._packets, None)
        self._threads[0].join()
        self._raise_failure()
        try:
            self.container.close()
        except (FFmpegError, OSError) as error:
            raise write_error(self.path, error) from error

    def publish(self) -> None:
        """Give the completed file its name."""
        give_name(self.partial, self.path)
        self._finished = True

    def __enter__(self) -> "RemuxWriter":
        return self

    def __exit__(self, *exc) -> None:
        if not self._finished:
            self.failure = self.failure or exc[1] or RuntimeError("not finished")
            for thread in self._threads:
                thread.join()
            self._discard()

    def _discard(self) -> None:
        with contextlib.suppress(FFmpegError, OSError, ValueError):
            self.container.close()
        self.partial.unlink(missing_ok=True)

    def _put(self, waiting: queue.Queue, item) -> None:
        while True:
            if self.failure is not None:
                self._raise_failure()
            with contextlib.suppress(queue.Full):
                waiting.put(item, timeout=_POLL_SECONDS)
                return

    def _get(self, waiting: queue.Queue):
        while self.failure is None:
            with contextlib.suppress(queue.Empty):
                return waiting.get(timeout=_POLL_SECONDS)
        return None

    def _raise_failure(self) -> None:
        if self.failure is not None:
            if isinstance(self.failure, (FFmpegError, OSError)) and not isinstance(self.failure, OutputError):
                raise write_error(self.path, self.failure) from self.failure
            raise self.failure

    def _encode(self, number: int) -> None:
        encoder, offset = self._encoders[number], self._offsets[number]
        try:
            while (samples := self._get(self._blocks[number])) is not None:
                self._queue(encoder.encode(samples), offset)
            if self.failure is None:
                self._queue(encoder.finish(), offset)
        except BaseException as error:
            self.failure = self.failure or error

    def _queue(self, packets: Iterable[Packet], offset: int) -> None:
        bundle = list(packets)
        for packet in bundle:
            if offset and packet.pts is not None:
                packet.pts += offset
                packet.dts = packet.pts
        if bundle:
            self._put(self._packets, bundle)

    def _mux(self) -> None:
        try:
            while (bundle := self._get(self._packets)) is not None:
                for packet in bundle:
                    self.container.mux(packet)
        except BaseException as error:
            self.failure = self.failure or error


def _kept_tags(tags: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in tags.items() if key.upper() not in _STALE_TAGS}
