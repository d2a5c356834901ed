"""What the references sound like in the mixture: a matrix of filters, block after block.

Overlap-save with transforms of the input kept, so that filters longer than a block are cut into equal partitions
and a transform serves all of them [1]_. Nothing is shifted: sample n of an image belongs to sample n of the
mixture. Blocks lie on a grid of their own, so that any chunking of the input gives the same samples.

References
----------
.. [1] Wefers, "Partitioned convolution algorithms for real-time auralization", RWTH Aachen, 2014, chapter 5.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from unsum.dsp.kernels import split
from unsum.dsp.track import Track
from unsum.dsp.transforms import fast_length, irfft, rfft

_LONGEST_PARTITION = 1 << 16
_SHORTEST_FFT = 1 << 13
_SLICE_SAMPLES = 1 << 18


class ImageStream:
    """Filters references as they come: ``image_c(n) = sum_k sum_p h[c, k, p] r_k(n - first_lag - p)``.

    Images come in blocks of ``block_samples``, contiguous from mixture time ``start``, as soon as all the reference
    samples of a block are there; :meth:`finish` gives the rest. The references are silent outside what was given.

    Parameters
    ----------
    filters : (channels, references, n_taps)
    first_lag : int, samples
    groups : sequence of int, optional
        For each reference the image it belongs to: the channels of a stereo reference share one. All in one
        image if not given.
    start : mixture time of the first sample wanted
    reference_start : mixture time of the first reference sample
    threads : int
    """

    def __init__(
        self,
        filters: NDArray,
        *,
        first_lag: int = 0,
        groups: Sequence[int] | None = None,
        start: int = 0,
        reference_start: int = 0,
        threads: int = 1,
    ) -> None:
        n_channels, n_references, n_taps = filters.shape
        members = np.zeros(n_references, int) if groups is None else np.asarray(groups)
        if members.shape != (n_references,):
            raise ValueError(f"{len(members)} groups for {n_references} references; name one for each")
        self._n_channels, self._threads = n_channels, threads
        if n_taps <= _LONGEST_PARTITION:
            n_fft = min(max(4 * n_taps, _SHORTEST_FFT), 2 * _LONGEST_PARTITION)
            self._n_fft = fast_length(n_fft)
            self.block_samples = self._n_fft - n_taps + 1
            partition = n_taps
        else:
            partition = self.block_samples = _LONGEST_PARTITION
            self._n_fft = 2 * _LONGEST_PARTITION
        n_partitions = -(-n_taps // partition)
        padded = np.zeros((n_channels, n_references, n_partitions * partition))
        padded[..., :n_taps] = filters
        pieces = padded.reshape(n_channels, n_references, n_partitions, partition).transpose(2, 0, 1, 3)
        self._groups = [
            _Group(rows, split(rfft(pieces[:, :, rows], self._n_fft, threads=threads)))
            for rows in (np.flatnonzero(members == one) for one in range(members.max(initial=0) + 1))
        ]
        self._input = Track("reference", n_references, reference_start + first_lag)
        self._start = start
        self._at = start - (n_partitions - 1) * self.block_samples  # earlier blocks only fill the history
        self._finished = False

    @property
    def n_images(self) -> int:
        """How many images there are, one for each group of references."""
        return len(self._groups)

    def add(self, references: NDArray) -> NDArray[np.float64]:
        """The next samples (references, samples) in, the images (groups, channels, samples) they complete out.

        Raises
        ------
        InputError
            If the number of rows is not the one of the filters, or a sample is not finite.
        """
        if self._finished:
            raise ValueError("finish() was called; start a new stream for more samples")
        references = self._input.checked(references)
        images = []
        for first in range(0, references.shape[1], _SLICE_SAMPLES):
            self._input.append(references[:, first : first + _SLICE_SAMPLES])
            while self._at + self.block_samples <= self._input.stop:
                images.append(self._block())
        return self._concatenated(images)

    def finish(self, stop: int) -> NDArray[np.float64]:
        """The rest of the images, up to mixture time ``stop``."""
        self._finished = True
        images = []
        while self._at < stop:
            images.append(self._block())
        surplus = max(0, self._at - max(stop, self._start))
        rest = self._concatenated(images)
        return rest[..., : max(0, rest.shape[-1] - surplus)]

    def _block(self) -> NDArray[np.float64]:
        stop = self._at + self.block_samples
        spectra = rfft(self._input.read(stop - self._n_fft, stop), threads=self._threads)
        wanted = self._at >= self._start
        image = np.empty((len(self._groups), self._n_channels, self.block_samples if wanted else 0))
        for group, out in zip(self._groups, image, strict=True):
            group.push(spectra[group.rows])
            if wanted:
                filtered = irfft(group.filtered(self._n_channels), self._n_fft, threads=self._threads)
                out[:] = filtered[:, self._n_fft - self.block_samples :]
        self._at = stop
        self._input.forget(stop + self.block_samples - self._n_fft)
        return image

    def _concatenated(self, images: list[NDArray]) -> NDArray[np.float64]:
        return np.concatenate([np.empty((len(self._groups), self._n_channels, 0)), *images], axis=-1)


class _Group:
    """The references of one image: their filters, and the last few spectra of their samples."""

    def __init__(self, rows: NDArray, filters: NDArray) -> None:
        from unsum.dsp._kernels_numba import filter_multiply

        self.rows, self._filters, self._multiply = rows, filters, filter_multiply
        self._history = np.zeros((len(filters), len(rows), filters.shape[-1]), complex)
        self._newest = 0

    def push(self, spectra: NDArray) -> None:
        self._newest = (self._newest + 1) % len(self._history)
        self._history[self._newest] = spectra

    def filtered(self, n_channels: int) -> NDArray[np.complex128]:
        out = np.empty((n_channels, self._filters.shape[-1]), complex)
        self._multiply(self._filters, self._history, self._newest, out)
        return out


def convolve(
    references: NDArray, filters: NDArray, *, first_lag: int = 0, n_samples: int | None = None, threads: int = 1
) -> NDArray[np.float64]:
    """The image (channels, n_samples) of references (references, samples) through filters, all in one.

    As long as the references if ``n_samples`` is not given.
    """
    stop = references.shape[1] if n_samples is None else n_samples
    stream = ImageStream(filters, first_lag=first_lag, threads=threads)
    image = np.concatenate([stream.add(references), stream.finish(stop)], axis=-1)
    return image[0, :, :stop]
