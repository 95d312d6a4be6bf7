"""Activations, dropout, loss and update in plain NumPy: the specification of the others."""

from __future__ import annotations

import numpy as np

from .arrays import Array


# The update goes by blocks whose value, velocity, gradient and temporaries fit in L2.
_BLOCK = 1 << 14


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
    for i, whole in enumerate(ws):
        w, grad = np.atleast_1d(whole), np.atleast_1d(grads[i])
        velocity = None if velocities is None else np.atleast_1d(velocities[i])
        units = max(1, _BLOCK * len(w) // max(1, w.size))
        for first in range(0, len(w), units):
            own = slice(first, first + units)
            v = None if velocity is None else velocity[own]
            _update(w[own], grad[own], v, lr, momentum, nesterov, l2, l1)
            if max_norm is not None:
                _limit_norms(w[own], max_norm)


def _update(
    w: Array,
    grad: Array,
    v: Array | None,
    lr: float,
    momentum: float,
    nesterov: bool,
    l2: float,
    l1: float,
) -> None:
    """A block, all arrays being views of the same part."""
    g = grad + l2 * w + l1 * np.sign(w)
    if v is not None:
        v *= momentum
        v += g
        g = g + momentum * v if nesterov else v
    w -= lr * g


def _limit_norms(w: Array, most: float) -> None:
    norms = np.sqrt(np.square(w).sum(axis=tuple(range(1, w.ndim)), keepdims=True))
    w *= np.minimum(1, most / np.maximum(norms, most))
