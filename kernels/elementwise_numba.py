"""Activations, dropout, loss and update in Numba: loops over memory in one piece.

LLVM makes vectors of them by itself; with contract alone of the fast-math flags it leaves the
order of every sum as it is written.
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
from __future__ import annotations

import math

import numpy as np
from numba import types

from . import numba_tasks
from .arrays import Array
from .numba_options import BOOL, FLAT, INT, REAL, kernel, numbers


PER_NUMBER = 0.2  # nanoseconds, for the choice of threads


@kernel(FLAT, FLAT)
def relu_each(x, y, first, last):
    for i in range(first, last):
        y[i] = 0 if x[i] <= 0 else x[i]


@kernel(FLAT, FLAT, FLAT)
def relu_dx_each(dy, y, dx, first, last):
    for i in range(first, last):
        dx[i] = dy[i] if y[i] > 0 else dy[i] * 0


@kernel(FLAT, FLAT, FLAT, REAL, REAL)
def dropout_each(x, chance, y, p, scale, first, last):
    for i in range(first, last):
        y[i] = x[i] * (scale if chance[i] >= p else 0)


@kernel(FLAT, numbers(types.int64), FLAT, numbers(types.float64), INT, INT)
def cross_entropy_rows(scores, labels, dscores, losses, rows, classes, first, last):
    for n in range(first, last):
        at = n * classes
        top = scores[at]
        for c in range(1, classes):
            top = max(top, scores[at + c])
        total = 0.0
        for c in range(classes):
            dscores[at + c] = math.exp(scores[at + c] - top)
            total += np.float64(dscores[at + c])
        losses[n] = math.log(total) - (scores[at + labels[n]] - top)
        for c in range(classes):
            hit = 1 if c == labels[n] else 0
            dscores[at + c] = (dscores[at + c] / total - hit) / rows


@kernel(FLAT, FLAT, FLAT, INT, REAL, REAL, BOOL, BOOL, REAL, REAL, REAL)
def update_units(
    w, grad, velocity, size, lr, momentum, keeps, nesterov, l2, l1, max_norm, first, last
):  # fmt: skip
    for unit in range(first, last):
        for i in range(unit * size, (unit + 1) * size):
            value = w[i]
            g = grad[i] + l2 * value + l1 * np.sign(value)
            step = g
            if keeps:
                step = momentum * velocity[i] + g
                velocity[i] = step
                if nesterov:
                    step = g + momentum * step
            w[i] = value - lr * step
        if max_norm > 0:
            squares = 0.0
            for i in range(unit * size, (unit + 1) * size):
                squares += np.float64(w[i]) * w[i]
            norm = math.sqrt(squares)
            if not norm <= max_norm:
                for i in range(unit * size, (unit + 1) * size):
                    w[i] *= max_norm / norm


def _in_order(a: Array) -> Array:
    """The memory of an array in one piece, as one axis."""
    return a.reshape(-1) if a.flags.c_contiguous else a.ravel("K")


def relu(x: Array, y: Array) -> None:
    numba_tasks.run(relu_each, y.size, y.size * PER_NUMBER, _in_order(x), _in_order(y))


def relu_dx(dy: Array, y: Array, dx: Array) -> None:
    arrays = _in_order(dy), _in_order(y), _in_order(dx)
    numba_tasks.run(relu_dx_each, dx.size, dx.size * PER_NUMBER, *arrays)


def dropout(x: Array, chance: Array, y: Array, p: float) -> None:
    arrays = _in_order(x), _in_order(chance), _in_order(y)
    work = y.size * PER_NUMBER
    numba_tasks.run(dropout_each, y.size, work, *arrays, float(p), float(1 / (1 - p)))


def softmax_cross_entropy(scores: Array, labels: Array, dscores: Array, losses: Array) -> None:
    rows, classes = scores.shape
    arrays = scores.reshape(-1), labels, dscores.reshape(-1), losses
    numba_tasks.run(cross_entropy_rows, rows, scores.size * 20 * PER_NUMBER, *arrays, rows, classes)


def sgd_update(
    ws: list[Array],
    grads: list[Array],
    velocities: list[Array] | None,
    lr: float,
    momentum: float,
    nesterov: bool,
    l2: float,
    l1: float,
    max_norm: float | None,
) -> None:
    for i, w in enumerate(ws):
        speeds = w if velocities is None else velocities[i]
        # without a norm to keep below, the units are only parts of the work
        units = (len(w) if w.ndim else 1) if max_norm is not None else w.size
        if not w.size:
            continue
        numba_tasks.run(
            update_units, units, w.size * PER_NUMBER,
            w.reshape(-1), grads[i].reshape(-1), speeds.reshape(-1), w.size // units,
            float(lr), float(momentum), velocities is not None, bool(nesterov),
            float(l2), float(l1), float(max_norm or 0),
        )  # fmt: skip
