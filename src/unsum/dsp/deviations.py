"""How sure a value is that is read from filters: what every stretch of time did to it.

A gain, a delay, a frequency is a smooth function of the filters. With ``d_b`` what the residual of stretch b does to
the filters (see `unsum.dsp.uncertainty`) and g the slope of the value, its variance is::

    sum_b (g . d_b)^2

which asks nothing of how the errors of neighbouring bins, of channels, or of loud and weak bins go together [1]_:
a sum of variances by bin has to suppose that, and is off by a factor of two beside an instrument whose noise sits in
few lines.

The residual of a stretch is less than its noise, as the filters were fitted to it. Where of all stretches one holds
the share h of what tells a bin, what shows of its noise is ``(1 - h)`` of what it did, and the variance without that
stretch is larger by ``1 / (1 - h)`` again [2]_ [3]_: of noise that goes on all the time, squares that add up to
``sum_b h_b (1 - h_b)`` of the variance stand for ``sum_b h_b / (1 - h_b)`` of it. A voice sings few notes, so that some
stretches tell nearly all of a bin. As few stretches tell a variance roughly, quantiles are Student's.

References
----------
.. [1] White, "A heteroskedasticity-consistent covariance matrix estimator", Econometrica 48(4), 1980.
.. [2] MacKinnon and White, "Some heteroskedasticity-consistent covariance matrix estimators with improved finite
   sample properties", Journal of Econometrics 29(3), 1985.
.. [3] Bell and McCaffrey, "Bias reduction in standard errors for linear regression with multi-stage samples", Survey
   Methodology 28(2), 2002.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from unsum.dsp.transforms import rfft
from unsum.dsp.whitening import on_bins

# A stretch that tells more of a bin than this leaves no residual there to speak of.
_MOST_OF_A_BIN = 0.9
_LIKELY = 0.975


@dataclass(frozen=True, slots=True)
class Deviations:
    """What stretches of time, or random sums of them, did to the filters of one reference or of several.

    Attributes
    ----------
    filters : (deviations, channels, references, taps)
        The squares of what they do to a value add up to its variance, but for ``widening``.
    widening : (channels, references, bins)
        What the responses of them are to be multiplied by; bins from 0 to half the sample rate.
    steady : (channels, references, bins)
        Variance of the responses if the noise went on all the time; where no stretch shows any, this holds.
    freedom : degrees of freedom of a variance from them
    """

    filters: NDArray[np.float64]
    widening: NDArray[np.float64]
    steady: NDArray[np.float64]
    freedom: float

    @property
    def student(self) -> float:
        """By how much intervals are wider than normal ones, because the variance is only roughly known."""
        return float(stdtrit(self.freedom, _LIKELY) / ndtri(_LIKELY))

    def responses(self, n_bins: int) -> Iterator[NDArray[np.complex128]]:
        """Each deviation (channels, references, bins) of the responses; ``n_bins`` from 0 to half the sample rate.

        The squares of what they do to a value add up to its variance, Student's factor included.
        """
        scale = self.student * on_bins(self.widening, n_bins)
        for one in self.filters:
            yield scale * rfft(one, 2 * (n_bins - 1))

    def of(self, references: slice) -> "Deviations":
        """Those of some references only."""
        return self.changed(lambda values: values[..., references, :])

    def of_paths(self, channels: NDArray[np.intp], references: NDArray[np.intp]) -> "Deviations":
        """Those of the paths from references to channels, as so many channels (paths, 1, ...) of one reference."""
        return self.changed(lambda values: values[..., channels, references, :][..., None, :])

    def changed(self, rearrange: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> "Deviations":
        """With channels and references (..., channels, references, taps or bins) rearranged."""
        return Deviations(rearrange(self.filters), rearrange(self.widening), rearrange(self.steady), self.freedom)


def widening_of_leverage(power: NDArray[np.float64], known: NDArray[np.float64]) -> NDArray[np.float64]:
    """By how much deviations are too small (channels, references, bins), as the filters were fitted to their stretches.

    Parameters
    ----------
    power : (stretches, references, bins)
        Of the references in each stretch.
    known : (channels, references, bins)
        Share of a response that the references tell, 0 to 1; a ridge tells the rest.
    """
    whole = np.sum(power, axis=0)
    shares = np.divide(power, whole, out=np.zeros_like(power), where=whole > 0)
    told = before = np.zeros(known.shape)
    for share in shares:
        leverage = np.minimum(share * known, _MOST_OF_A_BIN)
        told = told + leverage * (1 - leverage)
        before = before + leverage / (1 - leverage)
    return np.sqrt(np.divide(before, told, out=np.ones_like(before), where=told > 0))
