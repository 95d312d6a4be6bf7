"""Convolution in Numba: which way a problem goes, and how it is cut.

The kernels, by idea: ``conv2d_numba_walk`` (y and dx), ``conv2d_numba_planar`` (the same where a
group has few filters), ``conv2d_numba_gram`` (dw), ``conv2d_numba_dots`` (dw of few filters), ``conv2d_numba_depthwise``, ``conv2d_numba_db``;
what they share is in ``conv2d_numba_bands``, packed weights in ``conv2d_numba_pack``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from . import numba_tasks
from .arrays import Array
from .conv2d_numba_bands import ROWS, VECTORS, Plan
from .conv2d_numba_db import sum_filters
from .conv2d_numba_depthwise import TAPS, depthwise, depthwise_dw
from .conv2d_numba_dots import FILTERS, add_lanes, dots
from .conv2d_numba_dots import ROWS as DOT_ROWS
from .conv2d_numba_gram import add_parts, gram
from .conv2d_numba_pack import Weights, pack
from .conv2d_numba_planar import planar
from .conv2d_numba_walk import walk
from .dims import ConvDims, TapAxis
from .numba_options import Kernel, Steps, flat
from .numba_tiles import BYTES


BAND = 256 * 1024  # bytes of a gathered band, of its windows where they are unrolled: in L2
PIXELS = 512  # results of a band, at most
TOTALS = 128 * 1024  # bytes of the totals of dw that a block of channels meets
BLOCK = 256  # bytes of the channels of a depthwise band
UNITS = 8  # into so many units dw is cut, whatever the number of threads
# Nanoseconds, for the choice of threads.
PER_FLOP = 0.02
PER_NUMBER = 0.5  # that is packed or added up


class Walk(NamedTuple):
    """A walk's axes, and the sizes of a group, whichever gradient it is of."""

    rows: TapAxis
    columns: TapAxis
    n: int
    groups: int
    channels: int
    filters: int
    item: int  # bytes of a number

    @property
    def vectors(self) -> int:
        return _ceil(self.filters * self.item, BYTES)

    @property
    def panels(self) -> int:
        return _ceil(self.vectors, VECTORS)

    @property
    def width(self) -> int:
        """Filters, filled up to whole vectors."""
        return self.vectors * BYTES // self.item

    @property
    def window(self) -> int:
        return self.rows.taps * self.columns.taps

    @property
    def work(self) -> float:
        """Nanoseconds, about."""
        results = self.n * self.rows.size_out * self.columns.size_out * self.filters
        return 2 * results * self.channels * self.groups * self.window * PER_FLOP

    @property
    def depthwise(self) -> bool:
        return self.groups > 1 and self.channels == self.filters == 1

    @property
    def few(self) -> bool:
        """Whether lanes of filters would mostly be empty, and planes fit."""
        row = _reach(self.rows, 1) * _reach(self.columns, self.columns.size_out)
        return 2 * self.filters * self.item <= BYTES and row * self.channels * self.item <= BAND


