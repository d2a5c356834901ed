"""``unsum remove``."""

from pathlib import Path

import click

from unsum.cli.speed import speed_option

PATH = click.Path(path_type=Path, readable=False)


class TimeRange(click.ParamType):
    """``START-END`` in seconds, minutes:seconds or hours:minutes:seconds."""

    name = "range"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, float]:
        try:
            start, stop = (_seconds(time) for time in value.split("-"))
        except ValueError:
            self.fail(f"'{value}' is no stretch of time; write it as 90-130 or 1:30-2:10", param, ctx)
        return start, stop


def _seconds(time: str) -> float:
    total = 0.0
    for part in time.split(":"):
        total = 60 * total + float(part)
    return total


EXAMPLES = """\b
Examples:
  unsum remove party.mp4 song.flac              writes party.unsum.mp4
  unsum remove party.mp4 song.flac -o talk.wav  only the cleaned sound
  unsum remove "call.mkv#a:1" jingle.mp3        of its second audio stream
"""


@click.command(name="remove", epilog=EXAMPLES)
@click.argument("mixture", metavar="MIX")
@click.argument("references", nargs=-1, required=True, metavar="REF...")
@click.option("-o", "--output", type=PATH, help="The file to write. [default: MIX.unsum.EXT]")
@click.option("--out-dir", type=PATH, help="The folder to write to; made if missing.")
@click.option("--images", is_flag=True, help="Also write what each reference sounds like in MIX.")
@click.option("--add", is_flag=True, help="Keep the original stream beside the cleaned one.")
@click.option(
    "--min-null", "min_null_db", type=float, metavar="DB", help="Refuse (exit 4) if MIX gets quieter by less."
)
@click.option(
    "--max-rung",
    type=click.Choice(["exact", "gain", "fir", "clock", "reverb"]),
    default="reverb",
    show_default=True,
    help="How far to go: integers, gains, short filters, clocks, rooms.",
)
@click.option(
    "--exclude",
    multiple=True,
    metavar="START-END",
    type=TimeRange(),
    help="Fit nothing to this stretch of MIX, e.g. 1:30-2:10; may be repeated.",
)
@speed_option
@click.option(
    "--sidecar/--no-sidecar", default=True, help="Write what was found to NAME.mix.json beside the output, or not."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout, nothing else.")
@click.option("-y", "--overwrite", is_flag=True, help="Overwrite what is there.")
@click.option("-q", "--quiet", is_flag=True, help="Only errors.")
@click.option("-v", "--verbose", is_flag=True, help="Also delay, level and pan of each reference.")
def remove_command(
    mixture: str,
    references: tuple[str, ...],
    output: Path | None,
    out_dir: Path | None,
    images: bool,
    add: bool,
    min_null_db: float | None,
    max_rung: str,
    exclude: tuple[tuple[float, float], ...],
    speed: float | str | None,
    sidecar: bool,
    as_json: bool,
    overwrite: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """Take known sounds out of a recording, keep the rest.

    MIX and each REF are FILE, FILE#a:1 or FILE#a:1[FL,FR]. REF is found in MIX
    wherever it begins, by its own clock. A video input keeps its video. If no
    REF is found, nothing is written, and the exit code is 4.
    """
    from unsum import api
    from unsum.cli.progress import ProgressDisplay
    from unsum.report.removal import removal_json, removal_text

    with ProgressDisplay(quiet=quiet) as display:
        removal = api.remove(
            mixture,
            references,
            output=output,
            out_dir=out_dir,
            images=images,
            add=add,
            min_null_db=min_null_db,
            max_rung=max_rung,
            exclude=exclude,
            speed=speed,
            sidecar=sidecar,
            overwrite=overwrite,
            progress=display.start(Path(mixture)),
        )
    if as_json:
        click.echo(removal_json(removal))
    elif not quiet:
        click.echo(removal_text(removal, verbose=verbose))
    return 0
