"""Every option given to Numba, and the moment it compiles: the first call, never an import.

A kernel has one signature per dtype, over arrays of any strides, so that no memory
layout of the caller's costs a compilation.  Inputs are declared read-only.
"""

# mypy: allow-untyped-calls
from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps
from typing import Any

import numba
from numba import types

from .dims import TapAxis


__all__ = ["AXIS", "BOOL", "INT", "REAL", "helper", "kernel", "packed", "read", "write"]

# "contract" lets a product and a sum become one FMA.  The other flags of fastmath stay
# off: they drop NaN, or reorder sums and with them the bits of the result.
# parallel=True is not for us: Numba's workqueue ends the process when two Python threads
# meet in it (numba#10565).
_OPTIONS: dict[str, Any] = {
    "nogil": True,
    "fastmath": {"contract"},
    "boundscheck": False,
    "error_model": "numpy",
}

TypeOf = Callable[[Any], Any]  # a Numba type, given the type of the kernel's real numbers


def read(rank: int, dtype: Any = None) -> TypeOf:
    """An input array of any strides."""
    return lambda real: types.Array(dtype or real, rank, "A", readonly=True)


def write(rank: int, dtype: Any = None) -> TypeOf:
    """A result array of any strides."""
    return lambda real: types.Array(dtype or real, rank, "A")


def packed(rank: int) -> TypeOf:
    """An input that the Python side of the kernel made contiguous."""
    return lambda real: types.Array(real, rank, "C", readonly=True)


def REAL(real: Any) -> Any:
    return real


def INT(real: Any) -> Any:
    return types.int64


def BOOL(real: Any) -> Any:
    return types.boolean


def AXIS(real: Any) -> Any:
    return types.NamedUniTuple(types.int64, len(TapAxis._fields), TapAxis)


# Compiled into the kernels that call it, hence not cached by itself.  It must stand in the
# file of those kernels: Numba's cache looks for changes nowhere else.
helper = numba.njit(**_OPTIONS)


def kernel(*arguments: TypeOf) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorate a kernel whose first argument is an array of its dtype."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @cache
        def compiled(dtype: Any) -> Callable[..., None]:
            real = numba.from_dtype(dtype)
            signature = types.void(*(argument(real) for argument in arguments))
            code: Callable[..., None]
            try:
                code = numba.njit(signature, cache=True, **_OPTIONS)(function)
            except RuntimeError:  # no directory for the cache can be written: compile each time
                code = numba.njit(signature, **_OPTIONS)(function)
            return code

        @wraps(function)
        def run(*values: Any) -> None:
            compiled(values[0].dtype)(*values)

        return run

    return decorate
