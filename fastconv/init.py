"""How weights begin: random, with a variance that keeps the signal's size from layer to layer.

With fan_in inputs to a unit and fan_out units fed by an input, the variance of a weight is

========  ======================  =============================================
xavier    1 / fan_in              linear and tanh units
glorot    2 / (fan_in + fan_out)  Glorot and Bengio 2010: both directions at once
he        2 / fan_in              He et al. 2015: ReLU, which halves the variance
========  ======================  =============================================

drawn from a normal distribution or a uniform one of that variance.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod, sqrt
from typing import Any

import numpy as np

from .kernels import ShapeError
from .kernels.arrays import Array


__all__ = [
    "NAMES",
    "fans",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "initialized",
    "xavier_normal",
    "xavier_uniform",
    "zeros",
]

Rng = Any  # int, Generator or None: naming them would import numpy.random, 15 ms, here
Initializer = Callable[..., Array]


def fans(shape: tuple[int, ...], groups: int = 1) -> tuple[int, int]:
    """Inputs of one unit, and units that one input feeds.

    Parameters
    ----------
    shape : (out, in) or (O, C/groups, KH, KW)
    groups : int
        Of the convolution: an input feeds only the O/groups filters of its group.

    Returns
    -------
    (fan_in, fan_out)
        The receptive field counts in both: C/groups·KH·KW and O/groups·KH·KW.

    Raises
    ------
    ShapeError
        If the shape has fewer than two axes.
    """
    if len(shape) < 2:
        raise ShapeError(
            f"fans: a weight has shape (out, in) or (O, C/groups, KH, KW), got {tuple(shape)}"
        )
    field = prod(shape[2:])
    return shape[1] * field, shape[0] // groups * field


def _normal(variance: float, shape: tuple[int, ...], rng: Rng, dtype: Any) -> Array:
    draws = np.random.default_rng(rng).standard_normal(shape, dtype)
    draws *= sqrt(variance)
    return draws


def _uniform(variance: float, shape: tuple[int, ...], rng: Rng, dtype: Any) -> Array:
    # U(-a, a) has variance a²/3
    draws = np.random.default_rng(rng).random(shape, dtype)
    draws -= 0.5
    draws *= 2 * sqrt(3 * variance)
    return draws


def xavier_normal(
    shape: tuple[int, ...], rng: Rng = None, dtype: Any = np.float32, groups: int = 1
) -> Array:
    """N(0, 1/fan_in)."""
    return _normal(1 / fans(shape, groups)[0], shape, rng, dtype)


def xavier_uniform(
    shape: tuple[int, ...], rng: Rng = None, dtype: Any = np.float32, groups: int = 1
) -> Array:
    """Uniform, variance 1/fan_in."""
    return _uniform(1 / fans(shape, groups)[0], shape, rng, dtype)


def glorot_normal(
    shape: tuple[int, ...], rng: Rng = None, dtype: Any = np.float32, groups: int = 1
) -> Array:
    """N(0, 2/(fan_in + fan_out))."""
    return _normal(2 / sum(fans(shape, groups)), shape, rng, dtype)


def glorot_uniform(
    shape: tuple[int, ...], rng: Rng = None, dtype: Any = np.float32, groups: int = 1
) -> Array:
    """Uniform, variance 2/(fan_in + fan_out)."""
    return _uniform(2 / sum(fans(shape, groups)), shape, rng, dtype)


def he_normal(
    shape: tuple[int, ...], rng: Rng = None, dtype: Any = np.float32, groups: int = 1
) -> Array:
    """N(0, 2/fan_in)."""
    return _normal(2 / fans(shape, groups)[0], shape, rng, dtype)


def he_uniform(
    shape: tuple[int, ...], rng: Rng = None, dtype: Any = np.float32, groups: int = 1
) -> Array:
    """Uniform, variance 2/fan_in."""
    return _uniform(2 / fans(shape, groups)[0], shape, rng, dtype)


def zeros(
    shape: tuple[int, ...], rng: Rng = None, dtype: Any = np.float32, groups: int = 1
) -> Array:
    """All zeros: every unit of a layer then learns the same thing."""
    return np.zeros(shape, dtype)


NAMES: dict[str, Initializer] = {
    f.__name__: f
    for f in (
        he_normal,
        he_uniform,
        xavier_normal,
        xavier_uniform,
        glorot_normal,
        glorot_uniform,
        zeros,
    )
}


def initialized(
    who: str,
    init: str | Callable[[tuple[int, ...], np.random.Generator], Any],
    shape: tuple[int, ...],
    rng: np.random.Generator,
    dtype: np.dtype[Any],
    groups: int = 1,
) -> Array:
    """The first value of a weight.

    Parameters
    ----------
    who : str
        Whose name error messages begin with.
    init : str or callable
        A name of this module, or a function (shape, rng) that returns the array.

    Raises
    ------
    ValueError
        If the name is unknown, or the function returns another shape.
    """
    if callable(init):
        value = np.array(init(shape, rng), dtype=dtype, order="C")
        if value.shape != shape:
            raise ShapeError(
                f"{who}: init {init!r} returned shape {value.shape}, but the weight has {shape}"
            )
        return value
    if init not in NAMES:
        raise ValueError(
            f"{who}: init={init!r} is unknown; use one of {tuple(NAMES)} "
            "or a function (shape, rng) -> array"
        )
    return NAMES[init](shape, rng, dtype, groups)
