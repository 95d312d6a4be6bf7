"""Local response normalisation in Numba: rows [first, last) of n·h of the result.

Formulas and letters as in ``lrn_numpy``: d = k + alpha/size · S, y = x / d^beta.
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
from __future__ import annotations

import math

import numpy as np

from .arrays import Array
from .numba_options import INT, REAL, helper, kernel, read, write


@helper
def power(d, beta):
    """d^beta; for AlexNet's beta by square roots, which LLVM vectorises and pow not."""
    if beta == 0.75:
        root = math.sqrt(d)
        return root * math.sqrt(root)
    return d**beta


@helper
def load_denominators(x, n, p, size, scale, k, d):
    """d[c, q] = k + scale · Σ x² over the channels c - size//2 … c + (size-1)//2"""
    channels = x.shape[1]
    for c in range(channels):
        d[c] = 0
        for near in range(max(0, c - size // 2), min(channels, c + (size - 1) // 2 + 1)):
            for q in range(x.shape[3]):
                d[c, q] += x[n, near, p, q] * x[n, near, p, q]
        for q in range(x.shape[3]):
            d[c, q] = k + scale * d[c, q]


@kernel(read(4), write(4), INT, REAL, REAL, REAL, INT, INT)
def normalise(x, y, size, scale, beta, k, first, last):
    d = np.empty((x.shape[1], x.shape[3]), x.dtype)
    for unit in range(first, last):
        n, p = divmod(unit, x.shape[2])
        load_denominators(x, n, p, size, scale, k, d)
        for c in range(x.shape[1]):
            for q in range(x.shape[3]):
                y[n, c, p, q] = x[n, c, p, q] / power(d[c, q], beta)


@kernel(read(4), read(4), write(4), INT, REAL, REAL, REAL, INT, INT)
def normalise_dx(dy, x, dx, size, scale, beta, k, first, last):
    channels, width = x.shape[1], x.shape[3]
    d = np.empty((channels, width), x.dtype)
    shared = np.empty((channels, width), x.dtype)  # dy · x / d^(beta + 1)
    spread = np.empty(width, x.dtype)
    factor = x.dtype.type(2) * scale * beta
    for unit in range(first, last):
        n, p = divmod(unit, x.shape[2])
        load_denominators(x, n, p, size, scale, k, d)
        for c in range(channels):
            for q in range(width):
                below = d[c, q]
                d[c, q] = power(below, beta)
                shared[c, q] = dy[n, c, p, q] * x[n, c, p, q] / d[c, q] / below
        for c in range(channels):
            spread[:] = 0
            # the windows that hold channel c are those of c - (size-1)//2 … c + size//2
            for near in range(max(0, c - (size - 1) // 2), min(channels, c + size // 2 + 1)):
                for q in range(width):
                    spread[q] += shared[near, q]
            for q in range(width):
                grad = dy[n, c, p, q] / d[c, q]
                dx[n, c, p, q] = grad - factor * x[n, c, p, q] * spread[q]


def lrn(x: Array, y: Array, size: int, alpha: float, beta: float, k: float) -> None:
    real = x.dtype.type
    rows = x.shape[0] * x.shape[2]
    normalise(x, y, size, real(alpha / size), real(beta), real(k), 0, rows)


def lrn_dx(dy: Array, x: Array, dx: Array, size: int, alpha: float, beta: float, k: float) -> None:
    real = x.dtype.type
    rows = x.shape[0] * x.shape[2]
    normalise_dx(dy, x, dx, size, real(alpha / size), real(beta), real(k), 0, rows)
