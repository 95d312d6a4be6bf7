"""Weights with the forms in which kernels have packed or transformed them.

A kernel that is given :class:`PreparedWeights` instead of an array keeps what it made of them
for the next call.  It is for weights that do not change: who writes into the array must make
another (:class:`fastconv.Parameter` sees to that for layers).
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np

from .arrays import Array


__all__ = ["PreparedWeights"]

# One form per kernel and tile; planes of changing size may ask for several.
_MOST_FORMS = 4
_LINE = 64


class PreparedWeights:
    """An array (O, C/groups, KH, KW), and what kernels keep of it between calls; or a bias (O,).

    Parameters
    ----------
    array : array
        Must not change afterwards.

    Attributes
    ----------
    forms : dict
        Packed weights by what their layout depends on; at most four.
    """

    __slots__ = ("array", "forms")

    def __init__(self, array: Array) -> None:
        self.array = array
        self.forms: dict[Hashable, Array] = {}

    @staticmethod
    def place(size: int) -> Array:
        """Memory for a form, from a cache line on."""
        memory = np.empty(size + _LINE, np.uint8)
        first = -memory.ctypes.data % _LINE
        return memory[first : first + size]

    def keep(self, key: Hashable, form: Array) -> None:
        """Keep a form; threads that made it at once keep the last one's."""
        if len(self.forms) >= _MOST_FORMS:
            self.forms = {}
        self.forms[key] = form

    @property
    def nbytes(self) -> int:
        """Bytes of all forms."""
        return sum(form.nbytes for form in list(self.forms.values()))

    def __reduce__(self) -> Any:
        return PreparedWeights, (self.array,)
