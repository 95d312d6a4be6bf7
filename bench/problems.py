"""A problem is one call, with its arrays: made once, run by every implementation.

The data are whole numbers from -4 to 4, so sums of up to 2^20 products are exact in
float32 and every implementation without divisions must give the same bits.  Results
are allocated and touched here, outside every timing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from cases import Conv, Lrn, Pool

from fastconv import kernels
from fastconv.kernels.arrays import channels_last


# Largest error over largest value.  What is not listed must be equal: see above.
TOLERANCE = {
    "winograd": 1e-4,  # F(4) divides by 3
    "torch": 2e-5,  # may choose Winograd or another order for the divisions
    "onnxruntime": 2e-5,
    "ncnn": 2e-5,
    "avg_pool2d": 1e-6,  # a division, rounded once or multiplied by its inverse
    "avg_pool2d_dx": 1e-6,
    "lrn": 1e-5,  # a power
    "lrn_dx": 1e-5,
    "lrn_both": 1e-5,
}


class Problem(NamedTuple):
    verb: str  # as in registry.TABLE
    dims: Any
    call: Callable[..., Any]
    arguments: tuple[Any, ...]
    options: dict[str, Any]
    out: Any  # in the memory format of the first argument, but for dw
    flops: int

    def run(self, **how: Any) -> Any:
        return self.call(*self.arguments, **self.options, out=self.out, **how)


def integers(shape: tuple[int, ...], memory: str, dtype: str = "f4") -> Any:
    """The same numbers for the same shape, in "nchw" or "nhwc" memory."""
    numbers = np.random.default_rng(0).integers(-4, 5, shape, np.int8)
    a = np.empty(shape, dtype) if memory == "nchw" else channels_last(shape, dtype)
    a[...] = numbers
    return a


def result(shape: tuple[int, ...], memory: str, dtype: str) -> Any:
    a = np.empty(shape, dtype) if memory == "nchw" else channels_last(shape, dtype)
    a[...] = np.nan  # touches every page, and shows what a kernel forgets to write
    return a


def _conv_options(case: Conv) -> dict[str, Any]:
    d = case.dims
    return {"stride": d.stride, "padding": d.pad, "dilation": d.dilation, "groups": d.groups}


def conv2d(case: Conv, memory: str = "nchw", dtype: str = "f4") -> Problem:
    d = case.dims
    x, w = integers(d.x_shape, memory, dtype), integers(d.w_shape, "nchw", dtype)
    y = result(d.y_shape, memory, dtype)
    return Problem("conv2d", d, kernels.conv2d, (x, w), _conv_options(case), y, d.flops)


def conv2d_dx(case: Conv, memory: str = "nchw", dtype: str = "f4") -> Problem:
    d = case.dims
    dy, w = integers(d.y_shape, memory, dtype), integers(d.w_shape, "nchw", dtype)
    dx = result(d.x_shape, memory, dtype)
    arguments = (dy, w, d.x_shape)
    return Problem("conv2d_dx", d, kernels.conv2d_dx, arguments, _conv_options(case), dx, d.flops)


def conv2d_dw(case: Conv, memory: str = "nchw", dtype: str = "f4") -> Problem:
    d = case.dims
    dy, x = integers(d.y_shape, memory, dtype), integers(d.x_shape, memory, dtype)
    dw = result(d.w_shape, "nchw", dtype)
    arguments = (dy, x, d.w_shape)
    return Problem("conv2d_dw", d, kernels.conv2d_dw, arguments, _conv_options(case), dw, d.flops)


def _dx_and_dw(dy: Any, x: Any, w: Any, *, out: Any, **how: Any) -> tuple[Any, Any]:
    dx = kernels.conv2d_dx(dy, w, x.shape, out=out[0], **how)
    return dx, kernels.conv2d_dw(dy, x, w.shape, out=out[1], **how)


def conv2d_backward(case: Conv, memory: str = "nchw", dtype: str = "f4") -> Problem:
    """dx and dw, one after the other: the backward pass of a layer."""
    d, dx, dw = case.dims, conv2d_dx(case, memory, dtype), conv2d_dw(case, memory, dtype)
    arguments = (*dw.arguments[:2], dx.arguments[1])
    return Problem(
        "conv2d_backward", d, _dx_and_dw, arguments, dw.options, (dx.out, dw.out), 2 * d.flops
    )


def _pool_options(case: Pool) -> dict[str, Any]:
    d = case.dims
    return {"stride": d.stride, "padding": d.pad, "ceil_mode": d.ceil_mode}


def _pool_flops(case: Pool) -> int:
    """A comparison or an addition per cell of every window."""
    return int(np.prod(case.dims.y_shape)) * case.dims.kh * case.dims.kw


def max_pool2d(
    case: Pool, memory: str = "nchw", dtype: str = "f4", return_indices: bool = False
) -> Problem:
    d = case.dims
    options = _pool_options(case) | {"return_indices": return_indices}
    arguments = (integers(d.x_shape, memory, dtype), (d.kh, d.kw))
    y = result(d.y_shape, memory, dtype)
    return Problem("max_pool2d", d, kernels.max_pool2d, arguments, options, y, _pool_flops(case))


def max_pool2d_indices(case: Pool, memory: str = "nchw", dtype: str = "f4") -> Problem:
    return max_pool2d(case, memory, dtype, return_indices=True)


def max_pool2d_dx(case: Pool, memory: str = "nchw", dtype: str = "f4") -> Problem:
    d = case.dims
    _, indices = max_pool2d_indices(case, memory, dtype).run(backend="numpy")
    arguments = (integers(d.y_shape, memory, dtype), indices, d.x_shape)
    dx = result(d.x_shape, memory, dtype)
    return Problem(
        "max_pool2d_dx", d, kernels.max_pool2d_dx, arguments, {}, dx, int(np.prod(d.y_shape))
    )


def _max_pool2d_and_dx(
    x: Any, dy: Any, kernel_size: Any, *, out: Any, backend: str | None = None, **options: Any
) -> tuple[Any, Any]:
    options |= {"return_indices": True, "backend": backend}
    y, indices = kernels.max_pool2d(x, kernel_size, out=out[0], **options)
    return y, kernels.max_pool2d_dx(dy, indices, x.shape, out=out[1], backend=backend)


def max_pool2d_both(case: Pool, memory: str = "nchw", dtype: str = "f4") -> Problem:
    """y with indices, then dx: a training step's share of a layer."""
    d, y = case.dims, max_pool2d(case, memory, dtype)
    arguments = (y.arguments[0], integers(d.y_shape, memory, dtype), (d.kh, d.kw))
    out, flops = (y.out, result(d.x_shape, memory, dtype)), y.flops + int(np.prod(d.y_shape))
    return Problem(
        "max_pool2d_both", d, _max_pool2d_and_dx, arguments, _pool_options(case), out, flops
    )


