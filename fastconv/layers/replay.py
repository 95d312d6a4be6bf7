"""A network's prediction as the list of its kernel calls.

The prediction of one small image is mostly Python.  When a network predicts inputs of the same
shape again and again, the calls that its kernels got are made again, on the same memory.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from copy import deepcopy
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from ..kernels import PreparedWeights
from ..kernels.arrays import Array
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

# Layers that predict by kernels, views, and copies that are written down, and the attributes
# that they read meanwhile, a method in place of their class's included.
_POOLING = (MaxPool2d, AvgPool2d, GlobalAvgPool2d)
_REPLAYED = {Conv2d, Linear, ReLU, *_POOLING, LocalResponseNorm, Dropout, Flatten}
_READ = ("forward", "weight", "bias", "geometry", "count_include_pad", "size", "constants")

# Where more memory moves than this, Python's share is below 1 %.
_MOST_INPUT = 1 << 20
_MOST_RESULTS = 8 << 20
# Who predicts a shape but twice gains nothing.
_WRITTEN_DOWN_AT = 3


class Replay:
    """What a network does to inputs of one shape, written down at the third in a row.

    It is good for the layers, options, weights, backend and threads that it was written with.

    Parameters
    ----------
    x : array
        The first input.
    """

    def __init__(self, x: Array) -> None:
        self._key = _key(x)
        self._pays = x.nbytes <= _MOST_INPUT
        self._seen = 1  # inputs since a parameter was touched
        self._touch = last_touch()
        self._one = Lock()
        self._calls: list[Callable[[], None]] = []
        self._prepared: list[Any] = []

    def is_of(self, net: Sequential, x: Array) -> bool:
        """Whether the input is alike, and the network has the layers and options it had."""
        if _key(x) != self._key:
            return False
        if not self._calls:
            return True
        layers = [net.layers, *[inner.layers for inner in self._inner]]
        values = [*map(dict.get, self._attributes, self._names)]
        return layers == self._layers and values == self._values

    def __call__(self, net: Sequential, x: Array) -> Array | None:
        """The result; or None where the layers have to compute it."""
        if not self._pays or not self._one.acquire(blocking=False):
            return None  # (another thread is using the memory)
        try:
            if self._calls and self._same_weights():
                self._x[...] = x
                for call in self._calls:
                    call()
                return self._y.copy("K")
            return self._write_down(net, x) if self._is_time() else None
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

    def _is_time(self) -> bool:
        """Count inputs anew wherever a parameter was touched: it may be so again."""
        touch = last_touch()
        if touch is not self._touch:
            self._touch, self._seen = touch, 0
            self._calls, self._prepared = [], []  # (views, which count as somebody else's)
        self._seen += 1
        return self._seen >= _WRITTEN_DOWN_AT

    def _write_down(self, net: Sequential, x: Array) -> Array | None:
        self._parameters = net.parameters()
        self._prepared = [p.prepared() for p in self._parameters]
        if any(type(prepared) is not PreparedWeights for prepared in self._prepared):
            self._prepared = []
            return None  # somebody may write to them
        self._pays = self._look_at(net)
        if not self._pays:
            return None
        own = as_real("Sequential", "x", x, net.dtype).copy()
        self._x = net._in_order(own) if own.ndim == 4 else own
        recording = Recording(_MOST_RESULTS)
        y: Array = recording.of(net._forward, self._x, False)
        self._pays = _follow(self._x, recording.arrays, y)
        if self._pays:
            self._y, self._calls = y, recording.calls()
        return y.copy("K")

    def _look_at(self, net: Sequential) -> bool:
        """Remember layers and options; whether they can be replayed."""
        from .sequential import Sequential

        self._inner = [*net.inner()]
        leaves = [leaf for _, leaf in net.leaves()]
        options = [option for layer in (*self._inner, *leaves) for option in _options(layer)]
        self._layers = [[*net.layers], *[[*inner.layers] for inner in self._inner]]
        self._attributes = [attributes for attributes, _, _ in options]
        self._names = [name for _, name, _ in options]
        self._values = [value for _, _, value in options]
        return {*map(type, self._inner)} <= {Sequential} and {*map(type, leaves)} <= _REPLAYED


def _key(x: Array) -> tuple[Any, ...]:
    return x.shape, x.dtype, current_backend(), get_num_threads()


def _options(layer: Layer) -> list[tuple[dict[str, Any], str, Any]]:
    """What its prediction depends on, numbers of weights apart: (attributes, name, value)."""
    attributes = vars(layer)
    names = [name for name in _READ if name in attributes or name == "forward"]
    found = [(attributes, name, attributes.get(name)) for name in names]
    return [(a, name, deepcopy(v) if isinstance(v, dict) else v) for a, name, v in found]


def _follow(x: Array, calls: list[tuple[Array, Array]], y: Array) -> bool:
    """Whether each call reads what the one before has written, from x to y."""
    for first, last in calls:
        if not np.may_share_memory(first, x):
            return False
        x = last
    return bool(calls) and np.may_share_memory(x, y)
