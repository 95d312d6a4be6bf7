"""Local response normalisation in Numba: some pixels at a time, as [channel][pixel] in scratch.

Formulas and letters as in ``lrn_numpy``: d = k + alpha/size · S, y = x / d^beta.  The inner loops
run over pixels beside one another, whatever the memory format: LLVM makes vectors of them.
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
from __future__ import annotations

import math

from . import numba_tasks
from .arrays import Array
from .numba_bands import ceil_div, clear, copy_matrix
from .numba_options import FLAT, INT, REAL, STEPS, flat, helper, kernel, room_for
from .numba_tiles import aligned, keep


PIXELS = 64  # of a row of the image at a time: [channel][pixel] of 256 channels is 64 KiB
PER_NUMBER = 3.0  # nanoseconds, for the choice of threads


@helper
def power(d, beta, result):
    """result[pixel] = d[pixel]^beta; for AlexNet's by square roots: LLVM has no vectors of pow."""
    if beta == 0.75:
        for q in range(PIXELS):
            root = math.sqrt(d[q])
            result[q] = root * math.sqrt(root)
    else:
        for q in range(PIXELS):
            result[q] = d[q] ** beta


@helper
def load(source, steps, n, p, q, channels, pixels, block):
    """block[c][pixel], PIXELS apart"""
    at = steps.at + n * steps.n + p * steps.h + q * steps.w
    copy_matrix(source, at, steps.c, steps.w, block, 0, PIXELS, 1, channels, pixels)


@helper
def store(block, target, steps, n, p, q, channels, pixels):
    to = steps.at + n * steps.n + p * steps.h + q * steps.w
    copy_matrix(block, 0, PIXELS, 1, target, to, steps.c, steps.w, channels, pixels)


@helper
def add_window(a, channels, c, before, after, total):
    """total[pixel] = Σ of a[near][pixel] over the channels c - before … c + after that exist"""
    for q in range(PIXELS):
        total[q] = 0
    for near in range(max(0, c - before), min(channels, c + after + 1)):
        for q in range(PIXELS):
            total[q] += a[near * PIXELS + q]


@helper
def square(a, count, squares):
    for i in range(count):
        squares[i] = a[i] * a[i]


@kernel(FLAT, STEPS, FLAT, STEPS, INT, INT, INT, INT, REAL, REAL, REAL)
def normalise(x, xs, y, ys, channels, rows, columns, size, scale, beta, k, first, last):
    """Units [first, last) of images × rows × parts of a row."""
    room = room_for(x, (2 * channels + 2) * PIXELS)
    block, squares = aligned(room), aligned(room[channels * PIXELS :])
    total = aligned(room[2 * channels * PIXELS :])
    scales = aligned(room[(2 * channels + 1) * PIXELS :])
    clear(block, 0, channels * PIXELS)  # a part of a row may be shorter
    parts = ceil_div(columns, PIXELS)
    for unit in range(first, last):
        rest, part = divmod(unit, parts)
        n, p = divmod(rest, rows)
        q0 = part * PIXELS
        pixels = min(PIXELS, columns - q0)
        load(x, xs, n, p, q0, channels, pixels, block)
        square(block, channels * PIXELS, squares)
        for c in range(channels):
            add_window(squares, channels, c, size // 2, (size - 1) // 2, total)
            for q in range(PIXELS):
                total[q] = k + scale * total[q]
            power(total, beta, scales)
            for q in range(PIXELS):
                block[c * PIXELS + q] /= scales[q]
        store(block, y, ys, n, p, q0, channels, pixels)
    keep((room,))


@kernel(
    FLAT, STEPS, FLAT, STEPS, FLAT, STEPS, INT, INT, INT, INT, REAL, REAL, REAL, REAL
)  # fmt: skip
def normalise_dx(
    dy, dys, x, xs, dx, dxs, channels, rows, columns, size, scale, beta, k, factor, first, last
):  # fmt: skip
    """Units [first, last) of images × rows × parts of a row; `factor` is 2 · scale · beta."""
    apart = channels * PIXELS
    room = room_for(x, 4 * apart + 2 * PIXELS)
    block, grad = aligned(room), aligned(room[apart:])
    squares, shared = aligned(room[2 * apart :]), aligned(room[3 * apart :])
    total, scales = aligned(room[4 * apart :]), aligned(room[4 * apart + PIXELS :])
    clear(block, 0, 2 * apart)  # a part of a row may be shorter
    parts = ceil_div(columns, PIXELS)
    for unit in range(first, last):
        rest, part = divmod(unit, parts)
        n, p = divmod(rest, rows)
        q0 = part * PIXELS
        pixels = min(PIXELS, columns - q0)
        load(x, xs, n, p, q0, channels, pixels, block)
        load(dy, dys, n, p, q0, channels, pixels, grad)
        square(block, apart, squares)
        for c in range(channels):
            add_window(squares, channels, c, size // 2, (size - 1) // 2, total)
            for q in range(PIXELS):
                total[q] = k + scale * total[q]
            power(total, beta, scales)
            for q in range(PIXELS):
                i = c * PIXELS + q
                grad[i] /= scales[q]
                shared[i] = grad[i] * block[i] / total[q]
        for c in range(channels):
            # the windows that hold channel c are those of c - (size-1)//2 … c + size//2
            add_window(shared, channels, c, (size - 1) // 2, size // 2, total)
            for q in range(PIXELS):
                i = c * PIXELS + q
                grad[i] -= factor * block[i] * total[q]
        store(grad, dx, dxs, n, p, q0, channels, pixels)
    keep((room,))


def _rows(*arrays: Array) -> tuple[int, int]:
    """Rows and columns; all pixels are one row where they follow one another."""
    rows, columns = arrays[0].shape[2:]
    if all(a.strides[2] == columns * a.strides[3] for a in arrays):
        return 1, rows * columns
    return rows, columns


def lrn(x: Array, y: Array, size: int, alpha: float, beta: float, k: float) -> None:
    n, c, _, _ = x.shape
    rows, columns = _rows(x, y)
    numba_tasks.run(
        normalise, n * rows * -(-columns // PIXELS), x.size * PER_NUMBER,
        *flat(x), *flat(y), c, rows, columns, size, alpha / size, float(beta), float(k),
    )  # fmt: skip


def lrn_dx(dy: Array, x: Array, dx: Array, size: int, alpha: float, beta: float, k: float) -> None:
    n, c, _, _ = x.shape
    rows, columns = _rows(dy, x, dx)
    scale = alpha / size
    numba_tasks.run(
        normalise_dx, n * rows * -(-columns // PIXELS), 2 * x.size * PER_NUMBER,
        *flat(dy), *flat(x), *flat(dx), c, rows, columns, size,
        scale, float(beta), float(k), 2 * scale * beta,
    )  # fmt: skip
