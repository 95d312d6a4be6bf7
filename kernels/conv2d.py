"""The verbs of convolution: y, dx, dw and db.

Every call passes through the same steps: make the arrays usable, build the dims, find
or allocate the result, select an implementation, run it.
"""

from __future__ import annotations

from typing import Any

from . import registry
from .arrays import Array, as_inputs, check_rank, check_shape, delivered, output, ready
from .dims import ConvDims, as_shape4
from .prepared import PreparedWeights


__all__ = ["conv2d", "conv2d_db", "conv2d_dw", "conv2d_dx"]

_ACTIVATIONS = (None, "relu")


def conv2d(
    x: Any,
    w: Any,
    b: Any = None,
    *,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    activation: str | None = None,
    algorithm: str = "auto",
    backend: str | None = None,
    out: Array | None = None,
) -> Array:
    """2-D convolution (cross-correlation) of a batch of images.

    ``y[n, k, p, q] = b[k] + Σ over c, i, j of
    x[n, c, p·stride + i·dilation - pad, q·stride + j·dilation - pad] · w[k, c, i, j]``

    Parameters
    ----------
    x : array (N, C, H, W)
        Any strides.  Integers and booleans become floats, float16 is computed in float32.
    w : array (O, C/groups, KH, KW), or PreparedWeights
        With the latter, what a kernel packs of them is kept for the next call.
    b : array (O,) or PreparedWeights, optional
    stride, dilation : int or (int, int)
    padding : int, (ph, pw), ((top, bottom), (left, right)), "valid", "same" or "same_lower"
        "same" makes ceil(size / stride) results, with the odd cell of padding at the
        bottom and right; "same_lower" has it at the top and left.
    groups : int
        Divides the channels of x and the filters of w; groups=C is depthwise.
    activation : None or "relu"
        Applied to the result in the same pass.
    algorithm : {"auto", "direct", "im2col", "winograd"}
    backend : {"auto", "cython", "numba", "numpy"}, optional
        Default: the choice of :func:`use_backend`.
    out : array (N, O, OH, OW), optional
        Overwritten with the result and returned.

    Returns
    -------
    array (N, O, OH, OW)
        In the memory format of x (C-contiguous or channels-last);
        OH = floor((H + top + bottom - dilation·(KH-1) - 1) / stride) + 1.

    Raises
    ------
    ShapeError
        A ValueError: shapes or options contradict one another.
    TypeError
        float32 meets float64, or a dtype is not a real number's.
    ValueError
        An option has a value that does not exist, or nothing implements the request.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    >>> conv2d(x, np.ones((1, 1, 2, 2), np.float32), stride=2)[0, 0]
    array([[10., 18.],
           [42., 50.]], dtype=float32)
    """
    if activation not in _ACTIVATIONS:
        raise ValueError(f"conv2d: activation={activation!r} is unknown; use one of {_ACTIVATIONS}")
    prepared = None
    if type(w) is PreparedWeights:
        prepared, w = w, w.array
    if type(b) is PreparedWeights:
        b = b.array
    dtype = ready(x, w, b)
    if dtype is None:
        (x, w, b), dtype = as_inputs("conv2d", x=x, w=w, b=b)
    if x.ndim != 4 or w.ndim != 4:
        check_rank("conv2d", "x", x)
        check_rank("conv2d", "w", w, "(O, C/groups, KH, KW)")
    dims = ConvDims.of(
        x.shape, w.shape, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    if b is not None and b.shape != (dims.k,):
        check_shape("conv2d", "b", b, (dims.k,), f"w with {dims.k} filters")
    y = output("conv2d", out, dims.y_shape, dtype, x, (x, w, b))
    impl = registry.select("conv2d", dims, x.dtype, backend, algorithm)
    if impl.prepares and prepared is not None and prepared.array is w:
        impl.load()(x, w, b, y, dims, activation == "relu", prepared)
    else:
        impl.load()(x, w, b, y, dims, activation == "relu")
    return delivered(y, out, dtype)


def conv2d_dx(
    dy: Any,
    w: Any,
    x_shape: tuple[int, int, int, int],
    *,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    algorithm: str = "auto",
    backend: str | None = None,
    out: Array | None = None,
) -> Array:
    """Gradient of :func:`conv2d` with respect to x.

    Parameters
    ----------
    dy : array (N, O, OH, OW)
        Gradient with respect to the result.
    w : array (O, C/groups, KH, KW)
    x_shape : (N, C, H, W)
        The stride leaves it open, so it cannot be told from dy.
    stride, padding, dilation, groups, algorithm, backend, out
        As in :func:`conv2d`.

    Returns
    -------
    array (N, C, H, W)
        In the memory format of dy.

    Raises
    ------
    ShapeError, TypeError, ValueError
        As :func:`conv2d`.
    """
    verb = "conv2d_dx"
    dtype = ready(dy, w)
    if dtype is None:
        (dy, w), dtype = as_inputs(verb, dy=dy, w=w)
    check_rank(verb, "w", w, "(O, C/groups, KH, KW)")
    shape = as_shape4(x_shape, verb, "x_shape")
    dims = ConvDims.of(
        shape, w.shape, stride=stride, padding=padding, dilation=dilation, groups=groups, verb=verb
    )
    check_shape(verb, "dy", dy, dims.y_shape, dims)
    dx = output(verb, out, dims.x_shape, dtype, dy, (dy, w))
    run = registry.select(verb, dims, dy.dtype, backend, algorithm).load()
    run(dy, w, dx, dims)
    return delivered(dx, out, dtype)


def conv2d_dw(
    dy: Any,
    x: Any,
    w_shape: tuple[int, int, int, int],
    *,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    algorithm: str = "auto",
    backend: str | None = None,
    out: Array | None = None,
) -> Array:
    """Gradient of :func:`conv2d` with respect to w, summed over the batch.

    Parameters
    ----------
    dy : array (N, O, OH, OW)
        Gradient with respect to the result.
    x : array (N, C, H, W)
    w_shape : (O, C/groups, KH, KW)
    stride, padding, dilation, groups, algorithm, backend, out
        As in :func:`conv2d`.

    Returns
    -------
    array (O, C/groups, KH, KW)
        C-contiguous.  Zeros where N is 0.

    Raises
    ------
    ShapeError, TypeError, ValueError
        As :func:`conv2d`.
    """
    verb = "conv2d_dw"
    dtype = ready(dy, x)
    if dtype is None:
        (dy, x), dtype = as_inputs(verb, dy=dy, x=x)
    check_rank(verb, "x", x)
    shape = as_shape4(w_shape, verb, "w_shape")
    dims = ConvDims.of(
        x.shape, shape, stride=stride, padding=padding, dilation=dilation, groups=groups, verb=verb
    )
    check_shape(verb, "dy", dy, dims.y_shape, dims)
    dw = output(verb, out, dims.w_shape, dtype, None, (dy, x))
    run = registry.select(verb, dims, x.dtype, backend, algorithm).load()
    run(dy, x, dw, dims)
    return delivered(dw, out, dtype)


def conv2d_db(dy: Any, *, backend: str | None = None, out: Array | None = None) -> Array:
    """Gradient of :func:`conv2d` with respect to b: dy (N, O, OH, OW) summed to (O,).

    Raises
    ------
    ShapeError, TypeError, ValueError
        As :func:`conv2d`.
    """
    dtype = ready(dy)
    if dtype is None:
        (dy,), dtype = as_inputs("conv2d_db", dy=dy)
    check_rank("conv2d_db", "dy", dy, "(N, O, OH, OW)")
    db = output("conv2d_db", out, dy.shape[1:2], dtype, None, (dy,))
    registry.select("conv2d_db", None, dy.dtype, backend).load()(dy, db)
    return delivered(db, out, dtype)
