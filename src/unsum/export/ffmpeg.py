"""The one ffmpeg command that does what a recovery does, sample for sample.

Its graph brings every stream onto one time line (holes filled, late ones cut); ``pan``
takes from each what a source needs of it, and ``amix`` adds. All of it is in double,
where words of 32 bits are exact and nothing wraps, clips or rounds; on 24-bit words
``pan`` would sum in single. ``amerge`` would need one ``pan`` a source, but old versions
give it no double, and no way from many channels without a layout to double behind it.
What depends on the audio (length, holes, sources beyond full scale) is measured first,
in one pass over the file, so the command fits this recording and no other.
"""

import math
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

from unsum.layouts import layout_name
from unsum.media.encode import OutputAudio
from unsum.media.remux import CONTAINERS
from unsum.media.timeline import Discontinuity
from unsum.progress import Progress
from unsum.recovery.algebra import Algebra
from unsum.recovery.outputs import writes_stems, written_paths
from unsum.recovery.plan import Plan
from unsum.recovery.recover import measure_recording
from unsum.recovery.untangle import PassResult
from unsum.streams.equations import SourceChannel, StreamChannel
from unsum.streams.recipe import Source

_LINE_LENGTH = 100

_FIRST_LAYOUTS = {"mono", "stereo", "5.0", "5.1", "7.1"}

Terms = tuple[tuple[StreamChannel, Fraction], ...]
Sums = tuple[Terms, ...]  # one per channel of a source, empty where it is not determined
Piece = tuple[int, int, Sums]  # start and stop on the time line, and what holds in between


@dataclass(frozen=True, slots=True)
class FfmpegExport:
    """A command, word by word, and in which way its samples may differ from unsum's."""

    command: tuple[str, ...]
    caveats: tuple[str, ...]


def export_command(
    plan: Plan, *, compression_level: int = 8, keep_streams: bool = False, progress: Progress | None = None
) -> FfmpegExport:
    """The ffmpeg command that writes the sources of a recording as `recover_recording` would.

    Reads the recording once from end to end, and writes nothing.

    Parameters
    ----------
    plan : Plan
    compression_level : 0..12
        Of FFmpeg's encoder, whose levels are not libFLAC's; the samples do not depend on it.
    keep_streams : bool
        Copy the original audio streams as well.

    Raises
    ------
    RefusedError
        If the audio contradicts the recipe, or no source can be determined.
    InputError
        If no audio can be decoded.
    """
    measured = measure_recording(
        plan, compression_level=compression_level, keep_streams=keep_streams, progress=progress
    )
    result, audio = measured.result, measured.audio
    graph = _filter_graph(plan, result, measured.algebra, measured.sources, audio)
    command = _command(plan, result, graph, audio, sources=measured.sources, kept=measured.kept)
    return FfmpegExport(tuple(command), tuple(_caveats(plan, result, audio)))


def shell_command(command: Sequence[str]) -> str:
    """A command as a shell takes it, broken into lines of moderate length."""
    program, *words = command
    groups: list[list[str]] = []
    for word in words:
        is_value = groups and len(groups[-1]) == 1 and groups[-1][0].startswith("-") and not word.startswith("-")
        if is_value:
            groups[-1].append(shlex.quote(word))
        else:
            groups.append([shlex.quote(word)])
    lines, full = [shlex.quote(program)], False
    for group in groups:
        text = " ".join(group)
        # The input, the graph and the outputs each on a line of their own.
        alone = group[0] in ("-i", "-filter_complex") or not group[0].startswith("-")
        if alone or full or len(lines[-1]) + 1 + len(text) > _LINE_LENGTH:
            lines.append(text)
        else:
            lines[-1] += " " + text
        full = alone
    return " \\\n  ".join(lines)


# --- the graph ---


def _filter_graph(
    plan: Plan, result: PassResult, algebra: Algebra, sources: Sequence[Source], audio: Sequence[OutputAudio]
) -> str:
    taps: dict[int, list[str]] = {}
    ends: list[str] = []
    for source, stream in zip(sources, audio, strict=True):
        ends += _source_chains(plan, result, source, stream, _pieces(plan, result, algebra, source), taps)
    starts = [chain for stream in sorted(taps) for chain in _aligned_stream(plan, result, stream, taps[stream])]
    return ";\n  ".join(starts + ends)


