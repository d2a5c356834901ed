"""Where each decoded frame lies in time, to the sample.

A container's clock is coarse (Matroska: 1 ms), so it says *that* packets are
missing, not exactly how many samples: that is read from the frame numbers of
FLAC, or from the constant frame length of other codecs. Time is the count of
decoded samples; timestamps can only make a reported gap or overlap in it, and a
single wrong one makes neither.
"""

import math
from dataclasses import dataclass

from unsum.errors import InputError

# Matroska rounds to 1 ms, so neighbours may be off by that much; real holes are longer.
TOLERANCE_SECONDS = 0.002
# Nobody records a hole this long: a jump beyond it is a damaged timestamp, and its silence would fill the disk.
LONGEST_JUMP_SECONDS = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Discontinuity:
    """A hole or an overlap in one stream.

    Attributes
    ----------
    stream : audio stream number
    at : sample on the recording's time line where the stream breaks off
    samples : how many are missing; negative: so many came twice and were dropped
    exact : False where only timestamps tell the length
    reason : what told us
    """

    stream: int
    at: int
    samples: int
    exact: bool
    reason: str


class StreamClock:
    """Gives every frame of one stream its place on the recording's time line.

    Parameters
    ----------
    longest_jump_seconds : gaps and overlaps beyond this are refused
    """

    def __init__(self, *, stream: int, sample_rate: int, longest_jump_seconds: float = LONGEST_JUMP_SECONDS) -> None:
        self.stream = stream
        self.sample_rate = sample_rate
        self.longest_jump_seconds = longest_jump_seconds
        self.start: int | None = None
        self.end = 0  # one behind the last sample placed
        self.breaks: list[Discontinuity] = []
        self._tolerance = TOLERANCE_SECONDS * sample_rate
        self._stamp: float | None = None  # the last timestamp, in samples
        self._samples = 0
        self._placed = 0  # frames
        self._number: int | None = None  # the last frame's own sample number
        self._frame_length: int | None = None  # common to all frames so far but the first, 0 if it varies

    def place(
        self, *, seconds: float | None, samples: int, number: int | None = None, next_seconds: float | None = None
    ) -> int:
        """First sample of the next frame on the time line.

        Parameters
        ----------
        seconds : the container's timestamp of the frame, if it has one
        samples : length of the frame
        number : index of the frame's first sample by the codec's own count, if it keeps one
        next_seconds : timestamp of the frame after it. A jump that no frame number confirms counts only if
            it lasts: Ogg Vorbis gives single frames a wrong time where its block size changes. None: not
            known, the jump is believed; nan: there is no frame after it that could confirm a jump.

        Raises
        ------
        InputError
            If time jumps further than ``longest_jump_seconds``.
        """
        stamp = None if seconds is None else seconds * self.sample_rate
        if stamp is not None and next_seconds is not None:
            stamp = self._lasting(stamp, number, after=next_seconds * self.sample_rate - samples)
        if self.start is None:
            self.start = self.end = 0 if stamp is None else round(stamp)
        else:
            self._resume(stamp, number)
        start = self.end
        self.end = start + samples
        if stamp is None:
            self._stamp = None if self._stamp is None else self._stamp + self._samples
        else:
            self._stamp = stamp
        self._learn_length(samples)
        self._samples, self._number = samples, number
        return start

    def _lasting(self, stamp: float, number: int | None, *, after: float) -> float:
        """The frame's timestamp, or the one it should have had if time does not go on from it.

        ``after`` is the timestamp that would fit the frame after this one; nan: there is none.
        """
        if self._stamp is None:
            return stamp
        expected = [self._stamp + self._samples]
        lost = self._lost(number)
        if lost:
            expected.append(expected[0] + lost)
        if any(abs(stamp - each) <= self._tolerance for each in expected):
            return stamp
        if math.isnan(after):
            return expected[0] if lost is None or lost < 0 else expected[-1]
        return min((stamp, *expected), key=lambda candidate: abs(after - candidate))

    def _lost(self, number: int | None) -> int | None:
        """How many samples are missing before the frame by the codec's own count."""
        return None if number is None or self._number is None else number - (self._number + self._samples)

    def _learn_length(self, samples: int) -> None:
        # Only the last frame is shorter where frames are of one length, and the first one where a decoder
        # drops its priming.
        if self._frame_length is None or (self._placed == 1 and samples > self._frame_length):
            self._frame_length = samples
        elif self._samples != self._frame_length and self._placed > 1:
            self._frame_length = 0
        self._placed += 1

    def _resume(self, stamp: float | None, number: int | None) -> None:
        jump = 0.0
        if stamp is not None and self._stamp is not None:
            jump = stamp - (self._stamp + self._samples)
        jumped = abs(jump) > self._tolerance
        lost = self._lost(number)
        if lost and (abs(jump - lost) <= self._tolerance or (stamp is None and lost > 0)):
            self._break(lost, exact=True, reason="frame numbers")
        elif jumped and lost == 0:
            self._break(round(jump), exact=False, reason="timestamps jump, no frame is missing")
        elif jumped:
            frames = round(jump / self._frame_length) if self._frame_length else 0
            whole = frames * (self._frame_length or 0)
            if frames and abs(jump - whole) <= self._tolerance:
                self._break(whole, exact=True, reason=f"whole frames {'missing' if frames > 0 else 'came twice'}")
            else:
                self._break(round(jump), exact=False, reason="timestamps")

    def _break(self, samples: int, *, exact: bool, reason: str) -> None:
        seconds = samples / self.sample_rate
        if abs(seconds) > self.longest_jump_seconds:
            raise InputError(
                f"audio stream {self.stream} jumps by {seconds:+.1f} s at {self.end / self.sample_rate:.3f} s, further "
                f"than the {self.longest_jump_seconds:.0f} s that can be believed here; "
                "mend its timestamps first, or cut the file there"
            )
        self.breaks.append(Discontinuity(self.stream, self.end, samples, exact, reason))
        self.end += samples
