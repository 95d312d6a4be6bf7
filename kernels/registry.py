"""Which implementations exist, which one runs, and why the others do not.

``TABLE`` lists per verb the implementations, fastest first and the NumPy reference
last.  Each can say in words why it cannot take a problem; ``select`` walks the list and
``candidates`` tells the whole story.  Adding a kernel is one function and one line here.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np

from . import winograd
from .dims import ConvDims, PoolDims
from .recording import is_recording, recorded


__all__ = [
    "TABLE",
    "Implementation",
    "available_backends",
    "backend_why_not",
    "candidates",
    "current_backend",
    "select",
    "use_backend",
]

BACKENDS = ("cython", "numba", "numpy")
ALGORITHMS = ("direct", "im2col", "winograd")

Dims = ConvDims | PoolDims | None
WhyNot = Callable[[Any, "np.dtype[Any]"], "str | None"]  # of the verb's own dims


def _takes_all(dims: Dims, dtype: np.dtype[Any]) -> str | None:
    return None


class Implementation(NamedTuple):
    """One way to compute one verb: a function of a module in this package."""

    verb: str
    backend: str
    algorithm: str
    module: str
    function: str
    why_not: WhyNot = _takes_all
    loses: WhyNot = _takes_all  # why it is only used when asked for by name
    prepares: bool = False  # whether it keeps packed weights in PreparedWeights
    again: str | None = None  # the function that prepares a call for a Recording

    @property
    def name(self) -> str:
        """Its address within the verb, e.g. ``direct-cython``."""
        return f"{self.algorithm}-{self.backend}"

    def load(self) -> Callable[..., None]:
        """The function itself; the backend is imported now, not before."""
        kernel = _load(self.module, self.function)
        if not is_recording():
            return kernel
        return recorded(kernel, None if self.again is None else _load(self.module, self.again))


@cache
def _load(module: str, function: str) -> Callable[..., None]:
    found = importlib.import_module(f"{__package__}.{module}")
    return getattr(found, function)  # type: ignore[no-any-return]


def _compiled(
    verb: str, algorithm: str, why_not: WhyNot = _takes_all, loses: WhyNot = _takes_all
) -> Implementation:
    module, prepares = f"conv2d_{algorithm}", verb == "conv2d"
    again = "conv2d_again" if prepares and algorithm == "direct" else None
    return Implementation(verb, "cython", algorithm, module, verb, why_not, loses, prepares, again)


def _convolution(verb: str) -> tuple[Implementation, ...]:
    loses = {"conv2d_dx": winograd.dx_loses, "conv2d_dw": winograd.dw_loses}.get(
        verb, winograd.loses
    )
    return (
        _compiled(verb, "winograd", winograd.why_not, loses),
        _compiled(verb, "direct"),
        _compiled(verb, "im2col"),
        Implementation(verb, "numba", "direct", "conv2d_numba", f"{verb}_direct"),
        Implementation(verb, "numba", "im2col", "conv2d_numba", f"{verb}_im2col"),
        Implementation(verb, "numpy", "im2col", "conv2d_numpy", f"{verb}_im2col"),
        Implementation(verb, "numpy", "direct", "conv2d_numpy", f"{verb}_direct"),
    )


def _one_way(verb: str, module: str) -> tuple[Implementation, ...]:
    again = "max_pool2d_again" if verb == "max_pool2d" else None
    return (
        Implementation(verb, "cython", "direct", f"{module}_direct", verb, again=again),
        Implementation(verb, "numba", "direct", f"{module}_numba", verb),
        Implementation(verb, "numpy", "direct", f"{module}_numpy", verb),
    )


TABLE: dict[str, tuple[Implementation, ...]] = {
    "conv2d": _convolution("conv2d"),
    "conv2d_dx": _convolution("conv2d_dx"),
    "conv2d_dw": _convolution("conv2d_dw"),
    "conv2d_db": _one_way("conv2d_db", "conv2d"),
    "max_pool2d": _one_way("max_pool2d", "pool2d"),
    "max_pool2d_dx": _one_way("max_pool2d_dx", "pool2d"),
    "avg_pool2d": _one_way("avg_pool2d", "pool2d"),
    "avg_pool2d_dx": _one_way("avg_pool2d_dx", "pool2d"),
    "lrn": _one_way("lrn", "lrn"),
    "lrn_dx": _one_way("lrn_dx", "lrn"),
    "relu": _one_way("relu", "elementwise"),
    "relu_dx": _one_way("relu_dx", "elementwise"),
    "dropout": _one_way("dropout", "elementwise"),
    "softmax_cross_entropy": _one_way("softmax_cross_entropy", "elementwise"),
    "sgd_update": _one_way("sgd_update", "elementwise"),
}


@cache
def backend_why_not(backend: str) -> str | None:
    """Why a backend cannot be used here, or None if it can."""
    if backend == "cython":
        try:
            importlib.import_module(f"{__package__}.cpu")
        except ImportError as error:
            return f"the compiled kernels are not installed ({error})"
    if backend == "numba":
        if importlib.util.find_spec("numba") is None:
            return "Numba is not installed (pip install 'fastconv[numba]')"
        try:
            importlib.import_module("numba")
        except ImportError as error:
            return f"Numba cannot be imported ({error})"
    return None


def _needless(backend: str) -> bool:
    """Numba where the compiled kernels are there: not imported (0.5 s) unless asked for."""
    return backend == "numba" and backend_why_not("cython") is None


def available_backends() -> tuple[str, ...]:
    """The backends usable here, the fastest first.

    Returns
    -------
    tuple of str
        Some of ``"cython"``, ``"numba"`` and ``"numpy"``; the last is always there.
    """
    return tuple(name for name in BACKENDS if backend_why_not(name) is None)


_default = "auto"


class use_backend:
    """Choose the backend for the whole process; as a context manager, until it ends.

    Parameters
    ----------
    name : {"auto", "cython", "numba", "numpy"}
        ``"auto"`` takes the fastest that can do each call.

    Raises
    ------
    ValueError
        If there is no such backend, or it cannot be used here (with the reason).
    """

    def __init__(self, name: str) -> None:
        global _default
        self._before = _default
        _default = _checked_backend("use_backend", name)

    def __enter__(self) -> use_backend:
        return self

    def __exit__(self, *exc_info: object) -> None:
        global _default
        _default = self._before


def current_backend() -> str:
    """The process-wide choice made by :class:`use_backend`: ``"auto"`` or a backend."""
    return _default


def _checked_backend(verb: str, name: str) -> str:
    if name != "auto":
        if name not in BACKENDS:
            known = ("auto", *BACKENDS)
            raise ValueError(f"{verb}: backend={name!r} is unknown; use one of {known}")
        reason = backend_why_not(name)
        if reason is not None:
            raise ValueError(
                f"{verb}: backend {name!r} cannot be used: {reason}; "
                f"available here: {available_backends()}"
            )
    return name


def candidates(
    verb: str, dims: Dims, dtype: np.dtype[Any], backend: str | None = None, algorithm: str = "auto"
) -> list[tuple[Implementation, str | None]]:
    """Every implementation of a verb, each with the reason it is not used, or None."""
    backend = _checked_backend(verb, _default if backend is None else backend)
    if algorithm != "auto" and algorithm not in ALGORITHMS:
        raise ValueError(
            f"{verb}: algorithm={algorithm!r} is unknown; use 'auto' or one of {ALGORITHMS}"
        )
    return [(impl, _refusal(impl, dims, dtype, backend, algorithm)) for impl in TABLE[verb]]


def _refusal(
    impl: Implementation, dims: Dims, dtype: np.dtype[Any], backend: str, algorithm: str
) -> str | None:
    if backend not in ("auto", impl.backend):
        return f"backend={backend!r} was asked for"
    if algorithm not in ("auto", impl.algorithm):
        return f"algorithm={algorithm!r} was asked for"
    if backend == "auto" and _needless(impl.backend):
        return "the compiled kernels are there"
    reason = backend_why_not(impl.backend) or impl.why_not(dims, dtype)
    if reason is None and algorithm == "auto":
        reason = impl.loses(dims, dtype)
    return reason


def select(
    verb: str, dims: Dims, dtype: np.dtype[Any], backend: str | None = None, algorithm: str = "auto"
) -> Implementation:
    """The first implementation that takes the problem.

    Raises
    ------
    ValueError
        If a name is unknown, or no implementation takes the problem (with every reason).
    """
    return _select(verb, dims, dtype, _default if backend is None else backend, algorithm)


@lru_cache(maxsize=1024)
def _select(
    verb: str, dims: Dims, dtype: np.dtype[Any], backend: str, algorithm: str
) -> Implementation:
    story = candidates(verb, dims, dtype, backend, algorithm)
    for impl, reason in story:
        if reason is None:
            return impl
    reasons = "\n  ".join(f"{impl.name}: {reason}" for impl, reason in story)
    raise ValueError(f"{verb} {dims} {dtype}: no implementation takes this:\n  {reasons}")
