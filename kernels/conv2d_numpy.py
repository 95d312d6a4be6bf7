"""Convolution in plain NumPy: the specification of every other implementation.

``direct`` adds up one kernel offset at a time and is as close to the formula as NumPy
allows; ``im2col`` unrolls the windows of one image into a matrix and multiplies by BLAS.
Both write every element of their last array argument and read none of it.

Letters: n images, g groups, c channels and k filters of one group, kh × kw kernel,
oh × ow result plane.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .arrays import Array
from .dims import ConvDims


def quiet(function: Callable[..., None]) -> Callable[..., None]:
    """Without NumPy's warning of invalid operations, as the other backends are.

    OpenBLAS may raise that flag on finite numbers (numpy#24067): a run of our tests failed of it.
    """

    @wraps(function)
    def run(*arguments: Any) -> None:
        with np.errstate(invalid="ignore"):
            function(*arguments)

    return run


def padded(x: Array, dims: ConvDims) -> Array:
    """x inside its border of zeros."""
    return np.pad(x, ((0, 0), (0, 0), *dims.pad)) if any(map(any, dims.pad)) else x


def unpadded(xp: Array, dims: ConvDims) -> Array:
    """The part of a padded array that is x."""
    (top, _), (left, _) = dims.pad
    return xp[:, :, top : top + dims.h, left : left + dims.w]


def offsets(dims: ConvDims) -> Iterator[tuple[int, int, slice, slice]]:
    """Each kernel offset (i, j) and where in the padded plane its cells lie."""
    for i in range(dims.kh):
        for j in range(dims.kw):
            top, left = i * dims.dilation[0], j * dims.dilation[1]
            rows = slice(top, top + dims.out_h * dims.stride[0], dims.stride[0])
            columns = slice(left, left + dims.out_w * dims.stride[1], dims.stride[1])
            yield i, j, rows, columns


def grouped(a: Array, groups: int, axis: int = 1) -> Array:
    """A view with the axis of channels split into (groups, channels of one group)."""
    split = (groups, a.shape[axis] // groups)
    return a.reshape(*a.shape[:axis], *split, *a.shape[axis + 1 :])


def conv2d_direct(
    x: Array, w: Array, b: Array | None, y: Array, dims: ConvDims, relu: bool = False
) -> None:
    """y[n, k, p, q] = b[k] + Σ x[n, c, p·s + i·d - pad, q·s + j·d - pad] · w[k, c, i, j]"""
    xp, wg = padded(x, dims), grouped(w, dims.groups, axis=0)
    total = np.zeros(dims.y_shape, y.dtype)
    for i, j, rows, columns in offsets(dims):
        cells = grouped(xp[:, :, rows, columns], dims.groups)  # (n, g, c, oh, ow)
        total += np.einsum("ngchw,gkc->ngkhw", cells, wg[..., i, j]).reshape(dims.y_shape)
    _finish(total, b, y, relu)


def conv2d_dx_direct(dy: Array, w: Array, dx: Array, dims: ConvDims) -> None:
    """dx[where offset (i, j) read it] += Σ over k of dy[n, k] · w[k, c, i, j]"""
    dyg, wg = grouped(dy, dims.groups), grouped(w, dims.groups, axis=0)
    dxp = padded(np.zeros(dims.x_shape, dx.dtype), dims)
    for i, j, rows, columns in offsets(dims):
        cells = np.einsum("ngkhw,gkc->ngchw", dyg, wg[..., i, j])
        dxp[:, :, rows, columns] += cells.reshape(dims.n, dims.c, dims.out_h, dims.out_w)
    dx[...] = unpadded(dxp, dims)


@quiet
def conv2d_dw_direct(dy: Array, x: Array, dw: Array, dims: ConvDims) -> None:
    """dw[k, c, i, j] = Σ over images and pixels of dy[n, k] · x[what offset (i, j) read]"""
    xp, dyg = padded(x, dims), grouped(dy, dims.groups)
    for i, j, rows, columns in offsets(dims):
        cells = grouped(xp[:, :, rows, columns], dims.groups)
        at_offset = np.einsum("ngkhw,ngchw->gkc", dyg, cells, optimize=True)
        dw[:, :, i, j] = at_offset.reshape(dw.shape[:2])


def conv2d_db(dy: Array, db: Array) -> None:
    """db[k] = Σ over images and pixels of dy[n, k]"""
    db[...] = dy.sum(axis=(0, 2, 3))


def windows(x: Array, dims: ConvDims) -> Array:
    """A view of every window: (n, g, c, kh, kw, oh, ow)."""
    view = sliding_window_view(padded(x, dims), dims.window, axis=(2, 3))
    (sh, sw), (dh, dw) = dims.stride, dims.dilation
    view = view[:, :, ::sh, ::sw, ::dh, ::dw]  # (n, gc, oh, ow, kh, kw)
    return grouped(view.transpose(0, 1, 4, 5, 2, 3), dims.groups)


def columns(image: Array, dims: ConvDims) -> Array:
    """The windows of one image as a matrix per group: (g, c·kh·kw, oh·ow), a copy."""
    return image.reshape(dims.groups, -1, dims.out_h * dims.out_w)


@quiet
def conv2d_im2col(
    x: Array, w: Array, b: Array | None, y: Array, dims: ConvDims, relu: bool = False
) -> None:
    # y[g, k, oh·ow] = w[g, k, c·kh·kw] @ col[g, c·kh·kw, oh·ow], image by image
    matrix = w.reshape(dims.groups, dims.k // dims.groups, -1)
    total = np.empty(dims.y_shape, y.dtype)
    for image, result in zip(windows(x, dims), total, strict=True):
        np.matmul(matrix, columns(image, dims), out=columns(result, dims))
    _finish(total, b, y, relu)


@quiet
def conv2d_dx_im2col(dy: Array, w: Array, dx: Array, dims: ConvDims) -> None:
    # col[g, c·kh·kw, oh·ow] = w[g, c·kh·kw, k] @ dy[g, k, oh·ow], then added where it came from
    matrix = w.reshape(dims.groups, dims.k // dims.groups, -1).transpose(0, 2, 1)
    dxp = padded(np.zeros(dims.x_shape, dx.dtype), dims)
    for grad, result in zip(dy, dxp, strict=True):
        cols = np.matmul(matrix, columns(grad, dims))
        cols = cols.reshape(dims.c, dims.kh, dims.kw, dims.out_h, dims.out_w)
        for i, j, rows, cells in offsets(dims):
            result[:, rows, cells] += cols[:, i, j]
    dx[...] = unpadded(dxp, dims)


@quiet
def conv2d_dw_im2col(dy: Array, x: Array, dw: Array, dims: ConvDims) -> None:
    # dw[g, k, c·kh·kw] = Σ over images of dy[g, k, oh·ow] @ col[g, c·kh·kw, oh·ow]ᵀ
    total = np.zeros((dims.groups, dims.k // dims.groups, dw[0].size), dw.dtype)
    for grad, image in zip(dy, windows(x, dims), strict=True):
        total += np.matmul(columns(grad, dims), columns(image, dims).transpose(0, 2, 1))
    dw[...] = total.reshape(dw.shape)


def _finish(total: Array, b: Array | None, y: Array, relu: bool) -> None:
    if b is not None:
        total += b[:, None, None]
    if relu:
        np.maximum(total, 0, out=total)
    y[...] = total
