"""The verbs of local response normalisation: y and dx."""

from __future__ import annotations

from numbers import Real
from typing import Any

from . import registry
from .arrays import Array, as_inputs, check_rank, check_shape, delivered, output
from .dims import as_int


__all__ = ["local_response_norm", "local_response_norm_dx"]


def local_response_norm(
    x: Any,
    size: int,
    *,
    alpha: float = 1e-4,
    beta: float = 0.75,
    k: float = 1.0,
    backend: str | None = None,
    out: Array | None = None,
) -> Array:
    """Divide each element by a power of the energy of its neighbours across channels.

    ``y[c] = x[c] / (k + alpha/size · Σ x[c - size//2 … c + (size-1)//2]²)^beta``

    Parameters
    ----------
    x : array (N, C, H, W)
    size : int
        Neighbouring channels in the sum; those that do not exist count as 0.
    alpha, beta, k : float
        alpha is divided by size, as in PyTorch, Caffe and ONNX.  The AlexNet paper
        (Krizhevsky et al. 2012, section 3.3) does not divide: for its alpha give size·alpha.
    backend, out
        As in :func:`conv2d`.

    Returns
    -------
    array (N, C, H, W)
        In the memory format of x.

    Raises
    ------
    ShapeError, TypeError, ValueError
        As :func:`conv2d`; size must be at least 1, k positive, alpha not negative.
    """
    verb = "local_response_norm"
    (x,), dtype = as_inputs(verb, x=x)
    constants = _checked(verb, x, size, alpha, beta, k)
    y = output(verb, out, x.shape, dtype, x, (x,))
    registry.select("lrn", None, x.dtype, backend).load()(x, y, *constants)
    return delivered(y, out, dtype)


def local_response_norm_dx(
    dy: Any,
    x: Any,
    size: int,
    *,
    alpha: float = 1e-4,
    beta: float = 0.75,
    k: float = 1.0,
    backend: str | None = None,
    out: Array | None = None,
) -> Array:
    """Gradient of :func:`local_response_norm`.

    Parameters
    ----------
    dy, x : array (N, C, H, W)
    size, alpha, beta, k, backend, out
        As in :func:`local_response_norm`.

    Returns
    -------
    array (N, C, H, W)
        In the memory format of x.

    Raises
    ------
    ShapeError, TypeError, ValueError
        As :func:`local_response_norm`.
    """
    verb = "local_response_norm_backward"
    (dy, x), dtype = as_inputs(verb, dy=dy, x=x)
    constants = _checked(verb, x, size, alpha, beta, k)
    check_shape(verb, "dy", dy, x.shape, "x of the same shape")
    dx = output(verb, out, x.shape, dtype, x, (dy, x))
    registry.select("lrn_dx", None, x.dtype, backend).load()(dy, x, dx, *constants)
    return delivered(dx, out, dtype)


def _checked(
    verb: str, x: Array, size: Any, alpha: Any, beta: Any, k: Any
) -> tuple[int, float, float, float]:
    check_rank(verb, "x", x)
    if as_int(size, verb, "size") < 1:
        raise ValueError(f"{verb}: size must be at least 1, got {size}")
    for name, value in (("alpha", alpha), ("beta", beta), ("k", k)):
        if isinstance(value, bool) or not isinstance(value, Real):
            raise TypeError(f"{verb}: {name} must be a number, got {value!r}")
    if not (k > 0 and alpha >= 0):
        raise ValueError(f"{verb}: k must be positive and alpha not negative, got {k=}, {alpha=}")
    return int(size), float(alpha), float(beta), float(k)
