"""The one ffmpeg command that does what a recovery does, sample for sample.

Its graph brings every stream onto one time line (holes filled, late ones cut), merges
their channels side by side, and gives each source by one ``pan`` over them. All sums
are in double, where integers of 32 bits are exact and nothing wraps, clips or rounds;
``pan`` on 24-bit words would sum in single. What depends on the audio (lengths, holes,
sources beyond full scale) is measured first, in one pass over the file, so the command
fits this recording and no other.
"""

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any, cast

from unsum.errors import InputError, RefusedError
from unsum.layouts import layout_name
from unsum.media.encode import OutputAudio
from unsum.media.remux import CONTAINERS, RemuxWriter
from unsum.media.timeline import Discontinuity
from unsum.recovery.aligned import Progress
from unsum.recovery.recover import Plan, _Recovery
from unsum.recovery.untangle import Algebra, PassResult
from unsum.streams.recipe import Source, SourceChannel, StreamChannel

_LINE_LENGTH = 100
# FFmpeg's order of loudspeakers (libavutil/channel_layout.h).
_NATIVE_ORDER = (
    *("FL", "FR", "FC", "LFE", "BL", "BR", "FLC", "FRC", "BC", "SL", "SR", "TC", "TFL", "TFC", "TFR"),
    *("TBL", "TBC", "TBR", "DL", "DR", "WL", "WR", "SDL", "SDR", "LFE2", "TSL", "TSR", "BFC", "BFL", "BFR"),
)

Terms = tuple[tuple[StreamChannel, Fraction], ...]
Sums = tuple[Terms | None, ...]  # one per channel of a source; None: not determined here
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
    recovery = _Recovery(
        plan, verify=False, compression_level=compression_level, keep_streams=keep_streams, progress=progress
    )
    if not recovery.written:
        reasons = "; ".join(
            f"{plan.equations.label(unknown)}: {why}" for unknown, why in recovery.solution.undetermined.items()
        )
        raise RefusedError(f"the recipe determines no source: {reasons}; there is nothing ffmpeg could write")
    result = None
    while result is None:  # until a pass finds nothing that changes what is to be written
        result = recovery._pass(cast(RemuxWriter, _Nowhere()))
    if result.samples == 0:
        raise InputError(f"{plan.recording.path}: no audio could be decoded; is the file whole?")
    audio = [recovery._output_audio(n, source.name) for n, source in enumerate(recovery.written)]
    graph = _filter_graph(plan, result, recovery.algebra, recovery.written, audio)
    command = _command(plan, result, graph, audio, sources=recovery.written, kept=recovery.kept)
    return FfmpegExport(tuple(command), tuple(_caveats(plan, result, audio)))


def shell_command(command: Sequence[str]) -> str:
    """A command as a shell takes it, broken into lines of moderate length."""
    program, *words = command
    groups: list[list[str]] = []
    for word in words[:-1]:
        if word.startswith("-") or not groups:
            groups.append([])
        groups[-1].append(shlex.quote(word))
    lines, line = [], shlex.quote(program)
    for group in groups:
        text = " ".join(group)
        alone = {group[0], line.partition(" ")[0]} & {"-filter_complex", "-i"}
        if alone or len(line) + 1 + len(text) > _LINE_LENGTH:
            lines.append(line)
            line = text
        else:
            line += " " + text
    return " \\\n  ".join([*lines, line, shlex.quote(words[-1])])


class _Nowhere:
    """Stands for the writer in a pass that only measures."""

    def write(self, number: int, samples: Any) -> None:
        pass

    def copy_packet(self, packet: Any, container_index: int) -> None:
        pass


# --- the graph ---


