"""What every layer is: forward, backward, parameters, and the shapes it makes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Self

import numpy as np

from ..kernels import ShapeError
from ..kernels.arrays import Array, check_shape
from ..kernels.dims import as_int
from ..parameter import Parameter, parameter_dtype


__all__ = ["Layer", "Window", "as_real", "call"]

# Attributes that are of the last batch, or memory: no part of copies and pickles.
_PASSING = ("_saved", "_replay")

Window = tuple[tuple[int, int], tuple[int, int]]


def as_real(who: str, name: str, a: Any, dtype: np.dtype[Any] | None = None) -> Array:
    """An array of `dtype` in the memory order of `a`; by default floats stay as they are.

    Raises
    ------
    TypeError
        If the array does not hold real numbers.
    """
    array = np.asarray(a)
    if array.dtype is dtype:
        return array
    if array.dtype.kind not in "biuf":
        raise TypeError(
            f"{who}: {name} must hold real numbers, got dtype {array.dtype}; "
            "convert it, e.g. to float32"
        )
    if dtype is None:
        dtype = array.dtype if array.dtype.kind == "f" else np.dtype(np.float32)
    return array.astype(dtype, order="K", copy=False)


def call(name: str, *positional: Any, **options: Any) -> str:
    """Source of a call, for ``repr``."""
    arguments = [repr(a) for a in positional] + [f"{k}={v!r}" for k, v in options.items()]
    return f"{name}({', '.join(arguments)})"


class Layer:
    """A step of a network.

    A layer of your own defines ``forward`` and ``backward``, and keeps its Parameters as
    attributes; ``output_shape`` too if it changes shapes.

    ``layer(x)`` predicts and changes nothing in the layer, so that many threads may
    predict with one network.  ``forward(x, train=True)`` keeps what ``backward`` needs.
    """

    _saved: Any = None

    def forward(self, x: Array, train: bool = False) -> Array:
        """The result for a batch x; with ``train``, keep what :meth:`backward` needs."""
        raise NotImplementedError(f"{type(self).__name__} does not define forward")

    def backward(self, dy: Array) -> Array:
        """dx, from dy for the last ``forward(x, train=True)``; adds to the parameters' grad.

        Raises
        ------
        RuntimeError
            If there was no such forward pass.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define backward")

    def backward_parameters(self, dy: Array) -> None:
        """:meth:`backward` where nobody needs dx: the first layer of a network in training."""
        self.backward(dy)

    def __call__(self, x: Array) -> Array:
        return self.forward(x)

    def predict(self, x: Any, batch_size: int = 256) -> Array:
        """The results for x, computed `batch_size` examples at a time.

        Raises
        ------
        ValueError
            If `batch_size` is not positive.
        """
        if as_int(batch_size, "predict", "batch_size") < 1:
            raise ValueError(f"predict: batch_size must be at least 1, got {batch_size}")
        x = np.asarray(x)
        starts = range(0, max(1, len(x)), batch_size)
        return np.concatenate([self(x[i : i + batch_size]) for i in starts])

    def named_parameters(self) -> list[tuple[str, Parameter]]:
        """The parameters with their names, as in :meth:`state_dict`."""
        return [(name, p) for name, p in vars(self).items() if isinstance(p, Parameter)]

    def parameters(self) -> list[Parameter]:
        return [p for _, p in self.named_parameters()]

    @property
    def dtype(self) -> np.dtype[Any] | None:
        """Of the parameters, to which inputs are converted; None where there are none."""
        return next((p.read.dtype for p in self.parameters()), None)

    def astype(self, dtype: Any) -> Self:
        """Convert the parameters in place and drop their gradients (before any optimizer)."""
        found = parameter_dtype("astype", dtype)
        for p in self.parameters():
            p.value, p.grad = p.value.astype(found), None
        return self

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the result for an input of a shape, N first in both.

        Raises
        ------
        ShapeError
            If the layer does not take that shape.
        """
        return tuple(input_shape)

    def window(self, input_shape: tuple[int, ...]) -> Window:
        """(height, width) of the cells that one result sees, and their (vertical,
        horizontal) stride."""
        return (1, 1), (1, 1)

    def leaves(self, prefix: str = "") -> Iterator[tuple[str, Layer]]:
        """The layers that are not made of layers, with their names in the network."""
        yield prefix, self

    def reseed(self, seeds: np.random.SeedSequence) -> None:
        """Restart whatever is random in training."""

    def state_dict(self) -> dict[str, Array]:
        """Copies of the parameters, under PyTorch's names and in its layouts."""
        return {name: p.read.copy() for name, p in self.named_parameters()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Copy arrays (or PyTorch's tensors) into the parameters, in place.

        Raises
        ------
        ValueError
            If names are missing or unexpected, or shapes differ: all of them are named,
            and nothing is changed.
        """
        mine = dict(self.named_parameters())
        problems = [f"{name} is missing" for name in mine if name not in state]
        problems += [f"{name} is unexpected" for name in state if name not in mine]
        found = {name: np.asarray(state[name]) for name in mine if name in state}
        problems += [
            f"{name} has shape {a.shape}, but the layer's is {mine[name].read.shape}"
            for name, a in found.items()
            if a.shape != mine[name].read.shape
        ]
        if problems:
            raise ShapeError("load_state_dict: " + "; ".join(problems))
        arrays = {name: as_real("load_state_dict", name, a) for name, a in found.items()}
        for name, a in arrays.items():
            mine[name].value[...] = a

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles are of the layer, not of its last batch."""
        return {name: value for name, value in vars(self).items() if name not in _PASSING}

    def _keep(self, saved: Any, y: Array) -> None:
        """Remember a forward pass in training: what backward needs, and what y was like."""
        self._saved = (saved, y.shape, y.dtype)

    def _kept(self, dy: Array) -> tuple[Array, Any]:
        """dy in the dtype of y, and what the last forward pass in training kept."""
        if self._saved is None:
            raise RuntimeError(
                f"{self!r}: backward needs a forward pass in training before it; "
                "call forward(x, train=True) first"
            )
        saved, shape, dtype = self._saved
        if type(dy) is not np.ndarray or dy.dtype is not dtype or dy.shape != shape:
            who = f"{type(self).__name__}.backward"
            dy = as_real(who, "dy", dy, dtype)
            check_shape(who, "dy", dy, shape, "the last forward(x, train=True)")
        return dy, saved

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"