def avg_pool2d(case: Pool, memory: str = "nchw", dtype: str = "f4") -> Problem:
    d = case.dims
    arguments = (integers(d.x_shape, memory, dtype), (d.kh, d.kw))
    y = result(d.y_shape, memory, dtype)
    return Problem(
        "avg_pool2d", d, kernels.avg_pool2d, arguments, _pool_options(case), y, _pool_flops(case)
    )


def avg_pool2d_dx(case: Pool, memory: str = "nchw", dtype: str = "f4") -> Problem:
    d = case.dims
    arguments = (integers(d.y_shape, memory, dtype), d.x_shape, (d.kh, d.kw))
    dx = result(d.x_shape, memory, dtype)
    options, flops = _pool_options(case), _pool_flops(case)
    return Problem("avg_pool2d_dx", d, kernels.avg_pool2d_dx, arguments, options, dx, flops)


def _lrn_options(case: Lrn) -> dict[str, Any]:
    return {"alpha": case.alpha, "beta": case.beta, "k": case.k}


def lrn(case: Lrn, memory: str = "nchw", dtype: str = "f4") -> Problem:
    arguments = (integers(case.shape, memory, dtype), case.size)
    y = result(case.shape, memory, dtype)
    flops = int(np.prod(case.shape)) * (2 * case.size + 3)  # sum of squares, then d^-β · x
    call = kernels.local_response_norm
    return Problem("lrn", case.shape, call, arguments, _lrn_options(case), y, flops)


def lrn_dx(case: Lrn, memory: str = "nchw", dtype: str = "f4") -> Problem:
    x = integers(case.shape, memory, dtype)
    arguments = (x[:, ::-1].copy("K"), x, case.size)
    dx = result(case.shape, memory, dtype)
    flops = int(np.prod(case.shape)) * (3 * case.size + 8)  # both sums, d^-β and its products
    call = kernels.local_response_norm_dx
    return Problem("lrn_dx", case.shape, call, arguments, _lrn_options(case), dx, flops)


def _lrn_and_dx(x: Any, dy: Any, size: int, *, out: Any, **how: Any) -> tuple[Any, Any]:
    y = kernels.local_response_norm(x, size, out=out[0], **how)
    return y, kernels.local_response_norm_dx(dy, x, size, out=out[1], **how)


def lrn_both(case: Lrn, memory: str = "nchw", dtype: str = "f4") -> Problem:
    """y, then dx."""
    y, dx = lrn(case, memory, dtype), lrn_dx(case, memory, dtype)
    arguments, out, flops = (
        (y.arguments[0], *dx.arguments[::2]),
        (y.out, dx.out),
        y.flops + dx.flops,
    )
    return Problem("lrn_both", case.shape, _lrn_and_dx, arguments, y.options, out, flops)


def as_arrays(results: Any) -> list[Any]:
    """A result (a tensor too), or several, as C-contiguous copies that no later run overwrites."""
    several = results if isinstance(results, (tuple, list)) else (results,)
    arrays = (a if isinstance(a, np.ndarray) else a.detach().numpy() for a in several)
    return [np.array(a, order="C") for a in arrays]


def check(problem: Problem, way: str, got: Any, want: list[Any]) -> None:
    """Fast and wrong is no result.  `way` is an implementation's name or a peer's."""
    parts = (problem.verb, *way.split("-"))
    tolerance = max(TOLERANCE.get(part, 0.0) for part in parts)
    for g, e in zip(as_arrays(got), want, strict=True):
        error, largest = np.abs(g - e).max(), np.abs(e).max()
        if not error <= tolerance * largest:
            raise AssertionError(
                f"{problem.verb} {problem.dims} by {way}: error {error:g} exceeds "
                f"{tolerance:g} of the largest value {largest:g}"
            )
