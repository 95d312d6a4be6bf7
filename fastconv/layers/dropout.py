"""Dropout."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..kernels import dropout
from ..kernels.arrays import Array
from .base import Layer, as_real, call


__all__ = ["Dropout"]


class Dropout(Layer):
    """Zero each unit with chance p in training; nothing at prediction.

    The inverted form (Srivastava et al. 2014, section 10): what is kept is divided by
    1 - p, so that the expectation is x, and prediction needs no scaled weights.

    Parameters
    ----------
    p : float
        Chance of zeroing, 0 <= p < 1.
    rng : int, Generator or None
        The layer's own source of chance.

    Raises
    ------
    ValueError
        If p is not in [0, 1).
    """

    def __init__(self, p: float = 0.5, rng: Any = None) -> None:
        if not 0 <= p < 1:
            raise ValueError(f"Dropout: p is the chance of zeroing, 0 <= p < 1, got {p}")
        self.p = float(p)
        self.rng = np.random.default_rng(rng)

    def forward(self, x: Array, train: bool = False) -> Array:
        x = as_real("Dropout", "x", x)
        if not train:
            return x
        chance = np.asarray(self.rng.random(x.shape, np.float32), x.dtype)
        y = dropout(x, chance, self.p)
        self._keep(chance, y)
        return y

    def backward(self, dy: Array) -> Array:
        dy, chance = self._kept(dy)
        return dropout(dy, chance, self.p)

    def reseed(self, seeds: np.random.SeedSequence) -> None:
        self.rng = np.random.default_rng(seeds)

    def __repr__(self) -> str:
        return call("Dropout", self.p)
