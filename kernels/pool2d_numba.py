"""Pooling in Numba: each kernel computes a slice [first, last) of its results.

A window is cut to the cells that lie inside x before it is walked, so nothing tests for
edges inside.
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
from __future__ import annotations

import numpy as np
from numba import types

from .arrays import Array
from .dims import PoolDims, TapAxis
from .numba_options import AXIS, INT, helper, kernel, packed, read, write


@helper
def inside(start, axis):
    """The taps [first, stop) of a window at `start` that lie inside the plane."""
    first = max(0, -(start // axis.dilation))
    return first, min(axis.taps, (axis.size_in - 1 - start) // axis.dilation + 1)


@kernel(read(4), write(4), write(4, types.int32), AXIS, AXIS, INT, INT)
def maximum(x, y, indices, rows, columns, first, last):
    """Results [first, last) of n·rows; `indices` of shape 0 are not written."""
    wanted = indices.size > 0
    for unit in range(first, last):
        n, p = divmod(unit, rows.size_out)
        top = rows.first + p * rows.step
        i_first, i_stop = inside(top, rows)
        for c in range(x.shape[1]):
            for q in range(columns.size_out):
                left = columns.first + q * columns.step
                j_first, j_stop = inside(left, columns)
                best_row, best_column = (
                    top + i_first * rows.dilation,
                    left + j_first * columns.dilation,
                )
                best = x[n, c, best_row, best_column]
                for i in range(i_first, i_stop):
                    row = top + i * rows.dilation
                    for j in range(j_first, j_stop):
                        column = left + j * columns.dilation
                        cell = x[n, c, row, column]
                        # the first of equals wins, and the first NaN over everything
                        if cell > best or (cell != cell and best == best):
                            best, best_row, best_column = cell, row, column
                y[n, c, p, q] = best
                if wanted:
                    indices[n, c, p, q] = best_row * x.shape[3] + best_column


@kernel(read(4), read(4, types.int32), write(4), INT, INT)
def scatter(dy, indices, dx, first, last):
    """The planes [first, last) of n·c; what falls on one place adds up in the order of dy."""
    width = dx.shape[3]
    for plane in range(first, last):
        n, c = divmod(plane, dx.shape[1])
        dx[n, c] = 0
        for p in range(dy.shape[2]):
            for q in range(dy.shape[3]):
                row, column = divmod(indices[n, c, p, q], width)
                dx[n, c, row, column] += dy[n, c, p, q]


@kernel(read(4), write(4), packed(1), packed(1), AXIS, AXIS, INT, INT)
def mean(x, y, high, wide, rows, columns, first, last):
    """Results [first, last) of n·rows; window (p, q) is divided by high[p]·wide[q]."""
    for unit in range(first, last):
        n, p = divmod(unit, rows.size_out)
        top = rows.first + p * rows.step
        i_first, i_stop = inside(top, rows)
        for c in range(x.shape[1]):
            for q in range(columns.size_out):
                left = columns.first + q * columns.step
                j_first, j_stop = inside(left, columns)
                total = x.dtype.type(0)
                for row in range(top + i_first, top + i_stop):
                    for column in range(left + j_first, left + j_stop):
                        total += x[n, c, row, column]
                y[n, c, p, q] = total / (high[p] * wide[q])


@helper
def windows_over(position, axis):
    """The windows [first, stop) that hold a position of x."""
    first = max(0, -((axis.first + axis.taps - 1 - position) // axis.step))
    return first, min(axis.size_out, (position - axis.first) // axis.step + 1)


@kernel(read(4), write(4), packed(1), packed(1), AXIS, AXIS, INT, INT)
def share_out(dy, dx, high, wide, rows, columns, first, last):
    """Rows [first, last) of n·h of dx, each cell from the windows over it, last to first.

    That is the order of the window's offsets, in which the NumPy reference adds.
    """
    for unit in range(first, last):
        n, row = divmod(unit, rows.size_in)
        p_first, p_stop = windows_over(row, rows)
        for c in range(dx.shape[1]):
            for column in range(columns.size_in):
                q_first, q_stop = windows_over(column, columns)
                total = dy.dtype.type(0)
                for p in range(p_stop - 1, p_first - 1, -1):
                    for q in range(q_stop - 1, q_first - 1, -1):
                        total += dy[n, c, p, q] / (high[p] * wide[q])
                dx[n, c, row, column] = total


def _axes(dims: PoolDims) -> tuple[TapAxis, TapAxis]:
    """The walks of the window's rows and columns (``k_…`` and ``out_…`` have no meaning)."""

    def axis(a: int, size: int, out: int, taps: int) -> TapAxis:
        first, step, dilation = -dims.pad[a][0], dims.stride[a], dims.dilation[a]
        return TapAxis(size, out, first, step, taps, dilation, 0, 1, 0, 1)

    return axis(0, dims.h, dims.out_h, dims.kh), axis(1, dims.w, dims.out_w, dims.kw)


def _counts(dims: PoolDims, include_pad: bool, like: Array) -> tuple[Array, Array]:
    high, wide = (np.array(dims.counts(axis, include_pad), like.dtype) for axis in (0, 1))
    return high, wide


def max_pool2d(x: Array, y: Array, indices: Array | None, dims: PoolDims) -> None:
    where = np.empty((0, 0, 0, 0), np.int32) if indices is None else indices
    maximum(x, y, where, *_axes(dims), 0, dims.n * dims.out_h)


def max_pool2d_dx(dy: Array, indices: Array, dx: Array) -> None:
    scatter(dy, indices, dx, 0, dx.shape[0] * dx.shape[1])


def avg_pool2d(x: Array, y: Array, dims: PoolDims, include_pad: bool) -> None:
    mean(x, y, *_counts(dims, include_pad, x), *_axes(dims), 0, dims.n * dims.out_h)


def avg_pool2d_dx(dy: Array, dx: Array, dims: PoolDims, include_pad: bool) -> None:
    share_out(dy, dx, *_counts(dims, include_pad, dy), *_axes(dims), 0, dims.n * dims.h)
