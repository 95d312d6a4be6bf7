"""Convolution in Numba: which way a problem goes, its weights, its work handed to threads.

The kernels, by idea: ``conv2d_numba_walk`` (y and dx), ``conv2d_numba_planar`` (the same where a
group has few filters), ``conv2d_numba_gram`` (dw), ``conv2d_numba_dots`` (dw of few filters),
``conv2d_numba_depthwise``, ``conv2d_numba_db``.  ``conv2d_numba_pack`` packs weights; bands are
cut by ``numba_cut`` and gathered by ``numba_bands``; the innermost loops are ``numba_tiles``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from . import numba_cut, numba_tasks
from .arrays import Array
from .conv2d_numba_db import sum_filters
from .conv2d_numba_depthwise import TAPS, depthwise, depthwise_dw
from .conv2d_numba_dots import FILTERS, add_lanes, dots
from .conv2d_numba_dots import ROWS as DOT_ROWS
from .conv2d_numba_gram import add_parts, gram
from .conv2d_numba_pack import Weights, pack
from .conv2d_numba_planar import planar
from .conv2d_numba_walk import walk
from .dims import ConvDims, TapAxis
from .numba_bands import ROWS, VECTORS, Plan
from .numba_cut import Walk, ceil_div
from .numba_options import Kernel, Steps, flat
from .numba_tiles import BYTES, TARGET


TOTALS = 128 * 1024  # bytes of the totals of dw that a block of channels meets
RESULTS = 16  # of a row whose windows are gathered together, of as many channels as fit
PARTS = 4 * 1024 * 1024  # bytes of the totals of all parts of dw
UNITS = 8  # into so many units dw is cut, whatever the number of threads
PER_NUMBER = 0.5  # nanoseconds, of numbers that are packed or added up

WAYS = {  # and their tiles
    walk: ("lanes are filters", f"{len(ROWS)} pixels × 1 to {VECTORS} vectors of filters"),
    planar: ("planar: lanes are pixels", "1, 3 or 6 filters × some vectors of pixels"),
    depthwise: ("depthwise: lanes are channels", "8 results × a vector of channels"),
}


class Cut(NamedTuple):
    """A walk as a kernel is told of it."""

    run: Kernel
    walk: Walk
    plan: Plan
    units: int


@lru_cache(maxsize=1024)
def _cut_walk(whole: Walk, channels_last: bool, unrolled: bool, wanted: int) -> Cut:
    k = whole.without_gaps()
    if k.depthwise and not unrolled:
        plan = numba_cut.cut_blocks(k, wanted)
        return Cut(depthwise, k, plan, numba_cut.bands(plan, k) * ceil_div(k.groups, plan.block))
    if k.few and not unrolled:
        run, plan = planar, numba_cut.cut_planes(k, wanted)
    else:
        in_place = channels_last and not unrolled
        in_place = in_place and numba_cut.inside(k.rows) and numba_cut.inside(k.columns)
        block = k.channels if in_place else numba_cut.largest_block(k, RESULTS)
        run, plan = walk, numba_cut.cut(k, block, unrolled, in_place, wanted)
    return Cut(run, k, plan, numba_cut.bands(plan, k) * k.groups * plan.chunks)


def _without_gaps(steps: Steps, k: Walk) -> Steps:
    """The steps that go with ``Walk.without_gaps``."""
    if numba_cut.skips(k.rows):
        at = steps.at + k.rows.first * steps.h
        steps = steps._replace(at=at, h=steps.h * k.rows.step)
    if numba_cut.skips(k.columns):
        at = steps.at + k.columns.first * steps.w
        steps = steps._replace(at=at, w=steps.w * k.columns.step)
    return steps


def _packed(w: Array, k: Walk, block: int, dx: bool) -> Array:
    """Panels for the walk (see ``pack``)."""
    _, per_group, high, wide = w.shape
    window = high * wide
    steps = (window, per_group * window) if dx else (per_group * window, window)
    packed = np.empty(k.groups * k.width * k.window * k.channels, w.dtype)
    numba_tasks.run(
        pack, k.groups * k.panels, packed.size * PER_NUMBER,
        np.ascontiguousarray(w).reshape(-1), packed, k.rows, k.columns,
        Weights(len(w) // k.groups * per_group * window, *steps, wide),
        k.filters, k.channels, block,
    )  # fmt: skip
    return packed


def _taps(w: Array, k: Walk) -> Array:
    """The weights that a walk meets, in its order: (O, C/groups, row taps, column taps)."""
    row = k.rows.k_first + k.rows.k_step * np.arange(k.rows.taps)
    column = k.columns.k_first + k.columns.k_step * np.arange(k.columns.taps)
    return w[:, :, row[:, None], column]


def _plain_weights(w: Array, k: Walk, dx: bool) -> Array:
    """One axis of [group][filter][channel][row tap][column tap], for planes."""
    if dx:  # filters are what x has as channels
        shape = (k.groups, k.channels, k.filters, k.rows.taps, k.columns.taps)
        w = _taps(w, k).reshape(shape).swapaxes(1, 2)
    return np.ascontiguousarray(w).reshape(-1)


def _biases(b: Array | None, k: Walk, width: int, spare: int = 0) -> Array:
    """One axis, each group's filled up with zeros to so many."""
    padded = np.zeros(k.groups * width + spare, f"f{k.item}")
    if b is not None:
        rows = padded[: k.groups * width].reshape(k.groups, width)
        rows[:, : k.filters] = b.reshape(k.groups, k.filters)
    return padded


