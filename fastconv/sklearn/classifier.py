"""The classifier."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets

from ..kernels.arrays import Array
from ..losses import softmax, softmax_cross_entropy
from .architectures import Architecture
from .base import Estimator


__all__ = ["CNNClassifier"]


class CNNClassifier(ClassifierMixin, Estimator):  # type: ignore[misc]
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
        # scikit-learn reads the names of the settings from this signature: all stand in it.
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
