"""Convolution in Numba: each kernel computes a slice [first, last) of its results.

The forward pass and the gradient with respect to x are the same walk (``TapAxis``) over
different arrays: ``source`` is x or dy, ``out`` is y or dx.  ``direct`` lays one row of
the source at a time out channels-last with its padding, so that no inner loop tests for
edges; ``im2col`` gathers whole windows.  Both then call ``add_product``, whose inner loop
runs over contiguous results and is what LLVM vectorises.

Sums have one order, which depends neither on the slice nor on the batch: offsets in the
window, then channels; for the weights images, rows, columns.
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
from __future__ import annotations

import numpy as np

from .arrays import Array
from .dims import ConvDims, TapAxis
from .numba_options import AXIS, BOOL, INT, helper, kernel, packed, read, write


PIXELS = 64  # at most so many results of a row are computed at once
COLUMNS = 1 << 17  # elements of the im2col scratch, unless one window alone has more
DEPTH = 16  # rows of b that stay in the L1 cache while add_product passes over a


@helper
def add_product(a, b, total, rows, depth, width):
    """total[rows, width] += a[rows, depth] @ b[depth, width]"""
    for block in range(0, depth, DEPTH):
        stop = min(block + DEPTH, depth)
        fours = block + (stop - block) // 4 * 4
        for r in range(rows):
            for t in range(block, fours, 4):
                a0, a1, a2, a3 = a[r, t], a[r, t + 1], a[r, t + 2], a[r, t + 3]
                for k in range(width):
                    s = total[r, k] + a0 * b[t, k]
                    s += a1 * b[t + 1, k]
                    s += a2 * b[t + 2, k]
                    total[r, k] = s + a3 * b[t + 3, k]
            for t in range(fours, stop):
                a0 = a[r, t]
                for k in range(width):
                    total[r, k] += a0 * b[t, k]


@helper
def load_strip(source, n, channel, row, left, strip, width, channels):
    """strip[s, c] = source[n, channel + c, row, left + s], 0 outside the plane"""
    for s in range(width):
        column = left + s
        if 0 <= column < source.shape[3]:
            for c in range(channels):
                strip[s, c] = source[n, channel + c, row, column]
        else:
            strip[s, :channels] = 0


@helper
def begin(total, bias, filter0, pixels, width):
    for q in range(pixels):
        for k in range(width):
            total[q, k] = bias[filter0 + k]


@helper
def rectify(total, pixels, width):
    """The activation; a NaN stays one."""
    for q in range(pixels):
        for k in range(width):
            if total[q, k] < 0:
                total[q, k] = 0


@helper
def reach(axis, count):
    """How many source positions `count` neighbouring results span."""
    return max(0, (count - 1) * axis.step + (axis.taps - 1) * axis.dilation + 1)


@kernel(read(4), packed(5), packed(1), write(4), AXIS, AXIS, INT, INT, BOOL)
def walk_direct(source, weights, bias, out, rows, columns, first, last, relu):
    """Results [first, last) of n·rows: `weights` are (g, row taps, column taps, c, k)."""
    groups, channels, filters = weights.shape[0], weights.shape[3], weights.shape[4]
    block = min(PIXELS, columns.size_out)
    strip = np.empty((reach(columns, block), channels), source.dtype)
    total = np.empty((block, filters), source.dtype)
    for unit in range(first, last):
        n, p = divmod(unit, rows.size_out)
        out_row = rows.out_first + p * rows.out_step
        for q0 in range(0, columns.size_out, block):
            pixels = min(block, columns.size_out - q0)
            left, width = columns.first + q0 * columns.step, reach(columns, pixels)
            for g in range(groups):
                begin(total, bias, g * filters, pixels, filters)
                for i in range(rows.taps):
                    row = rows.first + p * rows.step + i * rows.dilation
                    if not 0 <= row < rows.size_in:
                        continue
                    load_strip(source, n, g * channels, row, left, strip, width, channels)
                    for j in range(columns.taps):
                        cells = strip[j * columns.dilation :: columns.step]
                        add_product(cells, weights[g, i, j], total, pixels, channels, filters)
                if relu:
                    rectify(total, pixels, filters)
                for q in range(pixels):
                    column = columns.out_first + (q0 + q) * columns.out_step
                    for k in range(filters):
                        out[n, g * filters + k, out_row, column] = total[q, k]


@kernel(read(4), packed(3), packed(1), write(4), AXIS, AXIS, INT, INT, BOOL)
def walk_depthwise(source, weights, bias, out, rows, columns, first, last, relu):
    """``walk_direct`` with one channel and filter per group: `weights` are (taps, taps, g)."""
    channels = weights.shape[2]
    block = min(PIXELS, columns.size_out)
    strip = np.empty((reach(columns, block), channels), source.dtype)
    total = np.empty((block, channels), source.dtype)
    for unit in range(first, last):
        n, p = divmod(unit, rows.size_out)
        out_row = rows.out_first + p * rows.out_step
        for q0 in range(0, columns.size_out, block):
            pixels = min(block, columns.size_out - q0)
            left, width = columns.first + q0 * columns.step, reach(columns, pixels)
            begin(total, bias, 0, pixels, channels)
            for i in range(rows.taps):
                row = rows.first + p * rows.step + i * rows.dilation
                if not 0 <= row < rows.size_in:
                    continue
                load_strip(source, n, 0, row, left, strip, width, channels)
                for q in range(pixels):
                    for j in range(columns.taps):
                        s = q * columns.step + j * columns.dilation
                        for k in range(channels):
                            total[q, k] += strip[s, k] * weights[i, j, k]
            if relu:
                rectify(total, pixels, channels)
            for q in range(pixels):
                column = columns.out_first + (q0 + q) * columns.out_step
                for k in range(channels):
                    out[n, k, out_row, column] = total[q, k]


@helper
def load_window(source, n, channel, channels, top, left, rows, columns, window):
    """window[i·j·c] = the cells under one window, 0 outside the plane"""
    t = 0
    for i in range(rows.taps):
        row = top + i * rows.dilation
        for j in range(columns.taps):
            column = left + j * columns.dilation
            if 0 <= row < rows.size_in and 0 <= column < columns.size_in:
                for c in range(channels):
                    window[t + c] = source[n, channel + c, row, column]
            else:
                window[t : t + channels] = 0
            t += channels


@kernel(read(4), packed(3), packed(1), write(4), AXIS, AXIS, INT, INT, BOOL)
def walk_im2col(source, weights, bias, out, rows, columns, first, last, relu):
    """Results [first, last) of n·rows·columns: `weights` are (g, taps·taps·c, k)."""
    groups, depth, filters = weights.shape
    channels = source.shape[1] // groups
    block = min(PIXELS, max(1, COLUMNS // max(1, depth)), max(1, last - first))
    windows = np.empty((block, depth), source.dtype)
    total = np.empty((block, filters), source.dtype)
    for start in range(first, last, block):
        pixels = min(block, last - start)
        for g in range(groups):
            for r in range(pixels):
                rest, q = divmod(start + r, columns.size_out)
                n, p = divmod(rest, rows.size_out)
                top, left = rows.first + p * rows.step, columns.first + q * columns.step
                load_window(source, n, g * channels, channels, top, left, rows, columns, windows[r])
            begin(total, bias, g * filters, pixels, filters)
            add_product(windows, weights[g], total, pixels, depth, filters)
            if relu:
                rectify(total, pixels, filters)
            for r in range(pixels):
                rest, q = divmod(start + r, columns.size_out)
                n, p = divmod(rest, rows.size_out)
                row = rows.out_first + p * rows.out_step
                column = columns.out_first + q * columns.out_step
                for k in range(filters):
                    out[n, g * filters + k, row, column] = total[r, k]


@kernel(read(4), read(4), write(4), AXIS, AXIS, INT, INT, INT)
def weights_direct(dy, x, dw, rows, columns, groups, first, last):
    """dw[k, c] for the channels [first, last) of x, one row of one image after another."""
    channels, filters = x.shape[1] // groups, dy.shape[1] // groups
    block = min(PIXELS, columns.size_out)
    strip = np.empty((reach(columns, block), channels), x.dtype)
    grad = np.empty((block, filters), x.dtype)
    for g in range(first // channels, (last - 1) // channels + 1):
        begin_c, end_c = max(first, g * channels), min(last, (g + 1) * channels)
        count = end_c - begin_c
        total = np.zeros((rows.taps, columns.taps, count, filters), x.dtype)
        for n in range(x.shape[0]):
            for p in range(rows.size_out):
                for q0 in range(0, columns.size_out, block):
                    pixels = min(block, columns.size_out - q0)
                    load_strip(dy, n, g * filters, p, q0, grad, pixels, filters)
                    left, width = columns.first + q0 * columns.step, reach(columns, pixels)
                    for i in range(rows.taps):
                        row = rows.first + p * rows.step + i * rows.dilation
                        if not 0 <= row < rows.size_in:
                            continue
                        load_strip(x, n, begin_c, row, left, strip, width, count)
                        for j in range(columns.taps):
                            # total[c, k] += strip[q, c]ᵀ @ grad[q, k]
                            cells = strip[j * columns.dilation :: columns.step].T
                            add_product(cells, grad, total[i, j], count, pixels, filters)
        store_weights(total, dw, g * filters, begin_c - g * channels)


@helper
def store_weights(total, dw, filter0, channel):
    """dw[filter0 + k, channel + c, i, j] = total[i, j, c, k]"""
    for i in range(total.shape[0]):
        for j in range(total.shape[1]):
            for c in range(total.shape[2]):
                for k in range(total.shape[3]):
                    dw[filter0 + k, channel + c, i, j] = total[i, j, c, k]


@kernel(read(4), read(4), write(4), AXIS, AXIS, INT, INT)
def weights_depthwise(dy, x, dw, rows, columns, first, last):
    """``weights_direct`` with one channel and filter per group."""
    channels = last - first
    block = min(PIXELS, columns.size_out)
    strip = np.empty((reach(columns, block), channels), x.dtype)
    grad = np.empty((block, channels), x.dtype)
    total = np.zeros((rows.taps, columns.taps, 1, channels), x.dtype)
    for n in range(x.shape[0]):
        for p in range(rows.size_out):
            for q0 in range(0, columns.size_out, block):
                pixels = min(block, columns.size_out - q0)
                load_strip(dy, n, first, p, q0, grad, pixels, channels)
                left, width = columns.first + q0 * columns.step, reach(columns, pixels)
                for i in range(rows.taps):
                    row = rows.first + p * rows.step + i * rows.dilation
                    if not 0 <= row < rows.size_in:
                        continue
                    load_strip(x, n, first, row, left, strip, width, channels)
                    for j in range(columns.taps):
                        for q in range(pixels):
                            s = q * columns.step + j * columns.dilation
                            for k in range(channels):
                                total[i, j, 0, k] += strip[s, k] * grad[q, k]
    store_weights(total, dw, first, 0)


@kernel(read(4), read(4), write(4), AXIS, AXIS, INT, INT, INT)
def weights_im2col(dy, x, dw, rows, columns, groups, first, last):
    """dw[k, c] for the channels [first, last) of x, one block of windows after another."""
    channels, filters = x.shape[1] // groups, dy.shape[1] // groups
    taps, plane = rows.taps * columns.taps, rows.size_out * columns.size_out
    block = min(PIXELS, max(1, COLUMNS // (taps * channels)), plane)
    grad = np.empty((block, filters), x.dtype)
    for g in range(first // channels, (last - 1) // channels + 1):
        begin_c, end_c = max(first, g * channels), min(last, (g + 1) * channels)
        count = end_c - begin_c
        windows = np.empty((block, taps * count), x.dtype)
        total = np.zeros((taps * count, filters), x.dtype)
        for n in range(x.shape[0]):
            for start in range(0, plane, block):
                pixels = min(block, plane - start)
                for r in range(pixels):
                    p, q = divmod(start + r, columns.size_out)
                    for k in range(filters):
                        grad[r, k] = dy[n, g * filters + k, p, q]
                    top, left = rows.first + p * rows.step, columns.first + q * columns.step
                    load_window(x, n, begin_c, count, top, left, rows, columns, windows[r])
                # total[i·j·c, k] += windows[pixels, i·j·c]ᵀ @ grad[pixels, k]
                add_product(windows.T, grad, total, taps * count, pixels, filters)
        shape = (rows.taps, columns.taps, count, filters)
        store_weights(total.reshape(shape), dw, g * filters, begin_c - g * channels)


@kernel(read(4), write(1), INT, INT)
def sum_filters(dy, db, first, last):
    """db[first:last]; in float64, for there may be millions of terms."""
    total = np.zeros(last - first)
    for n in range(dy.shape[0]):
        for p in range(dy.shape[2]):
            for k in range(first, last):
                s = total[k - first]
                for q in range(dy.shape[3]):
                    s += dy[n, k, p, q]
                total[k - first] = s
    for k in range(first, last):
        db[k] = total[k - first]


def _taps(w: Array, rows: TapAxis, columns: TapAxis) -> Array:
    """The weights that a walk meets, in its order: (O, C/groups, row taps, column taps)."""
    row = rows.k_first + rows.k_step * np.arange(rows.taps)
    column = columns.k_first + columns.k_step * np.arange(columns.taps)
    return w[:, :, row[:, None], column]


def _depthwise(dims: ConvDims) -> bool:
    return dims.groups > 1 and dims.groups == dims.c == dims.k


def _direct(source, taps, bias, out, dims, rows, columns, relu=False):
    """Pack taps (g, k, c, row taps, column taps) and walk over every row."""
    walk, weights = walk_direct, taps.transpose(0, 3, 4, 2, 1)
    if _depthwise(dims):
        walk, weights = walk_depthwise, taps[:, 0, 0].transpose(1, 2, 0)
    weights = np.ascontiguousarray(weights)
    walk(source, weights, bias, out, rows, columns, 0, dims.n * rows.size_out, relu)


def _im2col(source, taps, bias, out, dims, rows, columns, relu=False):
    g, k, c, kh, kw = taps.shape
    weights = np.ascontiguousarray(taps.transpose(0, 3, 4, 2, 1)).reshape(g, kh * kw * c, k)
    last = dims.n * rows.size_out * columns.size_out
    walk_im2col(source, weights, bias, out, rows, columns, 0, last, relu)


def _forward(run, x, w, b, y, dims, relu):
    rows, columns = dims.forward_taps
    bias = np.zeros(dims.k, x.dtype) if b is None else np.array(b)
    taps = w.reshape(dims.groups, -1, *w.shape[1:])  # (g, k, c, kh, kw)
    run(x, taps, bias, y, dims, rows, columns, relu)


def _dx(run, dy, w, dx, dims):
    bias = np.zeros(dims.c, dy.dtype)
    for rows, columns in dims.dx_phases:
        taps = _taps(w, rows, columns)
        # filters become the channels that are summed: (g, c, k, row taps, column taps)
        taps = taps.reshape(dims.groups, dims.k // dims.groups, *taps.shape[1:]).swapaxes(1, 2)
        run(dy, taps, bias, dx, dims, rows, columns)


def conv2d_direct(
    x: Array, w: Array, b: Array | None, y: Array, dims: ConvDims, relu: bool = False
) -> None:
    _forward(_direct, x, w, b, y, dims, relu)


def conv2d_im2col(
    x: Array, w: Array, b: Array | None, y: Array, dims: ConvDims, relu: bool = False
) -> None:
    _forward(_im2col, x, w, b, y, dims, relu)


def conv2d_dx_direct(dy: Array, w: Array, dx: Array, dims: ConvDims) -> None:
    _dx(_direct, dy, w, dx, dims)


def conv2d_dx_im2col(dy: Array, w: Array, dx: Array, dims: ConvDims) -> None:
    _dx(_im2col, dy, w, dx, dims)


def conv2d_dw_direct(dy: Array, x: Array, dw: Array, dims: ConvDims) -> None:
    if _depthwise(dims):
        weights_depthwise(dy, x, dw, *dims.forward_taps, 0, dims.c)
    else:
        weights_direct(dy, x, dw, *dims.forward_taps, dims.groups, 0, dims.c)


def conv2d_dw_im2col(dy: Array, x: Array, dw: Array, dims: ConvDims) -> None:
    weights_im2col(dy, x, dw, *dims.forward_taps, dims.groups, 0, dims.c)


def conv2d_db(dy: Array, db: Array) -> None:
    sum_filters(dy, db, 0, len(db))