def _ceil(a: int, b: int) -> int:
    return -(-a // b)


def _reach(axis: TapAxis, count: int) -> int:
    return max(0, (count - 1) * axis.step + (axis.taps - 1) * axis.dilation + 1)


def _inside(axis: TapAxis) -> bool:
    """Whether no window reaches over the edge."""
    last = axis.first + (axis.size_out - 1) * axis.step + (axis.taps - 1) * axis.dilation
    return axis.first >= 0 and last < axis.size_in


def _skips(axis: TapAxis) -> bool:
    """Whether windows of one tap skip cells, and none lies outside."""
    return axis.taps == 1 and axis.step > 1 and _inside(axis)


def _without_gaps(axis: TapAxis) -> TapAxis:
    """Of a source that lacks the cells that are skipped."""
    if not _skips(axis):
        return axis
    return axis._replace(first=0, step=1, dilation=1, size_in=axis.size_out)


def _steps_without_gaps(steps: Steps, k: Walk) -> Steps:
    if _skips(k.rows):
        at = steps.at + k.rows.first * steps.h
        steps = steps._replace(at=at, h=steps.h * k.rows.step)
    if _skips(k.columns):
        at = steps.at + k.columns.first * steps.w
        steps = steps._replace(at=at, w=steps.w * k.columns.step)
    return steps


def _most(size: int, fits: Callable[[int], bool]) -> int:
    """Into how large parts a size is cut: the largest that fits (1 if none does), then evenly."""
    low, high = 1, size
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return _ceil(size, _ceil(size, low))


def _bands(plan: Plan, rows: TapAxis, columns: TapAxis) -> int:
    across = _ceil(columns.size_out, plan.columns)
    return _ceil(plan.n, plan.images) * _ceil(rows.size_out, plan.rows) * across


def _cut(k: Walk, channels: int, unrolled: bool, in_place: bool, wanted: int) -> Plan:
    """Bands that stay in L2; as many of them, with chunks of panels, as are wanted."""
    window = k.window * channels if unrolled else 0

    def fits(images: int, high: int, wide: int) -> bool:
        cells = 0 if in_place else _reach(k.rows, high) * _reach(k.columns, wide) * channels
        pixels = images * high * wide
        return pixels <= PIXELS and (images * cells + window * pixels) * k.item <= BAND

    rows, columns = k.rows.size_out, k.columns.size_out
    images = high = 1
    wide = _most(columns, lambda q: fits(1, 1, q))
    if wide == columns:
        high = _most(rows, lambda p: fits(1, p, wide))
    if (high, wide) == (rows, columns):
        images = min(_most(k.n, lambda i: fits(i, rows, columns)), max(1, k.n // wanted))
    plan = Plan(
        k.n, k.groups, k.channels, k.filters, images, high, wide,
        1, 1, channels, int(unrolled), int(in_place),
    )  # fmt: skip
    bands = _bands(plan, k.rows, k.columns) * k.groups
    return plan._replace(chunks=min(k.panels, _ceil(wanted, bands)))


def _cut_planes(k: Walk, wanted: int) -> Plan:
    """Bands of whole rows of one image, as many as are wanted if images and groups are few."""
    row = _reach(k.columns, k.columns.size_out) * k.channels * k.item
    most = _most(k.rows.size_out, lambda p: _reach(k.rows, p) * row <= BAND)
    high = min(most, _ceil(k.rows.size_out, _ceil(wanted, k.n * k.groups)))
    return Plan(
        k.n, k.groups, k.channels, k.filters, 1, high, k.columns.size_out, 1, 1, k.channels, 0, 0
    )


def _cut_depthwise(k: Walk, wanted: int) -> Plan:
    """Bands of a block of channels, which is a few vectors wide."""
    near = k._replace(groups=1, channels=k.groups, filters=k.groups)
    block = min(k.groups, BLOCK // k.item)
    blocks = _ceil(k.groups, block)
    plan = _cut(near, block, False, False, _ceil(wanted, blocks))
    bands = _bands(plan, k.rows, k.columns)
    if bands * blocks < wanted:  # fewer rows, then: blocks of one vector are not worth a band
        high = _ceil(plan.rows * bands * blocks, wanted)
        plan = plan._replace(rows=_ceil(k.rows.size_out, _ceil(k.rows.size_out, high)))
    return plan._replace(chunks=1)


def _packed(w: Array, k: Walk, dx: bool) -> Array:
    _, per_group, high, wide = w.shape
    window = high * wide
    steps = (window, per_group * window) if dx else (per_group * window, window)
    packed = np.empty(k.groups * k.width * k.window * k.channels, w.dtype)
    numba_tasks.run(
        pack, k.groups * k.panels, packed.size * PER_NUMBER,
        np.ascontiguousarray(w).reshape(-1), packed, k.rows, k.columns,
        Weights(len(w) // k.groups * per_group * window, *steps, wide), k.filters, k.channels,
    )  # fmt: skip
    return packed


def _taps(w: Array, k: Walk, dx: bool) -> Array:
    """The weights of a walk in its order: one axis of [group][filter][channel][row][column]."""
    if not dx:
        return np.ascontiguousarray(w).reshape(-1)
    row = k.rows.k_first + k.rows.k_step * np.arange(k.rows.taps)
    column = k.columns.k_first + k.columns.k_step * np.arange(k.columns.taps)
    shape = (k.groups, k.channels, k.filters, k.rows.taps, k.columns.taps)
    taps = w[:, :, row[:, None], column].reshape(shape)
    return np.ascontiguousarray(taps.swapaxes(1, 2)).reshape(-1)


def _depthwise_taps(w: Array, k: Walk) -> Array:
    """One axis of [row tap][column tap][channel]."""
    row = k.rows.k_first + k.rows.k_step * np.arange(k.rows.taps)
    column = k.columns.k_first + k.columns.k_step * np.arange(k.columns.taps)
    return np.ascontiguousarray(w[:, 0, row[:, None], column].transpose(1, 2, 0)).reshape(-1)


def _biases(b: Array | None, k: Walk, width: int, spare: int = 0) -> Array:
    """One axis, each group's filled up with zeros to so many."""
    padded = np.zeros(k.groups * width + spare, f"f{k.item}")
    if b is not None:
        rows = padded[: k.groups * width].reshape(k.groups, width)
        rows[:, : k.filters] = b.reshape(k.groups, k.filters)
    return padded


class Cut(NamedTuple):
    """A walk as a kernel is told of it."""

    run: Kernel
    rows: TapAxis
    columns: TapAxis
    plan: Plan
    units: int


def _wanted(k: Walk) -> int:
    threads = numba_tasks.threads_for(k.work)
    return 1 if threads == 1 else numba_tasks.SLICES * threads


@lru_cache(maxsize=1024)
def _cut_walk(k: Walk, channels_last: bool, unrolled: bool, wanted: int) -> Cut:
    rows, columns = _without_gaps(k.rows), _without_gaps(k.columns)
    near = k._replace(rows=rows, columns=columns)
    if k.depthwise and not unrolled:
        plan, run = _cut_depthwise(near, wanted), depthwise
        units = _bands(plan, rows, columns) * _ceil(plan.channels, plan.block)
        return Cut(run, rows, columns, plan, units)
    if near.few and not unrolled:
        plan, run = _cut_planes(near, wanted), planar
    else:
        in_place = channels_last and _inside(rows) and _inside(columns) and not unrolled
        plan, run = _cut(near, k.channels, unrolled, in_place, wanted), walk
    units = _bands(plan, rows, columns) * k.groups * plan.chunks
    return Cut(run, rows, columns, plan, units)


def _walk(
    source: Array, w: Array, b: Array | None, out: Array, k: Walk, relu: bool, dx: bool,
    unrolled: bool,
) -> None:  # fmt: skip
    """All results of a walk."""
    memory, steps = flat(source)
    result, results = flat(out)
    cut = _cut_walk(k, steps.c == 1, unrolled, _wanted(k))
    if cut.run is depthwise:
        weights, bias = _depthwise_taps(w, k), _biases(b, k, 1, BYTES // k.item)
    elif cut.run is planar:
        weights, bias = _taps(w, k, dx), _biases(b, k, k.filters)
    else:
        weights, bias = _packed(w, k, dx), _biases(b, k, k.width)
    numba_tasks.run(
        cut.run, cut.units, k.work,
        memory, _steps_without_gaps(steps, k), weights, bias, result, results,
        cut.rows, cut.columns, cut.plan, relu,
    )  # fmt: skip


def _y(
    x: Array, w: Array, b: Array | None, y: Array, dims: ConvDims, relu: bool, unrolled: bool
) -> None:
    if dims.n == 0:
        return
    g = dims.groups
    k = Walk(*dims.forward_taps, dims.n, g, dims.c // g, dims.k // g, x.itemsize)
    _walk(x, w, b, y, k, relu, False, unrolled)


def _dx(dy: Array, w: Array, dx: Array, dims: ConvDims, unrolled: bool) -> None:
    if dims.n == 0:
        return
    g = dims.groups
    for rows, columns in dims.dx_phases:
        k = Walk(rows, columns, dims.n, g, dims.k // g, dims.c // g, dy.itemsize)
        _walk(dy, w, None, dx, k, False, True, unrolled)


class CutDw(NamedTuple):
    """dw as its kernels are told of it: products, then the sums of their totals."""

    run: Kernel
    units: int
    add: Kernel
    sums: int
    depth: int
    plan: Plan
    size: int  # of all totals


@lru_cache(maxsize=1024)
def _cut_dw(k: Walk, unrolled: bool) -> CutDw:
    g, lanes = k.groups, BYTES // k.item
    if k.depthwise and not unrolled:
        plan = _cut_depthwise(k, 1)
        size = _ceil(k.window, len(TAPS)) * len(TAPS) * _ceil(g, lanes) * lanes
        blocks = _ceil(g, plan.block)
        parts = max(1, min(_bands(plan, k.rows, k.columns), UNITS // blocks))
        plan = plan._replace(parts=parts)
        return CutDw(depthwise_dw, parts * blocks, add_parts, 0, k.window, plan, parts * size)
    if k.few and not unrolled:
        plan = _cut_planes(k, 1)
        down, across = DOT_ROWS, FILTERS
        depth = k.window * k.channels
        size = _ceil(depth, len(down)) * _ceil(k.filters, len(across))
        cut = CutDw(dots, g, add_lanes, g, depth, plan, g * size * len(down) * len(across) * lanes)
    else:
        # so many channels that what they add to stays in L2, for a few panels of filters
        per_channel = k.window * min(k.width, 2 * VECTORS * lanes) * k.item
        block = _most(k.channels, lambda c: c * per_channel <= TOTALS)
        blocks = g * _ceil(k.channels, block)
        together = max(1, TOTALS // (k.window * block * VECTORS * BYTES))
        plan = _cut(k, block, unrolled, False, 1)._replace(chunks=_ceil(k.panels, together))
        size = blocks * k.width * _ceil(k.window * block, len(ROWS)) * len(ROWS)
        cut = CutDw(
            gram, blocks * plan.chunks, add_parts, blocks * k.panels, k.window, plan, size
        )  # fmt: skip
    parts = max(1, min(_bands(plan, k.rows, k.columns), UNITS // cut.units))
    return cut._replace(
        units=parts * cut.units, plan=plan._replace(parts=parts), size=parts * cut.size
    )


def _dw(dy: Array, x: Array, dw: Array, dims: ConvDims, unrolled: bool) -> None:
    """dw is in one piece."""
    if dims.n == 0:
        dw[...] = 0
        return
    g = dims.groups
    k = Walk(*dims.forward_taps, dims.n, g, dims.c // g, dims.k // g, x.itemsize)
    memory, steps = flat(x)
    grads, grad_steps = flat(dy)
    steps = _steps_without_gaps(steps, k)
    near = k._replace(rows=_without_gaps(k.rows), columns=_without_gaps(k.columns))
    cut = _cut_dw(near, unrolled)
    totals = np.empty(cut.size, x.dtype)
    numba_tasks.run(
        cut.run, cut.units, k.work,
        memory, steps, grads, grad_steps, totals, near.rows, near.columns, cut.plan,
    )  # fmt: skip
    if cut.run is depthwise_dw:
        parts = totals.reshape(cut.plan.parts, -1, _ceil(g * x.itemsize, BYTES) * BYTES // x.itemsize)
        for part in parts[1:]:
            parts[0] += part
        dw[...] = parts[0, : k.window, :g].T.reshape(dw.shape)
        return
    work = totals.size * PER_NUMBER
    numba_tasks.run(cut.add, cut.sums, work, totals, dw.reshape(-1), cut.depth, cut.plan)


def _in_one_piece(a: Array) -> Array:
    """A result to compute: `a` itself, or memory from which it is filled afterwards."""
    return a if a.flags.c_contiguous else np.empty(a.shape, a.dtype)


def conv2d_direct(
    x: Array, w: Array, b: Array | None, y: Array, dims: ConvDims, relu: bool = False
) -> None:
    flattened = dims.flattened
    if flattened:  # a window as large as the image: a linear layer
        x, w, dims = x.reshape(flattened.x_shape), w.reshape(flattened.w_shape), flattened
    _y(x, w, b, y, dims, relu, False)


def conv2d_im2col(
    x: Array, w: Array, b: Array | None, y: Array, dims: ConvDims, relu: bool = False
) -> None:
    _y(x, w, b, y, dims, relu, True)


def conv2d_dx_direct(dy: Array, w: Array, dx: Array, dims: ConvDims) -> None:
    flattened = dims.flattened
    if not flattened:
        _dx(dy, w, dx, dims, False)
        return
    result = _in_one_piece(dx)
    _dx(dy, w.reshape(flattened.w_shape), result.reshape(flattened.x_shape), flattened, False)
    if result is not dx:
        dx[...] = result


def conv2d_dx_im2col(dy: Array, w: Array, dx: Array, dims: ConvDims) -> None:
    _dx(dy, w, dx, dims, True)


def conv2d_dw_direct(dy: Array, x: Array, dw: Array, dims: ConvDims) -> None:
    flattened, result = dims.flattened or dims, _in_one_piece(dw)
    _dw(dy, x.reshape(flattened.x_shape), result.reshape(flattened.w_shape), flattened, False)
    if result is not dw:
        dw[...] = result


def conv2d_dw_im2col(dy: Array, x: Array, dw: Array, dims: ConvDims) -> None:
    result = _in_one_piece(dw)
    _dw(dy, x, result, dims, True)
    if result is not dw:
        dw[...] = result


def conv2d_db(dy: Array, db: Array) -> None:
    memory, steps = flat(dy)
    images, filters, rows, columns = dy.shape
    if steps.h == columns * steps.w:  # rows follow one another
        rows, columns = 1, rows * columns
    result = _in_one_piece(db)
    work = dy.size * PER_NUMBER
    numba_tasks.run(sum_filters, filters, work, memory, result, steps, images, rows, columns)
    if result is not db:
        db[...] = result
