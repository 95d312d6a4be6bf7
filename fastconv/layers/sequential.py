"""Layers in a row: a network."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from typing import Any, TypeGuard

import numpy as np

from ..kernels import relu_dx
from ..kernels.arrays import Array, to_channels_last
from ..kernels.recording import is_recording
from ..parameter import Parameter
from ..summary import Summary, summary
from .activations import ReLU
from .base import Layer, as_real
from .conv import Conv2d
from .linear import Linear
from .pooling import MaxPool2d
from .replay import Replay


__all__ = ["Sequential"]


# Fewer channels do not fill the lanes of a vector; columns of planes do (LeNet-5 on Zen 4, NCHW and
# channels-last: a step of 64 images 2.62 and 2.74 ms, a prediction of one 18.6 and 19.8 us).
_FEW_FILTERS = 16


def _applies(layer: Layer, after: Layer) -> TypeGuard[Conv2d | Linear]:
    """Whether the layer's kernel can apply the ReLU behind it to each result at once."""
    return type(layer) in (Conv2d, Linear) and type(after) is ReLU


class Sequential(Layer):
    """Each layer's result is the next one's input.

    Inputs of any real dtype are converted to that of the parameters, and images to
    channels-last memory, in which they stay between the layers; where the first convolution
    has fewer than 16 filters, in the memory order that they come in.  A ReLU behind a Conv2d
    or Linear is computed with that layer's result.

    Parameters
    ----------
    *layers : Layer
        May be Sequential themselves.

    Raises
    ------
    TypeError, ValueError
        If something else than a layer is given, or one layer twice.
    """

    _replay: Replay | None = None

    def __init__(self, *layers: Layer) -> None:
        self.layers: list[Layer] = []
        for layer in layers:
            self.append(layer)

    def append(self, layer: Layer) -> None:
        """Put a layer at the end."""
        if not isinstance(layer, Layer):
            fix = "; give the layers one by one: Sequential(*layers)"
            raise TypeError(
                f"Sequential: layer {len(self.layers)} must be a Layer, got "
                f"{type(layer).__name__}{fix if isinstance(layer, list | tuple) else ''}"
            )
        mine = {id(leaf) for _, leaf in self.leaves()}
        if any(id(leaf) in mine for _, leaf in layer.leaves()):
            raise ValueError(
                f"Sequential: {layer!r} is in the network already, and keeps one forward pass "
                "only; make another layer"
            )
        self.layers.append(layer)

    def forward(self, x: Array, train: bool = False) -> Array:
        if train or is_recording():
            return self._forward(x, train)
        x = np.asarray(x)
        replay = self._replay  # (another thread may put another in its place)
        if replay is None or not replay.is_of(self, x):
            self._replay = Replay(x)
            return self._forward(x, False)
        y = replay(self, x)
        return self._forward(x, False) if y is None else y

    def _forward(self, x: Array, train: bool) -> Array:
        y = as_real("Sequential", "x", x, self.dtype)
        if y.ndim == 4:
            y = self._in_order(y)
        pooled: dict[int, Array] = {}
        before: Layer | None = None
        for i, (layer, after) in enumerate(zip_longest(self.layers, self.layers[1:])):
            if _applies(layer, after):
                y = layer.forward(y, train, activation="relu")
            elif before is None or not _applies(before, layer):
                y = layer.forward(y, train)
            elif train:  # a ReLU that is applied already
                layer._keep(y, y)
            if train and type(layer) is MaxPool2d and type(before) is ReLU:
                pooled[i] = y
            before = layer
        if train:
            self._keep(pooled, y)
        return y

    def _in_order(self, x: Array) -> Array:
        """Images in the memory order in which they stay between the layers."""
        first = self._first_convolution()
        if first is not None and first.weight.read.shape[0] < _FEW_FILTERS:
            return x
        return to_channels_last(x)

    def _first_convolution(self) -> Conv2d | None:
        for layer in self.layers:
            first = layer._first_convolution() if isinstance(layer, Sequential) else layer
            if isinstance(first, Conv2d):
                return first
        return None

    def backward(self, dy: Array) -> Array:
        return self._backward(dy, 0)

    def backward_parameters(self, dy: Array) -> None:
        first = next((i for i, layer in enumerate(self.layers) if layer.parameters()), None)
        if first is not None:
            dy = self._backward(dy, first + 1)
            self.layers[first].backward_parameters(dy)

    def _backward(self, dy: Array, last: int) -> Array:
        """dy through the layers from the end to `last`, which is included.

        What was largest in a window has the same sign there as in the result, so that the
        ReLU before a MaxPool2d is done on the pooled results: a quarter of the numbers.
        """
        dy, pooled = self._kept(dy)
        i = len(self.layers) - 1
        while i >= last:
            if i in pooled:
                dy = relu_dx(dy, pooled[i])
            dy = self.layers[i].backward(dy)
            i -= 2 if i in pooled else 1
        return dy

    def named_parameters(self) -> list[tuple[str, Parameter]]:
        return [
            (f"{i}.{name}", p)
            for i, layer in enumerate(self.layers)
            for name, p in layer.named_parameters()
        ]

    @property
    def dtype(self) -> np.dtype[Any] | None:
        return next((d for d in (layer.dtype for layer in self.layers) if d is not None), None)

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        shape = tuple(input_shape)
        for layer in self.layers:
            shape = layer.output_shape(shape)
        return shape

    def leaves(self, prefix: str = "") -> Iterator[tuple[str, Layer]]:
        for i, layer in enumerate(self.layers):
            yield from layer.leaves(f"{prefix}.{i}" if prefix else str(i))

    def inner(self) -> Iterator[Sequential]:
        """The networks in it, and those in them."""
        for layer in self.layers:
            if isinstance(layer, Sequential):
                yield layer
                yield from layer.inner()

    def reseed(self, seeds: np.random.SeedSequence) -> None:
        for layer, own in zip(self.layers, seeds.spawn(len(self.layers)), strict=True):
            layer.reseed(own)

    def summary(self, input_shape: tuple[int, ...]) -> Summary:
        """See :func:`fastconv.summary`."""
        return summary(self, input_shape)

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    def __getitem__(self, index: Any) -> Any:
        """A layer, or for a slice a Sequential that shares the layers."""
        found = self.layers[index]
        return Sequential(*found) if isinstance(found, list) else found

    def __repr__(self) -> str:
        rows = [f"  ({i}): {layer!r}".replace("\n", "\n  ") for i, layer in enumerate(self.layers)]
        return "\n".join(["Sequential(", *rows, ")"])
