"""Whether Winograd's algorithm pays for a convolution, and with which tile.

F(m, r) computes m × m results of an r × r kernel from n × n products, n = m + r - 1.  A larger
tile needs fewer products per result (2.25 for F(4, 3), 1.78 for F(6, 3), where the direct
algorithm needs 9), but dearer transforms, and wastes more at the edge of small planes: on 13×13,
F(4) and F(6) need 576, F(5) 441.  So the choice is by an estimate of the cost, in vector
operations.

The estimate for y and dx knows nothing of N: an image's result must not depend on its batch.
That for dw, a sum over images, does: with few pixels the n × n sums for each channel and filter
cost more than the products.
"""

from __future__ import annotations

from functools import lru_cache

from .dims import ConvDims


__all__ = ["dw_loses", "dw_tile", "loses", "tile", "why_not"]

# Operations of a transform, per vector of channels or filters and tile, by n: cycles measured
# on AVX-512 with data in L2; those of 7 are between its neighbours'.
_DATA = {4: 60, 6: 260, 7: 370, 8: 490}
_RESULTS = {4: 60, 6: 170, 7: 250, 8: 350}
# ... of filters, per channel; a batch of a few images shares it
_FILTERS = {3: {4: 45, 6: 70, 7: 90, 8: 100}, 5: {6: 110, 8: 200}}
_VECTOR = 16
# The direct product runs this much longer than its FMAs.
_DIRECT = 1.1
# Of dw, against a direct FMA (110 problems, AVX-512): a product, each of n × n sums for a channel
# and a vector of filters, and each element of a tile that is transformed.
_DW_PRODUCT, _DW_SUM, _DW_ELEMENT = 2.25, 23, 26


def why_not(dims: ConvDims, dtype: object = None) -> str | None:
    """Why Winograd's algorithm cannot be used, or None."""
    if dims.kh != dims.kw or dims.kh not in _FILTERS:
        return f"the kernel is {dims.kh}x{dims.kw}, neither 3x3 nor 5x5"
    if dims.stride != (1, 1) or dims.dilation != (1, 1):
        return "stride or dilation is not 1"
    return None


def loses(dims: ConvDims, dtype: object = None) -> str | None:
    """Why the direct algorithm is estimated to be faster, or None."""
    return _slower(dims, _cost(dims, tile(dims)), _direct_cost(dims), "transforms")


def dw_loses(dims: ConvDims, dtype: object = None) -> str | None:
    """Why the direct algorithm is estimated to be faster for dw, or None."""
    cost = _dw_cost(dims, dw_tile(dims))
    return _slower(dims, cost, _direct_dw_cost(dims), "sums and transforms")


def _slower(dims: ConvDims, cost: float, direct: float, what: str) -> str | None:
    if min(dims.c, dims.k) // dims.groups < _VECTOR:
        return f"with less than {_VECTOR} channels or filters lanes would be empty"
    if cost < direct:
        return None
    return f"its {what} would cost more than they save ({cost / direct:.1f} of direct)"


@lru_cache(maxsize=1024)
def tile(dims: ConvDims) -> int:
    """n of the cheapest tile: 4, 6, 7 or 8 elements along an axis."""
    return min(_FILTERS[dims.kh], key=lambda n: _cost(dims, n))


@lru_cache(maxsize=1024)
def dw_tile(dims: ConvDims) -> int:
    """n of the cheapest tile of dw."""
    return 8 if dims.kh == 5 else min((6, 8), key=lambda n: _cost(dims, n))


def _cost(dims: ConvDims, n: int) -> float:
    """Vector operations per image and group."""
    c, k, m = dims.c // dims.groups, dims.k // dims.groups, n + 1 - dims.kh
    tiles = -(-dims.out_h // m) * -(-dims.out_w // m)
    filters, channels = -(-k // _VECTOR), -(-c // _VECTOR)
    each = n * n * c * filters + _DATA[n] * channels + _RESULTS[n] * filters
    return tiles * each + _FILTERS[dims.kh][n] * c * filters


def _direct_cost(dims: ConvDims) -> float:
    c, k = dims.c // dims.groups, dims.k // dims.groups
    pixels, filters = dims.out_h * dims.out_w, -(-k // _VECTOR)
    return _DIRECT * pixels * dims.kh * dims.kw * c * filters


def _dw_cost(dims: ConvDims, n: int) -> float:
    """Vector operations of a group."""
    c, k, m = dims.c // dims.groups, dims.k // dims.groups, n + 1 - dims.kh
    tiles = max(dims.n, 1) * -(-dims.out_h // m) * -(-dims.out_w // m)
    filters, channels = -(-k // _VECTOR), -(-c // _VECTOR)
    products, sums = _DW_PRODUCT * tiles * c * filters, _DW_SUM * c * filters
    return n * n * (products + sums + _DW_ELEMENT * tiles * (channels + filters))


def _direct_dw_cost(dims: ConvDims) -> float:
    """The cheaper of conv2d_gram.pxi and conv2d_columns_dw.pxi."""
    c, k, taps = dims.c // dims.groups, dims.k // dims.groups, dims.kh * dims.kw
    pixels = max(dims.n, 1) * dims.out_h * dims.out_w
    filters = -(-k // _VECTOR) * _VECTOR
    gram = 1.2 * filters + 58 * k / pixels + 150 / taps
    columns = k + 19 + 280 / dims.out_w
    return min(gram, columns) * pixels * c * taps / _VECTOR
