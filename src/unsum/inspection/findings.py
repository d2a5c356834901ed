"""What an inspection found, as frozen values."""

from dataclasses import dataclass
from fractions import Fraction

from unsum.inspection.codec_frames import CodecFrames
from unsum.media.probe import AudioStream, Recording
from unsum.media.timeline import Discontinuity
from unsum.streams.equations import StreamChannel


@dataclass(frozen=True, slots=True)
class ChannelFinding:
    """One channel of a stream.

    Attributes
    ----------
    peak_dbfs, rms_dbfs : against full scale 1; None for digital silence
    true_bits : word length that its samples need, None where that cannot be told
    full_scale_samples : samples at (in floating point: at or above) full scale
    quiet_share : share of the time without a sample above -90 dBFS; None if too short
    """

    name: str
    peak_dbfs: float | None
    rms_dbfs: float | None
    true_bits: int | None
    full_scale_samples: int
    quiet_share: float | None

    @property
    def silent(self) -> bool:
        return self.peak_dbfs is None


@dataclass(frozen=True, slots=True)
class FullScaleRange:
    """Samples at full scale, near each other; times from the stream's first sample."""

    start_seconds: float
    stop_seconds: float
    samples: int
    channels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LowPass:
    """A spectrum that breaks off: ``drop_db`` within a few percent of ``cutoff_hz``."""

    cutoff_hz: float
    drop_db: float


@dataclass(frozen=True, slots=True)
class StreamFinding:
    """One audio stream, decoded from its first sample to its last.

    Attributes
    ----------
    stream : as the header tells it
    samples : how many were decoded
    start_seconds : container time of the first sample decoded
    late_samples : how much later than its timestamps say, against the other streams; None if not known
    true_bits : word length that the samples need; None for lossy codecs and true floating point
    full_scale : the first ranges of samples at full scale
    not_finite : samples that are no number (NaN, infinite)
    breaks, errors : from the decoder; errors are (container seconds, reason)
    low_pass : None unless the spectrum clearly breaks off
    hole_share : share 0..1 of the treble that is empty for moments; None if there is too little sound
    codec_frames : of an encoder that a lossless stream went through, None where none show beyond doubt
    bits_per_second : of the coded stream: as its header says, else its packets over its length; None without either
    priming_samples : in front of the sound, that the file told to drop and that are dropped
    """

    stream: AudioStream
    samples: int
    start_seconds: float
    late_samples: int | None
    true_bits: int | None
    channels: tuple[ChannelFinding, ...]
    full_scale: tuple[FullScaleRange, ...]
    quiet_share: float | None
    not_finite: int
    breaks: tuple[Discontinuity, ...]
    errors: tuple[tuple[float, str], ...]
    low_pass: LowPass | None
    hole_share: float | None
    codec_frames: CodecFrames | None
    bits_per_second: float | None
    priming_samples: int

    @property
    def seconds(self) -> float:
        return self.samples / self.stream.sample_rate


@dataclass(frozen=True, slots=True)
class Containment:
    """``outer(t) = gain * inner(t) + rest(t)``, with the gain that leaves the least rest.

    Attributes
    ----------
    exact_gain : the gain if the rest is zero at every sample, else None
    null_db : energy of the rest against that of ``outer``; None if the rest is zero
    identical_share : share of the time in which both sound and every sample is equal
    """

    inner: StreamChannel
    outer: StreamChannel
    gain: float
    exact_gain: Fraction | None
    null_db: float | None
    identical_share: float

    @property
    def bit_identical(self) -> bool:
        return self.exact_gain == 1


@dataclass(frozen=True, slots=True)
class FileFinding:
    """All that is told about one file.

    Attributes
    ----------
    containments : pairs of channels of different streams, deepest first, and exact copies within a stream
    broken_off : why the file could not be read to its end, or None
    """

    recording: Recording
    streams: tuple[StreamFinding, ...]
    containments: tuple[Containment, ...]
    remarks: tuple[str, ...]
    broken_off: str | None
