"""The network that an estimator's `architecture` asks for."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from math import prod
from typing import Any

import numpy as np

from .. import models
from ..init import initialized
from ..kernels import ShapeError
from ..layers import Conv2d, Layer, Linear, Sequential


__all__ = ["Architecture", "built", "initialize"]

Architecture = str | Layer | Sequence[Layer] | Callable[[tuple[int, ...], int, Any], Layer]

_NAMES = ("auto", "alexnet", "cnn", "lenet5", "mlp")


def built(
    architecture: Any,
    shape: tuple[int, ...],
    outputs: int,
    hidden: Sequence[int],
    dropout: float,
    rng: np.random.Generator,
) -> Layer:
    """The network that an estimator's `architecture` asks for."""
    if isinstance(architecture, Layer):
        return copy.deepcopy(architecture)
    if isinstance(architecture, list | tuple):
        return Sequential(*copy.deepcopy(list(architecture)))
    if callable(architecture):
        net = architecture(shape, outputs, rng)
        if not isinstance(net, Layer):
            raise TypeError(
                f"architecture={architecture!r} must return a Layer, got {type(net).__name__}"
            )
        return net
    if not isinstance(architecture, str) or architecture not in _NAMES:
        raise ValueError(
            f"architecture={architecture!r} is unknown; use one of {_NAMES}, a list of layers, or "
            "a function (input_shape, outputs, rng) -> Layer"
        )
    if architecture == "auto":
        architecture = _automatic(shape)
    if architecture == "mlp":
        if isinstance(hidden, str) or not isinstance(hidden, Iterable):
            raise TypeError(f"hidden={hidden!r} must be a sequence of sizes, e.g. (100,)")
        sizes = (prod(shape), *hidden, outputs)
        return models.mlp(*sizes, dropout=[0.0, *(dropout for _ in hidden)], rng=rng)
    if len(shape) != 3:
        raise ShapeError(
            f"architecture={architecture!r} is for images, but X has {shape[0]} features in rows; "
            "give image_shape"
        )
    if architecture == "cnn":
        return models.small_cnn(shape, outputs, rng, dropout)
    if architecture == "lenet5":
        return models.lenet5(outputs, shape[0], rng, dropout)
    return models.alexnet(outputs, rng, dropout)


def _automatic(shape: tuple[int, ...]) -> str:
    if len(shape) == 1:
        return "mlp"
    return "lenet5" if shape[1:] == (28, 28) else "cnn"


def initialize(net: Layer, init: Any, rng: np.random.Generator) -> None:
    """Draw the weights of a network again."""
    for name, layer in net.leaves():
        if isinstance(layer, Conv2d | Linear):
            weight = layer.weight.read
            groups = layer.geometry["groups"] if isinstance(layer, Conv2d) else 1
            layer.weight.value = initialized(name, init, weight.shape, rng, weight.dtype, groups)