def _pieces(plan: Plan, result: PassResult, algebra: Algebra, source: Source) -> list[Piece]:
    """How a source is computed from which sample to which; stretches where nothing is known are left out."""
    missing = {stream: ranges.ranges for stream, ranges in result.missing.items()}
    edges = sorted({0, result.samples, *(edge for ranges in missing.values() for r in ranges for edge in r)})
    found: list[Piece] = []
    solved: dict[frozenset[int], Sums] = {}
    for start, stop in pairwise(edges):
        present = frozenset(s for s, ranges in missing.items() if not any(a <= start < b for a, b in ranges))
        if present not in solved:
            known = algebra.solution(present).determined
            combinations = [known.get(SourceChannel(source.name, channel)) for channel in source.channels]
            solved[present] = tuple(c.terms if c else () for c in combinations)
        sums = solved[present]
        if found and found[-1][1:] == (start, sums):
            found[-1] = (found[-1][0], stop, sums)
        elif any(sums):
            found.append((start, stop, sums))
    # A source that is nowhere to be had is silence as long as any stream.
    silence = (((StreamChannel(plan.streams[0].number, plan.streams[0].channels[0]), Fraction(0)),),)
    return found or [(0, result.samples, silence * len(source.channels))]


def _aligned_stream(plan: Plan, result: PassResult, stream: int, taps: Sequence[str]) -> Iterator[str]:
    """A stream on the time line: what the file has of it, silence where it has nothing, and behind its end."""
    position = plan.look.starts[stream] - plan.look.origin + plan.offsets.get(stream, 0)
    breaks = [gap for gap in result.report.breaks if gap.stream == stream]
    parts = list(_placed_parts(position, breaks, start=plan.look.starts[stream]))
    begin = f"[0:a:{stream}]aformat=sample_fmts=dblp"
    end = ["apad", *([f"asplit={len(taps)}"] if len(taps) > 1 else [])]
    whole = ",".join(end) + "".join(f"[{tap}]" for tap in taps)
    if len(parts) == 1:
        yield ",".join([begin, *_cut(*parts[0]), whole])
        return
    names = [f"s{stream}_{n}" for n in range(len(parts))]
    yield f"{begin},asplit={len(parts)}" + "".join(f"[{name}]" for name in names)
    for name, part in zip(names, parts, strict=True):
        yield f"[{name}]" + ",".join(_cut(*part)) + f"[{name}_cut]"
    yield "".join(f"[{name}_cut]" for name in names) + f"concat=n={len(parts)}:v=0:a=1,{whole}"


def _placed_parts(
    position: int, breaks: Sequence[Discontinuity], *, start: int
) -> Iterator[tuple[int, int | None, int]]:
    """(first sample, one behind the last, silence before) of each part between two breaks.

    ``position`` is where the first decoded sample belongs on the time line, ``start``
    its time in the container, in which the breaks are told.
    """
    filled = first = moved = 0
    for gap in [*breaks, None]:
        last = None if gap is None else gap.at - start - moved
        silence = position + first + moved - filled
        if silence < 0:  # before the time line begins, or there already
            first, silence = first - silence, 0
        if last is None or last > first:
            yield first, last, silence
            filled = position + moved + (last or 0)
        if gap is not None and last is not None:
            first, moved = max(first, last), moved + gap.samples


def _cut(first: int, last: int | None, silence: int) -> list[str]:
    """Filters that keep the samples from ``first`` up to ``last``, behind some silence."""
    filters = []
    if first or last is not None:
        start = [f"start_sample={first}"] if first else []
        stop = [] if last is None else [f"end_sample={last}"]
        filters += ["atrim=" + ":".join(start + stop), "asetpts=N"]
    if silence:
        filters.append(f"adelay=delays={silence}S:all=1")
    return filters


