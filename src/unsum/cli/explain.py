"""``unsum explain``."""

from pathlib import Path

import click

PATH = click.Path(path_type=Path, readable=False)


EXAMPLES = """\b
Examples:
  unsum explain mix.wav drums.wav bass.wav keys.wav
  unsum explain mix.wav *.flac -v -o found      writes found/mix.mix.json
"""


@click.command(name="explain", epilog=EXAMPLES)
@click.argument("mixture", metavar="MIX")
@click.argument("stems", nargs=-1, required=True, metavar="STEM...")
@click.option(
    "-o", "--out-dir", type=PATH, metavar="DIR", help="Write MIX.mix.json and reverbs to DIR; made if missing."
)
@click.option("--images", is_flag=True, help="Also what each STEM sounds like in MIX, and what none explains.")
@click.option("--max-taps", type=click.IntRange(min=1), metavar="N", help="The longest filters to try.")
@click.option(
    "--law",
    default="equal-power",
    show_default=True,
    metavar="LAW",
    help="Pan law: equal-power, square-root, compromise, linear, balance, ardour, or -3dB and so on.",
)
@click.option("--window", type=float, metavar="SECONDS", help="Also follow gain, pan and delay, frame by frame.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout, nothing else.")
@click.option("-y", "--overwrite", is_flag=True, help="Overwrite what is there.")
@click.option("-q", "--quiet", is_flag=True, help="Only errors.")
@click.option("-v", "--verbose", is_flag=True, help="Also standard errors, stereo paths and what was tried.")
def explain_command(
    mixture: str,
    stems: tuple[str, ...],
    out_dir: Path | None,
    images: bool,
    max_taps: int | None,
    law: str,
    window: float | None,
    as_json: bool,
    overwrite: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """How was this mix made from these tracks?

    MIX and each STEM are FILE, FILE#a:1 or FILE#a:1[FL,FR]. Stems are taken to
    begin with the mix unless they are found elsewhere in it; those that are not in
    it are told, and if none of them is, the exit code is 4. Pan is in degrees from
    the centre, 45 at either side.
    """
    from unsum import api
    from unsum.cli.progress import ProgressDisplay
    from unsum.report.explanation import explanation_json, explanation_text

    with ProgressDisplay(quiet=quiet) as display:
        explanation = api.explain(
            mixture,
            stems,
            out_dir=out_dir,
            images=images,
            max_taps=max_taps,
            law=law,
            window=window,
            overwrite=overwrite,
            progress=display.start(Path(mixture)),
        )
    if as_json:
        click.echo(explanation_json(explanation))
    elif not quiet:
        click.echo(explanation_text(explanation, verbose=verbose))
    return 0 if explanation.analysis.model.present else 4
