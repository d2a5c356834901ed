"""``unsum align``."""

from pathlib import Path

import click

from unsum.cli.speed import speed_option

PATH = click.Path(path_type=Path, readable=False)


EXAMPLES = """\b
Examples:
  unsum align party.mp4 song.flac               only tells
  unsum align party.mp4 song.flac -o in-time.flac --labels jumps.txt
"""


@click.command(name="align", epilog=EXAMPLES)
@click.argument("recording", metavar="REC")
@click.argument("reference", metavar="REF")
@click.option("-o", "--output", type=PATH, help="Write REF here, as long as REC and in time with it.")
@click.option("--labels", type=PATH, help="Write where REF begins, jumps and is silent, for Audacity.")
@speed_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout, nothing else.")
@click.option("-y", "--overwrite", is_flag=True, help="Overwrite what is there.")
@click.option("-q", "--quiet", is_flag=True, help="Only errors.")
def align_command(
    recording: str,
    reference: str,
    output: Path | None,
    labels: Path | None,
    speed: float | str | None,
    as_json: bool,
    overwrite: bool,
    quiet: bool,
) -> int:
    """Where REF is in REC: offset, clock, jumps, silences.

    REC and REF are FILE, FILE#a:1 or FILE#a:1[FL,FR]. REC is never changed:
    what is written with -o is REF, moved and stretched to the time of REC.
    "Not found" is an answer, with exit code 4.
    """
    from unsum import api
    from unsum.cli.progress import ProgressDisplay
    from unsum.report.alignment import alignment_json, alignment_text

    with ProgressDisplay(quiet=quiet) as display:
        pair = api.align(
            recording,
            reference,
            output=output,
            labels=labels,
            speed=speed,
            overwrite=overwrite,
            progress=display.start(Path(recording)),
        )
    if as_json:
        click.echo(alignment_json(pair))
    elif not quiet:
        click.echo(alignment_text(pair))
    return 0 if pair.present else 4
