"""What libsndfile writes FLAC into: one frame for each of its writes, behind the header."""

import io

from unsum.media.flac import is_frame


class FrameSink:
    """The file libsndfile thinks it writes: keeps the header, hands on the frames.

    libsndfile calls from C, where an exception would be lost: ``failure`` keeps what is wrong.
    """

    def __init__(self) -> None:
        self.failure: str | None = None
        self.header = bytearray()
        self.frames: list[bytes] = []
        self._position = 0
        self._header_done = False

    def write(self, data: bytes) -> int:
        data = bytes(data)
        if not self._header_done and is_frame(data):
            self._header_done = True
        if self._position < len(self.header) or not self._header_done:
            if self._position > len(self.header):
                self.failure = "it wrote a header with a hole in it"
            self.header[self._position : self._position + len(data)] = data
        elif is_frame(data):
            self.frames.append(data)
        else:
            self.failure = "it wrote something that is no FLAC frame"
        self._position += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_SET:
            self._position = offset
        elif whence == io.SEEK_CUR:
            self._position += offset
        return self._position

    def tell(self) -> int:
        return self._position

    def flush(self) -> None:
        pass
