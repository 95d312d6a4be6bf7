"""The verbs that take one number after another: activation, dropout, loss, update.

Each is one pass over memory.  Kernels get arrays in one piece and in the same order
(C-contiguous or channels-last); others are copied first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from . import registry
from .arrays import (
    Array,
    as_inputs,
    check_rank,
    check_shape,
    delivered,
    is_channels_last,
    output,
    ready,
)


__all__ = ["dropout", "relu", "relu_dx", "sgd_update", "softmax_cross_entropy"]


def relu(x: Any, *, backend: str | None = None, out: Array | None = None) -> Array:
    """max(x, 0), and NaN where x is NaN.

    Parameters
    ----------
    x : array
    backend, out
        As in :func:`conv2d`; out may be x itself.

    Raises
    ------
    ShapeError, TypeError, ValueError
        As :func:`conv2d`.
    """
    return _each("relu", ("x",), (x,), backend, out)


def relu_dx(dy: Any, y: Any, *, backend: str | None = None, out: Array | None = None) -> Array:
    """Gradient of :func:`relu`, told from its result: dy where y > 0, else 0·dy.

    Parameters
    ----------
    dy, y : array
        Of one shape.
    backend, out
        As in :func:`conv2d`; out may be dy or y itself.

    Raises
    ------
    ShapeError, TypeError, ValueError
        As :func:`conv2d`.
    """
    return _each("relu_dx", ("dy", "y"), (dy, y), backend, out)


def dropout(
    x: Any, chance: Any, p: float, *, backend: str | None = None, out: Array | None = None
) -> Array:
    """x / (1 - p) where chance >= p, else 0·x; of a gradient, the gradient.

    Parameters
    ----------
    x : array
    chance : array
        Drawn from [0, 1), of the shape of x.
    p : float
        0 <= p < 1.
    backend, out
        As in :func:`conv2d`; out may be x itself.

    Raises
    ------
    ShapeError, TypeError, ValueError
        As :func:`conv2d`.
    """
    return _each("dropout", ("x", "chance"), (x, chance), backend, out, p)


def _each(
    verb: str,
    names: tuple[str, ...],
    arrays: Sequence[Any],
    backend: str | None,
    out: Array | None,
    *options: float,
) -> Array:
    dtype = ready(*arrays)
    if dtype is None:
        arrays, dtype = as_inputs(verb, **dict(zip(names, arrays, strict=True)))
    first = arrays[0]
    check_shape(verb, names[-1], arrays[-1], first.shape, names[0])
    apart = () if out is None else tuple(a for a in arrays if a is not out)
    y = output(verb, out, first.shape, dtype, first, apart)
    if y is out and not _in_one_piece(y):
        y = np.empty(first.shape, y.dtype)
    run = registry.select(verb, None, y.dtype, backend).load()
    run(*[_in_order_of(y, a) for a in arrays], y, *options)
    return delivered(y, out, dtype)


def _in_one_piece(a: Array) -> bool:
    return bool(a.flags.c_contiguous) or is_channels_last(a)


def _in_order_of(y: Array, a: Array) -> Array:
    """`a` in the memory order of y, which lies in one piece: itself, or a copy."""
    if a.strides == y.strides or (a.flags.c_contiguous and y.flags.c_contiguous):
        return a
    copy = np.empty_like(y)
    copy[...] = a
    return copy


def softmax_cross_entropy(
    scores: Any, labels: Array, *, backend: str | None = None
) -> tuple[Array, Array]:
    """-log(softmax(scores)[label]) of each row, and the gradient of the mean of these.

    Parameters
    ----------
    scores : array (N, classes)
    labels : integer array (N,)
        Known to be in range.

    Returns
    -------
    losses : float64 array (N,)
    dscores : array (N, classes)
        (softmax - one-hot) / N.

    Raises
    ------
    ShapeError, TypeError, ValueError
        As :func:`conv2d`.
    """
    verb = "softmax_cross_entropy"
    dtype = ready(scores)
    if dtype is None:
        (scores,), dtype = as_inputs(verb, scores=scores)
    check_rank(verb, "scores", scores, "(N, classes)")
    check_shape(verb, "labels", labels, scores.shape[:1], f"scores {scores.shape}")
    scores = np.ascontiguousarray(scores)
    dscores, losses = np.empty(scores.shape, scores.dtype), np.empty(len(scores))
    run = registry.select(verb, None, scores.dtype, backend).load()
    run(scores, np.ascontiguousarray(labels, np.int64), dscores, losses)
    return losses, delivered(dscores, None, dtype)


def sgd_update(
    ws: Sequence[Array],
    grads: Sequence[Array],
    velocities: Sequence[Array] | None,
    lr: float,
    *,
    momentum: float = 0.0,
    nesterov: bool = False,
    l2: float = 0.0,
    l1: float = 0.0,
    max_norm: float | None = None,
    backend: str | None = None,
) -> None:
    """One step of stochastic gradient descent for some arrays, in place.

    With g = grad + l2·w + l1·sign(w)::

        v = momentum·v + g
        w = w - lr·v                    (nesterov: w - lr·(g + momentum·v))

    and then each w[i] whose Euclidean norm is above max_norm is scaled back to it.

    Parameters
    ----------
    ws, grads, velocities : sequences of arrays
        As many of each, of the same shapes; ws and velocities are changed.  Without
        velocities there is no momentum.
    lr, momentum, nesterov, l2, l1, max_norm
        The settings above.
    backend
        As in :func:`conv2d`.

    Raises
    ------
    ShapeError
        If a gradient or velocity has another shape than its array.
    """
    given = [ws, grads] if velocities is None else [ws, grads, velocities]
    _check_shapes(given)
    settings = (lr, momentum, nesterov, l2, l1, max_norm)
    dtypes = {w.dtype for w in ws}
    if len(dtypes) == 1:
        _update(given, dtypes.pop(), backend, settings)
    for dtype in dtypes:
        own = [i for i, w in enumerate(ws) if w.dtype == dtype]
        _update([[arrays[i] for i in own] for arrays in given], dtype, backend, settings)


def _check_shapes(given: Sequence[Sequence[Array]]) -> None:
    shapes = [w.shape for w in given[0]]
    for name, arrays in zip(("grad", "velocity"), given[1:], strict=False):
        if [a.shape for a in arrays] != shapes:
            for a, shape in zip(arrays, shapes, strict=True):
                check_shape("sgd_update", name, a, shape, "the array to update")


def _update(
    given: Sequence[Sequence[Array]],
    dtype: np.dtype[Any],
    backend: str | None,
    settings: tuple[Any, ...],
) -> None:
    """The update of arrays of one dtype, by copies where kernels cannot walk them."""
    compute = np.dtype(np.float64 if dtype == np.float64 else np.float32)
    usable = given
    if not _in_place(given, compute):
        usable = [[np.require(a, compute, ["C", "A"]) for a in arrays] for arrays in given]
    run = registry.select("sgd_update", None, compute, backend).load()
    run(*usable, *([None] * (3 - len(usable))), *settings)
    if usable is not given:
        for arrays, results in zip(given[::2], usable[::2], strict=True):
            for a, result in zip(arrays, results, strict=True):
                if result is not a:
                    a[...] = result


def _in_place(given: Sequence[Sequence[Array]], dtype: np.dtype[Any]) -> bool:
    """Whether kernels can walk, and change, all the arrays where they lie."""
    for arrays in given:
        for a in arrays:
            if a.dtype is not dtype or not a.flags.carray:
                return False
    return True
