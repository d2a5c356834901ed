"""``unsum null``."""

from pathlib import Path

import click


@click.command(name="null")
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@click.option("--align", is_flag=True, help="Find the whole-sample lag between the two and take it out first.")
@click.option(
    "--min-null", "min_null_db", type=float, metavar="DB", help="Exit with 4 unless the null is that deep, e.g. -60."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout, nothing else.")
def null_command(a: str, b: str, align: bool, min_null_db: float | None, as_json: bool) -> int:
    """How deep do two files cancel: as a number, per octave band, over time.

    A and B are FILE, FILE#a:1 (its second audio stream) or FILE#a:1[FL,FR] (two
    channels of it). They are compared from the first decoded sample of each:
    what is left of A - B over A, in dB. Nothing is written.
    """
    from unsum import api
    from unsum.cli.progress import ProgressDisplay
    from unsum.errors import RefusedError
    from unsum.report.null import null_json, null_text

    with ProgressDisplay(quiet=False) as display:
        finding = api.null(a, b, align=align, progress=display.start(Path(a)))
    click.echo(null_json(finding) if as_json else null_text(finding))
    if min_null_db is not None and not finding.reaches(min_null_db):
        reached = "there is none" if finding.null_db is None else f"it is {finding.null_db:.1f} dB"
        hint = "" if align else "; if one starts later than the other, try --align"
        raise RefusedError(f"the null is not as deep as {-abs(min_null_db):g} dB: {reached}{hint}")
    return 0
