"""The verbs of pooling: maximum and average, and their gradients."""

from __future__ import annotations

from typing import Any, Literal, overload

import numpy as np

from . import registry
from .arrays import Array, as_inputs, check_rank, check_shape, delivered, output, ready
from .dims import PoolDims, as_shape4
from .errors import ShapeError


__all__ = ["avg_pool2d", "avg_pool2d_dx", "max_pool2d", "max_pool2d_dx"]


@overload
def max_pool2d(
    x: Any,
    kernel_size: Any,
    *,
    stride: Any = ...,
    padding: Any = ...,
    dilation: Any = ...,
    ceil_mode: bool = ...,
    return_indices: Literal[False] = ...,
    backend: str | None = ...,
    out: Array | None = ...,
) -> Array: ...
@overload
def max_pool2d(
    x: Any,
    kernel_size: Any,
    *,
    stride: Any = ...,
    padding: Any = ...,
    dilation: Any = ...,
    ceil_mode: bool = ...,
    return_indices: Literal[True],
    backend: str | None = ...,
    out: Array | None = ...,
) -> tuple[Array, Array]: ...
def max_pool2d(
    x: Any,
    kernel_size: Any,
    *,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    backend: str | None = None,
    out: Array | None = None,
) -> Array | tuple[Array, Array]:
    """The largest cell of each window.

    Padding never wins, the first of equals wins, and NaN wins over every number.

    Parameters
    ----------
    x : array (N, C, H, W)
        Any strides.  Integers and booleans become float32.
    kernel_size, stride, dilation : int or (int, int)
        stride None is kernel_size.
    padding : as in :func:`conv2d`
        Each side must be smaller than the dilated window.
    ceil_mode : bool
        Round the size of the result up; a window must still begin inside x or in the
        padding above or left of it.
    return_indices : bool
        Also return where each maximum was.
    backend : {"auto", "cython", "numba", "numpy"}, optional
    out : array (N, C, OH, OW), optional
        Overwritten with the maxima.

    Returns
    -------
    y : array (N, C, OH, OW)
        In the memory format of x.
    indices : int32 array (N, C, OH, OW)
        Only with ``return_indices``: flat positions in the H·W plane of x.

    Raises
    ------
    ShapeError, TypeError, ValueError
        As :func:`conv2d`.

    Examples
    --------
    >>> import numpy as np
    >>> max_pool2d(np.arange(16.0).reshape(1, 1, 4, 4), 2)[0, 0]
    array([[ 5.,  7.],
           [13., 15.]])
    """
    verb = "max_pool2d"
    dtype = ready(x)
    if dtype is None:
        (x,), dtype = as_inputs(verb, x=x)
    if x.ndim != 4:
        check_rank(verb, "x", x)
    dims = PoolDims.of(
        x.shape,
        kernel_size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        ceil_mode=ceil_mode,
        verb=verb,
    )
    y = output(verb, out, dims.y_shape, dtype, x, (x,))
    indices = None
    if return_indices:
        indices = output(verb, None, dims.y_shape, np.dtype(np.int32), x, ())
    registry.select(verb, dims, x.dtype, backend).load()(x, y, indices, dims)
    y = delivered(y, out, dtype)
    return y if indices is None else (y, indices)


def max_pool2d_dx(
    dy: Any,
    indices: Any,
    input_shape: tuple[int, int, int, int],
    *,
    backend: str | None = None,
    out: Array | None = None,
) -> Array:
    """Gradient of :func:`max_pool2d`: each element of dy goes to where its maximum was.

    Parameters
    ----------
    dy : array (N, C, OH, OW)
    indices : integer array (N, C, OH, OW)
        As :func:`max_pool2d` returned them.
    input_shape : (N, C, H, W)
    backend, out
        As in :func:`max_pool2d`.

    Returns
    -------
    array (N, C, H, W)
        In the memory format of dy; zero where no maximum was.

    Raises
    ------
    ShapeError, TypeError, ValueError
        As :func:`conv2d`; an index outside the plane is a ValueError.
    """
    verb = "max_pool2d_backward"
    (dy,), dtype = as_inputs(verb, dy=dy)
    check_rank(verb, "dy", dy, "(N, C, OH, OW)")
    n, c, h, w = shape = as_shape4(input_shape, verb, "input_shape")
    if dy.shape[:2] != (n, c) or min(shape[1:]) < 1:
        raise ShapeError(
            f"{verb}: dy {dy.shape} and input_shape {shape} must agree in N and C, and "
            "only N may be 0"
        )
    places = _checked_indices(verb, indices, dy.shape, h * w)
    dx = output(verb, out, shape, dtype, dy, (dy, places))
    registry.select("max_pool2d_dx", None, dy.dtype, backend).load()(dy, places, dx)
    return delivered(dx, out, dtype)


