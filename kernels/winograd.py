"""Whether Winograd's algorithm pays for a convolution, and with which tile.

F(m, r) computes m × m results of an r × r kernel from n × n products, n = m + r - 1.  A larger
tile needs fewer products per result (2.25 for F(4, 3), 1.78 for F(6, 3), where the direct
algorithm needs 9), but dearer transforms, and wastes more at the edge of small planes: on 13×13,
F(4) and F(6) need 576, F(5) 441.  So the choice is by an estimate of the cost, in vector
operations.  Under a stride s a channel is s² of them, with r = ceil(taps / s); there, and with less
channels than lanes, y and dx know whether the processor multiplies faster than it transforms.

The estimate for y and dx knows nothing of N: an image's result must not depend on its batch.
That for dw, a sum over images, does: with few pixels the n × n sums for each channel and filter
cost more than the products.
"""

from __future__ import annotations

import importlib
from functools import lru_cache
from typing import NamedTuple

from .dims import ConvDims


__all__ = [
    "dw_loses",
    "dw_tile",
    "dw_tiles",
    "dx_loses",
    "dx_tile",
    "loses",
    "tile",
    "tiles",
    "why_not",
]

# Operations of a transform, per vector of channels or filters and tile, by n: cycles measured
# on AVX-512 with data in L2; those of 7 are between its neighbours'.
_DATA = {4: 60, 6: 260, 7: 370, 8: 490}
_RESULTS = {4: 60, 6: 170, 7: 250, 8: 350}
# ... of filters, per channel; a batch of a few images shares it
_FILTERS = {
    2: {6: 60},
    3: {4: 45, 6: 70, 7: 90, 8: 100},
    4: {6: 90, 8: 150},
    5: {6: 110, 8: 200},
}
_MOST_STRIDE = 4
_FEWEST = 4
_VECTOR = 16
# The direct product runs this much longer than its FMAs.
_DIRECT = 1.1


class _Weights(NamedTuple):
    """How much a transform of y or dx weighs, and how much fewer operations have to be; the
    channels whose products take as long as a block of _BLOCK does beside its own."""

    transform: float
    gain: float
    shallow: int


_BLOCK = 64
_PLAIN = _Weights(1.0, 1.0, 0)
# With few channels (35 problems on a Zen 4, with AVX-512 and AVX2), and under a stride (26) ...
_NARROW_FMA = _Weights(1.0, 1.3, 12)
# ... where a cycle holds two FMAs of 512 bits: with few channels (66 problems on a Xeon, 1.11 times
# the direct algorithm's speed, at worst 0.91; 1.17 would cost 0.82 at worst), and under a
# stride (two Xeons: 7×7/2 of three channels makes 0.8 to 1.1 of it, 1.5 times it elsewhere).
_WIDE_FMA, _WIDE_FMA_STRIDED = _Weights(1.0, 1.5, 18), _Weights(2.5, 1.5, 12)
# What dw's operations weigh with few channels, or under a stride, where lanes of the direct
# algorithm are empty (the Zen 4's choice; on the Xeon, 82 problems, within 0.01 of the best).
_DW_GAIN = 0.75
# Of dw, against a direct FMA (110 problems, AVX-512): a product, each of n × n sums for a channel
# and a vector of filters, and each element of a tile that is transformed.
_DW_PRODUCT, _DW_SUM, _DW_ELEMENT = 2.25, 23, 26


def _is_plain(dims: ConvDims) -> bool:
    """Neither a stride nor few channels or filters."""
    return dims.stride == (1, 1) and min(dims.c, dims.k) // dims.groups >= _VECTOR


def _weights(dims: ConvDims) -> _Weights:
    if _is_plain(dims):
        return _PLAIN
    if not _fma_is_wide():
        return _NARROW_FMA
    return _WIDE_FMA if dims.stride == (1, 1) else _WIDE_FMA_STRIDED


def _fma_is_wide() -> bool:
    """Of the compiled kernels; who has none does not ask."""
    return bool(importlib.import_module(f"{__package__}.cpu").WIDE_FMA)


def why_not(dims: ConvDims, dtype: object = None) -> str | None:
    """Why Winograd's algorithm cannot be used, or None."""
    s = dims.stride[0]
    if dims.stride != (s, s) or s > _MOST_STRIDE:
        return f"the stride is {dims.stride}, not 1 to {_MOST_STRIDE} along both axes"
    if dims.kh != dims.kw or _taps(dims) not in _FILTERS:
        return f"the kernel is {dims.kh}x{dims.kw}, not square with 2 to 5 taps per step"
    if dims.dilation != (1, 1):
        return "dilation is not 1"
    return None


