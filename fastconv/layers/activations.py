"""Elementwise activations.

Each is monotonic, so its derivative can be told from its result: backward keeps y, which
the next layer keeps anyway, and not x.
"""

from __future__ import annotations

import numpy as np

from ..kernels import relu, relu_dx
from ..kernels.arrays import Array
from .base import Layer, as_real, call


__all__ = ["LeakyReLU", "ReLU", "Sigmoid", "Tanh"]


class _Activation(Layer):
    def forward(self, x: Array, train: bool = False) -> Array:
        y = self._function(as_real(type(self).__name__, "x", x))
        if train:
            self._keep(y, y)
        return y

    def backward(self, dy: Array) -> Array:
        dy, y = self._kept(dy)
        return self._gradient(dy, y)

    def _function(self, x: Array) -> Array:
        raise NotImplementedError

    def _gradient(self, dy: Array, y: Array) -> Array:
        raise NotImplementedError


class ReLU(_Activation):
    """max(x, 0); the gradient at 0 is 0."""

    def _function(self, x: Array) -> Array:
        return relu(x)

    def _gradient(self, dy: Array, y: Array) -> Array:
        return relu_dx(dy, y)


class LeakyReLU(_Activation):
    """x where x > 0, else negative_slope · x.

    Raises
    ------
    ValueError
        If the slope is negative: the sign of x could not be told from y.
    """

    def __init__(self, negative_slope: float = 0.01) -> None:
        if not 0 <= negative_slope < float("inf"):
            raise ValueError(
                f"LeakyReLU: negative_slope must be at least 0 and finite, got {negative_slope}"
            )
        self.negative_slope = float(negative_slope)

    def _function(self, x: Array) -> Array:
        # np.where takes ten times as long where memory is channels-last
        return np.asarray(np.maximum(x, 0) + self.negative_slope * np.minimum(x, 0))

    def _gradient(self, dy: Array, y: Array) -> Array:
        return np.asarray(dy * (y > 0) + self.negative_slope * (dy * (y <= 0)))

    def __repr__(self) -> str:
        return call("LeakyReLU", self.negative_slope)


class Sigmoid(_Activation):
    """1 / (1 + exp(-x)), without overflow for any x."""

    def _function(self, x: Array) -> Array:
        small = np.exp(-np.abs(x))
        return np.asarray(np.where(x < 0, small, 1) / (1 + small))

    def _gradient(self, dy: Array, y: Array) -> Array:
        return np.asarray(dy * y * (1 - y))


class Tanh(_Activation):
    """tanh(x)."""

    def _function(self, x: Array) -> Array:
        return np.tanh(x)

    def _gradient(self, dy: Array, y: Array) -> Array:
        return np.asarray(dy * (1 - y * y))
