"""Training a network on data in memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import isfinite
from typing import Any, Protocol

import numpy as np

from .history import History
from .interrupts import uninterrupted
from .kernels import ShapeError
from .kernels.arrays import Array
from .kernels.dims import as_int
from .layers.base import Layer
from .losses import softmax_cross_entropy
from .optim import SGD
from .progress import report, watched


__all__ = ["Callback", "TrainingState", "evaluate", "fit"]

Loss = Callable[[Array, Array], tuple[float, Array]]
Data = tuple[Any, Any]


@dataclass
class TrainingState:
    """What a callback sees: the live objects, which it may change."""

    net: Layer
    optimizer: SGD
    history: History
    epoch: int


class Callback(Protocol):
    """An object that :func:`fit` calls."""

    def on_epoch_end(self, state: TrainingState) -> bool | None:
        """After each epoch, its history row written; True ends the training."""


def fit(
    net: Layer,
    data: Data,
    optimizer: SGD | None = None,
    epochs: int = 10,
    batch_size: int = 64,
    validation: Data | None = None,
    callbacks: Iterable[Callback] = (),
    seed: int | None = None,
    loss: Loss = softmax_cross_entropy,
    progress: bool = False,
    shuffle: bool = True,
) -> History:
    """Train a network by stochastic gradient descent.

    Parameters
    ----------
    net : Layer
        Trained in place.
    data : (x, y)
        Examples (first axis N, any real dtype: batches are converted as they are taken) and
        what `loss` compares with: labels (N,) for the default.
    optimizer : SGD, optional
        Default: ``SGD(net.parameters(), lr=0.01, momentum=0.9)``.
    epochs, batch_size : int
        The last batch of an epoch has what is left.
    validation : (x, y), optional
        Measured after each epoch; never trained on.
    callbacks : objects with ``on_epoch_end``
        See :class:`Callback`.
    seed : int, optional
        Of the shuffling and of every Dropout: the same seed, network and data give the
        same weights, bit for bit, whatever the thread count.
    loss : function (scores, y) -> (loss, dscores)
    progress : bool
        Show a bar (with tqdm, if installed) and a line per epoch on standard error.
    shuffle : bool
        Take the examples in a new random order in each epoch.

    Returns
    -------
    History
        Ctrl-C ends the training after the current step and does not raise: the network
        is usable, the history has the epochs completed, and ``history.interrupted`` is True.

    Raises
    ------
    ShapeError, TypeError, ValueError
        If data or settings cannot be used.
    FloatingPointError
        If the loss is not finite; the weights are those before that step.
    """
    x, y = _checked_data("fit", data)
    held_out = None if validation is None else _checked_data("fit: validation", validation)
    for name, value in (("epochs", epochs), ("batch_size", batch_size)):
        if as_int(value, "fit", name) < 1:
            raise ValueError(f"fit: {name} must be at least 1, got {value}")
    callbacks = _checked_callbacks(callbacks)
    order_seed, net_seed = np.random.SeedSequence(seed).spawn(2)
    rng = np.random.default_rng(order_seed)
    if seed is not None:
        net.reseed(net_seed)
    if optimizer is None:
        optimizer = SGD(net.parameters(), lr=0.01, momentum=0.9)
    state = TrainingState(net, optimizer, History(), 0)
    try:
        for state.epoch in range(1, epochs + 1):
            began, title = time.perf_counter(), f"epoch {state.epoch}/{epochs}"
            order = rng.permutation(len(x)) if shuffle else np.arange(len(x))
            starts = range(0, len(x), batch_size)
            batches = [order[first : first + batch_size] for first in starts]
            row = _epoch(state, x, y, watched(batches, title, progress), loss)
            if held_out is not None:
                row["val_loss"], row["val_accuracy"] = evaluate(net, held_out, loss=loss)
            row["seconds"] = time.perf_counter() - began
            state.history.append(**row)
            if progress:
                report(title, {name: row[name] for name in row if name != "epoch"})
            stops = [callback.on_epoch_end(state) for callback in callbacks]
            if any(stops):
                break
    except KeyboardInterrupt:
        state.history.interrupted = True
    return state.history


def _epoch(
    state: TrainingState, x: Array, y: Array, batches: Iterable[Array], loss: Loss
) -> dict[str, Any]:
    """Train on every batch once; the row of the history, without validation."""
    lr = state.optimizer.groups[0].lr
    total, right, classified = 0.0, 0, True
    for number, batch in enumerate(batches, 1):
        target = y[batch]
        scores = state.net.forward(x[batch], train=True)
        value, dscores = loss(scores, target)
        if not isfinite(value):
            raise FloatingPointError(
                f"fit: the loss is {value} in epoch {state.epoch}, batch {number}; lower lr "
                f"(now {lr}), scale x to about [0, 1], or check x for NaN"
            )
        state.optimizer.zero_grad()
        state.net.backward_parameters(dscores)
        with uninterrupted():
            state.optimizer.step()
        total += value * len(batch)
        hits = _hits(scores, target)
        right, classified = right + (hits or 0), hits is not None
    return {
        "epoch": state.epoch,
        "loss": total / len(x),
        "accuracy": right / len(x) if classified else None,
        "val_loss": None,
        "val_accuracy": None,
        "lr": lr,
    }


def evaluate(
    net: Layer, data: Data, batch_size: int = 256, loss: Loss = softmax_cross_entropy
) -> tuple[float, float | None]:
    """Loss and accuracy of a network on data, without training.

    Parameters
    ----------
    net : Layer
    data : (x, y)
    batch_size : int
        Of the predictions; the result does not depend on it.
    loss : function (scores, y) -> (loss, dscores)

    Returns
    -------
    loss : float
    accuracy : float or None
        Share of right answers; None where y does not hold classes.

    Raises
    ------
    ShapeError, TypeError, ValueError
        If the data cannot be used.
    """
    x, y = _checked_data("evaluate", data)
    scores = net.predict(x, batch_size)
    hits = _hits(scores, y)
    return loss(scores, y)[0], None if hits is None else hits / len(x)


def _hits(scores: Array, y: Array) -> int | None:
    """How many of the largest scores are those of the class; None where y has no classes."""
    if scores.ndim != 2 or y.ndim != 1 or y.dtype.kind not in "iu":
        return None
    return int(np.count_nonzero(scores.argmax(axis=1) == y))


def _checked_data(who: str, data: Data) -> tuple[Array, Array]:
    if not isinstance(data, tuple | list) or len(data) != 2:
        raise TypeError(f"{who}: data must be a pair (x, y), got {type(data).__name__}")
    x, y = np.asarray(data[0]), np.asarray(data[1])
    if x.ndim < 2 or y.ndim < 1 or len(x) != len(y):
        raise ShapeError(
            f"{who}: x {x.shape} and y {y.shape} must have one example after another on "
            "their first axis, as many in both"
        )
    if len(x) == 0:
        raise ShapeError(f"{who}: x {x.shape} holds no examples")
    return x, y


def _checked_callbacks(callbacks: Iterable[Callback]) -> list[Callback]:
    found = list(callbacks)
    for callback in found:
        if not callable(getattr(callback, "on_epoch_end", None)):
            raise TypeError(
                f"fit: a callback is an object with on_epoch_end(state), got {callback!r}"
            )
    return found
