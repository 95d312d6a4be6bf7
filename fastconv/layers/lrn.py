"""Local response normalisation."""

from __future__ import annotations

from typing import Any

from ..kernels import local_response_norm, local_response_norm_dx
from ..kernels.arrays import Array
from .base import Layer, as_real, call


__all__ = ["LocalResponseNorm"]


class LocalResponseNorm(Layer):
    """Normalise across `size` neighbouring channels; see :func:`local_response_norm`.

    alpha is divided by size, as in PyTorch; for the alpha of the AlexNet paper give
    size·alpha.
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        self.size = size
        self.constants: dict[str, Any] = {"alpha": alpha, "beta": beta, "k": k}

    def forward(self, x: Array, train: bool = False) -> Array:
        x = as_real("LocalResponseNorm", "x", x)
        y = local_response_norm(x, self.size, **self.constants)
        if train:
            self._keep(x, y)
        return y

    def backward(self, dy: Array) -> Array:
        dy, x = self._kept(dy)
        return local_response_norm_dx(dy, x, self.size, **self.constants)

    def __repr__(self) -> str:
        return call("LocalResponseNorm", self.size, **self.constants)
