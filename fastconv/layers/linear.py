"""The fully connected layer."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..init import initialized
from ..kernels import ShapeError, conv2d, conv2d_db, conv2d_dw, conv2d_dx
from ..kernels.arrays import Array
from ..kernels.dims import as_int
from ..parameter import Parameter, parameter_dtype
from .base import Layer, as_real, call


__all__ = ["Linear"]


def _images(a: Array) -> Array:
    """A matrix (N, F) as N images of one pixel, (N, F, 1, 1): a view.

    The layer is then a 1×1 convolution, and its products run in the kernels' own thread
    pool: calling BLAS in between would leave its threads spinning against ours.  As one
    image of N pixels the compiled kernels are no faster, and the NumPy backend would be (up
    to 80 times), but the bits of a result would depend on the batch it came in.
    """
    return a[:, :, None, None]


class Linear(Layer):
    """y = x · weightᵀ + bias.

    Parameters
    ----------
    in_features, out_features : int
    bias, init, rng, dtype
        As in :class:`Conv2d`.

    Attributes
    ----------
    weight : Parameter (out_features, in_features)
    bias : Parameter (out_features,) or None

    Raises
    ------
    TypeError, ValueError
        If an argument has a value that cannot be.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        init: Any = "he_normal",
        rng: Any = None,
        dtype: Any = np.float32,
    ) -> None:
        for name, size in {"in_features": in_features, "out_features": out_features}.items():
            if as_int(size, "Linear", name) < 1:
                raise ValueError(f"Linear: {name} must be at least 1, got {size}")
        shape, found = (out_features, in_features), parameter_dtype("Linear", dtype)
        value = initialized("Linear", init, shape, np.random.default_rng(rng), found)
        self.weight = Parameter(value, name="weight")
        self.bias = (
            Parameter(np.zeros(out_features, found), name="bias", decay=False) if bias else None
        )

    def forward(self, x: Array, train: bool = False, activation: str | None = None) -> Array:
        x = as_real("Linear", "x", x, self.weight.read.dtype)
        shape = self.output_shape(x.shape)
        weight = _images(self.weight.read) if train else self.weight.prepared()
        bias = None
        if self.bias is not None:
            bias = self.bias.read if train else self.bias.prepared()
        y = conv2d(_images(x), weight, bias, activation=activation).reshape(shape)
        if train:
            self._keep(x, y)
        return y

    def backward(self, dy: Array) -> Array:
        dy, x = self._kept(dy)
        self.backward_parameters(dy)
        dx = conv2d_dx(_images(dy), _images(self.weight.read), (*x.shape, 1, 1))
        return dx.reshape(x.shape)

    def backward_parameters(self, dy: Array) -> None:
        dy, x = self._kept(dy)
        shape = self.weight.read.shape
        room = self.weight.room()
        out = None if room is None else _images(room)
        dw = conv2d_dw(_images(dy), _images(x), (*shape, 1, 1), out=out)
        self.weight.accumulate(dw.reshape(shape))
        if self.bias is not None:
            self.bias.accumulate(conv2d_db(_images(dy)))

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        out_features, in_features = self.weight.read.shape
        if len(input_shape) == 2 and input_shape[1] == in_features:
            return input_shape[0], out_features
        fix = (
            f"make the layer Linear({input_shape[1]}, {out_features})"
            if len(input_shape) == 2
            else "put Flatten() before the layer"
        )
        raise ShapeError(
            f"{self!r}: x has shape {tuple(input_shape)}, but the layer reads "
            f"(N, {in_features}); {fix}"
        )

    def __repr__(self) -> str:
        out_features, in_features = self.weight.read.shape
        return call("Linear", in_features, out_features, **({} if self.bias else {"bias": False}))
