"""Networks by name, and as `fastconv train` has written them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import Any

from .. import models
from ..layers import Sequential
from ..state import load


__all__ = ["ARCHITECTURES", "Model", "built", "read_model"]

ARCHITECTURES = "lenet5, alexnet, or mlp:784-100-10 with sizes of your own"

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Model:
    """A trained network; `shape` is that of one input, (C, H, W) or (features,)."""

    architecture: str
    net: Sequential
    shape: Shape
    classes: list[Any]


def built(
    architecture: str, classes: int | None = None, dropout: bool = False, channels: int = 1
) -> tuple[Sequential, Shape]:
    """A network by its name, and the shape of an input: ARCHITECTURES.

    `dropout`: whether LeNet has the layers, whose places count in the weights' names;
    `channels`: of LeNet's images.

    Raises
    ------
    ValueError
        If there is no such architecture.
    """
    name, colon, sizes = architecture.partition(":")
    if name == "lenet5" and not colon:
        net = models.lenet5(classes or 10, channels, rng=0, dropout=0.5 * dropout)
        return net, (channels, 28, 28)
    if name == "alexnet" and not colon:
        return models.alexnet(classes or 1000, rng=0), (3, 227, 227)
    if name == "mlp":
        parts = (sizes if colon else "784-100-10").split("-")
        if len(parts) > 1 and all(part.isdecimal() and int(part) for part in parts):
            return models.mlp(*map(int, parts), rng=0), (int(parts[0]),)
    raise ValueError(f"architecture {architecture!r} is unknown; use {ARCHITECTURES}")


def read_model(path: Path) -> Model:
    """The network of a model.npz, as the model.json beside it says; without one LeNet-5.

    Raises
    ------
    OSError, ValueError
        If one of the files cannot be read, or they do not fit each other.
    """
    weights = load(path)
    beside = path.with_suffix(".json")
    about = _about(beside)
    name, classes = about["architecture"], about["classes"]
    given = about.get("input_shape")
    channels = given[0] if given and len(given) == 3 else 1
    net, shape = built(name, len(classes), bool(about.get("dropout")), channels)
    try:
        net.load_state_dict(weights)
    except ValueError as error:
        hint = "" if beside.exists() else f" ({beside}, which would name another, is not there)"
        raise ValueError(f"{path} does not hold the weights of {name}{hint}: {error}") from error
    shape = tuple(given) if given else _image_shape(shape)
    outputs = net.output_shape((1, *shape))[1]
    if outputs != len(classes):
        raise ValueError(f"{beside} names {len(classes)} classes, but {name} has {outputs} outputs")
    return Model(name, net, shape, classes)


def _about(path: Path) -> dict[str, Any]:
    """What model.json says, checked."""
    if not path.exists():
        return {"architecture": "lenet5", "classes": list(range(10))}
    try:
        about = json.loads(path.read_text())
        shape = about.get("input_shape", [1])
        valid = isinstance(about["architecture"], str) and isinstance(about["classes"], list)
        valid = valid and len(about["classes"]) > 0 and len(shape) in (1, 3)
        if not (valid and all(type(n) is int and n > 0 for n in shape)):
            raise ValueError("architecture, classes or input_shape cannot be")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} does not describe a network ({error!r})") from error
    return dict(about)


def _image_shape(shape: Shape) -> Shape:
    """Of a multilayer perceptron's inputs, a grey square where they can be one."""
    side = isqrt(shape[0])
    return (1, side, side) if len(shape) == 1 and side**2 == shape[0] else shape
