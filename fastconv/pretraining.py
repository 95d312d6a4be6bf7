"""Layer-wise pre-training, as deep networks were begun before ReLU and He's initialisation."""

from __future__ import annotations

from typing import Any

import numpy as np

from .kernels import ShapeError
from .layers import Linear, Sigmoid
from .layers.base import Layer


__all__ = ["pretrain"]


def pretrain(
    net: Layer,
    x: Any,
    *,
    epochs: int = 20,
    lr: float = 0.05,
    batch_size: int = 10,
    seed: int | None = None,
) -> None:
    """Begin the hidden Linear layers as restricted Boltzmann machines, one after the other.

    Greedily (Hinton, Osindero and Teh 2006): a machine learns the distribution of the
    inputs, its weights and hidden biases become those of the first layer, and what its
    hidden units make of the inputs is what the next machine learns from.  Machines are
    scikit-learn's ``BernoulliRBM``, whose hidden units are those of Linear and Sigmoid.  The
    last Linear layer, that of the outputs, is left as it is.

    Parameters
    ----------
    net : Layer
        A stack of Linear layers with Sigmoid between them; changed in place.
    x : array (N, …)
        In [0, 1]; flattened.
    epochs, batch_size : int
    lr : float
        Of each machine.
    seed : int, optional

    Raises
    ------
    ShapeError
        If x has no examples, or not the features of the first layer.
    ValueError
        If x is not in [0, 1], or there is no hidden Linear layer, or one without bias.
    ImportError
        If scikit-learn is not installed.
    """
    try:
        from sklearn.neural_network import BernoulliRBM
    except ImportError as error:
        raise ImportError("pretrain needs scikit-learn: pip install 'fastconv[sklearn]'") from error
    leaves = [layer for _, layer in net.leaves()]
    hidden = [(i, layer) for i, layer in enumerate(leaves) if isinstance(layer, Linear)][:-1]
    if not hidden or any(layer.bias is None for _, layer in hidden):
        raise ValueError(
            "pretrain: the network needs at least two Linear layers, the hidden ones with bias"
        )
    if not all(isinstance(leaves[i + 1], Sigmoid) for i, _ in hidden):
        raise ValueError(
            "pretrain: the units of a machine are sigmoids; put Sigmoid() behind each hidden Linear"
        )
    visible = np.asarray(x)
    if visible.ndim < 2 or len(visible) == 0:
        raise ShapeError(f"pretrain: x {visible.shape} must be (N, …) with N of at least 1")
    visible = visible.reshape(len(visible), -1)
    features = hidden[0][1].weight.value.shape[1]
    if visible.shape[1] != features:
        raise ShapeError(
            f"pretrain: x {np.shape(x)} has {visible.shape[1]} features, but the first Linear "
            f"layer reads {features}"
        )
    if not (visible.min() >= 0 and visible.max() <= 1):
        raise ValueError(
            f"pretrain: x must be in [0, 1], as probabilities, got {visible.min()} to "
            f"{visible.max()}; scale it"
        )
    for _, layer in hidden:
        machine = BernoulliRBM(
            len(layer.weight.value),
            learning_rate=lr,
            batch_size=batch_size,
            n_iter=epochs,
            random_state=seed,
        )
        visible = machine.fit_transform(visible)
        layer.weight.value[...] = machine.components_
        assert layer.bias is not None  # checked above
        layer.bias.value[...] = machine.intercept_hidden_
