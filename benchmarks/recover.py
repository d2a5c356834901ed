"""What `unsum recover` must show: exact, and faster than ffmpeg's own filter graph.

    python benchmarks/recover.py                 full and sparse, 3 minutes, 5 rounds, interleaved
    python benchmarks/recover.py --long          also 90 minutes of the sparse kind
    python benchmarks/recover.py --rounds 3 --work DIR

Every run is a whole process, timed by the kernel's accounting of it. The peers
run the one-liner of the article that unsum's recover job comes from (FLAC level
12) on the same file: with the ffmpeg on PATH and with the threaded FFmpeg that
the wheel imageio-ffmpeg carries. Leave the machine alone meanwhile: wall times
are only worth something on two quiet cores; CPU times repeat within a few per cent.
The figures are printed and kept in ``benchmarks/figures/recover.json``.
"""

import argparse
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import av

HERE = Path(__file__).parent
RECIPE = """[sources]
zoom    = { layout = "mono",   title = "Zoom Broadcast Audio" }
voice   = { layout = "stereo", title = "Voice" }
desktop = { layout = "7.1",    title = "7.1 Desktop Audio" }
[streams]
0 = "desktop + desktop[FL,FR] + zoom"
1 = "voice + desktop[FL,FR] + zoom"
2 = "desktop[FL,FR] + zoom"
"""
GRAPH = (
    "[0:a:1]pan=stereo|c0=FL|c1=FR[mixed];[0:a:2]pan=stereo|c0=FL|c1=FR,asplit[callA][callB];"
    "[mixed][callA]amerge=inputs=2,pan=stereo|c0=c0-c2|c1=c1-c3[voice];"
    "[0:a:0][callB]amerge=inputs=2,pan=7.1|c0=c0-c8|c1=c1-c9|c2=c2|c3=c3|c4=c4|c5=c5|c6=c6|c7=c7,"
    "asplit[desktop][desktopB];[0:a:0][desktopB]amerge=inputs=2,pan=mono|c0=c0-2*c8[zoom]"
)
# wall and CPU of unsum against each peer, as the issue asks
BOUNDS = {
    "full": {"ffmpeg": (0.15, 0.20), "threaded": (0.30, 0.28)},
    "sparse": {"ffmpeg": (0.15, 0.25), "threaded": (0.30, 0.33)},
}
ROUNDS_TIMEOUT_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Run:
    """One finished process."""

    wall_seconds: float
    cpu_seconds: float
    peak_mib: float


