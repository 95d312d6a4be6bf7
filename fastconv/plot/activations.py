"""Histograms of activations, layer by layer: what an initialisation does to a signal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from ..kernels.arrays import Array
from ..layers import Layer, LeakyReLU, ReLU, Sigmoid, Tanh
from .figures import TRAINING, PathLike, figure, finished, tidy


__all__ = ["ActivationStatistics", "activation_histograms", "activation_statistics"]

_BINS = 40
_WIDTH, _HEIGHT = 1.7, 1.9  # inches of a panel


class ActivationStatistics(NamedTuple):
    """The activations of a layer in numbers."""

    name: str
    mean: float
    std: float
    share_of_zeros: float


def activation_statistics(net: Layer, x: Array) -> list[ActivationStatistics]:
    """Mean, standard deviation and share of zeros of each layer's activations.

    Parameters
    ----------
    net : Layer
    x : array
        A batch of inputs.

    Returns
    -------
    list of ActivationStatistics
        For each ReLU, LeakyReLU, Tanh and Sigmoid; for every layer where there is none.
    """
    return [
        ActivationStatistics(name, float(y.mean()), float(y.std()), float(np.mean(y == 0)))
        for name, y in _activations(net, x)
    ]


def activation_histograms(
    net_or_nets: Layer | Mapping[str, Layer], x: Array, path: PathLike | None = None
) -> Any:
    """Histograms of the activations, a column for each layer; a row for each of several networks.

    All have one horizontal axis, so that a signal that shrinks from layer to layer is seen
    to.  Zeros are no part of the bars: their share is in the title.

    Parameters
    ----------
    net_or_nets : Layer, or dict of title and Layer
        Several networks have as many activations each: one architecture, initialised in
        different ways.
    x : array
        A batch of inputs.
    path : path, optional

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If the networks have different numbers of activations.
    ImportError
        If matplotlib is not installed.
    """
    nets = net_or_nets if isinstance(net_or_nets, Mapping) else {"": net_or_nets}
    found = {title: list(_activations(net, x)) for title, net in nets.items()}
    columns = {len(layers) for layers in found.values()}
    if len(columns) != 1 or 0 in columns:
        raise ValueError(
            "activation_histograms: the networks must have as many activations each, got "
            f"{sorted(columns)}"
        )
    wide = columns.pop()
    picture = figure(max(4.0, _WIDTH * wide + 0.4), _HEIGHT * len(nets) + 0.2)
    grid = picture.subplots(len(nets), wide, squeeze=False)
    every = [y for layers in found.values() for _, y in layers if y.size]
    ends = (min(y.min() for y in every), max(y.max() for y in every)) if every else (0, 1)
    for row, (title, layers) in zip(grid, found.items(), strict=True):
        for ax, (name, y) in zip(row, layers, strict=True):
            _histogram(ax, name, y, ends)
        row[0].set_ylabel(f"{title}\nshare (%)" if title else "share (%)")
    for ax in grid[-1]:
        ax.set_xlabel("activation")
    return finished(picture, path)


def _histogram(ax: Any, name: str, y: Array, ends: tuple[float, float]) -> None:
    live = y[y != 0]
    share = np.full(live.size, 100 / y.size)
    ax.hist(live, _BINS, range=ends, weights=share, color=TRAINING)
    title = f"layer {name}\nstd {y.std():.2g}, {np.mean(y == 0):.0%} zero"
    ax.set_title(title, fontsize="small")
    ax.tick_params(labelsize="small")
    ax.locator_params(axis="x", nbins=3)
    tidy(ax)


def _activations(net: Layer, x: Array) -> Iterator[tuple[str, Array]]:
    leaves = list(net.leaves())
    kinds = (ReLU, LeakyReLU, Tanh, Sigmoid)
    nonlinear = any(isinstance(layer, kinds) for _, layer in leaves)
    y = np.asarray(x)
    y = y.astype(net.dtype or y.dtype, copy=False)
    for name, layer in leaves:
        y = layer(y)
        if isinstance(layer, kinds) or not nonlinear:
            yield name, y
