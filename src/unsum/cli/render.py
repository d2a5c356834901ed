"""``unsum render``."""

from collections.abc import Iterable
from pathlib import Path

import click

PATH = click.Path(path_type=Path, readable=False)


EXAMPLES = """\b
Examples:
  unsum render party.unsum.mix.json     what was taken out, summed
  unsum render party.unsum.mix.json --with song.flac=other.flac
  unsum render party.unsum.mix.json --onto party.unsum.mp4
  unsum render song.toml -o mix.flac    a mix from its tracks
"""


@click.command(name="render", epilog=EXAMPLES)
@click.argument("session", metavar="SESSION.mix.json|SCENE.toml", type=PATH)
@click.option("-o", "--output", type=PATH, help="The file to write. [default: SESSION.render.wav, SCENE.wav]")
@click.option("--out-dir", type=PATH, help="The folder to write to; made if missing.")
@click.option(
    "--with",
    "replacements",
    multiple=True,
    metavar="NAME=FILE",
    help="FILE takes the place of the reference NAME: same time, same filters.",
)
@click.option("--onto", metavar="FILE", help="Add the images to FILE, such as the residual; keeps its video.")
@click.option("--images", is_flag=True, help="Also write each image alone.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout, nothing else.")
@click.option("-y", "--overwrite", is_flag=True, help="Overwrite what is there.")
@click.option("-q", "--quiet", is_flag=True, help="Only errors.")
def render_command(
    session: Path,
    output: Path | None,
    out_dir: Path | None,
    replacements: tuple[str, ...],
    onto: str | None,
    images: bool,
    as_json: bool,
    overwrite: bool,
    quiet: bool,
) -> int:
    """What the references of a session sound like in its mixture, summed.

    SESSION.mix.json is what `unsum remove` wrote beside its output. With --onto
    and that output, the sum is the mixture again. FILE may be FILE#a:1 or
    FILE#a:1[FL,FR].

    SCENE.toml says which tracks to mix and what to do to each: gain, delay, pan,
    equaliser, reverb. docs/scene.md tells its keys.
    """
    from unsum import api
    from unsum.cli.progress import ProgressDisplay
    from unsum.report.rendering import rendering_json, rendering_text

    with ProgressDisplay(quiet=quiet) as display:
        rendering = api.render(
            session,
            replacements=_by_name(replacements, session),
            onto=onto,
            images=images,
            output=output,
            out_dir=out_dir,
            overwrite=overwrite,
            progress=display.start(session),
        )
    if as_json:
        click.echo(rendering_json(rendering))
    elif not quiet:
        click.echo(rendering_text(rendering))
    return 0


def _by_name(pairs: Iterable[str], session: Path) -> dict[str, str]:
    """``NAME=FILE`` by name."""
    from unsum.errors import UsageError
    from unsum.report.session import load_session

    files: dict[str, str] = {}
    for pair in pairs:
        name, equals, file = pair.partition("=")
        if file.count("="):  # names and files may hold one themselves: the session tells where the name ends
            known = [known for known in load_session(session).references if pair.startswith(f"{known}=")]
            name = max(known, key=len, default=name)
            file = pair[len(name) + 1 :]
        if not (name and equals and file):
            raise UsageError(f"cannot read '{pair}'; write --with NAME=FILE, NAME as the session has it")
        if name in files:
            raise UsageError(f"two files for {name}; give one")
        files[name] = file
    return files
