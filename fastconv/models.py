"""Networks that everybody knows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from .layers import (
    Conv2d,
    Dropout,
    Flatten,
    Layer,
    Linear,
    LocalResponseNorm,
    MaxPool2d,
    ReLU,
    Sequential,
)


__all__ = ["alexnet", "lenet5", "mlp", "small_cnn"]


def lenet5(
    classes: int = 10, in_channels: int = 1, rng: Any = None, dropout: float = 0.0
) -> Sequential:
    """LeNet-5 for images of 28×28, with ReLU and max pooling: 61 706 parameters.

    After LeCun et al. 1998, whose 32×32 images are the padding of the first layer here.

    Parameters
    ----------
    classes, in_channels : int
    rng : int, Generator or None
        For the initial weights and the dropout.
    dropout : float
        If not 0, before each Linear layer.
    """
    rng = np.random.default_rng(rng)
    drop = [Dropout(dropout, rng) for _ in range(2)] if dropout else []
    return Sequential(
        Conv2d(in_channels, 6, 5, padding=2, rng=rng),  # 6 × 28 × 28
        ReLU(),
        MaxPool2d(2),  # 6 × 14 × 14
        Conv2d(6, 16, 5, rng=rng),  # 16 × 10 × 10
        ReLU(),
        MaxPool2d(2),  # 16 × 5 × 5
        Conv2d(16, 120, 5, rng=rng),  # 120 × 1 × 1
        ReLU(),
        Flatten(),
        *drop[:1],
        Linear(120, 84, rng=rng),
        ReLU(),
        *drop[1:],
        Linear(84, classes, rng=rng),
    )


def _paper_norm() -> LocalResponseNorm:
    """n=5, k=2, α=1e-4, β=0.75, where the paper's α is not divided by n and ours is."""
    return LocalResponseNorm(5, alpha=5 * 1e-4, beta=0.75, k=2.0)


def alexnet(classes: int = 1000, rng: Any = None, dropout: float = 0.5) -> Sequential:
    """AlexNet for images of 227×227 (Krizhevsky et al. 2012), on one machine: no groups.

    Parameters
    ----------
    classes : int
    rng : int, Generator or None
        For the initial weights and the dropout.
    dropout : float
        Before each of the two hidden Linear layers.
    """
    rng = np.random.default_rng(rng)
    return Sequential(
        Conv2d(3, 96, 11, stride=4, rng=rng),  # 96 × 55 × 55
        ReLU(),
        MaxPool2d(3, 2),  # 96 × 27 × 27
        _paper_norm(),
        Conv2d(96, 256, 5, padding=2, rng=rng),  # 256 × 27 × 27
        ReLU(),
        MaxPool2d(3, 2),  # 256 × 13 × 13
        _paper_norm(),
        Conv2d(256, 384, 3, padding=1, rng=rng),
        ReLU(),
        Conv2d(384, 384, 3, padding=1, rng=rng),
        ReLU(),
        Conv2d(384, 256, 3, padding=1, rng=rng),
        ReLU(),
        MaxPool2d(3, 2),  # 256 × 6 × 6
        Flatten(),
        Dropout(dropout, rng),
        Linear(256 * 6 * 6, 4096, rng=rng),
        ReLU(),
        Dropout(dropout, rng),
        Linear(4096, 4096, rng=rng),
        ReLU(),
        Linear(4096, classes, rng=rng),
    )


def small_cnn(
    input_shape: tuple[int, int, int], classes: int = 10, rng: Any = None, dropout: float = 0.0
) -> Sequential:
    """Two 3×3 convolutions of 16 and 32 filters and a Linear layer, for images of any size.

    Max pooling of 2×2 follows each convolution whose planes have more than one row and
    column.

    Parameters
    ----------
    input_shape : (C, H, W)
    classes : int
    rng : int, Generator or None
        For the initial weights and the dropout.
    dropout : float
        If not 0, before the Linear layer.
    """
    rng = np.random.default_rng(rng)
    channels, height, width = input_shape
    layers: list[Layer] = []
    for filters in (16, 32):
        layers += [Conv2d(channels, filters, 3, padding=1, rng=rng), ReLU()]
        if min(height, width) > 1:
            layers.append(MaxPool2d(2))
            height, width = height // 2, width // 2
        channels = filters
    layers.append(Flatten())
    if dropout:
        layers.append(Dropout(dropout, rng))
    return Sequential(*layers, Linear(channels * height * width, classes, rng=rng))


def mlp(*sizes: int, dropout: Sequence[float] | None = None, rng: Any = None) -> Sequential:
    """A multilayer perceptron with ReLU between its layers; images are flattened first.

    Parameters
    ----------
    *sizes : int
        Inputs, hidden layers, outputs: ``mlp(784, 100, 10)`` has 79 510 parameters.
    dropout : sequence of float, optional
        p of the inputs and of each hidden layer.
    rng : int, Generator or None
        For the initial weights and the dropout.

    Raises
    ------
    ValueError
        If there are fewer than two sizes, or not a p for each size but the last.
    """
    if len(sizes) < 2:
        raise ValueError(f"mlp: give at least inputs and outputs, e.g. mlp(784, 10), got {sizes}")
    ps = [0.0] * (len(sizes) - 1) if dropout is None else list(dropout)
    if len(ps) != len(sizes) - 1:
        raise ValueError(
            f"mlp: dropout {ps} has {len(ps)} values, but the inputs and hidden layers of "
            f"sizes {sizes} need {len(sizes) - 1}"
        )
    rng = np.random.default_rng(rng)
    layers: list[Layer] = [Flatten()]
    for i, (size_in, size_out) in enumerate(pairwise(sizes)):
        if i:
            layers.append(ReLU())
        if ps[i]:
            layers.append(Dropout(ps[i], rng))
        layers.append(Linear(size_in, size_out, rng=rng))
    return Sequential(*layers)
