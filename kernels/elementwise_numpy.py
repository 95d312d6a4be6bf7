"""Activations, dropout, loss and update in plain NumPy: the specification of the others."""

from __future__ import annotations

import numpy as np

from .arrays import Array


def relu(x: Array, y: Array) -> None:
    np.maximum(x, 0, out=y)


def relu_dx(dy: Array, y: Array, dx: Array) -> None:
    np.multiply(dy, y > 0, out=dx)


def dropout(x: Array, chance: Array, y: Array, p: float) -> None:
    np.multiply(x, (chance >= p) * x.dtype.type(1 / (1 - p)), out=y)


def softmax_cross_entropy(scores: Array, labels: Array, dscores: Array, losses: Array) -> None:
    """losses (N,) is float64; dscores is the gradient of their mean."""
    rows = np.arange(len(scores))
    # exp() of what is at most 0 cannot overflow; a row that holds inf becomes NaN
    with np.errstate(over="ignore", invalid="ignore"):
        shifted = scores - scores.max(axis=1, keepdims=True)
        np.exp(shifted, out=dscores)
    totals = dscores.sum(axis=1, keepdims=True)
    losses[...] = np.log(totals[:, 0]) - shifted[rows, labels]
    dscores /= totals
    dscores[rows, labels] -= 1
    dscores /= len(scores)


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
        g = grads[i] + l2 * w + l1 * np.sign(w)
        step = g
        if velocities is not None:
            v = velocities[i]
            v[...] = momentum * v + g
            step = g + momentum * v if nesterov else v
        w -= lr * step
        if max_norm is not None:
            norms = np.sqrt(np.square(w).sum(axis=tuple(range(1, w.ndim)), keepdims=True))
            w *= np.minimum(1, max_norm / np.maximum(norms, max_norm))
