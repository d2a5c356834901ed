"""Where each decoded frame lies in time, to the sample.

A container's clock is coarse (Matroska: 1 ms), so it says *that* packets are
missing, not exactly how many samples: that is read from the frame numbers of
FLAC, or from the constant frame length of other codecs. Time is the count of
decoded samples; timestamps can only make a reported gap or overlap in it.
"""

from dataclasses import dataclass

# Matroska rounds to 1 ms, so neighbours may be off by that much; real holes are longer.
TOLERANCE_SECONDS = 0.002


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
    """Gives every frame of one stream its place on the recording's time line."""

    def __init__(self, *, stream: int, sample_rate: int) -> None:
        self.stream = stream
        self.sample_rate = sample_rate
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
        next_seconds : timestamp of the frame after it. Where frames have no numbers, a jump counts only if
            it lasts: Ogg Vorbis gives single frames a wrong time where its block size changes. None: not
            known, the jump is believed; nan: there is no frame after it that could confirm a jump.
        """
        stamp = None if seconds is None else seconds * self.sample_rate
        if number is None and stamp is not None and self._stamp is not None:
            expected = self._stamp + self._samples
            after = stamp if next_seconds is None else next_seconds * self.sample_rate - samples
            lasting = abs(after - stamp) <= abs(after - expected)
            if abs(stamp - expected) > self._tolerance and not lasting:
                stamp = expected
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
        lost = None
        if number is not None and self._number is not None:
            lost = number - (self._number + self._samples)
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
        self.breaks.append(Discontinuity(self.stream, self.end, samples, exact, reason))
        self.end += samples
