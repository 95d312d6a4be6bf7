"""Activations, dropout, loss and update in Numba: loops over arrays in one piece."""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
from __future__ import annotations

import math

import numpy as np
from numba import types

from .arrays import Array
from .numba_options import BOOL, REAL, kernel, read, write


@kernel(read(1), write(1))
def relu_each(x, y):
    for i in range(x.size):
        y[i] = 0 if x[i] <= 0 else x[i]


@kernel(read(1), read(1), write(1))
def relu_dx_each(dy, y, dx):
    for i in range(dy.size):
        dx[i] = dy[i] if y[i] > 0 else dy[i] * 0


@kernel(read(1), read(1), write(1), REAL, REAL)
def dropout_each(x, chance, y, p, scale):
    for i in range(x.size):
        y[i] = x[i] * (scale if chance[i] >= p else 0)


@kernel(read(2), read(1, types.int64), write(2), write(1, types.float64))
def cross_entropy_rows(scores, labels, dscores, losses):
    classes = scores.shape[1]
    for n in range(scores.shape[0]):
        top = scores[n, 0]
        for c in range(1, classes):
            top = max(top, scores[n, c])
        total = scores.dtype.type(0)
        for c in range(classes):
            dscores[n, c] = math.exp(scores[n, c] - top)
            total += dscores[n, c]
        losses[n] = math.log(total) - (scores[n, labels[n]] - top)
        for c in range(classes):
            hit = 1 if c == labels[n] else 0
            dscores[n, c] = (dscores[n, c] / total - hit) / scores.shape[0]


@kernel(write(2), read(2), write(2), REAL, REAL, BOOL, BOOL, REAL, REAL, REAL)
def update_units(w, grad, velocity, lr, momentum, keeps, nesterov, l2, l1, max_norm):
    for unit in range(w.shape[0]):
        squares = w.dtype.type(0)
        for i in range(w.shape[1]):
            value = w[unit, i]
            g = grad[unit, i] + l2 * value + l1 * np.sign(value)
            step = g
            if keeps:
                step = momentum * velocity[unit, i] + g
                velocity[unit, i] = step
                if nesterov:
                    step = g + momentum * step
            value -= lr * step
            w[unit, i] = value
            squares += value * value
        norm = math.sqrt(squares)
        if max_norm > 0 and not norm <= max_norm:
            for i in range(w.shape[1]):
                w[unit, i] *= max_norm / norm


def relu(x: Array, y: Array) -> None:
    relu_each(x.ravel("K"), y.ravel("K"))


def relu_dx(dy: Array, y: Array, dx: Array) -> None:
    relu_dx_each(dy.ravel("K"), y.ravel("K"), dx.ravel("K"))


def dropout(x: Array, chance: Array, y: Array, p: float) -> None:
    real = x.dtype.type
    dropout_each(x.ravel("K"), chance.ravel("K"), y.ravel("K"), real(p), real(1 / (1 - p)))


def softmax_cross_entropy(scores: Array, labels: Array, dscores: Array, losses: Array) -> None:
    cross_entropy_rows(scores, labels, dscores, losses)


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
        real = w.dtype.type
        keeps = velocities is not None
        units = len(w) if w.ndim else 1
        arrays = [
            a.reshape(units, -1 if a.size else 0)
            for a in (w, grads[i], velocities[i] if velocities is not None else w)
        ]
        factors = (real(l2), real(l1), real(max_norm or 0))
        update_units(*arrays, real(lr), real(momentum), keeps, nesterov, *factors)
