"""Regularisation layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .layers.base import Layer


__all__ = ["per_layer"]


def per_layer(net: Layer, **settings: Any) -> list[dict[str, Any]]:
    """Groups of parameters for :class:`fastconv.SGD`, one for each layer that has any.

    Parameters
    ----------
    net : Layer
    **settings
        Of a group: l2, l1, max_norm, lr, momentum, nesterov.  A list or array has a value for each
        layer with parameters, in their order; a dict has values by the layers' names, as in
        ``state_dict``, and leaves the others to the optimizer's own setting; anything else
        is for all layers.

    Returns
    -------
    list of dict

    Raises
    ------
    ValueError
        If a list has another length, or a dict a name that is no layer with parameters.

    Examples
    --------
    >>> import fastconv as fc
    >>> net = fc.models.mlp(784, 100, 10)
    >>> sgd = fc.SGD(per_layer(net, l2=[1e-4, 0], max_norm={"1": 3.0}), lr=0.1)
    >>> [(group.l2, group.max_norm) for group in sgd.groups]
    [(0.0001, 3.0), (0, None)]
    """
    layers = {name: leaf.parameters() for name, leaf in net.leaves() if leaf.parameters()}
    groups: list[dict[str, Any]] = [{"parameters": found} for found in layers.values()]
    for setting, value in settings.items():
        if isinstance(value, Mapping):
            unknown = [name for name in value if name not in layers]
            if unknown:
                raise ValueError(
                    f"per_layer: {setting} has {unknown}, but the layers with parameters are "
                    f"{list(layers)}"
                )
            for name, group in zip(layers, groups, strict=True):
                if name in value:
                    group[setting] = value[name]
            continue
        values = (
            list(value) if isinstance(value, list | tuple | np.ndarray) else [value] * len(groups)
        )
        if len(values) != len(groups):
            raise ValueError(
                f"per_layer: {setting} has {len(values)} values, but {len(groups)} layers have "
                f"parameters: {list(layers)}"
            )
        for group, own in zip(groups, values, strict=True):
            group[setting] = own
    return groups
