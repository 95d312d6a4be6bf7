"""The convolution layer."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..init import initialized
from ..kernels import ConvDims, ShapeError, conv2d, conv2d_db, conv2d_dw, conv2d_dx
from ..kernels.arrays import Array
from ..kernels.dims import as_int, as_pads, as_pair
from ..parameter import Parameter, parameter_dtype
from .base import Layer, Window, as_real, call


__all__ = ["Conv2d"]

_DEFAULTS = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1, "bias": True}


class Conv2d(Layer):
    """2-D convolution (cross-correlation) with learned filters; see :func:`conv2d`.

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size, stride, padding, dilation, groups
        As in :func:`conv2d`.
    bias : bool
    init : str or callable (shape, rng) -> array
        How the weight begins: a name of :mod:`fastconv.init`.  The bias begins at 0.
    rng : int, Generator or None
        Where the weight is drawn from.
    dtype : float32 or float64

    Attributes
    ----------
    weight : Parameter (out_channels, in_channels/groups, KH, KW)
    bias : Parameter (out_channels,) or None

    Raises
    ------
    TypeError, ValueError
        If an argument has a value that cannot be.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        init: Any = "he_normal",
        rng: Any = None,
        dtype: Any = np.float32,
    ) -> None:
        sizes = {"in_channels": in_channels, "out_channels": out_channels, "groups": groups}
        for name, size in sizes.items():
            if as_int(size, "Conv2d", name) < 1:
                raise ValueError(f"Conv2d: {name} must be at least 1, got {size}")
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"Conv2d: groups={groups} must divide both in_channels={in_channels} "
                f"and out_channels={out_channels}"
            )
        kernel = as_pair(kernel_size, "Conv2d", "kernel_size", 1)
        strides = as_pair(stride, "Conv2d", "stride", 1)
        as_pair(dilation, "Conv2d", "dilation", 1)
        as_pads(padding, "Conv2d", kernel, kernel, strides)
        self.geometry: dict[str, Any] = {
            "stride": stride,
            "padding": padding,
            "dilation": dilation,
            "groups": groups,
        }
        options = {**self.geometry, "bias": bool(bias)}
        unusual = {k: v for k, v in options.items() if v != _DEFAULTS[k]}
        self._call = call("Conv2d", in_channels, out_channels, kernel_size, **unusual)
        found = parameter_dtype("Conv2d", dtype)
        shape = (out_channels, in_channels // groups, *kernel)
        value = initialized("Conv2d", init, shape, np.random.default_rng(rng), found, groups)
        self.weight = Parameter(value, name="weight")
        self.bias = (
            Parameter(np.zeros(out_channels, found), name="bias", decay=False) if bias else None
        )

    def forward(self, x: Array, train: bool = False, activation: str | None = None) -> Array:
        x = as_real("Conv2d", "x", x, self.weight.read.dtype)
        weight = self.weight.read if train else self.weight.prepared()
        bias = None
        if self.bias is not None:
            bias = self.bias.read if train else self.bias.prepared()
        try:
            y = conv2d(x, weight, bias, activation=activation, **self.geometry)
        except ShapeError:
            self._dims(x.shape)  # raises with the layer's own words
            raise
        if train:
            self._keep(x, y)
        return y

    def backward(self, dy: Array) -> Array:
        dy, x = self._kept(dy)
        self.backward_parameters(dy)
        return conv2d_dx(dy, self.weight.read, x.shape, **self.geometry)

    def backward_parameters(self, dy: Array) -> None:
        dy, x = self._kept(dy)
        shape, room = self.weight.read.shape, self.weight.room()
        self.weight.accumulate(conv2d_dw(dy, x, shape, out=room, **self.geometry))
        if self.bias is not None:
            self.bias.accumulate(conv2d_db(dy))

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        return self._dims(tuple(input_shape)).y_shape

    def window(self, input_shape: tuple[int, ...]) -> Window:
        dims = self._dims(tuple(input_shape))
        return dims.window, dims.stride

    def _dims(self, x_shape: tuple[int, ...]) -> ConvDims:
        channels = self.weight.read.shape[1] * self.geometry["groups"]
        if len(x_shape) != 4 or x_shape[1] != channels:
            raise ShapeError(
                f"{self!r}: x has shape {x_shape}, but the layer reads (N, {channels}, H, W); "
                "channels are the second axis (images (N, H, W) need x[:, None], "
                "(N, H, W, C) need x.transpose(0, 3, 1, 2))"
            )
        return ConvDims.of(x_shape, self.weight.read.shape, **self.geometry, verb="Conv2d")

    def __repr__(self) -> str:
        return self._call