def _source_chains(
    plan: Plan,
    result: PassResult,
    source: Source,
    audio: OutputAudio,
    pieces: Sequence[Piece],
    taps: dict[int, list[str]],
) -> Iterator[str]:
    """A source from the streams it needs, each under a label that is added to ``taps``."""
    layout = layout_name(source.channels)
    end = [f"aformat=sample_fmts={_sample_format(audio)}:channel_layouts={layout}"]
    # N counts the samples so far, and the clock ticks once a sample.
    end.append(f"asetpts=N+{plan.look.origin}[{source.name}]")
    if pieces[-1][1] < result.samples:
        end.insert(0, f"apad=whole_len={result.samples}")
    filled = 0
    for n, (start, stop, sums) in enumerate(pieces):
        name = source.name if len(pieces) == 1 else f"{source.name}_{n}"
        streams = sorted({key.stream for terms in sums for key, _ in terms})
        for stream in streams:
            taps.setdefault(stream, []).append(f"{name}_s{stream}")
        filters = [*_rounding(plan, source, sums), *_cut(start, stop, start - filled)]
        filters += end if len(pieces) == 1 else [f"aformat=sample_fmts=dblp:channel_layouts={layout}[{name}]"]
        if len(streams) == 1:
            yield f"[{name}_s{streams[0]}]" + ",".join([_pan(plan, source, sums, streams[0]), *filters])
        else:
            for stream in streams:
                yield f"[{name}_s{stream}]" + _pan(plan, source, sums, stream) + f"[{name}_p{stream}]"
            labels = "".join(f"[{name}_p{stream}]" for stream in streams)
            yield labels + ",".join([f"amix=inputs={len(streams)}:normalize=0", *filters])
        filled = stop
    if len(pieces) > 1:
        names = "".join(f"[{source.name}_{n}]" for n in range(len(pieces)))
        yield names + ",".join([f"concat=n={len(pieces)}:v=0:a=1", *end])


def _pan(plan: Plan, source: Source, sums: Sums, stream: int) -> str:
    """What one stream gives to a source, times the divisors of `_rounding`."""
    columns = next(s.channels for s in plan.streams if s.number == stream)
    layout = layout_name(source.channels)
    # Where pan only picks channels, FFmpeg 5 takes what it picked for the first layout of that many
    # channels, and remixes it to the one asked for: twice as loud and back is no mere picking.
    twice = len(columns) != len(source.channels) and layout not in _FIRST_LAYOUTS
    outputs = []
    for channel, terms in zip(source.channels, sums, strict=True):
        text = ""
        for key, gain in terms:
            if key.stream != stream:
                continue
            gain *= _divisor(terms) * (2 if twice else 1)
            sign = "-" if gain < 0 else "+" if text else ""
            # pan reads a minus in front of everything only as part of a number.
            number = "" if abs(gain) == 1 and (text or gain > 0) else f"{abs(gain)}*"
            text += f"{sign}{number}c{columns.index(key.channel)}"
        if text:
            outputs.append(f"{channel}={text}")
    return f"pan={layout}|" + "|".join(outputs) + (",volume=0.5:precision=double" if twice else "")


def _divisor(terms: Terms) -> int:
    return math.lcm(1, *(gain.denominator for _, gain in terms))


def _rounding(plan: Plan, source: Source, sums: Sums) -> list[str]:
    """The division that fractions need, rounded as unsum rounds: floor(x + 1/2) on the grid of the streams."""
    divisors = [_divisor(terms) for terms in sums]
    if max(divisors) == 1:
        return []
    expressions = []
    for channel, divisor in enumerate(divisors):
        value, bits = f"val({channel})", plan.grid.bits
        if divisor > 1 and bits is None:
            value = f"{value}/{divisor}"
        elif divisor > 1 and bits is not None:
            value = f"floor(({value}*{2**bits}+{divisor})/{2 * divisor})/{2 ** (bits - 1)}"
        expressions.append(value)
    # aeval does not tell its layout to what follows, which would remix from a guess.
    layout = layout_name(source.channels)
    return [f"aeval=exprs={'|'.join(expressions)}:c=same", f"aformat=sample_fmts=dblp:channel_layouts={layout}"]


def _sample_format(audio: OutputAudio) -> str:
    if audio.bits is None:
        return "flt" if audio.stored_bits == 32 else "dbl"
    return "s16" if audio.stored_bits == 16 else "s32"


# --- the command around it ---


