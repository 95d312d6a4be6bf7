"""Losses: each returns its mean over the batch and the gradient of that mean."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import kernels
from .kernels import ShapeError
from .kernels.arrays import Array


__all__ = ["mean_squared_error", "softmax", "softmax_cross_entropy"]


def _as_float(verb: str, name: str, a: Any) -> Array:
    """An array of real numbers, integers and booleans as float32."""
    array = np.asarray(a)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{verb}: {name} must hold real numbers, got dtype {array.dtype}")
    return array if array.dtype.kind == "f" else array.astype(np.float32)


def _as_scores(verb: str, scores: Any) -> Array:
    found = _as_float(verb, "scores", scores)
    if found.ndim != 2 or found.shape[1] == 0:
        raise ShapeError(f"{verb}: scores must have shape (N, classes), got {found.shape}")
    return found


def _as_labels(verb: str, labels: Any, shape: tuple[int, ...]) -> Array:
    found = np.asarray(labels)
    n, classes = shape
    if found.shape != (n,):
        fix = "; one-hot rows become labels by .argmax(axis=1)" if found.ndim == 2 else ""
        raise ShapeError(
            f"{verb}: labels have shape {found.shape}, but scores {shape} need ({n},){fix}"
        )
    if found.dtype.kind not in "iu":
        raise TypeError(
            f"{verb}: labels must be integers 0 to {classes - 1}, got dtype {found.dtype}; "
            "convert them, e.g. labels.astype(np.int64)"
        )
    found = found.astype(np.int64, copy=False)
    if n and found.view(np.uint64).max() >= classes:  # a negative one is the largest of all
        raise ValueError(
            f"{verb}: labels run from {found.min()} to {found.max()}, but scores {shape} "
            f"have the classes 0 to {classes - 1}"
        )
    return found


def _as_weight(verb: str, sample_weight: Any, n: int, dtype: np.dtype[Any]) -> Array:
    weight = _as_float(verb, "sample_weight", sample_weight)
    if weight.shape != (n,):
        raise ShapeError(f"{verb}: sample_weight has shape {weight.shape}, but N={n} needs ({n},)")
    if not (np.isfinite(weight).all() and (weight >= 0).all()):
        raise ValueError(f"{verb}: sample_weight must be finite and not negative")
    return weight.astype(dtype, copy=False)


def _shifted(scores: Array) -> Array:
    """Scores less the largest of their row, which changes no probability.

    exp() of the result cannot overflow.  A row that holds inf or NaN becomes NaN, and
    differences beyond the float range -inf, both without a warning.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(scores - scores.max(axis=1, keepdims=True))


def softmax(scores: Any) -> Array:
    """Probabilities of the classes: exp(s) / Σ exp(s), for scores of any size.

    Parameters
    ----------
    scores : array (N, classes)

    Returns
    -------
    array (N, classes)
        Each row sums to 1.

    Raises
    ------
    ShapeError, TypeError
        If scores are not a matrix of real numbers.
    """
    exps = np.exp(_shifted(_as_scores("softmax", scores)))
    exps /= exps.sum(axis=1, keepdims=True)
    return exps


def softmax_cross_entropy(
    scores: Any, labels: Any, sample_weight: Any = None
) -> tuple[float, Array]:
    """Mean over the batch of -log(softmax(scores)[label]), and its gradient.

    Parameters
    ----------
    scores : array (N, classes)
        Before any softmax, of any size.
    labels : integer array (N,)
        The true class of each row, from 0.
    sample_weight : array (N,), optional
        Factors of the rows' losses; the sum is divided by N all the same.

    Returns
    -------
    loss : float
    dscores : array (N, classes)
        (softmax - one-hot) / N, times the row's weight, in the dtype of the scores.

    Raises
    ------
    ShapeError
        If the shapes do not fit, or N is 0.
    TypeError, ValueError
        If labels are not integers, or not all in range.
    """
    verb = "softmax_cross_entropy"
    scores = _as_scores(verb, scores)
    labels = _as_labels(verb, labels, scores.shape)
    n = len(scores)
    if n == 0:
        raise ShapeError(f"{verb}: the mean over a batch of N=0 does not exist; give N >= 1")
    losses, dscores = kernels.softmax_cross_entropy(scores, labels)
    if sample_weight is not None:
        weight = _as_weight(verb, sample_weight, n, dscores.dtype)
        losses = losses * weight
        dscores *= weight[:, None]
    return float(losses.sum()) / n, dscores


def mean_squared_error(y: Any, target: Any, sample_weight: Any = None) -> tuple[float, Array]:
    """Mean over all elements of (y - target)², and its gradient.

    Parameters
    ----------
    y, target : array
        Of one shape (nothing is broadcast).
    sample_weight : array (N,), optional
        Factors of the squares, one for each index on the first axis; the sum is divided by
        the number of elements all the same.

    Returns
    -------
    loss : float
    dy : array
        2·(y - target) / size, times the weight, in the dtype of y.

    Raises
    ------
    ShapeError
        If the shapes differ or are empty.
    TypeError
        If either does not hold real numbers.
    """
    verb = "mean_squared_error"
    y, target = _as_float(verb, "y", y), _as_float(verb, "target", target)
    if y.shape != target.shape:
        raise ShapeError(
            f"{verb}: y {y.shape} and target {target.shape} must have one shape; "
            "nothing is broadcast: reshape target"
        )
    if y.size == 0:
        raise ShapeError(f"{verb}: the mean of an empty array {y.shape} does not exist")
    error = y - target.astype(y.dtype, copy=False)
    squares = np.square(error)
    if sample_weight is not None:
        weight = _as_weight(verb, sample_weight, len(y), y.dtype)
        weight = weight.reshape(-1, *(1,) * (y.ndim - 1))
        squares *= weight
        error *= weight
    error *= 2 / y.size
    return float(np.mean(squares, dtype=np.float64)), error
