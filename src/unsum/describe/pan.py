"""Where a pan knob stands, by the law of the desk that made the mix.

A pan law gives the gains of left and right for every place of the knob; only their ratio tells the place. Here a place
is an angle p from 0 (left) over 45 (centre) to 90 degrees (right), whatever the law; with x = p / 90:

============  ================================================  ========  ====================================
law           left; right is the same with 1 - x for x          centre    where it is found
============  ================================================  ========  ====================================
equal-power   ``cos(pi x / 2)``                                 -3.01 dB  most desks; Web Audio [1]_, the paper [2]_
square-root   ``sqrt(1 - x)``                                   -3.01 dB  the equal-power law of VST 2 [3]_
compromise    ``sqrt((1 - x) cos(pi x / 2))``                   -4.52 dB  between the first and the next [4]_
linear        ``1 - x``                                         -6.02 dB  SuperCollider's LinPan2 [5]_
balance       ``min(1, 2 (1 - x))``                             0 dB      stereo tracks of most DAWs, LMMS [6]_
ardour        ``y (s y + 1 - s)``, y = 1 - x, s = 2 - 4 c       -3 dB     Ardour; c = 10 ** (-3 / 20) [7]_
============  ================================================  ========  ====================================

References
----------
.. [1] W3C, "Web Audio API", StereoPannerNode, panning algorithm.
.. [2] Barchiesi and Reiss, "Reverse engineering of a mix", JAES 58(7/8), 2010, section 1.3.
.. [3] Steinberg, VST SDK 2.4, aeffectx.h: ``kEqualPowerPanLaw``.
.. [4] Dannenberg, "Introduction to Computer Music", Loudness Concepts and Panning Laws: the geometric mean of both.
.. [5] SuperCollider documentation, LinPan2.
.. [6] LMMS 1.2, include/panning.h.
.. [7] Ardour, libs/panners/1in2out/panner_1in2out.cc.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

CENTRE_DEGREES = 45.0
HARD_RIGHT_DEGREES = 90.0
EQUAL_POWER = "equal-power"

_ARDOUR_SCALE = 2 - 4 * 10 ** (-3 / 20)
# Halvings of the range of the knob, until neighbouring numbers are left.
_HALVINGS = 60


@dataclass(frozen=True, slots=True)
class PanLaw:
    """One side's gain over the way from that side (1) to the other (0).

    Attributes
    ----------
    name : as it is asked for
    side : gain, of how near the knob is to the side; rises from 0 to 1 and never falls
    also : other names it can be asked for by
    """

    name: str
    side: Callable[[float], float]
    also: tuple[str, ...] = ()

    @property
    def centre_db(self) -> float:
        """Level of each side in the centre, against that at its end."""
        return 20 * math.log10(self.side(0.5))


@dataclass(frozen=True, slots=True)
class PanPosition:
    """The place of a knob and the gain before it: (left, right) = gain * gains of the law at ``pan_degrees``."""

    pan_degrees: float
    gain: float


def _ardour_side(near: float) -> float:
    return near * (_ARDOUR_SCALE * near + 1 - _ARDOUR_SCALE)


PAN_LAWS: Mapping[str, PanLaw] = MappingProxyType(
    {
        law.name: law
        for law in (
            PanLaw(EQUAL_POWER, lambda near: math.sin(math.pi / 2 * near), ("-3dB",)),
            PanLaw("square-root", math.sqrt),
            PanLaw("compromise", lambda near: math.sqrt(near * math.sin(math.pi / 2 * near)), ("-4.5dB",)),
            PanLaw("linear", lambda near: near, ("-6dB",)),
            PanLaw("balance", lambda near: min(1.0, 2 * near), ("0dB",)),
            PanLaw("ardour", _ardour_side),
        )
    }
)


def pan_law(name: str) -> PanLaw:
    """The law of that name; its centre level will do for a name where no other law is so called: ``-4.5 dB``."""
    plain = name.lower().replace(" ", "")
    for law in PAN_LAWS.values():
        if plain in (law.name, *(other.lower() for other in law.also)):
            return law
    known = ", ".join(" or ".join((law.name, *law.also)) for law in PAN_LAWS.values())
    raise ValueError(f"no pan law is called {name!r}; there are {known}")


def pan_gains(pan_degrees: float, *, law: str = EQUAL_POWER) -> tuple[float, float]:
    """Gains (left, right) of a knob at an angle from 0 to 90 degrees."""
    if not 0 <= pan_degrees <= HARD_RIGHT_DEGREES:
        raise ValueError(f"a pan of {pan_degrees} degrees; give one from 0 (left) to 90 (right)")
    side, right = pan_law(law).side, pan_degrees / HARD_RIGHT_DEGREES
    return side(1 - right), side(right)


def pan_position(left: float, right: float, *, law: str = EQUAL_POWER) -> PanPosition | None:
    """The place and the gain that a law explains two amplitudes with; None where both are zero.

    Parameters
    ----------
    left, right : amplitudes, not negative
    """
    # math.hypot and not a sum of squares: amplitudes may be as small as numbers get.
    length = math.hypot(left, right)
    if not (left >= 0 and right >= 0 and math.isfinite(length)):
        raise ValueError(f"amplitudes {left} and {right}; give their sizes, a pan law has no polarity")
    if length == 0:
        return None
    chosen = pan_law(law)
    side = chosen.side
    if chosen.name == EQUAL_POWER:
        return PanPosition(math.degrees(math.atan2(right, left)), length)
    # The nearness to the weaker side, so that hard panning keeps all its digits.
    weak, strong = min(left, right) / length, max(left, right) / length
    low, high = 0.0, 0.5
    for _ in range(_HALVINGS):
        near = (low + high) / 2
        if strong * side(near) < weak * side(1 - near):
            low = near
        else:
            high = near
    near = (low + high) / 2 if weak > 0 else 0.0
    place = HARD_RIGHT_DEGREES * (near if right <= left else 1 - near)
    return PanPosition(place, length / math.hypot(side(near), side(1 - near)))
