"""Pooling in plain NumPy: the specification of every other implementation.

The window is walked one offset at a time over all positions at once.  Cells outside x
never win a maximum, and count in an average only where ``dims.counts`` says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .arrays import Array
from .dims import PoolDims


def padded(x: Array, dims: PoolDims, value: float) -> Array:
    """x in a border of `value` as wide as the windows reach."""
    border = []
    for axis, size in enumerate((dims.h, dims.w)):
        starts = dims.starts(axis)
        border.append((-starts[0], max(0, starts[-1] + dims.window[axis] - size)))
    if not any(map(any, border)):
        return x
    return np.pad(x, ((0, 0), (0, 0), *border), constant_values=value)


def offsets(dims: PoolDims) -> Iterator[tuple[int, int, tuple[Any, ...]]]:
    """Each offset of the dilated window and its cells in the padded array."""
    (sh, sw), (dh, dw) = dims.stride, dims.dilation
    for i in range(0, dims.kh * dh, dh):
        for j in range(0, dims.kw * dw, dw):
            rows = slice(i, i + (dims.out_h - 1) * sh + 1, sh)
            yield i, j, (..., rows, slice(j, j + (dims.out_w - 1) * sw + 1, sw))


def max_pool2d(x: Array, y: Array, indices: Array | None, dims: PoolDims) -> None:
    """The first of equals wins, and a NaN over everything but an earlier NaN."""
    xp = padded(x, dims, -np.inf)
    best = np.full(dims.y_shape, -np.inf, x.dtype)
    if indices is None:
        for _, _, cells in offsets(dims):
            np.maximum(best, xp[cells], out=best)
    else:
        _argmax(xp, best, indices, dims)
    y[...] = best


def _argmax(xp: Array, best: Array, indices: Array, dims: PoolDims) -> None:
    row, column = np.asarray(dims.starts(0))[:, None], np.asarray(dims.starts(1))
    where = np.full(dims.y_shape, -1, np.int32)
    for i, j, cells in offsets(dims):
        cell = xp[cells]
        real = (0 <= row + i) & (row + i < dims.h) & (0 <= column + j) & (column + j < dims.w)
        better = (cell > best) | (np.isnan(cell) & ~np.isnan(best)) | (where < 0)
        better &= real
        np.copyto(best, cell, where=better)
        np.copyto(where, (row + i) * dims.w + (column + j), where=better, casting="same_kind")
    indices[...] = where


def max_pool2d_dx(dy: Array, indices: Array, dx: Array) -> None:
    """dx[n, c, indices[n, c, p, q]] += dy[n, c, p, q], in the order of (p, q)."""
    n, c, h, w = dx.shape
    flat = np.zeros((n * c, h * w), dx.dtype)
    planes = np.arange(n * c)[:, None]
    shape = (n * c, dy.shape[2] * dy.shape[3])
    np.add.at(flat, (planes, indices.reshape(shape)), dy.reshape(shape))
    dx[...] = flat.reshape(dx.shape)


def areas(dims: PoolDims, include_pad: bool, like: Array) -> Array:
    """The divisor of each window: (oh, ow)."""
    high, wide = dims.counts(0, include_pad), dims.counts(1, include_pad)
    area: Array = np.asarray(high, like.dtype)[:, None] * np.asarray(wide, like.dtype)
    return area


def avg_pool2d(x: Array, y: Array, dims: PoolDims, include_pad: bool) -> None:
    """y = Σ of the window's cells / its area"""
    xp = padded(x, dims, 0.0)
    total = np.zeros(dims.y_shape, x.dtype)
    for _, _, cells in offsets(dims):
        total += xp[cells]
    y[...] = total / areas(dims, include_pad, x)


def avg_pool2d_dx(dy: Array, dx: Array, dims: PoolDims, include_pad: bool) -> None:
    """Every cell of a window gets dy / area."""
    share = dy / areas(dims, include_pad, dy)
    dxp = padded(np.zeros(dims.x_shape, dx.dtype), dims, 0.0)
    for _, _, cells in offsets(dims):
        dxp[cells] += share
    (top, _), (left, _) = dims.pad
    dx[...] = dxp[:, :, top : top + dims.h, left : left + dims.w]
