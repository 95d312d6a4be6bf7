"""What classifier and regressor share: their data, their training, their settings."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from math import prod
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from ..callbacks import ClipGradients, EarlyStopping
from ..history import History
from ..kernels import ShapeError, threads
from ..kernels.arrays import Array
from ..layers import Layer
from ..optim import SGD
from ..training import fit
from .architectures import Architecture, built, initialize


__all__ = ["Estimator"]


class Estimator(BaseEstimator):  # type: ignore[misc]
    """What classifier and regressor share; they differ in targets, loss and results."""

    def __init__(
        self,
        architecture: Architecture = "auto",
        *,
        image_shape: tuple[int, ...] | None = None,
        hidden: Sequence[int] = (100,),
        dropout: float = 0.0,
        init: Any = None,
        lr: float = 0.05,
        momentum: float = 0.9,
        nesterov: bool = False,
        l2: float = 1e-4,
        l1: float = 0.0,
        max_norm: float | None = None,
        clip_norm: float | None = 1.0,
        epochs: int = 30,
        batch_size: int = 32,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        patience: int = 5,
        min_delta: float = 0.0,
        augment: Callable[[Array, Any], Array] | None = None,
        callbacks: Iterable[Any] = (),
        warm_start: bool = False,
        random_state: Any = None,
        verbose: bool = False,
        dtype: str = "float32",
        n_threads: int | None = None,
    ) -> None:
        self.architecture = architecture
        self.image_shape = image_shape
        self.hidden = hidden
        self.dropout = dropout
        self.init = init
        self.lr = lr
        self.momentum = momentum
        self.nesterov = nesterov
        self.l2 = l2
        self.l1 = l1
        self.max_norm = max_norm
        self.clip_norm = clip_norm
        self.epochs = epochs
        self.batch_size = batch_size
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.min_delta = min_delta
        self.augment = augment
        self.callbacks = callbacks
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose
        self.dtype = dtype
        self.n_threads = n_threads

    # What a subclass knows about its targets

    _loss: Any

    def _learned_targets(self, y: Array, first: bool, classes: Any = None) -> Array:
        """The targets as the loss takes them; `first` when a new network learns them."""
        raise NotImplementedError

    def _outputs(self) -> int:
        raise NotImplementedError

    def _prepared(self, y: Array, weight: Array, first: bool) -> tuple[Array, Array]:
        """Targets and weights as the training takes them."""
        raise NotImplementedError

    # Training

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on examples.

        Parameters
        ----------
        X : array (N, C, H, W), (N, H, W) or (N, features)
        y : array (N,)
        sample_weight : array (N,), optional
            A weight counts an example as so many.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If data or settings cannot be used.
        FloatingPointError
            If the training diverges.
        KeyboardInterrupt
            On Ctrl-C; the estimator is usable, with the training so far.
        """
        again = self.warm_start and hasattr(self, "net_")
        x, y, weight = self._validated(X, y, sample_weight, first=not again)
        self._train(x, self._learned_targets(y, not again), weight, self.epochs, again)
        return self

    def _partial_fit(self, X: Any, y: Any, sample_weight: Any, classes: Any = None) -> Self:
        again = hasattr(self, "net_")
        x, y, weight = self._validated(X, y, sample_weight, first=not again)
        self._train(x, self._learned_targets(y, not again, classes), weight, 1, again, alone=True)
        return self

    def _validated(self, X: Any, y: Any, sample_weight: Any, first: bool) -> tuple[Array, ...]:
        if self.dtype not in ("float32", "float64", np.float32, np.float64):
            raise ValueError(
                f"{type(self).__name__}: dtype must be float32 or float64, got {self.dtype!r}"
            )
        numeric = isinstance(self, RegressorMixin)
        x, y = validate_data(
            self, X, y, reset=first, allow_nd=True, dtype=np.dtype(self.dtype), y_numeric=numeric
        )
        x = self._as_examples(x, first)
        y = column_or_1d(y, warn=True)
        weight = _check_sample_weight(sample_weight, x, dtype=np.float64)
        if not ((weight >= 0).all() and weight.any()):
            raise ValueError(
                f"{type(self).__name__}: sample_weight must not be negative, nor all zero"
            )
        return x, y, weight

    def _as_examples(self, x: Array, first: bool) -> Array:
        """Images (N, C, H, W), or rows (N, features) where nothing says that these are images."""
        shape = self.image_shape
        who = type(self).__name__
        if x.ndim == 2 and shape is not None:
            shape = tuple(shape) if isinstance(shape, Iterable) else ()
            positive = all(isinstance(n, Integral) and n > 0 for n in shape)
            if len(shape) not in (2, 3) or not positive or prod(shape) != x.shape[1]:
                raise ShapeError(
                    f"{who}: image_shape={self.image_shape} is not (H, W) or (C, H, W) of the "
                    f"{x.shape[1]} features of X"
                )
            x = x.reshape(-1, *(1, *shape)[-3:])
        elif x.ndim == 3:
            x = x[:, None]
        elif x.ndim not in (2, 4):
            raise ShapeError(f"{who}: X must be images or rows, got shape {x.shape}")
        given = tuple(shape) if isinstance(shape, Iterable) else ()
        if shape is not None and x.shape[1:] != (1, *given)[-3:]:
            raise ShapeError(
                f"{who}: X has images of shape {x.shape[1:]}, but image_shape={self.image_shape}"
            )
        if first:
            self.input_shape_ = x.shape[1:]
        elif x.shape[1:] != self.input_shape_:
            raise ShapeError(
                f"{who}: X has examples of shape {x.shape[1:]}, but was trained on those of "
                f"{self.input_shape_}"
            )
        return x

    def _train(
        self, x: Array, y: Array, weight: Array, epochs: int, again: bool, alone: bool = False
    ) -> None:
        """`alone`: a call of partial_fit, without stopping."""
        if not isinstance(self.callbacks, Iterable):
            raise TypeError(
                f"{type(self).__name__}: callbacks must be a sequence, () for none, got "
                f"{self.callbacks!r}"
            )
        if not again:
            random = check_random_state(self.random_state)
            self._seed = int(random.randint(2**31 - 1))
            self.net_ = self._network(np.random.default_rng(self._seed))
            self.optimizer_ = self._new_optimizer()
            self.loss_curve_: list[Any] = []
            self.validation_loss_curve_: list[Any] | None = None
            self.best_epoch_: int | None = None
            self.n_iter_ = 0
        else:
            self.optimizer_ = self._next_optimizer(self.optimizer_)
        x, y, weight = canonical(x, y, weight)
        y, weight = self._prepared(y, weight, not again)
        callbacks = list(self.callbacks)
        if self.clip_norm is not None:
            callbacks.insert(0, ClipGradients(self.clip_norm))
        validation = None
        if self.early_stopping and not alone:
            x, y, weight, validation = self._split(x, y, weight, self._seed)
            callbacks.insert(0, EarlyStopping("val_loss", self.patience, self.min_delta))
        with self._thread_limit():
            self.history_ = fit(
                self.net_,
                (x, y),
                self.optimizer_,
                epochs,
                self.batch_size,
                validation,
                callbacks,
                self._seed + self.n_iter_,  # each call draws anew; the validation part stays
                self._loss,
                bool(self.verbose),
                sample_weight=weight / weight.mean(),
                augment=self.augment,
            )
        self._record(self.history_, validation is not None)

    def _split(self, x: Array, y: Array, weight: Array, seed: int) -> tuple[Any, ...]:
        """The training part, and (x, y, weight) to validate on.

        Stratified by class; the only example of a class is for training.
        """
        rows = np.arange(len(y))
        classes = y if isinstance(self, ClassifierMixin) else None
        alone = np.zeros(len(y), bool)
        if classes is not None:
            alone = np.bincount(classes)[classes] == 1
            classes = classes[~alone]
        if np.count_nonzero(~alone) < 2:
            raise ValueError(
                f"{type(self).__name__}: early_stopping=True has nothing to validate on with "
                f"n_samples={len(y)}, each of a class of its own or equal to another"
            )
        fraction, who = self.validation_fraction, type(self).__name__
        if isinstance(fraction, bool) or not isinstance(fraction, Real) or not 0 < fraction < 1:
            raise ValueError(
                f"{who}: validation_fraction must be a number with 0 < fraction < 1, got "
                f"{fraction!r}"
            )
        try:
            training, held = train_test_split(
                rows[~alone], test_size=float(fraction), stratify=classes, random_state=seed
            )
        except ValueError as error:
            raise ValueError(
                f"{who}: validation_fraction={fraction} of {len(y)} different examples leaves one "
                f"part without an example of each class; change it, or give more examples ({error})"
            ) from error
        training = np.concatenate([training, rows[alone]])
        validation = x[held], y[held], weight[held] / weight[held].mean()
        return x[training], y[training], weight[training], validation

    def _record(self, history: History, validated: bool) -> None:
        before = self.n_iter_
        self.n_iter_ = before + len(history)
        self.best_epoch_ = None
        self.loss_curve_ = self.loss_curve_ + history["loss"]
        if validated:
            self.validation_loss_curve_ = (self.validation_loss_curve_ or []) + history["val_loss"]
        if history.best_epoch is not None:
            self.best_epoch_ = before + history.best_epoch
        if history.interrupted:
            raise KeyboardInterrupt

    def _new_optimizer(self) -> SGD:
        return SGD(
            self.net_.parameters(),
            self.lr,
            self.momentum,
            self.nesterov,
            self.l2,
            self.l1,
            self.max_norm,
        )

    def _next_optimizer(self, before: SGD) -> SGD:
        """One with the settings of now, which goes on with the velocities there are."""
        optimizer = self._new_optimizer()
        if optimizer.groups[0].momentum and before.groups[0].momentum:
            optimizer.groups[0].velocities = before.groups[0].velocities
        return optimizer

    def _thread_limit(self) -> AbstractContextManager[Any]:
        return nullcontext() if self.n_threads is None else threads(self.n_threads)

    def _network(self, rng: np.random.Generator) -> Layer:
        net = built(
            self.architecture, self.input_shape_, self._outputs(), self.hidden, self.dropout, rng
        )
        if self.init is not None:
            if not isinstance(self.architecture, str):
                raise ValueError(
                    f"{type(self).__name__}: init={self.init!r} is for the architectures with a "
                    "name; layers begin with the weights that they have"
                )
            initialize(net, self.init, rng)
        net = net.astype(self.dtype)
        made = net.output_shape((1, *self.input_shape_))
        if made != (1, self._outputs()):
            raise ShapeError(
                f"{type(self).__name__}: the architecture makes {made[1:]} of an example "
                f"{self.input_shape_}, but {self._outputs()} outputs are needed"
            )
        return net

    def _scores(self, X: Any) -> Array:
        check_is_fitted(self)
        x = validate_data(self, X, reset=False, allow_nd=True, dtype=np.dtype(self.dtype))
        with self._thread_limit():
            return self.net_.predict(self._as_examples(x, first=False)).astype(np.float64)


def canonical(x: Array, y: Array, weight: Array) -> tuple[Array, Array, Array]:
    """Equal examples merged into one of their weight, those of weight 0 left out, in an
    order that only their content decides: that of a digest of their bytes."""
    found: dict[bytes, list[Any]] = {}  # digest: [first index, weight]
    for i in np.flatnonzero(weight):
        digest = hashlib.blake2b(y[i].tobytes(), digest_size=16)
        digest.update(np.ascontiguousarray(x[i]).data)
        found.setdefault(digest.digest(), [i, 0.0])[1] += weight[i]
    indices, weights = zip(*(found[digest] for digest in sorted(found)), strict=True)
    chosen = np.asarray(indices)
    return x[chosen], y[chosen], np.asarray(weights)
