"""The regressor."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import RegressorMixin

from ..kernels.arrays import Array
from ..losses import mean_squared_error
from .base import Estimator


__all__ = ["CNNRegressor"]


class CNNRegressor(RegressorMixin, Estimator):  # type: ignore[misc]
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
