"""The loops of ``kernels.py``, compiled: the sums stay in cache, and other threads run meanwhile."""

import numba
import numpy as np

# Bins at once: the rows of a block that take part in all the pairs then fit in the first-level cache or the second.
_TILE = 512

# Products may be fused with sums, but no sum changes its order: results stay the same on any split of the bins.
_compiled = numba.njit(nogil=True, cache=True, fastmath={"contract"})


@_compiled
def accumulate_products(totals, rows, others, later, earlier, first, last):
    n_rows, n_all = rows.shape[1], rows.shape[1] + others.shape[1]
    x = np.empty((n_all, 2, _TILE))
    for start in range(first, last, _TILE):
        width = min(_TILE, last - start)
        for b in range(rows.shape[0]):
            for i in range(n_all):
                one = rows[b, i, start : start + width] if i < n_rows else others[b, i - n_rows, start : start + width]
                for f in range(width):
                    x[i, 0, f], x[i, 1, f] = one[f].real, one[f].imag
            for q in range(totals.shape[0]):
                xr, xi, yr, yi = x[later[q], 0], x[later[q], 1], x[earlier[q], 0], x[earlier[q], 1]
                real, imag = totals[q, 0, start : start + width], totals[q, 1, start : start + width]
                # Two loops: one with two outputs is not run on several bins at once.
                for f in range(width):
                    real[f] += xr[f] * yr[f] + xi[f] * yi[f]
                for f in range(width):
                    imag[f] += xi[f] * yr[f] - xr[f] * yi[f]


@_compiled
def hermitian_multiply(pairs, rows, out):
    n_rows, n_bins = rows.shape
    x = np.empty((2, n_rows, _TILE))
    z = np.empty((2, n_rows, _TILE))
    for start in range(0, n_bins, _TILE):
        width = min(_TILE, n_bins - start)
        for k in range(n_rows):
            for f in range(width):
                x[0, k, f], x[1, k, f] = rows[k, start + f].real, rows[k, start + f].imag
        z[:] = 0.0
        q = 0
        for k in range(n_rows):
            kr, ki, ko, kp = x[0, k], x[1, k], z[0, k], z[1, k]
            for j in range(k, n_rows):
                jr, ji, jo, jp = x[0, j], x[1, j], z[0, j], z[1, j]
                real, imag = pairs[q, 0, start : start + width], pairs[q, 1, start : start + width]
                if j == k:
                    for f in range(width):
                        ko[f] += real[f] * kr[f]
                        kp[f] += real[f] * ki[f]
                else:
                    for f in range(width):
                        ko[f] += real[f] * jr[f] - imag[f] * ji[f]
                        kp[f] += real[f] * ji[f] + imag[f] * jr[f]
                        jo[f] += real[f] * kr[f] + imag[f] * ki[f]
                        jp[f] += real[f] * ki[f] - imag[f] * kr[f]
                q += 1
        for k in range(n_rows):
            for f in range(width):
                out[k, start + f] = complex(z[0, k, f], z[1, k, f])


@_compiled
def filter_multiply(filters, history, newest, out):
    n_partitions, n_channels, n_references, _, n_bins = filters.shape
    x = np.empty((2, _TILE))
    z = np.empty((2, n_channels, _TILE))
    for start in range(0, n_bins, _TILE):
        width = min(_TILE, n_bins - start)
        z[:] = 0.0
        for d in range(n_partitions):
            at = (newest - d) % history.shape[0]
            for k in range(n_references):
                for f in range(width):
                    x[0, f], x[1, f] = history[at, k, start + f].real, history[at, k, start + f].imag
                for c in range(n_channels):
                    real, imag = filters[d, c, k, 0, start : start + width], filters[d, c, k, 1, start : start + width]
                    for f in range(width):
                        z[0, c, f] += real[f] * x[0, f] - imag[f] * x[1, f]
                    for f in range(width):
                        z[1, c, f] += real[f] * x[1, f] + imag[f] * x[0, f]
        for c in range(n_channels):
            for f in range(width):
                out[c, start + f] = complex(z[0, c, f], z[1, c, f])


# A triangle is far larger than the rows: every element is read once, for all channels, the upper half never. The rows
# may be parts of longer ones; loops run several elements at once only on copies of their own.
@numba.njit(nogil=True, cache=True, fastmath={"contract", "reassoc", "nsz"})
def lower_multiply(triangles, rows, out):
    x = np.empty((rows.shape[0], rows.shape[2]))
    for k in range(triangles.shape[0]):
        x[:] = rows[:, k]
        for i in range(triangles.shape[1]):
            line = triangles[k, i]
            for c in range(rows.shape[0]):
                one = x[c]
                total = 0.0
                for j in range(i + 1):
                    total += line[j] * one[j]
                out[c, k, i] += total


@_compiled
def lower_transposed_multiply(triangles, rows, out):
    y = np.empty((rows.shape[0], rows.shape[2]))
    for k in range(triangles.shape[0]):
        y[:] = 0.0
        for i in range(triangles.shape[1]):
            line = triangles[k, i]
            for c in range(rows.shape[0]):
                one, x = y[c], rows[c, k, i]
                for j in range(i + 1):
                    one[j] += line[j] * x
        out[:, k] = y
