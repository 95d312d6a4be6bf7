"""A network's prediction as the list of its kernel calls.

The prediction of one small image is mostly Python.  When a network predicts inputs of the same
shape again, the calls that its kernels got are made again, on the same memory.
"""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from ..kernels import PreparedWeights
from ..kernels.arrays import Array, to_channels_last
from ..kernels.recording import Recording
from ..kernels.registry import current_backend
from ..parameter import Parameter
from .activations import ReLU
from .base import Layer, as_real
from .conv import Conv2d
from .dropout import Dropout
from .flatten import Flatten
from .linear import Linear
from .lrn import LocalResponseNorm
from .pooling import AvgPool2d, GlobalAvgPool2d, MaxPool2d


if TYPE_CHECKING:
    from .sequential import Sequential

__all__ = ["Replay"]

# Layers that predict by kernels, views, and copies that are written down.
_POOLING = (MaxPool2d, AvgPool2d, GlobalAvgPool2d)
_REPLAYED = {Conv2d, Linear, ReLU, *_POOLING, LocalResponseNorm, Dropout, Flatten}

# Where more memory moves than this, Python's share is below 1 %.
_MOST_INPUT = 1 << 20
_MOST_RESULTS = 8 << 20


class Replay:
    """What a network does to inputs of one shape, written down at the second of them.

    It is good for the layers, options, weights and backend that it was written with.

    Parameters
    ----------
    net : Sequential
    x : array
        The first input.
    """

    def __init__(self, net: Sequential, x: Array) -> None:
        self._key = x.shape, x.dtype, current_backend()
        self._rows = [(row, [*row]) for row in net.rows()]
        leaves = [leaf for _, leaf in net.leaves()]
        self._options = [option for leaf in leaves for option in _options(leaf)]
        self._pays = x.nbytes <= _MOST_INPUT and all(type(leaf) in _REPLAYED for leaf in leaves)
        self._one = Lock()
        self._calls: list[tuple[Any, tuple[Any, ...]]] = []

    def is_of(self, x: Array) -> bool:
        """Whether shape, dtype, backend, layers and options are the same for this input."""
        return (
            (x.shape, x.dtype, current_backend()) == self._key
            and all(row == then for row, then in self._rows)
            and all(have.get(name) == value for have, name, value in self._options)
        )

    def __call__(self, net: Sequential, x: Array) -> Array | None:
        """The result; or None where the layers have to compute it."""
        if not self._pays or not self._one.acquire(blocking=False):
            return None  # (another thread is using the memory)
        try:
            if not (self._calls and self._same_weights()):
                return self._write_down(net, x)
            self._x[...] = x
            for kernel, arguments in self._calls:
                kernel(*arguments)
            return self._y.copy("K")
        finally:
            self._one.release()

    def _same_weights(self) -> bool:
        return all(p.prepared() is then for p, then in self._weights) and all(
            p.read is then for p, then in self._biases
        )

    def _write_down(self, net: Sequential, x: Array) -> Array | None:
        parameters = net.parameters()
        self._calls = []
        self._weights = [(p, p.prepared()) for p in parameters if p.name == "weight"]
        self._biases = [(p, p.read) for p in parameters if p.name != "weight"]
        if any(type(then) is not PreparedWeights for _, then in self._weights):
            return None  # somebody may write to them
        x = as_real("Sequential", "x", x, net.dtype)
        self._x = to_channels_last(x.copy()) if x.ndim == 4 else x.copy()
        with Recording(_MOST_RESULTS) as recording:
            y = net.forward(self._x)
        calls = recording.calls or []
        self._pays = _follow(self._x, calls, y)
        if not self._pays:
            return y
        self._y, self._calls = y, calls
        return y.copy("K")


def _options(leaf: Layer) -> list[tuple[dict[str, Any], str, Any]]:
    """What its prediction depends on, weights apart: (attributes, name, value)."""
    have = vars(leaf)
    found: list[tuple[dict[str, Any], str, Any]] = [(have, "forward", None)]  # not replaced
    for name, value in have.items():
        if not name.startswith("_") and not isinstance(value, Parameter):
            found.append((have, name, dict(value) if isinstance(value, dict) else value))
    return found


def _follow(x: Array, calls: list[tuple[Any, tuple[Any, ...]]], y: Array) -> bool:
    """Whether each call reads what the one before has written, from x to y."""
    if not calls:
        return False
    for _, arguments in calls:
        arrays = [a for a in arguments if isinstance(a, np.ndarray)]
        if not np.may_share_memory(arrays[0], x):
            return False
        x = arrays[-1]
    return np.may_share_memory(x, y)
