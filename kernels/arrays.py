"""What happens to arrays at the boundary: dtypes, memory formats, ``out=``.

Kernels get aligned arrays of one dtype, float32 or float64, in native byte order and
with any strides.  Two memory formats are fast and kept: C-contiguous, and
channels-last, which is the same (N, C, H, W) shape over NHWC memory.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .errors import ShapeError
from .recording import recorded


__all__ = [
    "Array",
    "as_inputs",
    "channels_last",
    "check_rank",
    "check_shape",
    "delivered",
    "is_channels_last",
    "output",
    "ready",
    "to_channels_last",
    "to_rows",
]

Array = np.ndarray[Any, Any]

_ndarray = np.ndarray

_F16, _F32, _F64 = np.dtype("f2"), np.dtype("f4"), np.dtype("f8")
# Aligned arrays have aligned strides; where doubles need 8 bytes these are whole elements.
_ALIGNED_IS_WALKABLE = _F64.alignment == _F64.itemsize


def _walkable(a: Array) -> bool:
    """Whether the steps of `a` in memory are whole elements in the right place."""
    return a.flags.aligned and (_ALIGNED_IS_WALKABLE or all(s % a.itemsize == 0 for s in a.strides))


def ready(*arrays: Any) -> np.dtype[Any] | None:
    """The dtype of arrays that kernels can take as they are, the usual case; else None."""
    dtype = getattr(arrays[0], "dtype", None)
    if dtype is not _F32 and dtype is not _F64:
        return None
    for a in arrays:
        if a is None:
            continue
        if type(a) is not _ndarray or a.dtype is not dtype or not a.flags.aligned:
            return None
        if not _ALIGNED_IS_WALKABLE and not _walkable(a):
            return None
    return dtype


def as_inputs(verb: str, **named: Any) -> tuple[list[Any], np.dtype[Any]]:
    """The arrays as kernels take them, None kept, and the dtype of the result.

    float32 stays float32 and float64 stays float64; integers and booleans take the
    dtype of the floats beside them, else float32; float16 is computed in float32.

    Raises
    ------
    TypeError
        If float32 and float64 meet in one call, or a dtype is not a real number's.
    """
    given = [*named.values()]
    dtype = ready(*given)
    if dtype is not None:
        return given, dtype
    arrays = {name: a if a is None else np.asarray(a) for name, a in named.items()}
    floats = {}
    for name, a in arrays.items():
        if a is None or a.dtype.kind in "biu":
            continue
        if a.dtype.newbyteorder("=") not in (_F16, _F32, _F64):
            raise TypeError(
                f"{verb}: {name} has dtype {a.dtype}; it must be float32, float64, float16, "
                f"integer or bool: convert it, e.g. {name}.astype(np.float32)"
            )
        floats[name] = a.dtype.newbyteorder("=")
    compute = _compute_dtype(verb, floats)
    all_half = bool(floats) and all(d == _F16 for d in floats.values())
    return [a if a is None else _usable(a, compute) for a in arrays.values()], (
        _F16 if all_half else compute
    )


def _compute_dtype(verb: str, floats: dict[str, np.dtype[Any]]) -> np.dtype[Any]:
    wide = [name for name, d in floats.items() if d == _F64]
    single = [name for name, d in floats.items() if d == _F32]
    if wide and single:
        raise TypeError(
            f"{verb}: {wide[0]} is float64 but {single[0]} is float32; convert one of them, "
            f"e.g. {wide[0]}.astype(np.float32)"
        )
    return _F64 if wide else _F32


def _usable(a: Array, dtype: np.dtype[Any]) -> Array:
    """`a` itself where a kernel can walk it, else a copy in the same memory format."""
    if a.dtype == dtype and _walkable(a):
        return a
    return a.astype(dtype, order="K", copy=True)


def check_rank(verb: str, name: str, a: Array, axes: str = "(N, C, H, W)") -> None:
    """ShapeError, with the fix, unless `a` has as many axes as `axes` names."""
    rank = axes.count(",") + 1
    if a.ndim == rank:
        return
    fix = ""
    if rank == 4 and name == "x" and a.ndim in (2, 3):
        missing = "[None, None]" if a.ndim == 2 else "[:, None] or x[None]"
        fix = f"; add the missing axes, e.g. x{missing}"
    raise ShapeError(f"{verb}: {name} must have {rank} axes {axes}, got shape {a.shape}{fix}")


def check_shape(verb: str, name: str, a: Array, shape: tuple[int, ...], why: object) -> None:
    """ShapeError unless `a` has the shape that `why` needs (a text, or dims)."""
    if a.shape != shape:
        raise ShapeError(f"{verb}: {name} has shape {a.shape}, but {why} needs {shape}")


def is_channels_last(a: Array) -> bool:
    """Whether an array has four axes and lies in memory as NHWC.

    With a single channel both orders are contiguous, and the stride of the channels
    tells which was meant; for planes of 1×1 the orders are the same, and this is False.
    """
    strides, item = a.strides, a.itemsize
    if len(strides) != 4 or strides[1] != item:
        return False
    n, c, h, w = a.shape
    pixel = c * item
    return (
        h * w > 1 and strides[2:] == (w * pixel, pixel) and (n == 1 or strides[0] == h * w * pixel)
    )


def channels_last(shape: tuple[int, ...], dtype: Any) -> Array:
    """An uninitialised array of shape (N, C, H, W) over NHWC memory."""
    n, c, h, w = shape
    return np.empty((n, h, w, c), dtype).transpose(0, 3, 1, 2)


def to_channels_last(x: Array, dtype: Any = None) -> Array:
    """`x` over NHWC memory: itself or a view if it is so, else a copy (which is recorded)."""
    dtype = x.dtype if dtype is None else np.dtype(dtype)
    if x.dtype == dtype and is_channels_last(x):
        return x
    n, c, h, w = x.shape
    if x.dtype == dtype and (c == 1 or h * w == 1) and x.flags.c_contiguous:
        return x.reshape(n, h, w, c).transpose(0, 3, 1, 2)
    y = channels_last(x.shape, dtype)
    recorded(_copy)(x, y)
    return y


def to_rows(x: Array, shape: tuple[int, ...]) -> Array:
    """`x` in C order as `shape`: a view if it lies so, else a copy (which is recorded)."""
    if x.flags.c_contiguous:
        return x.reshape(shape)
    y = np.empty(shape, x.dtype)
    recorded(_copy)(x, y.reshape(x.shape))
    return y


def _copy(x: Array, y: Array) -> None:
    y[...] = x


def output(
    verb: str,
    out: Any,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    like: Array | None,
    inputs: tuple[Any, ...],
) -> Array:
    """Where the kernel writes: `out` if it can, else new memory in the format of `like`.

    Raises
    ------
    TypeError, ValueError
        If `out` is not a writeable array of this shape and dtype apart from the inputs.
    """
    if out is not None:
        _check_out(verb, out, shape, dtype, inputs)
        if out.dtype in (_F32, _F64) and _walkable(out):
            return out  # type: ignore[no-any-return]
    compute = _F32 if dtype is _F16 else dtype
    if like is not None and is_channels_last(like):
        return channels_last(shape, compute)
    return np.empty(shape, compute)


def _check_out(
    verb: str, out: Any, shape: tuple[int, ...], dtype: np.dtype[Any], inputs: tuple[Any, ...]
) -> None:
    if not isinstance(out, np.ndarray):
        raise TypeError(f"{verb}: out must be an ndarray, got {type(out).__name__}")
    if out.shape != shape:
        raise ShapeError(f"{verb}: out has shape {out.shape}, but the result has {shape}")
    if out.dtype != dtype:
        raise TypeError(f"{verb}: out has dtype {out.dtype}, but the result has {dtype}")
    if not out.flags.writeable:
        raise ValueError(f"{verb}: out is read-only; pass a writeable array")
    for a in inputs:
        # the exact question takes 20 us, and is asked only where bounds meet
        if a is not None and np.may_share_memory(out, a) and np.shares_memory(out, a):
            raise ValueError(f"{verb}: out overlaps an input in memory; pass a separate array")
    if (
        0 in out.strides
        and out.size
        and any(s == 0 and size > 1 for s, size in zip(out.strides, shape, strict=True))
    ):
        raise ValueError(f"{verb}: several elements of out share one place in memory")


def delivered(y: Array, out: Array | None, dtype: np.dtype[Any]) -> Array:
    """The result as the caller wants it: in `out`, or in `dtype`."""
    if out is None:
        return y if y.dtype is dtype else y.astype(dtype, copy=False)
    if y is not out:
        out[...] = y
    return out