def _walk(
    source: Array, w: Array, b: Array | None, out: Array, k: Walk, relu: bool, dx: bool,
    unrolled: bool,
) -> None:  # fmt: skip
    """All results of a walk."""
    memory, steps = flat(source)
    cut = _cut_walk(k, steps.c == 1, unrolled, k.wanted)
    if cut.run is depthwise:
        weights = np.ascontiguousarray(_taps(w, k)[:, 0].transpose(1, 2, 0)).reshape(-1)
        bias = _biases(b, k, 1, spare=k.lanes)
    elif cut.run is planar:
        weights, bias = _plain_weights(w, k, dx), _biases(b, k, k.filters)
    else:
        weights, bias = _packed(w, k, cut.plan.block, dx), _biases(b, k, k.width)
    numba_tasks.run(
        cut.run, cut.units, k.work,
        memory, _without_gaps(steps, k), weights, bias, *flat(out),
        cut.walk.rows, cut.walk.columns, cut.plan, relu,
    )  # fmt: skip


def _results(axis: TapAxis) -> slice:
    last = axis.out_first + (axis.size_out - 1) * axis.out_step
    return slice(axis.out_first, last + 1, axis.out_step)


def _forward_walk(dims: ConvDims, item: int) -> Walk:
    g = dims.groups
    return Walk(*dims.forward_taps, dims.n, g, dims.c // g, dims.k // g, item)


def _y(
    x: Array, w: Array, b: Array | None, y: Array, dims: ConvDims, relu: bool, unrolled: bool
) -> None:
    if dims.n:
        _walk(x, w, b, y, _forward_walk(dims, x.itemsize), relu, False, unrolled)


def _dx(dy: Array, w: Array, dx: Array, dims: ConvDims, unrolled: bool) -> None:
    g = dims.groups
    for rows, columns in dims.dx_phases if dims.n else ():
        k = Walk(rows, columns, dims.n, g, dims.k // g, dims.c // g, dy.itemsize)
        if k.window:
            _walk(dy, w, None, dx, k, False, True, unrolled)
        else:  # no window of y read these cells
            dx[:, :, _results(rows), _results(columns)] = 0


class CutDw(NamedTuple):
    """dw as its kernel is told of it: units of work, and the size of the totals of a part."""

    run: Kernel
    walk: Walk
    plan: Plan
    units: int
    size: int


@lru_cache(maxsize=1024)
def _cut_dw(whole: Walk, unrolled: bool) -> CutDw:
    k = whole.without_gaps()
    if k.depthwise and not unrolled:
        plan = numba_cut.cut_blocks(k, 1)
        run, units = depthwise_dw, ceil_div(k.groups, plan.block)
        size = ceil_div(k.window, len(TAPS)) * len(TAPS) * ceil_div(k.groups, k.lanes) * k.lanes
    elif k.few and not unrolled:
        plan = numba_cut.cut_planes(k, 1)
        run, units = dots, k.groups
        tiles = ceil_div(k.window * k.channels, len(DOT_ROWS)) * ceil_div(k.filters, len(FILTERS))
        size = k.groups * tiles * len(DOT_ROWS) * len(FILTERS) * k.lanes
    else:
        # so many channels that what they add to stays in L2, for a few panels of filters
        per_channel = k.window * min(k.width, 2 * VECTORS * k.lanes) * k.item
        block = numba_cut.largest(k.channels, lambda c: c * per_channel <= TOTALS)
        block = min(block, numba_cut.largest_block(k, RESULTS))
        together = max(1, TOTALS // (k.window * block * VECTORS * BYTES))
        plan = numba_cut.cut(k, block, unrolled, False, 1)
        plan = plan._replace(chunks=ceil_div(k.panels, together))
        blocks = k.groups * ceil_div(k.channels, block)
        run, units = gram, blocks * plan.chunks
        size = blocks * k.width * ceil_div(k.window * block, len(ROWS)) * len(ROWS)
    parts = min(numba_cut.bands(plan, k), UNITS // units, PARTS // (size * k.item))
    parts = max(1, parts)
    return CutDw(run, k, plan._replace(parts=parts), parts * units, size)


def _dw(dy: Array, x: Array, dw: Array, dims: ConvDims, unrolled: bool) -> None:
    """dw is in one piece."""
    if dims.n == 0:
        dw[...] = 0
        return
    whole = _forward_walk(dims, x.itemsize)
    run, k, plan, units, size = _cut_dw(whole, unrolled)
    memory, steps = flat(x)
    totals = np.empty(plan.parts * size, x.dtype)
    numba_tasks.run(
        run, units, k.work,
        memory, _without_gaps(steps, whole), *flat(dy), totals, k.rows, k.columns, plan,
    )  # fmt: skip
    work = totals.size * PER_NUMBER
    if run is gram:
        sums = k.groups * ceil_div(k.channels, plan.block) * k.panels
        numba_tasks.run(add_parts, sums, work, totals, dw.reshape(-1), k.window, plan)
    elif run is dots:
        depth = k.window * k.channels
        numba_tasks.run(add_lanes, k.groups, work, totals, dw.reshape(-1), depth, plan)
    else:
        first, *others = totals.reshape(plan.parts, -1, ceil_div(k.groups, k.lanes) * k.lanes)
        for part in others:
            first += part
        dw[...] = first[: k.window, : k.groups].T.reshape(dw.shape)


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


def describe(
    dims: ConvDims, dtype: np.dtype, channels_last: bool, unrolled: bool
) -> dict[str, str]:
    """For ``explain``: how y is computed."""
    found = {"isa": f"{TARGET}, vectors of {BYTES} bytes"}
    if dims.n == 0:
        return found | {"way": "nothing to do"}
    k = _forward_walk(dims, dtype.itemsize)
    run, k, plan, units = _cut_walk(k, channels_last, unrolled, k.wanted)
    band = f"{plan.images} × {plan.rows} × {plan.columns} results"
    way, tile = WAYS[run]
    way += ", windows unrolled" if unrolled else ""
    copies = "x is read where it lies" if plan.in_place else f"x is gathered, padded, {band} a band"
    return found | {"way": way, "tile": tile, "tasks": f"at most {units}", "copies": copies}
