"""The stateless maths under the layers: the verbs of the kernels, and their gradients."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from .kernels import (
    ConvDims,
    avg_pool2d,
    conv2d,
    conv2d_db,
    conv2d_dw,
    conv2d_dx,
    local_response_norm,
    max_pool2d,
)
from .kernels import avg_pool2d_dx as avg_pool2d_backward
from .kernels import local_response_norm_dx as local_response_norm_backward
from .kernels import max_pool2d_dx as max_pool2d_backward
from .kernels.arrays import Array, as_inputs, check_rank, check_shape, delivered


__all__ = [
    "avg_pool2d",
    "avg_pool2d_backward",
    "conv2d",
    "conv2d_backward",
    "local_response_norm",
    "local_response_norm_backward",
    "max_pool2d",
    "max_pool2d_backward",
]

_NEEDS = ("x", "w", "b")


def conv2d_backward(
    dy: Any,
    x: Any,
    w: Any,
    *,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    algorithm: str = "auto",
    backend: str | None = None,
    need: Collection[str] = _NEEDS,
) -> tuple[Array | None, Array | None, Array | None]:
    """Gradients of :func:`conv2d` with respect to x, w and b.

    Parameters
    ----------
    dy : array (N, O, OH, OW)
        Gradient with respect to the result.
    x : array (N, C, H, W)
    w : array (O, C/groups, KH, KW)
    stride, padding, dilation, groups, algorithm, backend
        As in :func:`conv2d`.
    need : some of "x", "w", "b"
        Which gradients to compute; each of dx and dw costs as much as the forward pass.

    Returns
    -------
    dx : array (N, C, H, W) or None
        In the memory format of dy.
    dw : array (O, C/groups, KH, KW) or None
    db : array (O,) or None

    Raises
    ------
    ShapeError, TypeError, ValueError
        As :func:`conv2d`.
    """
    verb = "conv2d_backward"
    unknown = [name for name in need if name not in _NEEDS]
    if unknown:
        raise ValueError(f"{verb}: need={need!r} has unknown {unknown}; use some of {_NEEDS}")
    (dy, x, w), dtype = as_inputs(verb, dy=dy, x=x, w=w)
    check_rank(verb, "x", x)
    check_rank(verb, "w", w, "(O, C/groups, KH, KW)")
    geometry = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    dims = ConvDims.of(x.shape, w.shape, **geometry, verb=verb)
    check_shape(verb, "dy", dy, dims.y_shape, dims)
    how: dict[str, Any] = {**geometry, "algorithm": algorithm, "backend": backend}
    dx = conv2d_dx(dy, w, dims.x_shape, **how) if "x" in need else None
    dw = conv2d_dw(dy, x, dims.w_shape, **how) if "w" in need else None
    db = conv2d_db(dy, backend=backend) if "b" in need else None
    dx, dw, db = (None if g is None else delivered(g, None, dtype) for g in (dx, dw, db))
    return dx, dw, db