def _taps(dims: ConvDims) -> int:
    """Taps of a phase of the stride."""
    return -(-dims.kh // dims.stride[0])


def _channels(dims: ConvDims) -> int:
    """Those of a group, each as many as it has phases."""
    return dims.c // dims.groups * dims.stride[0] ** 2


def loses(dims: ConvDims, dtype: object = None) -> str | None:
    """Why the direct algorithm is estimated to be faster, or None."""
    direct = _direct_cost(dims, dims.c // dims.groups, dims.k // dims.groups)
    return _slower(dims, _cost(dims, tile(dims)), direct, "transforms")


def dx_loses(dims: ConvDims, dtype: object = None) -> str | None:
    """Why the direct algorithm is estimated to be faster for dx, or None."""
    if _is_plain(dims):
        return loses(dims)
    c, k = dims.c // dims.groups, dims.k // dims.groups
    direct = _direct_cost(dims, k, c)
    if dims.stride != (1, 1):  # (few channels leave lanes of the direct one empty)
        direct = _direct_cost(dims, c, k) * min(2, 1 + 8 / c)
    return _slower(dims, _dx_cost(dims, dx_tile(dims)), direct, "transforms")


def dw_loses(dims: ConvDims, dtype: object = None) -> str | None:
    """Why the direct algorithm is estimated to be faster for dw, or None."""
    cost = _dw_cost(dims, dw_tile(dims))
    return _slower(dims, cost, _direct_dw_cost(dims), "sums and transforms")


def _slower(dims: ConvDims, cost: float, direct: float, what: str) -> str | None:
    if dims.stride == (1, 1) and min(dims.c, dims.k) // dims.groups < _FEWEST:
        return f"with less than {_FEWEST} channels or filters lanes would be empty"
    if cost < direct:
        return None
    return f"its {what} would cost more than they save ({cost / direct:.1f} of direct)"


def tiles(dims: ConvDims) -> tuple[int, ...]:
    """n of all tiles of y and dx: elements along an axis."""
    return tuple(_FILTERS[_taps(dims)])


def dw_tiles(dims: ConvDims) -> tuple[int, ...]:
    """n of all tiles of dw."""
    return {2: (6,), 3: (6, 8)}.get(_taps(dims), (8,))


@lru_cache(maxsize=1024)
def tile(dims: ConvDims) -> int:
    """n of the cheapest tile of y."""
    return min(tiles(dims), key=lambda n: _cost(dims, n))


@lru_cache(maxsize=1024)
def dx_tile(dims: ConvDims) -> int:
    """n of the cheapest tile of dx."""
    return min(tiles(dims), key=lambda n: _dx_cost(dims, n))


@lru_cache(maxsize=1024)
def dw_tile(dims: ConvDims) -> int:
    """n of the cheapest tile of dw."""
    return min(dw_tiles(dims), key=lambda n: _cost(dims, n))


def _cost(dims: ConvDims, n: int) -> float:
    """Vector operations of y per image and group."""
    k = dims.k // dims.groups
    return _operations(dims, n, _channels(dims), k, dims.out_h, dims.out_w)


def _dx_cost(dims: ConvDims, n: int) -> float:
    """Those of dx, whose columns are all channels; else taken to be those of y."""
    if _is_plain(dims):
        return _cost(dims, n)
    (s, _), ((top, _), (left, _)) = dims.stride, dims.pad
    rows, columns = -(-(dims.h + top) // s), -(-(dims.w + left) // s)
    return _operations(dims, n, dims.k // dims.groups, _channels(dims), rows, columns)


def _operations(dims: ConvDims, n: int, c: int, k: int, rows: int, columns: int) -> float:
    """Of c channels and k filters to so many results."""
    channels, filters, taps = -(-c // _VECTOR), -(-k // _VECTOR), _taps(dims)
    weights = _weights(dims)
    transforms = weights.transform * (_DATA[n] * channels + _RESULTS[n] * filters)
    deep = c + weights.shallow * -(-c // _BLOCK)
    tile = n * n * deep * filters + transforms
    of_filters = weights.transform * _FILTERS[taps][n] * c * filters
    m = n + 1 - taps
    return weights.gain * (-(-rows // m) * -(-columns // m) * tile + of_filters)


def _direct_cost(dims: ConvDims, c: int, k: int) -> float:
    """Those of c channels and k filters; if they are few, lanes are columns."""
    filters = k / _VECTOR if k < _VECTOR else -(-k // _VECTOR)
    return _DIRECT * dims.out_h * dims.out_w * dims.kh * dims.kw * c * filters


def _dw_cost(dims: ConvDims, n: int) -> float:
    """Vector operations of a group."""
    c, filters = _channels(dims), -(-dims.k // dims.groups // _VECTOR)
    m = n + 1 - _taps(dims)
    tiles = max(dims.n, 1) * -(-dims.out_h // m) * -(-dims.out_w // m)
    products, sums = _DW_PRODUCT * tiles * c * filters, _DW_SUM * c * filters
    elements = _DW_ELEMENT * tiles * (-(-c // _VECTOR) + filters)
    gain = 1.0 if _is_plain(dims) else _DW_GAIN
    return gain * n * n * (products + sums + elements)


def _direct_dw_cost(dims: ConvDims) -> float:
    """The cheaper of conv2d_gram.pxi and conv2d_columns_dw.pxi."""
    c, k, taps = dims.c // dims.groups, dims.k // dims.groups, dims.kh * dims.kw
    pixels = max(dims.n, 1) * dims.out_h * dims.out_w
    filters = -(-k // _VECTOR) * _VECTOR
    gram = 1.2 * filters + 58 * k / pixels + 150 / taps
    columns = k + 19 + 280 / dims.out_w
    return min(gram, columns) * pixels * c * taps / _VECTOR
