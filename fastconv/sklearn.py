"""Networks as scikit-learn estimators.

They take images (N, C, H, W), grey images (N, H, W), or flat rows (N, features), with
`image_shape` to say what images these are.  Whatever scikit-learn does with an estimator
works: pipelines, cross-validation, searches, learning curves, in parallel.

joblib's processes get a share of the processors each, which fastconv's threads keep to;
its threads share fastconv's one pool, of which `n_threads` limits the part of one estimator.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from math import prod
from numbers import Integral, Real
from typing import Any, Self

import numpy as np


try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.model_selection import train_test_split
    from sklearn.utils import check_random_state, column_or_1d
    from sklearn.utils.class_weight import compute_class_weight
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
except ImportError as error:
    raise ImportError(
        "the estimators need scikit-learn 1.6 or newer: pip install 'fastconv[sklearn]'"
    ) from error

from . import models
from .callbacks import ClipGradients, EarlyStopping
from .history import History
from .init import initialized
from .kernels import ShapeError, threads
from .kernels.arrays import Array
from .layers import Conv2d, Layer, Linear, Sequential
from .losses import mean_squared_error, softmax, softmax_cross_entropy
from .optim import SGD
from .training import fit


__all__ = ["CNNClassifier", "CNNRegressor"]

Architecture = str | Layer | Sequence[Layer] | Callable[[tuple[int, ...], int, Any], Layer]

_NAMES = ("auto", "alexnet", "cnn", "lenet5", "mlp")


class _Estimator(BaseEstimator):  # type: ignore[misc]
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
        x, y, weight = _canonical(x, y, weight)
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
        net = _built(
            self.architecture, self.input_shape_, self._outputs(), self.hidden, self.dropout, rng
        )
        if self.init is not None:
            if not isinstance(self.architecture, str):
                raise ValueError(
                    f"{type(self).__name__}: init={self.init!r} is for the architectures with a "
                    "name; layers begin with the weights that they have"
                )
            _initialize(net, self.init, rng)
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


class CNNClassifier(ClassifierMixin, _Estimator):  # type: ignore[misc]
    """A network that tells classes, trained by stochastic gradient descent.

    An example that occurs twice counts as one of weight 2, and the result does not depend
    on the order of the examples: equal ones are merged, and all are put in an order that
    only their content decides, before they are shuffled by `random_state`.

    Parameters
    ----------
    architecture : str, Layer, list of Layer, or function
        "mlp" (a multilayer perceptron of `hidden` units), "cnn" (two convolutions, for images of
        any size), "lenet5" (28×28), "alexnet" (227×227); "auto": "mlp" for flat rows, "lenet5"
        for images of 28×28, "cnn" for others.  Layers are copied, and begin with the weights
        they have.  A function (input_shape, outputs, rng) returns a Layer that ends in so
        many outputs.
    image_shape : (H, W) or (C, H, W), optional
        Of the images that flat rows hold.
    hidden : sequence of int
        Units of the hidden layers of "mlp".
    dropout : float
        Of the named architectures, before each Linear layer but that of the inputs.
    init : str or function (shape, rng) -> array, optional
        How the weights of the named architectures begin: a name of :mod:`fastconv.init`;
        None is "he_normal".
    lr, momentum, nesterov, l2, l1, max_norm
        As in :class:`fastconv.SGD`.
    clip_norm : float, optional
        Limit of the gradients' norm, without which features far from [-1, 1] diverge; see
        :class:`fastconv.callbacks.ClipGradients`.
    epochs, batch_size : int
    early_stopping : bool
        Hold a part of the examples out, stratified by class, and stop after `patience`
        epochs without an improvement of its loss by more than `min_delta`; the best weights
        are restored.
    validation_fraction : float
        That part.
    patience, min_delta
        As in :class:`fastconv.callbacks.EarlyStopping`.
    augment : function (x, rng) -> x, optional
        As in :func:`fastconv.fit`.
    callbacks : objects
        As in :func:`fastconv.fit`.
    class_weight : dict, "balanced" or None
        Factors of the examples' weights by class.
    warm_start : bool
        Another `fit` goes on with the network as it is, by the settings of now; of the same
        examples, the same are the validation part.
    random_state : int, RandomState or None
        Of weights, shuffling, dropout, augmentation and the validation part.  Drawn from
        when a new network begins; further calls shuffle and augment differently.
    verbose : bool
        Show the progress on standard error.
    dtype : "float32" or "float64"
        Of the network.
    n_threads : int, optional
        Of the kernels at most, for estimators that threads train side by side; see
        :class:`fastconv.threads`.

    Attributes
    ----------
    classes_ : array
    net_ : Layer
    optimizer_ : SGD
    history_ : History
        Of the last call.
    loss_curve_, validation_loss_curve_ : list of float
        By epoch; the second None without early stopping.
    best_epoch_ : int or None
        The epoch, from 1, whose weights early stopping restored.
    n_iter_ : int
        Epochs trained.
    input_shape_ : tuple of int
        Of an example.
    n_features_in_ : int
    """

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
        class_weight: Any = None,
        warm_start: bool = False,
        random_state: Any = None,
        verbose: bool = False,
        dtype: str = "float32",
        n_threads: int | None = None,
    ) -> None:
        settings = dict(locals())
        for name in ("self", "class_weight", "__class__"):
            settings.pop(name, None)
        super().__init__(**settings)
        self.class_weight = class_weight

    _loss = staticmethod(softmax_cross_entropy)

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """Go on for one epoch of these examples.

        Parameters
        ----------
        X, y, sample_weight
            As in :meth:`fit`.
        classes : array, optional
            All classes that will ever come; needed in the first call.

        Returns
        -------
        self
        """
        return self._partial_fit(X, y, sample_weight, classes)

    def predict_proba(self, X: Any) -> Array:
        """Probabilities (N, classes), in the order of ``classes_``."""
        return softmax(self._scores(X))

    def predict(self, X: Any) -> Array:
        """The most probable class of each example."""
        best = self._scores(X).argmax(axis=1)
        return np.asarray(self.classes_[best])

    def _outputs(self) -> int:
        return len(self.classes_)

    def _learned_targets(self, y: Array, first: bool, classes: Any = None) -> Array:
        check_classification_targets(y)
        if first:
            self.classes_ = np.unique(y if classes is None else classes)
        elif classes is not None and not np.array_equal(np.unique(classes), self.classes_):
            raise ValueError(
                f"CNNClassifier: classes={classes} are not those of before, {self.classes_}"
            )
        unknown = np.setdiff1d(y, self.classes_)
        if len(unknown):
            raise ValueError(
                f"CNNClassifier: y has the classes {unknown}, which the network does not know; it "
                f"has {self.classes_}"
            )
        return np.searchsorted(self.classes_, y)

    def _prepared(self, y: Array, weight: Array, first: bool) -> tuple[Array, Array]:
        if self.class_weight is None:
            return y, weight
        if isinstance(self.class_weight, str) and self.class_weight == "balanced":
            count = np.bincount(y, weight, len(self.classes_))
            return y, weight * (weight.sum() / np.count_nonzero(count)) / count[y]
        factors = compute_class_weight(self.class_weight, classes=self.classes_, y=self.classes_[y])
        if not (np.isfinite(factors).all() and (factors >= 0).all() and factors[y].any()):
            raise ValueError(
                f"CNNClassifier: class_weight={self.class_weight} must hold finite numbers, none "
                "negative, and not 0 for every class of y"
            )
        return y, weight * factors[y]


class CNNRegressor(RegressorMixin, _Estimator):  # type: ignore[misc]
    """A network that estimates a number, trained by stochastic gradient descent.

    It learns (y - mean) / standard deviation of the y it is first given, so that targets
    need not be near 1; ``loss_curve_`` is the mean square in these units.

    Parameters and attributes are those of :class:`CNNClassifier`, without classes.
    """

    @staticmethod
    def _loss(scores: Array, y: Array, sample_weight: Any = None) -> tuple[float, Array]:
        return mean_squared_error(scores, y[:, None], sample_weight)

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Go on for one epoch of these examples; mean and deviation stay those of the first.

        Parameters
        ----------
        X, y, sample_weight
            As in :meth:`fit`.

        Returns
        -------
        self
        """
        return self._partial_fit(X, y, sample_weight)

    def predict(self, X: Any) -> Array:
        """The estimate for each example, (N,)."""
        scores = self._scores(X)[:, 0]
        return np.asarray(scores * self.y_scale_ + self.y_mean_)

    def _outputs(self) -> int:
        return 1

    def _learned_targets(self, y: Array, first: bool, classes: Any = None) -> Array:
        return y.astype(np.float64)

    def _prepared(self, y: Array, weight: Array, first: bool) -> tuple[Array, Array]:
        if first:
            self.y_mean_ = np.average(y, weights=weight)
            deviation = np.sqrt(np.average((y - self.y_mean_) ** 2, weights=weight))
            self.y_scale_ = deviation if deviation > 0 else 1.0
        return (y - self.y_mean_) / self.y_scale_, weight