def _checked_indices(verb: str, indices: Any, shape: tuple[int, ...], cells: int) -> Array:
    places = np.asarray(indices)
    if places.dtype.kind not in "iu":
        raise TypeError(f"{verb}: indices must be integers, got dtype {places.dtype}")
    check_shape(verb, "indices", places, shape, "dy of the same shape")
    if places.size and not _all_below(places, cells):
        raise ValueError(
            f"{verb}: indices run from {places.min()} to {places.max()}, but a plane of "
            f"input_shape has positions 0 to {cells - 1}"
        )
    if places.dtype == np.int32 and places.flags.aligned:
        return places
    return places.astype(np.int32)


def _all_below(places: Array, cells: int) -> bool:
    """Whether all are 0 … cells - 1; of int32 told in one pass, negative ones being huge."""
    if places.dtype == np.int32:
        return int(places.view(np.uint32).max()) < cells
    return 0 <= int(places.min()) and int(places.max()) < cells


def avg_pool2d(
    x: Any,
    kernel_size: Any,
    *,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    backend: str | None = None,
    out: Array | None = None,
) -> Array:
    """The mean of each window.

    Parameters
    ----------
    x : array (N, C, H, W)
    kernel_size, stride, padding, ceil_mode, backend, out
        As in :func:`max_pool2d`.
    count_include_pad : bool
        Whether padding counts as cells of value 0.  What ``ceil_mode`` lets a window
        reach beyond the padding never counts.

    Returns
    -------
    array (N, C, OH, OW)
        In the memory format of x.

    Raises
    ------
    ShapeError, TypeError, ValueError
        As :func:`conv2d`.
    """
    verb = "avg_pool2d"
    (x,), dtype = as_inputs(verb, x=x)
    check_rank(verb, "x", x)
    dims = PoolDims.of(
        x.shape, kernel_size, stride=stride, padding=padding, ceil_mode=ceil_mode, verb=verb
    )
    y = output(verb, out, dims.y_shape, dtype, x, (x,))
    run = registry.select(verb, dims, x.dtype, backend).load()
    run(x, y, dims, bool(count_include_pad))
    return delivered(y, out, dtype)


def avg_pool2d_dx(
    dy: Any,
    input_shape: tuple[int, int, int, int],
    kernel_size: Any,
    *,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    backend: str | None = None,
    out: Array | None = None,
) -> Array:
    """Gradient of :func:`avg_pool2d`: every cell of a window gets dy / area.

    Parameters
    ----------
    dy : array (N, C, OH, OW)
    input_shape : (N, C, H, W)
    kernel_size, stride, padding, ceil_mode, count_include_pad, backend, out
        As in :func:`avg_pool2d`.

    Returns
    -------
    array (N, C, H, W)
        In the memory format of dy.

    Raises
    ------
    ShapeError, TypeError, ValueError
        As :func:`conv2d`.
    """
    verb = "avg_pool2d_backward"
    (dy,), dtype = as_inputs(verb, dy=dy)
    shape = as_shape4(input_shape, verb, "input_shape")
    dims = PoolDims.of(
        shape, kernel_size, stride=stride, padding=padding, ceil_mode=ceil_mode, verb=verb
    )
    check_shape(verb, "dy", dy, dims.y_shape, dims)
    dx = output(verb, out, dims.x_shape, dtype, dy, (dy,))
    run = registry.select("avg_pool2d_dx", dims, dy.dtype, backend).load()
    run(dy, dx, dims, bool(count_include_pad))
    return delivered(dx, out, dtype)
