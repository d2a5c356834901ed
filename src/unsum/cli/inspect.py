"""``unsum inspect``."""

from pathlib import Path

import click

from unsum.errors import UnsumError


@click.command(name="inspect")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@click.option("--all", "all_pairs", is_flag=True, help="Every pair of channels, also those that hardly cancel.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout, nothing else.")
def inspect_command(files: tuple[Path, ...], all_pairs: bool, as_json: bool) -> int:
    """What is in a file: streams, true word length, which stream holds which.

    Every stream is decoded from start to end and measured: levels, silence,
    samples at full scale, gaps, damage, signs of a lossy past; and for each two
    streams, which channel is contained in which, with what gain, how exactly.
    Nothing is written.
    """
    from unsum import api
    from unsum.cli.progress import ProgressDisplay
    from unsum.cli.talk import say
    from unsum.report.inspection import inspection_text, inspections_json

    outcomes = []
    failed: list[UnsumError] = []
    with ProgressDisplay(quiet=False) as display:
        for number, path in enumerate(files):
            try:
                outcomes.append((str(path), found := api.inspect(path, progress=display.start(path))))
            except UnsumError as error:
                with display.paused():
                    say(f"unsum: {error}")
                outcomes.append((str(path), error))
                failed.append(error)
            else:
                if not as_json:
                    with display.paused():
                        click.echo(("\n" if number else "") + inspection_text(found, all_pairs=all_pairs))
            display.finish(path)
    if as_json:
        click.echo(inspections_json(outcomes))
    if failed:
        return failed[0].exit_code if len(files) == 1 else 6
    return 0
