"""A network's prediction as the list of its kernel calls.

The prediction of one small image is mostly Python.  When a network predicts inputs of the same
shape again, the calls that its kernels got are made again, on the same memory.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from ..kernels import PreparedWeights
from ..kernels.arrays import Array, to_channels_last
from ..kernels.recording import Recording
from ..kernels.registry import current_backend
from ..kernels.threads import get_num_threads
from ..parameter import Parameter, last_touch
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

    It is good for the layers, options, weights, backend and threads that it was written with.

    Parameters
    ----------
    net : Sequential
    x : array
        The first input.
    """

    def __init__(self, net: Sequential, x: Array) -> None:
        self._key = _key(x)
        self._rows = [*net.rows()]
        self._layers = [[*row] for row in self._rows]
        leaves = [leaf for _, leaf in net.leaves()]
        options = [option for leaf in leaves for option in _options(leaf)]
        self._attributes = [attributes for attributes, _, _ in options]
        self._names = [name for _, name, _ in options]
        self._values = [value for _, _, value in options]
        self._pays = x.nbytes <= _MOST_INPUT and all(type(leaf) in _REPLAYED for leaf in leaves)
        self._one = Lock()
        self._calls: list[Callable[[], None]] = []
        self._parameters: list[Parameter] = []
        self._prepared: list[Any] = []
        self._touch = last_touch()

    def is_of(self, x: Array) -> bool:
        """Whether the input is alike, and the network has the layers and options it had."""
        return (
            _key(x) == self._key
            and self._rows == self._layers
            and [*map(dict.get, self._attributes, self._names)] == self._values
        )

    def __call__(self, net: Sequential, x: Array) -> Array | None:
        """The result; or None where the layers have to compute it."""
        if not self._pays or not self._one.acquire(blocking=False):
            return None  # (another thread is using the memory)
        try:
            if not (self._calls and self._same_weights()):
                return self._write_down(net, x)
            self._x[...] = x
            for call in self._calls:
                call()
            return self._y.copy("K")
        finally:
            self._one.release()

    def _same_weights(self) -> bool:
        touch = last_touch()
        if touch is not self._touch:
            prepared = map(Parameter.prepared, self._parameters)
            if not all(map(operator.is_, prepared, self._prepared)):
                return False
            self._touch = touch
        return True

    def _write_down(self, net: Sequential, x: Array) -> Array | None:
        self._calls, self._prepared = [], []  # (their views would count as somebody else's)
        self._touch = last_touch()
        self._parameters = net.parameters()
        self._prepared = [p.prepared() for p in self._parameters]
        if any(type(prepared) is not PreparedWeights for prepared in self._prepared):
            return None  # somebody may write to them
        x = as_real("Sequential", "x", x, net.dtype)
        self._x = to_channels_last(x.copy()) if x.ndim == 4 else x.copy()
        with Recording(_MOST_RESULTS) as recording:
            y = net.forward(self._x)
        self._pays = _follow(self._x, recording.arrays, y)
        if not self._pays:
            return y
        self._y, self._calls = y, recording.calls()
        return y.copy("K")


def _key(x: Array) -> tuple[Any, ...]:
    return x.shape, x.dtype, current_backend(), get_num_threads()


def _options(leaf: Layer) -> list[tuple[dict[str, Any], str, Any]]:
    """What its prediction depends on, numbers of weights apart: (attributes, name, value)."""
    attributes = vars(leaf)
    found: list[tuple[dict[str, Any], str, Any]] = [(attributes, "forward", None)]  # its class's
    for name, value in attributes.items():
        if not name.startswith("_"):
            found.append((attributes, name, dict(value) if isinstance(value, dict) else value))
    return found


def _follow(x: Array, calls: list[tuple[Array, Array]], y: Array) -> bool:
    """Whether each call reads what the one before has written, from x to y."""
    for first, last in calls:
        if not np.may_share_memory(first, x):
            return False
        x = last
    return bool(calls) and np.may_share_memory(x, y)
