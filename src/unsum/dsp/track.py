"""The samples of one input that are still needed, found by their time."""

import numpy as np
from numpy.typing import NDArray

from unsum.errors import InputError


class Track:
    """A buffer of rows that grows at one end and is forgotten at the other; silent outside what it holds.

    Parameters
    ----------
    name : for messages
    n_rows : rows of every block that will come
    start : time of the first sample that will come
    """

    def __init__(self, name: str, n_rows: int, start: int) -> None:
        self.name, self.n_rows = name, n_rows
        self.start = self.stop = start
        self._origin = start
        self._samples = np.empty((n_rows, 0))
        self._offset = 0  # where in the array the sample at `start` is

    def checked(self, block: NDArray | None) -> NDArray:
        """The block, if it has the right rows and every sample is finite.

        Raises
        ------
        InputError
            If not, with the place.
        """
        if block is None:
            return np.empty((self.n_rows, 0))
        block = np.asarray(block)
        if block.ndim != 2 or block.shape[0] != self.n_rows:
            raise InputError(
                f"{self.name} block has shape {block.shape}, expected ({self.n_rows}, samples); "
                "give one row for each channel"
            )
        # An energy is not finite as soon as one sample is not, and costs a fraction of asking each.
        for row in range(self.n_rows if block.dtype.kind == "f" else 0):
            with np.errstate(over="ignore", invalid="ignore"):
                energy = np.dot(block[row], block[row])
            if not np.isfinite(energy) and not np.all(np.isfinite(block[row])):
                bad = int(np.argmin(np.isfinite(block[row])))
                raise InputError(
                    f"{self.name} channel {row} has {block[row, bad]} at sample {self.stop - self._origin + bad}; "
                    "silence or exclude that passage first"
                )
        return block

    def append(self, block: NDArray) -> None:
        """Take the next samples (rows, samples). What was read before stays as it was."""
        held, more = self.stop - self.start, block.shape[1]
        if self._offset + held + more > self._samples.shape[1]:
            room = max(2 * (held + more), 4096)
            grown = np.empty((self.n_rows, room))
            grown[:, :held] = self._samples[:, self._offset : self._offset + held]
            self._samples, self._offset = grown, 0
        at = self._offset + held
        self._samples[:, at : at + more] = block
        self.stop += more

    def read(self, start: int, stop: int) -> NDArray[np.float64]:
        """Samples ``start .. stop``, not to be written to; zeros outside what there was."""
        a, b = max(start, self.start), min(stop, self.stop)
        at = self._offset - self.start
        if (a, b) == (start, stop):
            return self._samples[:, start + at : stop + at]
        block = np.zeros((self.n_rows, stop - start))
        if b > a:
            block[:, a - start : b - start] = self._samples[:, a + at : b + at]
        return block

    def forget(self, before: int) -> None:
        """Samples before this time will not be read again."""
        drop = min(max(before - self.start, 0), self.stop - self.start)
        self.start += drop
        self._offset += drop
