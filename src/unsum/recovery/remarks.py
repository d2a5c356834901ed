"""What is out of the ordinary about a recording and its recovery, in words."""

from collections.abc import Iterator, Sequence

from unsum.media.promised import shortfall_words
from unsum.recovery.findings import CheckFinding, SourceFinding
from unsum.recovery.outputs import writes_stems
from unsum.recovery.plan import Plan
from unsum.recovery.untangle import PassResult
from unsum.timecode import clock_time

# A recording whose header says this much more than was found has been cut off.
_TRUNCATED_SECONDS = 1.0
_WORTH_TELLING_SECONDS = 0.05
_LISTED = 3


def remarks(
    plan: Plan,
    result: PassResult,
    sources: Sequence[SourceFinding],
    kept: tuple[int, ...],
    rebuilt: tuple[int, ...],
    checks: Sequence[CheckFinding],
) -> tuple[str, ...]:
    """All remarks on one recording, the recording's own first."""
    return (
        *_on_streams(plan, checks),
        *_on_reading(plan, result),
        *(text for source in sources for text in _on_source(plan, source)),
        *_on_what_stays(kept, rebuilt),
    )


def _on_streams(plan: Plan, checks: Sequence[CheckFinding]) -> Iterator[str]:
    rate = plan.streams[0].sample_rate
    lossy = [stream for stream in plan.streams if not stream.lossless]
    if lossy:
        names = ", ".join(f"stream {stream.number} ({stream.codec})" for stream in lossy)
        depths = [check.null_db for check in checks if check.null_db is not None]
        depth = f"; the recipe's equations null to {max(depths):.1f} dB" if depths else ""
        yield f"lossy: {names}; what was recovered carries the difference of the codecs' errors{depth}"
    unused = [str(s.number) for s in plan.recording.audio if s not in plan.streams]
    if unused and writes_stems(plan.output):
        yield f"stream {', '.join(unused)} is not in the recipe, and so in none of the files"
    data = [kind for kind in plan.recording.others if kind.startswith("data")]
    if data and not writes_stems(plan.output):
        some = "1 data stream" if len(data) == 1 else f"{len(data)} data streams"
        yield f"{some} left out (in MP4 mostly the list of chapters, which is written anew)"
    starts = plan.look.starts
    if len(set(starts.values())) > 1:
        told = ", ".join(f"stream {stream} at {start / rate:.6f} s" for stream, start in sorted(starts.items()))
        yield f"streams start at different times: {told}; put on one time line"
    for stream, late in sorted(plan.look.offsets.late.items()):
        if late:
            word = "late" if late > 0 else "early"
            how_much = f"{abs(late)} samples ({abs(late) / rate * 1000:.2f} ms)"
            before = plan.look.origin - (starts[stream] - late)
            cut = f"; its first {before} samples, from before the time line begins, are left out" if before > 0 else ""
            yield f"stream {stream} is {how_much} {word} against its timestamps; corrected{cut}"
    if plan.look.offsets.unknown:
        names = ", ".join(map(str, plan.look.offsets.unknown))
        yield (
            f"the lag of stream {names} could not be measured (too little in common with the others); "
            "its timestamps are trusted"
        )


def _on_reading(plan: Plan, result: PassResult) -> Iterator[str]:
    rate = plan.streams[0].sample_rate
    for gap in result.report.breaks:
        length = f"{abs(gap.samples)} samples ({abs(gap.samples) / rate * 1000:.1f} ms)"
        kind = "missing" if gap.samples > 0 else "doubled and dropped"
        sure = gap.reason if gap.exact else f"{gap.reason}, length known from timestamps only"
        yield f"stream {gap.stream}: {length} {kind} at {clock_time(gap.at / rate)} ({sure})"
    for stream in sorted({*result.report.primings, *result.report.paddings}):
        start, end = result.report.primings.get(stream, 0), result.report.paddings.get(stream, 0)
        if start or end:
            yield f"stream {stream}: the codec's priming of {start} and padding of {end} samples were dropped"
    for stream, count in sorted(result.not_finite.items()):
        yield f"stream {stream}: {count} samples are no numbers (NaN or infinite); taken as silence"
    errors = result.report.errors
    for stream, seconds, reason in errors[:_LISTED]:
        yield f"stream {stream}: a packet at {clock_time(seconds)} cannot be decoded ({reason}); treated as a hole"
    if len(errors) > _LISTED:
        yield f"{len(errors) - _LISTED} more packets cannot be decoded"
    for stream in plan.streams:
        there = result.report.lengths.get(stream.number, 0)
        if short := shortfall_words(stream.promised_samples, there, sample_rate=rate):
            yield f"stream {stream.number} is truncated: {short}; what is there was recovered"
    duration, found = plan.recording.duration_seconds, result.samples / rate
    if any(stream.promised_samples is not None for stream in plan.streams):
        return
    if duration is not None and found < duration - _TRUNCATED_SECONDS:
        yield (
            f"the audio ends at {clock_time(found)} but the header says {clock_time(duration)}; "
            "the file may be truncated: what is there was recovered"
        )


def _on_source(plan: Plan, source: SourceFinding) -> Iterator[str]:
    long = [gap for gap in source.gaps if gap[1] - gap[0] >= _WORTH_TELLING_SECONDS]
    if long:
        ranges = ", ".join(f"{clock_time(start)} to {clock_time(stop)}" for start, stop in long[:_LISTED])
        more = f" and {len(long) - _LISTED} more" if len(long) > _LISTED else ""
        yield f"{source.name} is not determined from {ranges}{more}: a stream it needs is missing there; left silent"
    if source.odd_samples:
        yield f"{source.name}: {source.odd_samples} samples fall between two steps of {source.bits} bits; rounded"
    if source.bits is not None and plan.grid.bits is not None and source.bits > plan.grid.bits:
        yield (
            f"{source.name} needs {source.bits} bits (peak {source.peak_db:+.1f} dBFS); "
            f"written as {source.stored_as}, so that nothing clips"
        )
    if source.determined and source.reasons:
        yield f"{source.name}: {', '.join(source.reasons)} in no stream; written as silence"


def _on_what_stays(kept: tuple[int, ...], rebuilt: tuple[int, ...]) -> Iterator[str]:
    needed = [stream for stream in kept if stream not in rebuilt]
    if needed:
        names = ", ".join(map(str, needed))
        yield f"stream {names} copied as it is, because it cannot be rebuilt from what was recovered"
