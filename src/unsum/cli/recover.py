"""``unsum recover``."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from unsum.api import Plan
    from unsum.cli.progress import ProgressDisplay

RECIPE_HELP = """\b
A recipe is a TOML file that says what was summed into each audio stream:
  [sources]
  zoom    = { layout = "mono",   title = "Zoom broadcast" }
  voice   = { layout = "stereo", title = "Voice" }
  desktop = { layout = "7.1",    title = "Desktop 7.1" }
  [streams]
  0 = "desktop + desktop[FL,FR] + zoom"
  1 = "voice + desktop[FL,FR] + zoom"
  2 = "desktop[FL,FR] + zoom"
A term is [number *] source [channels]; channels go to channels of the same
name, a mono source to FL and FR. Without a recipe it is found from the audio,
which works where each source is silent at times while others sound.
"""


# Existence and permissions are checked by the library, with its own words and exit codes.
PATH = click.Path(path_type=Path, readable=False)


@click.command(name="recover", epilog=RECIPE_HELP)
@click.argument("recordings", nargs=-1, required=True, type=PATH, metavar="REC...")
@click.option("--recipe", type=PATH, help="What each stream is a sum of (TOML).")
@click.option("-o", "--output", type=PATH, help="The file to write. [default: REC.unsum.EXT]")
@click.option("--out-dir", type=PATH, help="The folder to write to; made if missing.")
@click.option("--verify", is_flag=True, help="Decode the result, mix it again, compare with the streams.")
@click.option(
    "--compression-level",
    type=click.IntRange(0, 12),
    default=8,
    show_default=True,
    help="FLAC: 0-8 libFLAC's levels, 9-12 FFmpeg's.",
)
@click.option("--keep-streams", is_flag=True, help="Copy the original audio streams as well (not into audio files).")
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Files at a time.")
@click.option("--write-recipe", type=PATH, metavar="F", help="Write the recipe that was used (-y overwrites).")
@click.option("--export-ffmpeg", is_flag=True, help="Print the ffmpeg command that does the same; write nothing.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout, nothing else.")
@click.option("-n", "--dry-run", is_flag=True, help="Say what would be done; write nothing but --write-recipe.")
@click.option("-y", "--overwrite", is_flag=True, help="Overwrite what is there.")
@click.option("-q", "--quiet", is_flag=True, help="Only errors.")
@click.option("-v", "--verbose", is_flag=True, help="Also every equation and the evidence.")
def recover_command(
    recordings: tuple[Path, ...],
    recipe: Path | None,
    output: Path | None,
    out_dir: Path | None,
    verify: bool,
    compression_level: int,
    keep_streams: bool,
    jobs: int,
    write_recipe: Path | None,
    export_ffmpeg: bool,
    as_json: bool,
    dry_run: bool,
    overwrite: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """Untangle the streams of recordings, exactly.

    Each REC (or each recording in a folder REC) holds audio streams that are
    different sums of the same sources. A new file is written with the video
    copied and every source on a stream of its own.
    """

    import json

    from unsum import api
    from unsum.cli.progress import ProgressDisplay
    from unsum.cli.talk import say
    from unsum.errors import UnsumError, UsageError
    from unsum.report.recovery import (
        error_lines,
        failure_dict,
        finding_text,
        outcomes_json,
        plan_dict,
        plan_text,
        warning_lines,
    )

    paths = api.recordings_in(recordings)
    if as_json and export_ffmpeg:
        raise UsageError("--export-ffmpeg prints a command, not JSON; leave one of the two out")
    if dry_run or export_ffmpeg:
        api.check_batch(paths, output=output, out_dir=out_dir, write_recipe=write_recipe)
        plans, failed = [], []
        with ProgressDisplay(quiet=quiet, in_seconds=True) as display:
            for path in paths:
                tell = display.start(path)
                try:
                    plan, found = api.plan_recovery(path, recipe=recipe, output=output, out_dir=out_dir, progress=tell)
                    if write_recipe is not None:
                        kept = [*paths, *([recipe] if recipe else [])]
                        api.save_recipe(write_recipe, plan.recipe, found, overwrite=overwrite, inputs=kept)
                    if export_ffmpeg:
                        _show_ffmpeg(
                            plan,
                            display,
                            compression_level=compression_level,
                            keep_streams=keep_streams,
                            progress=tell,
                        )
                    elif as_json:
                        plans.append(plan_dict(plan, found))
                    else:
                        with display.paused():
                            click.echo(plan_text(plan, found))
                except UnsumError as error:
                    if len(paths) == 1 and not as_json:
                        raise
                    failed.append(error)
                    plans.append(failure_dict(path, error))
                    with display.paused():
                        say(f"unsum: {path.name}: {error}")
                display.finish(path)
        if as_json:
            click.echo(json.dumps({"files": plans}, indent=1, ensure_ascii=False))
        return 0 if not failed else failed[0].exit_code if len(paths) == 1 else 6

    def finished(outcome: "api.Outcome") -> None:
        display.finish(outcome.input)
        with display.paused():
            if outcome.error is not None:
                if as_json and len(paths) == 1:
                    say(f"unsum: {outcome.error}")
                elif len(paths) > 1 and not quiet:
                    say(f"{outcome.input.name}: failed (see the end)")
            elif outcome.finding is not None and not quiet:
                if not as_json:
                    click.echo(finding_text(outcome.finding, verbose=verbose))
                for line in warning_lines(outcome.finding, name=outcome.input.name if len(paths) > 1 else ""):
                    say(line)

    with ProgressDisplay(quiet=quiet, in_seconds=True) as display:
        outcomes = api.recover_all(
            paths,
            jobs=jobs,
            started=display.start,
            finished=finished,
            recipe=recipe,
            output=output,
            out_dir=out_dir,
            verify=verify,
            compression_level=compression_level,
            keep_streams=keep_streams,
            write_recipe=write_recipe,
            overwrite=overwrite,
        )
    failed = [outcome.error for outcome in outcomes if outcome.error is not None]
    if as_json:
        click.echo(outcomes_json(outcomes))
    if len(outcomes) == 1:
        if failed and not as_json:
            raise failed[0]
        return failed[0].exit_code if failed else 0
    if failed:
        for line in error_lines(outcomes):
            say(line)
        return 6
    return 0


def _show_ffmpeg(plan: "Plan", display: "ProgressDisplay", **options: Any) -> None:
    from unsum.cli.talk import say
    from unsum.export.ffmpeg import export_command, shell_command

    export = export_command(plan, **options)
    with display.paused():
        click.echo(shell_command(export.command))
        for caveat in export.caveats:
            say(f"note: {caveat}")