def _filter_graph(
    plan: Plan, result: PassResult, algebra: Algebra, sources: Sequence[Source], audio: Sequence[OutputAudio]
) -> str:
    pieces = {source.name: _pieces(plan, result, algebra, source) for source in sources}
    keys = [key for mine in pieces.values() for _, _, sums in mine for terms in sums if terms for key, _ in terms]
    used = sorted({key.stream for key in keys}) or [plan.streams[0].number]
    chains = [_aligned_stream(plan, result, stream) for stream in used]
    merged = "".join(f"[s{stream}]" for stream in used)
    merged += f"amerge=inputs={len(used)}," if len(used) > 1 else ""
    merged += "aformat=sample_fmts=dblp"
    wanted = [f"{source.name}_{n}" for source in sources for n in range(max(1, len(pieces[source.name])))]
    chains.append(f"{merged},asplit={len(wanted)}" + "".join(f"[{label}]" for label in wanted))
    columns = _merged_columns(plan, used)
    for source, stream in zip(sources, audio, strict=True):
        mine = pieces[source.name] or [(0, result.samples, (None,) * len(source.channels))]
        chains += _source_chains(plan, source, stream, mine, columns, result.samples)
    return ";\n  ".join(chains)


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
            solved[present] = tuple(c.terms if c else None for c in combinations)
        sums = solved[present]
        if found and found[-1][1:] == (start, sums):
            found[-1] = (found[-1][0], stop, sums)
        elif any(sums):
            found.append((start, stop, sums))
    return found


def _aligned_stream(plan: Plan, result: PassResult, stream: int) -> str:
    """A stream on the time line: what the file has of it, silence where it has nothing."""
    position = plan.look.starts[stream] - plan.look.origin + plan.offsets.get(stream, 0)
    breaks = [gap for gap in result.report.breaks if gap.stream == stream]
    parts = list(_placed_parts(position, breaks, start=plan.look.starts[stream]))
    label = f"0:a:{stream}"
    end = f"aformat=sample_fmts={_carrier_format(plan)},apad=whole_len={result.samples}[s{stream}]"
    if len(parts) == 1:
        return f"[{label}]" + ",".join([*_cut(*parts[0]), end])
    names = [f"s{stream}_{n}" for n in range(len(parts))]
    chains = [f"[{label}]asplit={len(parts)}" + "".join(f"[{name}]" for name in names)]
    for name, part in zip(names, parts, strict=True):
        chains.append(f"[{name}]" + ",".join(_cut(*part)) + f"[{name}_cut]")
    chains.append("".join(f"[{name}_cut]" for name in names) + f"concat=n={len(parts)}:v=0:a=1,{end}")
    return ";\n  ".join(chains)


def _carrier_format(plan: Plan) -> str:
    """The sample format that holds every stream exactly and that ``amerge`` takes in old versions too."""
    if plan.grid.bits is not None:
        return "s32"
    singles = all(bits <= 24 if (bits := s.bits) is not None else "f64" not in s.codec for s in plan.streams)
    return "flt" if singles else "dbl"


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
    return filters or ["asetpts=N"]


def _merged_columns(plan: Plan, used: Sequence[int]) -> dict[StreamChannel, int]:
    """The number of each stream channel behind ``amerge``.

    One stream after the other; but where no two layouts share a loudspeaker ``amerge``
    sorts the channels as one larger layout would have them.
    """
    layouts = {stream.number: stream.channels for stream in plan.streams if stream.number in used}
    keys = [StreamChannel(stream, channel) for stream in used for channel in layouts[stream]]
    names = [key.channel for key in keys]
    if len(used) > 1 and len(set(names)) == len(names):
        order = {name: n for n, name in enumerate(_NATIVE_ORDER)}
        keys.sort(key=lambda key: order[key.channel])
    return {key: number for number, key in enumerate(keys)}


def _source_chains(
    plan: Plan,
    source: Source,
    audio: OutputAudio,
    pieces: Sequence[Piece],
    columns: Mapping[StreamChannel, int],
    total: int,
) -> Iterator[str]:
    # N counts the samples so far; behind amerge and from decoders the clock ticks once a sample.
    end = [f"aformat=sample_fmts={_sample_format(audio)}", f"asetpts=N+{plan.look.origin}[{source.name}]"]
    if pieces[-1][1] < total:
        end.insert(0, f"apad=whole_len={total}")
    filled, parts = 0, []
    for start, stop, sums in pieces:
        filters = [_pan(source, sums, columns), *_rounding(plan, sums)]
        if (start, stop) != (0, total):
            filters += _cut(start, None if stop == total else stop, start - filled)
        parts.append(filters)
        filled = stop
    if len(parts) == 1:
        yield f"[{source.name}_0]" + ",".join([*parts[0], *end])
        return
    for n, filters in enumerate(parts):
        yield f"[{source.name}_{n}]" + ",".join(filters) + f"[{source.name}_{n}_cut]"
    names = "".join(f"[{source.name}_{n}_cut]" for n in range(len(parts)))
    yield names + ",".join([f"concat=n={len(parts)}:v=0:a=1", *end])


