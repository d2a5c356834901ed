"""What speaks for a line along which a reference may be heard, and whether it is enough.

How sure a presence is, search and windows and full rate say together, however much one of them says what another
said [1]_.

References
----------
.. [1] Vovk and Wang, "Combining p-values via averaging", Biometrika 107(4), 2020: ``e`` times their geometric mean.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unsum.estimators.agreement import Along, Onset
from unsum.estimators.places import Heard
from unsum.estimators.proof import FALSE_PROOF, Proof

FALSE_ALARM = 1e-4
# Standard deviations by which windows together stand out where a sound is: 27 to 37 in songs at their own level, less
# than 6 where two unrelated loops run in step.
_BEYOND_CHANCE = 10.0
# Nats: of windows that agree, and of these and the search together; less is asked for where a response stands out.
_LEAST = 4.0, 20.0
_LEAST_STANDING_OUT = 3.0, 18.0
_STANDS_WELL = 6.0
# Of sounds that are there, 20 dB below an hour of others, a common response stood out by 6.3 to 21, and 160 to 1800
# nats were explained; of those that are not, 2.9 to 5.7 and, in another loop at the same tempo, up to 190.
_STANDS_OUT = 6.5
_EXPLAINS = 200.0
_HEARD_AT_ALL = 0.02
# Nats of one response. In hours without the sound the best of all places gave up to 11, with it, 20 dB below the rest,
# 114 and more. Two loops in step gave up to 700, but hardly more than the same loop a bar later: up to 27, and 73 and
# more where it was there.
_CERTAIN = 60.0
_BEYOND_REPEATS = 40.0
# Nats by which a slope explains more than none: it is then known to some sixth of itself. A wrong one is ahead by as
# much once in exp(20) times at the most, and 401 are tried.
_CLOCK_CERTAIN = 20.0
# Where no repeat explains less, as in bare loops: 8 to 30, and 140 to 850 nats by how often windows say the same again,
# 20 dB to 5 dB below the rest; two loops in step stood out by up to 7.5, and one pair of 17 explained 160, others 70.
_LOOP_STANDS_OUT = 8.0
_LOOP_EXPLAINS = 120.0
_REPEATS = 2.0


def chance_together(chances: Sequence[float]) -> float:
    """How often chance gives all that several tests say, whether or not one depends on another [1]_."""
    return min(1.0, math.e * math.exp(float(np.mean(np.log(np.maximum(chances, 1e-300))))))


@dataclass(frozen=True, slots=True)
class Line:
    """A line in samples of the full rate, with what its windows say together, and what the full rate says.

    Attributes
    ----------
    beyond_repeats : nats over those for another repeat of the reference, infinite where it has none
    next_best : delay of the line that explains most of all others that lie apart from it, and the nats of that
    clock_nats : nats over those that it would have if both clocks ran alike
    """

    line: Heard
    along: Along | None
    proof: Proof | None
    onset: Onset | None = None
    beyond_repeats: float = math.inf
    next_best: tuple[float, float] | None = None
    clock_nats: float = 0.0

    @property
    def explained(self) -> float:
        if self.onset is not None:
            return self.onset.nats
        return self.along.explained if self.along else 0.0

    @property
    def side(self) -> float:
        """Nats for it over those for the next best line."""
        if self.next_best is None or self.next_best[1] <= 0:
            return math.inf
        return max(1.0, self.explained / self.next_best[1])

    @property
    def certain(self) -> bool:
        """Whether one response explains so much that nothing else need be asked."""
        return self.explains and self.beyond_repeats >= _BEYOND_REPEATS

    @property
    def clock_certain(self) -> bool:
        """Whether one response tells that the clocks differ, and by how much."""
        return self.certain and self.clock_nats >= _CLOCK_CERTAIN

    @property
    def explains(self) -> bool:
        """Whether one response explains more than chance ever does."""
        return self.onset is not None and self.onset.nats >= _CERTAIN

    @property
    def likely(self) -> bool:
        """Whether chance cannot explain what search and windows say together."""
        if self.certain:
            return True
        if self.along is None:
            return self.line.false_alarm <= FALSE_ALARM
        agreement, shared = self.along.agreement, self.along.shared
        if agreement.height >= _BEYOND_CHANCE and self.line.false_alarm <= FALSE_ALARM:
            return True  # however much the music repeats itself
        if self.explains and self.beyond_repeats < _BEYOND_REPEATS:
            # Any bar explains any other as well: a loop and nothing else, or two in step.
            clear = shared.standing >= _LOOP_STANDS_OUT and self.explained >= _LOOP_EXPLAINS * shared.repeats
            return clear and self.line.false_alarm <= FALSE_ALARM
        if shared.repeats >= _REPEATS and shared.standing < _STANDS_OUT:
            return False  # two loops in step: the windows are one witness, heard again and again
        if shared.standing >= _STANDS_OUT and self.along.explained >= _EXPLAINS * shared.repeats:
            return self.line.false_alarm <= _HEARD_AT_ALL
        together = agreement.nats - math.log(max(self.line.false_alarm, 1e-300))
        least = _LEAST_STANDING_OUT if shared.standing >= _STANDS_WELL else _LEAST
        return agreement.nats >= least[0] and together >= least[1]

    @property
    def chance(self) -> float:
        """How often chance gives all of this together, whether or not one thing depends on another."""
        chances = [self.line.false_alarm]
        if self.along is not None:
            chances.append(self.along.agreement.chance)
        if self.onset is not None and self.onset.nats > 0:
            chances.append(math.exp(-min(self.onset.nats, max(self.beyond_repeats, 0.0))))
        if self.proof is not None:
            chances.append(self.proof.false_alarm)
        return chance_together(chances)

    @property
    def proved(self) -> bool:
        if not self.likely or self.proof is None or not self.proof.used:
            return False
        return self.certain or self.proof.false_alarm < FALSE_PROOF


def next_best(line: Heard, others: Sequence[Line], *, apart: float) -> tuple[float, float] | None:
    """Delay and nats of the line that explains most of those that lie so many samples apart from one, at its pivot."""
    found = [one for one in others if one.onset and abs(one.onset.line.delay_at(line.pivot) - line.delay) > apart]
    best = max(found, key=lambda one: one.explained, default=None)
    return None if best is None or best.onset is None else (best.onset.line.delay_at(line.pivot), best.explained)
