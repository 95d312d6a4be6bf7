"""What training changes: a value and its gradient."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from .kernels import PreparedWeights
from .kernels.arrays import Array


__all__ = ["Parameter", "last_touch", "parameter_dtype"]

# References to a value that nobody else has: ours and `prepared`'s, the view's, `_references`'.
_OWN_REFERENCES = 4
# References to a gradient's memory that nobody else has: ours, `room`'s and `_references`'.
_ROOM_REFERENCES = 3
# Memory for smaller gradients comes without page faults.
_ROOM_BYTES = 1 << 20


def parameter_dtype(who: str, dtype: Any) -> np.dtype[Any]:
    """`dtype` as a NumPy dtype that the kernels compute in.

    Raises
    ------
    TypeError
        If it is neither float32 nor float64.
    """
    found: np.dtype[Any] = np.dtype(dtype)
    if found not in (np.float32, np.float64):
        raise TypeError(f"{who}: dtype must be float32 or float64, got {found}")
    return found


_last_touch = object()


def last_touch() -> object:
    """Another object whenever somebody has asked for the value of any Parameter, or set it."""
    return _last_touch


def _references(owner: Parameter, slot: str) -> int:
    """How many references there are to what a slot holds, with one from here.

    (Not the caller's local: from Python 3.14 on, loading one adds no reference.)
    """
    return sys.getrefcount(getattr(owner, slot))


def _filters(value: Array) -> Array:
    return value[:, :, None, None] if value.ndim == 2 else value


class Parameter:
    """A trained array and the gradient of the loss with respect to it.

    Parameters
    ----------
    value : array
    grad : array, optional
        None until a backward pass, and again after ``zero_grad``.
    name : str
        As in the layer: "weight" or "bias".
    decay : bool
        Whether L1, L2 and max-norm apply; biases are left alone.
    """

    __slots__ = ("_prepared", "_room", "_value", "decay", "grad", "name")

    def __init__(
        self, value: Array, grad: Array | None = None, *, name: str = "", decay: bool = True
    ) -> None:
        self.value = value
        self.grad = grad
        self._room: Array | None = None
        self.name = name
        self.decay = decay

    @property
    def value(self) -> Array:
        """The array itself.  Whoever asks may write into it, so nothing packed of it is kept."""
        value = self._value  # (from here on `prepared` counts one reference more)
        self._touched()
        return value

    @value.setter
    def value(self, value: Array) -> None:
        self._value = value
        self._touched()

    def _touched(self) -> None:
        global _last_touch
        self._prepared: PreparedWeights | None = None
        _last_touch = object()

    @property
    def read(self) -> Array:
        """The array, for those who only read it now."""
        return self._value

    def prepared(self) -> Array | PreparedWeights:
        """The value for a prediction, with what the kernels packed of it in earlier ones;
        of a matrix, as that of a 1×1 convolution (O, C, 1, 1).

        Just the array, of which nothing is kept, while it could be written to unseen: where
        somebody holds a reference to it or to a view of it, or it is a view itself.
        """
        value, prepared = self._value, self._prepared
        if prepared is None or prepared.array.base is not value:  # (another thread's)
            prepared = self._prepared = PreparedWeights(_filters(value).view())
        if value.base is not None or _references(self, "_value") > _OWN_REFERENCES:
            self._prepared = None
            return _filters(value)
        return prepared

    def room(self) -> Array | None:
        """Where the next gradient can be written, or None: then it gets memory of its own.

        It is the memory of the last one, while nobody else holds a reference to that, or to a
        view of it: of 150 MB (AlexNet's first linear layer, 16 images) half the time of dw was
        spent on new pages.
        """
        value, room = self._value, self._room
        if self.grad is not None or value.nbytes < _ROOM_BYTES:
            return None
        if (
            room is None
            or (room.shape, room.dtype) != (value.shape, value.dtype)
            or _references(self, "_room") > _ROOM_REFERENCES
        ):
            room = self._room = np.empty(value.shape, value.dtype)
        return room.view()

    def accumulate(self, grad: Array) -> None:
        """Add a gradient; the first one after ``zero_grad`` is kept as it is, not copied."""
        if self.grad is None:
            self.grad = grad
        else:
            self.grad += grad

    def zero_grad(self) -> None:
        """Forget the gradient; the next one may be written where it was (see `room`)."""
        self.grad = None

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles are of the value, not of what was packed of it."""
        return {"value": self._value, "grad": self.grad, "name": self.name, "decay": self.decay}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._room = None
        for name, attribute in state.items():
            setattr(self, name, attribute)

    def __repr__(self) -> str:
        return f"Parameter({self.name or 'value'}, {self._value.shape}, {self._value.dtype})"
