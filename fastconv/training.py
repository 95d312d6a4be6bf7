"""Training a network on data in memory."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import isfinite
from typing import Any

import numpy as np

from .history import History
from .hooks import HOOKS, TrainingState
from .interrupts import uninterrupted
from .kernels import ShapeError
from .kernels.arrays import Array
from .kernels.dims import as_int
from .layers.base import Layer
from .losses import softmax_cross_entropy
from .optim import SGD
from .prefetch import ahead
from .progress import report, watched


__all__ = ["evaluate", "fit"]

Loss = Callable[..., tuple[float, Array]]
Data = Sequence[Any]  # (x, y) or (x, y, sample_weight)
Augment = Callable[[Array, Any], Array]


def fit(
    net: Layer,
    data: Data,
    optimizer: SGD | None = None,
    epochs: int = 10,
    batch_size: int = 64,
    validation: Data | None = None,
    callbacks: Iterable[Any] = (),
    seed: int | None = None,
    loss: Loss = softmax_cross_entropy,
    progress: bool = False,
    shuffle: bool = True,
    *,
    sample_weight: Any = None,
    augment: Augment | None = None,
    resume: str | os.PathLike[str] | None = None,
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
    validation : (x, y) or (x, y, sample_weight), optional
        Measured after each epoch; never trained on.
    callbacks : objects with methods of :class:`fastconv.Callback`
        See :mod:`fastconv.callbacks`.
    seed : int, optional
        Of the shuffling, the augmentation and every Dropout: the same seed, network and data
        give the same weights, bit for bit, whatever the thread count.
    loss : function (scores, y) -> (loss, dscores)
        Called as loss(scores, y, sample_weight) where there are weights.
    progress : bool
        Show a bar (with tqdm, if installed) and a line per epoch on standard error.
    shuffle : bool
        Take the examples in a new random order in each epoch.
    sample_weight : array (N,), optional
        Factors of the examples' losses.
    augment : function (x, rng) -> x, optional
        Changes a batch before it is learned, in background threads ahead of the training
        step; see :mod:`fastconv.augment`.
    resume : path, optional
        Of a file of :class:`fastconv.callbacks.Checkpoint`, to go on from there with the
        same arguments: the result has the same bits as one uninterrupted training.

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
        If the loss is not finite; the weights are those before that step, or what
        EarlyStopping restores.
    """
    if sample_weight is not None:
        data = (*data[:2], sample_weight)
    learning = _checked_data("fit", data)
    held_out = None if validation is None else _checked_data("fit: validation", validation)
    for name, value in (("epochs", epochs), ("batch_size", batch_size)):
        if as_int(value, "fit", name) < 1:
            raise ValueError(f"fit: {name} must be at least 1, got {value}")
    callbacks = _checked_callbacks(callbacks)
    if augment is not None and not callable(augment):
        raise TypeError(f"fit: augment must be a function (x, rng) -> x, got {augment!r}")
    order_seed, net_seed = np.random.SeedSequence(seed).spawn(2)
    if seed is not None:
        net.reseed(net_seed)
    if optimizer is None:
        optimizer = SGD(net.parameters(), lr=0.01, momentum=0.9)
    steps = -(-len(learning[0]) // batch_size)
    rng = np.random.default_rng(order_seed)
    state = TrainingState(net, optimizer, History(), 0, epochs, 0, steps, rng, callbacks)
    if resume is not None:
        from .callbacks.checkpoint import read_checkpoint

        read_checkpoint(resume, state)
    done = state.epoch
    last = done if any(_call("on_train_begin", state)) else epochs
    try:
        for state.epoch in range(done + 1, last + 1):
            began, title = time.perf_counter(), f"epoch {state.epoch}/{epochs}"
            batches = _batches(state.rng, len(learning[0]), batch_size, shuffle)
            ready = _examples(learning, batches, augment, state.rng)
            taken = zip(watched(batches, title, progress, len(batches)), ready, strict=True)
            row = _epoch(state, (examples for _, examples in taken), loss)
            if held_out is not None:
                row["val_loss"], row["val_accuracy"] = evaluate(net, held_out, loss=loss)
            row["seconds"] = time.perf_counter() - began
            state.history.append(**row)
            if progress:
                report(title, {name: row[name] for name in row if name != "epoch"})
            if any(_call("on_epoch_end", state)):
                break
    except KeyboardInterrupt:
        state.history.interrupted = True
    finally:
        with uninterrupted():
            _end(state)
    return state.history


def _call(hook: str, state: TrainingState) -> list[Any]:
    """What each callback that has the hook returns."""
    return [getattr(c, hook)(state) for c in state.callbacks if hasattr(c, hook)]


def _end(state: TrainingState) -> None:
    """Every on_train_end, whatever the others do; the first error is raised after them."""
    errors = []
    for callback in state.callbacks:
        try:
            if hasattr(callback, "on_train_end"):
                callback.on_train_end(state)
        except Exception as error:
            errors.append(error)
    if errors:
        raise errors[0]


def _batches(rng: Any, n: int, size: int, shuffle: bool) -> list[Array]:
    order = rng.permutation(n) if shuffle else np.arange(n)
    return [order[first : first + size] for first in range(0, n, size)]


def _examples(
    data: tuple[Array, ...], batches: Sequence[Array], augment: Augment | None, rng: Any
) -> Iterator[tuple[Array, ...]]:
    """(x, y) or (x, y, weight) of each batch; every batch is augmented by chance of its own."""
    if augment is None:
        return (tuple(a[batch] for a in data) for batch in batches)
    seeds = rng.integers(2**63, size=len(batches))

    def changed(job: tuple[Array, Any]) -> tuple[Array, ...]:
        batch, seed = job
        x = data[0][batch]
        changed = np.asarray(augment(x, np.random.default_rng(seed)))
        if changed.shape[:1] != x.shape[:1]:
            raise ShapeError(
                f"fit: augment made {changed.shape} of a batch {x.shape}; it must keep the "
                "number of examples, whose labels stay"
            )
        return changed, *(a[batch] for a in data[1:])

    return ahead(changed, zip(batches, seeds, strict=True))


def _epoch(
    state: TrainingState, batches: Iterable[tuple[Array, ...]], loss: Loss
) -> dict[str, Any]:
    """Train on every batch once; the row of the history, without validation."""
    lr = state.optimizer.groups[0].lr
    total, right, size, examples = 0.0, 0.0, 0.0, 0
    for number, (x, *target) in enumerate(batches, 1):
        scores = state.net.forward(x, train=True)
        value, dscores = loss(scores, *target)
        value = float(value)
        if not isfinite(value):
            raise FloatingPointError(
                f"fit: the loss is {value} in epoch {state.epoch}, batch {number}; lower lr "
                f"(now {lr}), scale x to about [0, 1], or check x for NaN"
            )
        state.optimizer.zero_grad()
        state.net.backward_parameters(dscores)
        _call("before_update", state)
        with uninterrupted():
            state.optimizer.step()
            state.step += 1
        total, examples = total + value * len(x), examples + len(x)
        hits = _hits(scores, *target)
        right, size = right + hits[0], size + hits[1]
    return {
        "epoch": state.epoch,
        "loss": total / examples,
        "accuracy": right / size if size else None,
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
    data : (x, y) or (x, y, sample_weight)
    batch_size : int
        Of the predictions; the result does not depend on it.
    loss : function (scores, y) -> (loss, dscores)

    Returns
    -------
    loss : float
    accuracy : float or None
        Share of right answers, weighted where there are weights; None where y does not hold
        classes.

    Raises
    ------
    ShapeError, TypeError, ValueError
        If the data cannot be used.
    """
    x, *target = _checked_data("evaluate", data)
    scores = net.predict(x, batch_size)
    right, size = _hits(scores, *target)
    return loss(scores, *target)[0], right / size if size else None


def _hits(scores: Array, y: Array, weight: Array | None = None) -> tuple[float, float]:
    """How many of the largest scores are those of the class, and of how many; (0, 0) where
    y has no classes.  Weights count an example as so many."""
    if scores.ndim != 2 or y.ndim != 1 or y.dtype.kind not in "iu":
        return 0, 0
    right = scores.argmax(axis=1) == y
    if weight is None:
        return int(np.count_nonzero(right)), len(y)
    return float(weight[right].sum()), float(weight.sum())


def _checked_data(who: str, data: Data) -> tuple[Array, ...]:
    if not isinstance(data, tuple | list) or len(data) not in (2, 3):
        raise TypeError(f"{who}: data must be a pair (x, y), got {type(data).__name__}")
    x, y, *weight = (np.asarray(part) for part in data)
    if x.ndim < 2 or y.ndim < 1 or len(x) != len(y):
        raise ShapeError(
            f"{who}: x {x.shape} and y {y.shape} must have one example after another on "
            "their first axis, as many in both"
        )
    if len(x) == 0:
        raise ShapeError(f"{who}: x {x.shape} holds no examples")
    if weight and weight[0].shape != (len(x),):
        raise ShapeError(
            f"{who}: sample_weight {weight[0].shape} must have shape ({len(x)},), one for each "
            f"example of x {x.shape}"
        )
    if weight and not (np.isfinite(weight[0]).all() and (weight[0] >= 0).all()):
        raise ValueError(f"{who}: sample_weight must be finite and not negative")
    return x, y, *weight


def _checked_callbacks(callbacks: Iterable[Any]) -> list[Any]:
    found = list(callbacks) if isinstance(callbacks, Iterable) else [callbacks]
    for callback in found:
        if isinstance(callback, type) or not any(
            callable(getattr(callback, hook, None)) for hook in HOOKS
        ):
            raise TypeError(
                f"fit: a callback is an object with one of the methods {', '.join(HOOKS)} "
                f"(state), got {callback!r}"
            )
    return found