def _pan(source: Source, sums: Sums, columns: Mapping[StreamChannel, int]) -> str:
    outputs = []
    for channel, terms in zip(source.channels, sums, strict=True):
        gains = [(columns[key], gain * _divisor(terms)) for key, gain in terms] if terms else [(0, Fraction(0))]
        text = ""
        for column, gain in gains:
            sign = "-" if gain < 0 else "+" if text else ""
            # pan reads a minus in front of everything only as part of a number.
            number = "" if abs(gain) == 1 and (text or gain > 0) else f"{abs(gain)}*"
            text += f"{sign}{number}c{column}"
        outputs.append(f"{channel}={text}")
    return f"pan={layout_name(source.channels)}|" + "|".join(outputs)


def _divisor(terms: Terms | None) -> int:
    return math.lcm(1, *(gain.denominator for _, gain in terms or ()))


def _rounding(plan: Plan, sums: Sums) -> list[str]:
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
    return ["aeval=exprs=" + "|".join(expressions) + ":c=same"]


def _sample_format(audio: OutputAudio) -> str:
    if audio.bits is None:
        return "flt" if audio.stored_bits == 32 else "dbl"
    return ("s16" if audio.stored_bits == 16 else "s32") + ("p" if audio.codec in ("alac", "wavpack") else "")


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
    replaced = {stream.number for stream in plan.streams if stream.number not in kept}
    first = min(replaced, default=0)
    copied = [s.number for s in plan.recording.audio if s.number not in replaced]
    before = [number for number in copied if number < first]
    container = CONTAINERS[plan.output.suffix.lower()]

    # -copyts, or the copied video moves to zero while the sources stay at their time.
    yield from ("ffmpeg", "-copyts")
    if result.report.errors:
        # Damaged frames are left out, as unsum leaves them out, and not concealed.
        yield from ("-err_detect:a", "crccheck+explode")
    yield from ("-i", _file_name(plan.recording.path), "-filter_complex", graph)
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
        yield from _stream_options(n, stream)
    if container == "mp4" and any(stream.codec == "flac" for stream in audio):
        yield from ("-strict", "experimental")
    yield _file_name(plan.output)


def _stream_options(number: int, audio: OutputAudio) -> Iterator[str]:
    encoder = audio.codec
    if encoder == "pcm":
        encoder = f"pcm_{'s' if audio.bits is not None else 'f'}{audio.stored_bits}le"
    yield from (f"-c:a:{number}", encoder)
    if audio.codec == "flac":
        yield from (f"-compression_level:a:{number}", str(audio.compression_level))
    if audio.stored_bits == 24 and audio.codec in ("flac", "alac"):
        yield from (f"-bits_per_raw_sample:a:{number}", "24")
    yield from (f"-metadata:s:a:{number}", f"title={audio.title}")
    if audio.language:
        yield from (f"-metadata:s:a:{number}", f"language={audio.language}")
    yield from (f"-disposition:a:{number}", "default" if audio.default else "0")


def _file_name(path: Any) -> str:
    """A name that ffmpeg takes neither for a protocol nor for an option."""
    name = str(path)
    return f"file:{name}" if ":" in name or name.startswith("-") else name


def _caveats(plan: Plan, result: PassResult, audio: Sequence[OutputAudio]) -> Iterator[str]:
    lossy = [s for s in plan.streams if not s.lossless]
    if lossy:
        names = ", ".join(f"stream {s.number} ({s.codec})" for s in lossy)
        yield f"lossy: {names}; another version of ffmpeg may decode other samples, so compare within some LSB only"
    elif plan.grid.bits is None:
        yield "the streams are floating point: the order of additions may change the last bit of a sample"
    if result.report.errors:
        count = len(result.report.errors)
        streams = ", ".join(str(s) for s in sorted({stream for stream, _, _ in result.report.errors}))
        yield (
            f"{count} packet{'s' * (count > 1)} of stream {streams} cannot be decoded; if a version of ffmpeg makes "
            "samples of what is left, all that follows is out of step"
        )
    if CONTAINERS[plan.output.suffix.lower()] == "mp4" and any(stream.codec == "pcm" for stream in audio):
        yield "older versions of ffmpeg write no PCM into MP4; name an .mkv or .mov file for them"