def run(command: list[str]) -> Run:
    """Run a command to its end and ask the kernel what it cost."""
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    told = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{command[0]} failed ({process.returncode}): {told.decode(errors='replace')[-2000:]}")
    return Run(time.monotonic() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def median_run(runs: list[Run]) -> Run:
    return Run(*(statistics.median(values) for values in zip(*(asdict(r).values() for r in runs), strict=True)))


def median_ratio(ours: list[Run], theirs: list[Run], figure: str) -> float:
    """Median of the ratios pair by pair, so that a drift of the machine's speed cancels."""
    return statistics.median(getattr(a, figure) / getattr(b, figure) for a, b in zip(ours, theirs, strict=True))


def article_command(ffmpeg: str, source: Path, target: Path) -> list[str]:
    """The article's one-liner, level 12."""
    maps = ["-map", "0:v", "-map", "[zoom]", "-map", "[voice]", "-map", "[desktop]", "-c:v", "copy"]
    return [ffmpeg, "-v", "error", "-y", "-i", str(source), "-filter_complex", GRAPH, *maps,
            "-c:a", "flac", "-compression_level", "12", str(target)]  # fmt: skip


def unsum_command(source: Path, target: Path, recipe: Path | None, *more: str) -> list[str]:
    given = [] if recipe is None else ["--recipe", str(recipe)]
    return [sys.executable, "-m", "unsum", "recover", str(source), *given, "-o", str(target), "-y", "-q", *more]


def audio_bytes(path: Path) -> int:
    """Bytes of all audio packets, headers and container left out."""
    with av.open(str(path)) as container:
        return sum(packet.size for packet in container.demux(*container.streams.audio))


def video_digest(path: Path) -> str:
    digest = hashlib.md5()
    with av.open(str(path)) as container:
        for packet in container.demux(*container.streams.video):
            if packet.size:
                digest.update(bytes(packet))
    return digest.hexdigest()


def source_digests(ffmpeg: str, path: Path, count: int) -> list[str]:
    """MD5 of each audio stream as 16-bit PCM, decoded by the ffmpeg program."""
    digests = []
    for stream in range(count):
        command = [
            ffmpeg,
            "-v",
            "error",
            "-i",
            str(path),
            "-map",
            f"0:a:{stream}",
            "-f",
            "md5",
            "-c:a",
            "pcm_s16le",
            "-",
        ]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        digests.append(told.strip().removeprefix("MD5="))
    return digests


def write_recording(target: Path, *options: str) -> dict:
    """Make a recording in a process of its own: its memory must not count as ours."""
    clip = target.parent / "clip.mkv"
    command = [sys.executable, str(HERE / "recordings.py"), str(target), "--clip", str(clip), *options]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return json.loads(target.with_suffix(".json").read_text())


def exactness(work: Path, ffmpeg: str) -> list[str]:
    """Item 1: bit-exact sources, identical video, with and without the recipe."""
    recipe = work / "obs.toml"
    source = work / "exact.mkv"
    truth = write_recording(source, "--minutes", "2", "--surround", "sparse", "--extras", "--silences", "--seed", "3")
    wanted = sorted(truth["md5_s16le"].values())
    lines = []
    for name, given in (("with the recipe", recipe), ("without a recipe", None)):
        target = work / "exact.unsum.mkv"
        run(unsum_command(source, target, given, "--verify"))
        got = sorted(source_digests(ffmpeg, target, 3))
        same_video = video_digest(source) == video_digest(target)
        with av.open(str(source)) as before, av.open(str(target)) as after:
            kept = before.chapters() == after.chapters() and [s.type for s in before.streams if s.type != "audio"] == [
                s.type for s in after.streams if s.type != "audio"
            ]
        lines.append(
            f"{name}: sources bit-exact {got == wanted}, video packets identical {same_video}, "
            f"chapters, subtitles, attachments kept {kept}"
        )
    return lines


def exported(work: Path, ffmpeg: str, source: Path) -> str:
    """Item 5: the printed ffmpeg command gives the same samples."""
    ours, theirs = work / "ours.mkv", work / "theirs.mkv"
    recipe = work / "obs.toml"
    run(unsum_command(source, ours, recipe))
    command = [sys.executable, "-m", "unsum", "recover", str(source), "--recipe", str(recipe), "-o", str(theirs)]
    printed = subprocess.run([*command, "--export-ffmpeg"], capture_output=True, text=True, check=True).stdout
    subprocess.run(
        ["sh", "-c", printed.replace("ffmpeg ", "ffmpeg -y ", 1)],
        check=True,
        capture_output=True,
        stdin=subprocess.DEVNULL,
    )
    same = source_digests(ffmpeg, ours, 3) == source_digests(ffmpeg, theirs, 3)
    return f"the ffmpeg command of --export-ffmpeg gives identical samples: {same}"


def compare(kind: str, source: Path, work: Path, peers: dict[str, str], rounds: int) -> dict:
    """Interleaved rounds of unsum, unsum --verify and every peer on one file."""
    recipe = work / "obs.toml"
    commands = {
        "unsum": unsum_command(source, work / "unsum.mkv", recipe),
        "unsum --verify": unsum_command(source, work / "verified.mkv", recipe, "--verify"),
    }
    commands |= {name: article_command(program, source, work / f"{name}.mkv") for name, program in peers.items()}
    runs: dict[str, list[Run]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            runs[name].append(run(command))
    sizes = {name: audio_bytes(work / f"{name}.mkv") for name in ("unsum", *peers)}
    median = {name: median_run(done) for name, done in runs.items()}
    print(f"\n{kind}: median of {rounds} interleaved rounds [least-greatest]")
    print(f"{'':16}{'wall s':>22}{'CPU s':>22}{'peak MiB':>10}{'audio bytes':>13}")
    for name, done in runs.items():
        wall = [r.wall_seconds for r in done]
        cpu = [r.cpu_seconds for r in done]
        spread = f"{median[name].wall_seconds:.2f} [{min(wall):.2f}-{max(wall):.2f}]"
        spread_cpu = f"{median[name].cpu_seconds:.2f} [{min(cpu):.2f}-{max(cpu):.2f}]"
        print(f"{name:16}{spread:>22}{spread_cpu:>22}{median[name].peak_mib:>10.0f}{sizes.get(name, 0) or '':>13}")
    for peer in peers:
        wall_bound, cpu_bound = BOUNDS[kind][peer]
        for name in ("unsum", "unsum --verify"):
            wall = median_ratio(runs[name], runs[peer], "wall_seconds")
            cpu = median_ratio(runs[name], runs[peer], "cpu_seconds")
            print(f"{name} / {peer}: wall {wall:.3f} (asked {wall_bound}), CPU {cpu:.3f} (asked {cpu_bound})")
        print(f"unsum / {peer}: audio bytes {sizes['unsum'] / sizes[peer]:.4f} (asked 1.000)")
    for name in ("unsum", "unsum --verify"):
        print(f"{name}: wall / CPU {median[name].wall_seconds / median[name].cpu_seconds:.2f} (asked 0.60)")
    return {"median": {name: asdict(value) for name, value in median.items()}, "audio_bytes": sizes, "rounds": rounds}


def long_recording(work: Path, short_mib: float) -> dict:
    """90 minutes of the sparse kind: time and memory."""
    source = work / "long.mkv"
    write_recording(source, "--minutes", "90", "--surround", "sparse", "--seed", "1")
    figures = {}
    for name, more, asked in (("unsum", [], 45), ("unsum --verify", ["--verify"], 60)):
        done = run(unsum_command(source, work / "long.unsum.mkv", work / "obs.toml", *more))
        figures[name] = asdict(done)
        print(
            f"90 minutes, {name}: wall {done.wall_seconds:.1f} s (asked {asked}), CPU {done.cpu_seconds:.1f} s, "
            f"peak {done.peak_mib:.0f} MiB (asked 128, and at most {short_mib + 15:.0f})"
        )
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=3)
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--only", choices=["speed", "exact"], help="a part of it")
    parser.add_argument("--work", type=Path, help="folder for the recordings, kept; a temporary one by default")
    arguments = parser.parse_args()
    peers = {}
    if program := shutil.which("ffmpeg"):
        peers["ffmpeg"] = program
    try:
        import imageio_ffmpeg

        peers["threaded"] = imageio_ffmpeg.get_ffmpeg_exe()
    except ImportError:
        print("no threaded FFmpeg: install imageio-ffmpeg to compare with it")
    if not peers:
        sys.exit("no ffmpeg to compare with")
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        (work / "obs.toml").write_text(RECIPE)
        ffmpeg = next(iter(peers.values()))
        figures: dict = {"peers": {name: _version(program) for name, program in peers.items()}, "load": os.getloadavg()}
        print(*(f"{name}: {told}" for name, told in figures["peers"].items()), sep="\n")
        for kind in ("full", "sparse"):
            source = work / f"{kind}.mkv"
            if not source.exists():
                write_recording(source, "--minutes", str(arguments.minutes), "--surround", kind, "--seed", "1")
            if arguments.only != "exact":
                figures[kind] = compare(kind, source, work, peers, arguments.rounds)
        if arguments.only != "speed":
            figures["exactness"] = [*exactness(work, ffmpeg), exported(work, ffmpeg, work / "sparse.mkv")]
            print(*figures["exactness"], sep="\n")
        if arguments.long:
            short = figures.get("sparse", {}).get("median", {}).get("unsum", {}).get("peak_mib", 113.0)
            figures["90 minutes"] = long_recording(work, short)
        kept = HERE / "figures" / "recover.json"
        kept.parent.mkdir(exist_ok=True)
        before = json.loads(kept.read_text()) if kept.exists() else {}
        kept.write_text(json.dumps(before | figures, indent=1) + "\n")


def _version(program: str) -> str:
    told = subprocess.run([program, "-version"], capture_output=True, text=True, check=True).stdout
    return told.split(" Copyright")[0].removeprefix("ffmpeg version ")


if __name__ == "__main__":
    main()
