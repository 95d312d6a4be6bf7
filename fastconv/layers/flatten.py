"""From feature maps to feature vectors."""

from __future__ import annotations

from math import prod

from ..kernels import ShapeError
from ..kernels.arrays import Array, is_channels_last, to_channels_last, to_rows
from .base import Layer, as_real


__all__ = ["Flatten"]


class Flatten(Layer):
    """(N, C, H, W) to (N, C·H·W), in that order whatever the memory order of x."""

    def forward(self, x: Array, train: bool = False) -> Array:
        x = as_real("Flatten", "x", x)
        y = to_rows(x, self.output_shape(x.shape))
        if train:
            self._keep((x.shape, is_channels_last(x)), y)
        return y

    def backward(self, dy: Array) -> Array:
        dy, (shape, channels_last) = self._kept(dy)
        dx = dy.reshape(shape)
        return to_channels_last(dx) if channels_last else dx

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        if not input_shape:
            raise ShapeError("Flatten: x must have a first axis of examples, got a scalar")
        return input_shape[0], prod(input_shape[1:])
