"""The pooling layers."""

from __future__ import annotations

from typing import Any

from ..kernels import (
    PoolDims,
    ShapeError,
    avg_pool2d,
    avg_pool2d_dx,
    max_pool2d,
    max_pool2d_dx,
)
from ..kernels.arrays import Array
from .base import Layer, Window, as_real, call


__all__ = ["AvgPool2d", "GlobalAvgPool2d", "MaxPool2d"]

_DEFAULTS = {"padding": 0, "dilation": 1, "ceil_mode": False}


class _Pool2d(Layer):
    """The geometry that maximum and average have in common."""

    def __init__(self, kernel_size: Any, stride: Any, padding: Any, **options: Any) -> None:
        self.geometry: dict[str, Any] = {
            "kernel_size": kernel_size,
            "stride": kernel_size if stride is None else stride,
            "padding": padding,
            **options,
        }
        # a plane as large as an index allows, so that only the options can be wrong
        PoolDims.of((1, 1, 1 << 15, 1 << 15), **self.geometry, verb=type(self).__name__)

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        return self._dims(input_shape).y_shape

    def window(self, input_shape: tuple[int, ...]) -> Window:
        dims = self._dims(input_shape)
        return dims.window, dims.stride

    def _dims(self, input_shape: tuple[int, ...]) -> PoolDims:
        return PoolDims.of(tuple(input_shape), **self.geometry, verb=type(self).__name__)

    def __repr__(self) -> str:
        kernel_size, stride, *_ = self.geometry.values()
        unusual = {
            k: self.geometry[k] for k, v in _DEFAULTS.items() if self.geometry.get(k, v) != v
        }
        return call(type(self).__name__, kernel_size, stride, **unusual)


class MaxPool2d(_Pool2d):
    """The largest cell of each window; see :func:`max_pool2d`."""

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        *,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation=dilation, ceil_mode=ceil_mode)

    def forward(self, x: Array, train: bool = False) -> Array:
        x = as_real("MaxPool2d", "x", x)
        self._dims(x.shape)
        if train:
            y, indices = max_pool2d(x, **self.geometry, return_indices=True)
            self._keep((indices, x.shape), y)
            return y
        return max_pool2d(x, **self.geometry, return_indices=False)

    def backward(self, dy: Array) -> Array:
        dy, (indices, shape) = self._kept(dy)
        return max_pool2d_dx(dy, indices, shape)


class AvgPool2d(_Pool2d):
    """The mean of each window; see :func:`avg_pool2d`."""

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode=ceil_mode)
        self.count_include_pad = count_include_pad

    def forward(self, x: Array, train: bool = False) -> Array:
        x = as_real("AvgPool2d", "x", x)
        self._dims(x.shape)
        y = avg_pool2d(x, **self.geometry, count_include_pad=self.count_include_pad)
        if train:
            self._keep(x.shape, y)
        return y

    def backward(self, dy: Array) -> Array:
        dy, shape = self._kept(dy)
        return avg_pool2d_dx(dy, shape, **self.geometry, count_include_pad=self.count_include_pad)


class GlobalAvgPool2d(Layer):
    """The mean of each channel: (N, C, H, W) to (N, C, 1, 1)."""

    def forward(self, x: Array, train: bool = False) -> Array:
        x = as_real("GlobalAvgPool2d", "x", x)
        y = avg_pool2d(x, self._plane(x.shape))
        if train:
            self._keep(x.shape, y)
        return y

    def backward(self, dy: Array) -> Array:
        dy, shape = self._kept(dy)
        return avg_pool2d_dx(dy, shape, self._plane(shape))

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        self._plane(input_shape)
        return (*input_shape[:2], 1, 1)

    def window(self, input_shape: tuple[int, ...]) -> Window:
        plane = self._plane(input_shape)
        return plane, plane

    def _plane(self, shape: tuple[int, ...]) -> tuple[int, int]:
        if len(shape) != 4:
            raise ShapeError(f"GlobalAvgPool2d: x must have shape (N, C, H, W), got {tuple(shape)}")
        return shape[2], shape[3]
