"""``--speed PERCENT|auto``, as several commands have it."""

import math

import click

_MOST_PERCENT = 25.0


class Speed(click.ParamType):
    """Percent by which REF was played faster than it was recorded, or ``auto``."""

    name = "speed"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        return "PERCENT|auto"

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float | str:
        if value == "auto":
            return "auto"
        try:
            percent = float(value)
        except ValueError:
            percent = math.nan
        if not abs(percent) <= _MOST_PERCENT:
            self.fail(
                f"'{value}' is no speed; write how many percent faster it was played, "
                f"from -{_MOST_PERCENT:g} to {_MOST_PERCENT:g}, or auto",
                param,
                ctx,
            )
        return percent


speed_option = click.option(
    "--speed",
    type=Speed(),
    help="Percent by which REF was played faster, -25 to 25, known to 0.3; auto tries all up to 6, which takes minutes "
    "for hours. [default: auto up to 5 minutes]",
)