def _canonical(x: Array, y: Array, weight: Array) -> tuple[Array, Array, Array]:
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


def _built(
    architecture: Any,
    shape: tuple[int, ...],
    outputs: int,
    hidden: Sequence[int],
    dropout: float,
    rng: np.random.Generator,
) -> Layer:
    """The network that an estimator's `architecture` asks for."""
    if isinstance(architecture, Layer):
        return copy.deepcopy(architecture)
    if isinstance(architecture, list | tuple):
        return Sequential(*copy.deepcopy(list(architecture)))
    if callable(architecture):
        net = architecture(shape, outputs, rng)
        if not isinstance(net, Layer):
            raise TypeError(
                f"architecture={architecture!r} must return a Layer, got {type(net).__name__}"
            )
        return net
    if not isinstance(architecture, str) or architecture not in _NAMES:
        raise ValueError(
            f"architecture={architecture!r} is unknown; use one of {_NAMES}, a list of layers, or "
            "a function (input_shape, outputs, rng) -> Layer"
        )
    if architecture == "auto":
        architecture = _automatic(shape)
    if architecture == "mlp":
        if isinstance(hidden, str) or not isinstance(hidden, Iterable):
            raise TypeError(f"hidden={hidden!r} must be a sequence of sizes, e.g. (100,)")
        sizes = (prod(shape), *hidden, outputs)
        return models.mlp(*sizes, dropout=[0.0, *(dropout for _ in hidden)], rng=rng)
    if len(shape) != 3:
        raise ShapeError(
            f"architecture={architecture!r} is for images, but X has {shape[0]} features in rows; "
            "give image_shape"
        )
    if architecture == "cnn":
        return models.small_cnn(shape, outputs, rng, dropout)
    if architecture == "lenet5":
        return models.lenet5(outputs, shape[0], rng, dropout)
    return models.alexnet(outputs, rng, dropout)


def _initialize(net: Layer, init: Any, rng: np.random.Generator) -> None:
    """Draw the weights of a network again."""
    for name, layer in net.leaves():
        if isinstance(layer, Conv2d | Linear):
            weight = layer.weight.read
            groups = layer.geometry["groups"] if isinstance(layer, Conv2d) else 1
            layer.weight.value = initialized(name, init, weight.shape, rng, weight.dtype, groups)


def _automatic(shape: tuple[int, ...]) -> str:
    if len(shape) == 1:
        return "mlp"
    return "lenet5" if shape[1:] == (28, 28) else "cnn"
