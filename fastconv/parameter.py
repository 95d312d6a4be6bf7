"""What training changes: a value and its gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

from .kernels.arrays import Array


__all__ = ["Parameter", "parameter_dtype"]


def parameter_dtype(who: str, dtype: Any) -> np.dtype[Any]:
    """`dtype` as a NumPy dtype that the kernels compute in.

    Raises
    ------
    TypeError
        If it is neither float32 nor float64.
    """
    found: np.dtype[Any] = np.dtype(dtype)
    if found not in (np.float32, np.float64):
        raise TypeError(f"{who}: dtype must be float32 or float64, got {found}")
    return found


class Parameter:
    """A trained array and the gradient of the loss with respect to it.

    Parameters
    ----------
    value : array
    grad : array, optional
        None until a backward pass, and again after ``zero_grad``.
    name : str
        As in the layer: "weight" or "bias".
    decay : bool
        Whether L1, L2 and max-norm apply; biases are left alone.
    """

    __slots__ = ("decay", "grad", "name", "value")

    def __init__(
        self, value: Array, grad: Array | None = None, *, name: str = "", decay: bool = True
    ) -> None:
        self.value = value
        self.grad = grad
        self.name = name
        self.decay = decay

    def accumulate(self, grad: Array) -> None:
        """Add a gradient; the first one after ``zero_grad`` is kept as it is, not copied."""
        if self.grad is None:
            self.grad = grad
        else:
            self.grad += grad

    def zero_grad(self) -> None:
        self.grad = None

    def __repr__(self) -> str:
        return f"Parameter({self.name or 'value'}, {self.value.shape}, {self.value.dtype})"
