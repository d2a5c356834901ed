"""``unsum doctor``."""

import click


@click.command(name="doctor")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def doctor_command(as_json: bool) -> int:
    """Versions, codecs, optional parts found; exit code 1 if something needed is missing."""
    import json

    from unsum import api

    facts = api.doctor()
    if as_json:
        click.echo(json.dumps(facts, indent=1))
    else:
        width = max(map(len, [*facts["versions"], *facts["codecs"]]))
        for name, version in facts["versions"].items():
            click.echo(f"{name:{width}}  {version}")
        for name, there in facts["codecs"].items():
            click.echo(f"{name:{width}}  {'yes' if there else 'MISSING'}")
        for note in facts["notes"]:
            click.echo(note)
    return 0 if all(facts["codecs"].values()) else 1