def _command(
    plan: Plan,
    result: PassResult,
    graph: str,
    audio: Sequence[OutputAudio],
    *,
    sources: Sequence[Source],
    kept: Sequence[int],
) -> Iterator[str]:
    # -copyts, or the copied video moves to zero while the sources stay at their time.
    yield from ("ffmpeg", "-copyts")
    if result.report.errors:
        # Damaged frames are left out, as unsum leaves them out, and not concealed.
        yield from ("-err_detect:a", "crccheck+explode")
    yield from ("-i", _file_name(plan.recording.path), "-filter_complex", graph)
    if writes_stems(plan.output):
        for source, stream, path in zip(sources, audio, written_paths(plan.output, sources), strict=True):
            yield from ("-map", f"[{source.name}]", *_stem_options(stream, path), _file_name(path))
        return
    replaced = {stream.number for stream in plan.streams if stream.number not in kept}
    copied = [s.number for s in plan.recording.audio if s.number not in replaced]
    first = min(replaced, default=0)
    before = [number for number in copied if number < first]
    yield from ("-map", "0:v?")
    for number in before:
        yield from ("-map", f"0:a:{number}")
    for source in sources:
        yield from ("-map", f"[{source.name}]")
    for number in copied[len(before) :]:
        yield from ("-map", f"0:a:{number}")
    yield from ("-map", "0:s?", "-map", "0:t?")
    if any(kind.startswith("data") for kind in plan.recording.others):
        yield from ("-map", "0:d?")
    yield from ("-map_metadata", "0", "-map_chapters", "0", "-c", "copy")
    for n, stream in enumerate(audio, start=len(before)):
        yield from _encoder_options(stream, f":a:{n}")
        yield from (f"-metadata:s:a:{n}", f"title={stream.title}")
        if stream.language:
            yield from (f"-metadata:s:a:{n}", f"language={stream.language}")
        yield from (f"-disposition:a:{n}", "default" if stream.default else "0")
    if _is_mp4(plan) and any(stream.codec == "flac" for stream in audio):
        yield from ("-strict", "experimental")
    yield _file_name(plan.output)


def _encoder_options(audio: OutputAudio, specifier: str) -> Iterator[str]:
    encoder = audio.codec
    if encoder == "pcm":
        encoder = f"pcm_{'s' if audio.bits is not None else 'f'}{audio.stored_bits}le"
    yield from (f"-c{specifier or ':a'}", encoder)
    if encoder == "flac":
        yield from (f"-compression_level{specifier}", str(audio.compression_level))
    if audio.stored_bits == 24 and encoder in ("flac", "alac"):
        yield from (f"-bits_per_raw_sample{specifier}", "24")


def _stem_options(audio: OutputAudio, path: Path) -> Iterator[str]:
    suffix = path.suffix.lower()
    if suffix == ".flac":
        yield from _encoder_options(replace(audio, codec="flac"), "")
        return
    _, encoder = _encoder_options(replace(audio, codec="pcm"), "")
    yield from ("-c:a", encoder.replace("le", "be") if suffix in (".aif", ".aiff") else encoder)
    if suffix in (".wav", ".rf64"):
        yield from ("-f", "wav", "-rf64", "auto" if suffix == ".wav" else "always")


def _is_mp4(plan: Plan) -> bool:
    return CONTAINERS.get(plan.output.suffix.lower()) == "mp4"


def _file_name(path: Path) -> str:
    """A name that ffmpeg takes neither for a protocol nor for an option."""
    name = str(path)
    return f"file:{name}" if ":" in name or name.startswith("-") else name


def _caveats(plan: Plan, result: PassResult, audio: Sequence[OutputAudio]) -> Iterator[str]:
    lossy = [s for s in plan.streams if not s.lossless]
    if lossy:
        names = ", ".join(f"stream {s.number} ({s.codec})" for s in lossy)
        yield f"lossy: {names}; another version of ffmpeg decodes slightly different samples"
    elif plan.grid.bits is None:
        yield "the streams are floating point: the order of additions may change the last bit of a sample"
    if result.report.errors:
        count = len(result.report.errors)
        streams = ", ".join(str(s) for s in sorted({stream for stream, _, _ in result.report.errors}))
        yield (
            f"{count} packet{'s' * (count > 1)} of stream {streams} cannot be decoded; if a version of ffmpeg makes "
            "samples of what is left, all that follows is out of step"
        )
    if _is_mp4(plan) and any(stream.codec == "pcm" for stream in audio):
        yield "older versions of ffmpeg write no PCM into MP4; name an .mkv or .mov file for them"
