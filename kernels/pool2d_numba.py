"""Pooling in Numba: blocks of channels of a band, gathered channels-last; the lanes are channels.

In NCHW the images of a batch are more channels (their planes lie at equal distances), so that
lanes are full even where an image has few.  Maxima of windows along rows in one piece need no
gathering: there the lanes are results.  The backward passes walk the memory as it is.
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
from __future__ import annotations

from functools import lru_cache

import numpy as np
from numba import types

from . import numba_cut, numba_tasks
from .arrays import Array
from .dims import PoolDims, TapAxis
from .numba_bands import (
    Plan,
    band_of,
    ceil_div,
    gather_band,
    gather_cells,
    place_cells,
    place_taps,
    reach,
    scatter,
)
from .numba_options import (
    AXIS,
    BOOL,
    FLAT,
    INT,
    STEPS,
    flat,
    helper,
    inlined,
    integers,
    kernel,
    numbers,
    room_for,
)
from .numba_tiles import (
    BYTES,
    add,
    aligned,
    begin_places,
    divide,
    evens,
    fetch,
    following,
    improve,
    keep,
    lanes_of,
    larger,
    largest,
    load_rows,
    load_tile,
    move,
    no_sums,
    odds,
    pick,
    pointer,
    shifted,
    spread,
    store_places,
    store_some,
    store_tile,
)


RESULTS = (0, 1, 2, 3)  # of a tile
ONE, PAIR = (0,), (0, 1)  # vectors beside one another
# So many numbers in front of the loads memory is asked for, which the processor itself does
# within pages only: 55×55, 20 MB, 2.0 -> 1.6 ms.  Not if x spans no more than a core's own
# caches hold: 28×28, 1 MB, 73 -> 80 us.
AHEAD, FAR = 1024, 1 << 18
PER_CELL = 0.3  # nanoseconds, for the choice of threads


@helper
def first_inside(start, axis):
    """The first tap of a window at `start` that lies inside the plane."""
    return max(0, ceil_div(-start, axis.dilation))


@helper
def place_windows(band, rows, columns, count, pixel, corner, first, place):
    """Of each result: where in x its window begins, its first real cell in the band and in x."""
    pitch = reach(columns, band.columns) * count
    for m in range(band.images * band.rows * band.columns):
        rest, q = divmod(m, band.columns)
        top = rows.first + (band.row + rest % band.rows) * rows.step
        left = columns.first + (band.column + q) * columns.step
        i, j = (
            first_inside(top, rows) * rows.dilation,
            first_inside(left, columns) * columns.dilation,
        )
        corner[m] = top * columns.size_in + left
        first[m] = pixel[m] + i * pitch + j * count
        place[m] = corner[m] + i * columns.size_in + j


@helper
def maxima_down(x, at, step, taps, columns):
    """Of each column, the largest of so many cells from ``at`` down."""
    best = load_tile(x, at, 0, ONE, columns)
    for _ in range(1, taps):
        at += step
        best = larger(best, load_tile(x, at, 0, ONE, columns))
    return best


@helper
def maxima_beside(pair, both):
    """Of the even numbers of two vectors, or of each with the odd one behind it."""
    return larger(evens(pair), odds(pair)) if both else evens(pair)


@helper
def maxima_of_plane(x, at, pitch, taps, begin, rows, columns, y, to, y_pitch):
    """A plane of results; whole vectors are loaded, up to two of them past a row."""
    lanes, down = lanes_of(x), rows.dilation * pitch
    beside = 2 if columns.dilation == 1 else 1  # columns of windows that one pair holds
    last = to + rows.size_out * columns.size_out
    for p in range(rows.size_out):
        end = last if y_pitch == columns.size_out else to + columns.size_out
        for q in range(0, columns.size_out, lanes):
            here = at + begin[p] * pitch + q * columns.step
            if columns.step == 1:
                best = maxima_down(x, here, down, taps[p], ONE)
                for j in range(1, columns.taps):
                    column = here + j * columns.dilation
                    best = larger(best, maxima_down(x, column, down, taps[p], ONE))
            else:
                pair = maxima_down(x, here, down, taps[p], PAIR)
                best = maxima_beside(pair, min(beside, columns.taps) == 2)
                for j in range(beside, columns.taps, beside):
                    pair = maxima_down(x, here + j * columns.dilation, down, taps[p], PAIR)
                    both = min(beside, columns.taps - j) == 2
                    best = larger(best, maxima_beside(pair, both))
            if to + q + lanes <= end:  # what is too much is overwritten by the next row
                store_tile(best, y, to + q, 0)
            else:
                store_some(best, y, to + q, columns.size_out - q)
        to += y_pitch


@helper
def maxima_by_twos(x, at, pitch, window, vectors):
    """Of windows two columns apart, as high and wide as the tuple is long, one per lane.

    The columns' maxima are those of all windows that hold them; of three the last lane is none.
    Seen in the assembly (AVX-512, 3×3, 15 results): 6 loads, 12 instructions for 3 maxima of
    three, 3 vpermi2ps (LLVM makes one of ``following`` and ``evens``), no spills.
    """
    first, second = load_tile(x, at, 0, ONE, vectors), load_tile(x, at + pitch, 0, ONE, vectors)
    if len(window) == 2:
        columns = larger(first, second)
        return larger(evens(columns), odds(columns))
    columns = largest(first, second, load_tile(x, at + 2 * pitch, 0, ONE, vectors))
    even = evens(columns)
    return largest(even, odds(columns), following(even))


@inlined
def single_by_twos(x, at, pitch, step, window, vectors, high, wide, y, to, y_pitch, far):
    """Results [high][wide] of such windows, of which one vector holds a row."""
    last = to + high * wide
    for _ in range(high):
        if far:
            fetch(x, at + AHEAD, vectors)
            fetch(x, at + pitch + AHEAD, vectors)
        best = maxima_by_twos(x, at, pitch, window, vectors)
        if y_pitch == wide and to + lanes_of(x) <= last:
            store_tile(best, y, to, 0)
        else:
            store_some(best, y, to, wide)
        at += step * pitch
        to += y_pitch


@inlined
def several_by_twos(x, at, pitch, step, window, group, high, wide, y, to, y_pitch, far):
    """As ``single_by_twos``, of rows of several vectors: in each a group of results."""
    last = to + high * wide
    for _ in range(high):
        end = last if y_pitch == wide else to + wide
        for q in range(0, wide, group):
            here = at + 2 * q
            if far:
                fetch(x, here + AHEAD, PAIR)
                fetch(x, here + pitch + AHEAD, PAIR)
            best = maxima_by_twos(x, here, pitch, window, PAIR)
            if to + q + lanes_of(x) <= end:
                store_tile(best, y, to + q, 0)
            else:
                store_some(best, y, to + q, min(group, wide - q))
        at += step * pitch
        to += y_pitch


@inlined
def rows_by_twos(x, at, pitch, step, window, high, wide, y, to, y_pitch, far):
    """Results [high][wide] of windows two columns and ``step`` rows apart, all inside."""
    lanes, size = lanes_of(x), len(window)
    group = lanes - (size - 1) // 2
    if 2 * (wide - 1) + size <= lanes:
        single_by_twos(x, at, pitch, step, window, ONE, high, wide, y, to, y_pitch, far)
    elif wide <= group:
        single_by_twos(x, at, pitch, step, window, PAIR, high, wide, y, to, y_pitch, far)
    else:
        several_by_twos(x, at, pitch, step, window, group, high, wide, y, to, y_pitch, far)


@helper
def square_by_twos(rows, columns):
    """The size of windows for ``rows_by_twos``: 2 or 3; 0 if they are others."""
    size = columns.taps
    near = rows.dilation == columns.dilation == 1 and columns.step == 2
    inside = rows.first == 0 and (rows.size_out - 1) * rows.step + size <= rows.size_in
    return size if near and inside and rows.taps == size and 2 <= size <= 3 else 0


@helper
def every(x, at, step):
    """A vector of numbers from `at` on: of each, or of every second."""
    if step == 1:
        return load_tile(x, at, 0, ONE, ONE)
    return evens(load_tile(x, at, 0, ONE, PAIR))


@helper
def places_of_plane(
    x, at, pitch, taps, begin, rows, columns, y, to, y_pitch, wheres, spot, w_pitch
):
    """… and where in the plane they are: of equals, and of NaNs, the first"""
    lanes, wide = lanes_of(x), columns.size_in
    below = rows.dilation * wide - columns.taps * columns.dilation
    piled = y_pitch == w_pitch == columns.size_out
    left = (rows.size_out if piled else 1) * columns.size_out
    for p in range(rows.size_out):
        for q in range(0, columns.size_out, lanes):
            here = at + begin[p] * pitch + q * columns.step
            best = every(x, here, columns.step)
            first = begin[p] * wide + q * columns.step
            found = places = shifted(begin_places(best, (first,)), 0, columns.step)
            for i in range(taps[p]):
                for j in range(columns.taps):
                    if i + j > 0:
                        new = every(x, here + j * columns.dilation, columns.step)
                        best, found = improve(best, found, new, places)
                    places = shifted(places, columns.dilation, 0)
                here += rows.dilation * pitch
                places = shifted(places, below, 0)
            if q + lanes <= left:  # what is too much is overwritten by the next row
                store_tile(best, y, to + q, 0)
                store_places(found, wheres, spot + q, 0)
            else:
                store_some(best, y, to + q, columns.size_out - q)
                store_some(found, wheres, spot + q, columns.size_out - q)
        to, spot = to + y_pitch, spot + w_pitch
        left -= columns.size_out if piled else 0


@helper
def take_maxima(cells, pixel, pixels, tap, taps, begin, count, bests, width):
    """bests[pixel][channel] = the largest cell of its window"""
    lanes = lanes_of(cells)
    for c in range(0, count, lanes):
        for m in range(0, pixels, len(RESULTS)):
            windows = pick(pixel, RESULTS, m)
            best = load_rows(cells, pick(begin, RESULTS, m), c, count - c)
            for t in range(taps):
                best = larger(best, load_rows(cells, windows, tap[t] + c, count - c))
            store_tile(best, bests, m * width + c, width)


@helper
def find_maxima(
    cells, pixel, pixels, tap, taps, begin, spot, corner, step, count, bests, wheres, width
):  # fmt: skip
    """… and wheres[pixel][channel] its place in the plane: of equals, and of NaNs, the first"""
    lanes = lanes_of(cells)
    for c in range(0, count, lanes):
        for m in range(0, pixels, len(RESULTS)):
            windows = pick(pixel, RESULTS, m)
            best = load_rows(cells, pick(begin, RESULTS, m), c, count - c)
            found = begin_places(best, pick(spot, RESULTS, m))
            corners = begin_places(best, pick(corner, RESULTS, m))
            for t in range(taps):
                new = load_rows(cells, windows, tap[t] + c, count - c)
                best, found = improve(best, found, new, shifted(corners, step[t], 0))
            store_tile(best, bests, m * width + c, width)
            store_places(found, wheres, m * width + c, width)


@kernel(
    FLAT, STEPS, FLAT, STEPS, numbers(types.int32), STEPS, AXIS, AXIS, integers(Plan), BOOL
)  # fmt: skip
def maximum(x, xs, y, ys, indices, places, rows, columns, plan, wanted, first, last):
    """Units [first, last) of bands × blocks of channels; indices unless they are not wanted."""
    channels, block, lanes = plan.channels, plan.block, lanes_of(x)
    blocks, taps = ceil_div(channels, block), rows.taps * columns.taps
    most = plan.images * plan.rows * plan.columns + len(RESULTS)
    room = np.zeros(4 * most + 2 * taps, np.int64)
    pixel, corner, begin = pointer(room), pointer(room[most:]), pointer(room[2 * most :])
    spot, tap = pointer(room[3 * most :]), pointer(room[4 * most :])
    step = pointer(room[4 * most + taps :])
    size = plan.images * reach(rows, plan.rows) * reach(columns, plan.columns) * block
    room_cells = room_for(x, size + lanes)
    width = ceil_div(block, lanes) * lanes
    room_best = room_for(x, most * width)
    room_where = np.empty(most * width if wanted else 0, np.int32)
    cells, bests, wheres = aligned(room_cells), aligned(room_best), pointer(room_where)
    place_taps(rows, columns, columns.size_in, 1, 0, step)
    ready, ready_count, pixels = -1, 0, 0
    band = band_of(plan, rows, columns, 0)
    for unit in range(first, last):
        index, b = divmod(unit, blocks)
        channel = b * block
        count = min(block, channels - channel)
        if index != ready or count != ready_count:
            ready, ready_count = index, count
            band = band_of(plan, rows, columns, index)
            pixels = band.images * band.rows * band.columns
            place_cells(band, rows, columns, count, pixel)
            place_taps(rows, columns, reach(columns, band.columns) * count, count, 0, tap)
            place_windows(band, rows, columns, count, pixel, corner, begin, spot)
            for m in range(pixels, pixels + len(RESULTS)):
                pixel[m], begin[m] = pixel[pixels - 1], begin[pixels - 1]
        gather_cells(x, xs, band, channel, count, rows, columns, cells, -np.inf)
        if wanted:
            find_maxima(
                cells, pixel, pixels, tap, taps, begin, spot, corner, step, count,
                bests, wheres, width,
            )  # fmt: skip
            scatter(wheres, width, count, band, rows, columns, channel, indices, places)
        else:
            take_maxima(cells, pixel, pixels, tap, taps, begin, count, bests, width)
        scatter(bests, width, count, band, rows, columns, channel, y, ys)
    keep((room, room_cells, room_best, room_where))


@kernel(
    FLAT, STEPS, FLAT, STEPS, numbers(types.int32), STEPS, AXIS, AXIS, INT, INT, BOOL
)  # fmt: skip
def maximum_of_rows(
    x, xs, y, ys, indices, places, rows, columns, channels, count, wanted, first, last
):  # fmt: skip
    """Planes [first, last) of n·c in NCHW, columns by 1 or 2, none outside: lanes are results.

    Planes of an image that windows tile without a rest, nothing between them, are done as one.
    A plane too near the end of the `count` numbers at x is copied to where there is room behind it.
    """
    high, wide, spare = rows.size_in, columns.size_in, 2 * lanes_of(x)
    size, far = square_by_twos(rows, columns), count > FAR
    close = xs.c == high * xs.h and ys.c == rows.size_out * ys.h
    piled = close and size == rows.step and high == rows.size_out * size
    room = np.empty(2 * rows.size_out, np.int64)
    taps, begin = pointer(room), pointer(room[rows.size_out :])  # of each row's windows, inside
    for p in range(rows.size_out):
        top = rows.first + p * rows.step
        i = first_inside(top, rows)
        taps[p] = min(rows.taps, ceil_div(high - top, rows.dilation)) - i
        begin[p] = top + i * rows.dilation
    room_plane = room_for(x, high * wide + spare)
    copy = aligned(room_plane)
    n, c = divmod(first, channels)
    while first < last:
        cells, at, pitch = x, xs.at + n * xs.n + c * xs.c, xs.h
        to = ys.at + n * ys.n + c * ys.c
        planes = min(last - first, channels - c) if piled and not wanted else 1
        while planes > 0 and at + max(0, (planes * high - 1) * pitch) + wide + spare > count:
            planes -= 1
        if planes == 0:
            planes = 1
            for row in range(high):
                for q in range(0, wide, lanes_of(x)):
                    move(x, at + row * pitch + q, copy, row * wide + q, wide - q)
            cells, at, pitch = copy, 0, wide
        step, down, along = rows.step, planes * rows.size_out, columns.size_out
        if wanted:
            spot = places.at + n * places.n + c * places.c
            places_of_plane(
                cells, at, pitch, taps, begin, rows, columns, y, to, ys.h, indices, spot, places.h
            )
        elif size == 2:
            rows_by_twos(cells, at, pitch, step, (0, 1), down, along, y, to, ys.h, far)
        elif size == 3:
            rows_by_twos(cells, at, pitch, step, (0, 1, 2), down, along, y, to, ys.h, far)
        else:
            maxima_of_plane(cells, at, pitch, taps, begin, rows, columns, y, to, ys.h)
        first, c = first + planes, c + planes
        if c == channels:  # not a division for each plane: a fifth of the time of 13×13
            n, c = n + 1, 0
    keep((room, room_plane))


@kernel(FLAT, STEPS, FLAT, STEPS, FLAT, AXIS, AXIS, integers(Plan))
def mean(x, xs, y, ys, areas, rows, columns, plan, first, last):
    """Units [first, last) of bands × blocks of channels; areas[row][column] of the results."""
    channels, block, lanes = plan.channels, plan.block, lanes_of(x)
    blocks, taps = ceil_div(channels, block), rows.taps * columns.taps
    most = plan.images * plan.rows * plan.columns + len(RESULTS)
    room = np.zeros(2 * most + taps, np.int64)
    pixel, area, tap = pointer(room), pointer(room[most:]), pointer(room[2 * most :])
    size = plan.images * reach(rows, plan.rows) * reach(columns, plan.columns) * block
    room_cells = room_for(x, size + lanes)
    width = ceil_div(block, lanes) * lanes
    room_sums = room_for(x, most * width)
    cells, sums = aligned(room_cells), aligned(room_sums)
    for unit in range(first, last):
        index, b = divmod(unit, blocks)
        channel = b * block
        count = min(block, channels - channel)
        band = band_of(plan, rows, columns, index)
        pixels = band.images * band.rows * band.columns
        gather_band(x, xs, band, channel, count, rows, columns, cells, pixel, 0)
        place_taps(rows, columns, reach(columns, band.columns) * count, count, 0, tap)
        for m in range(pixels):
            p, q = divmod(m % (band.rows * band.columns), band.columns)
            area[m] = (band.row + p) * columns.size_out + band.column + q
        for m in range(pixels, pixels + len(RESULTS)):
            pixel[m], area[m] = pixel[pixels - 1], area[pixels - 1]
        for c in range(0, count, lanes):
            for m in range(0, pixels, len(RESULTS)):
                windows = pick(pixel, RESULTS, m)
                total = no_sums(cells, windows, ONE)
                for t in range(taps):
                    total = add(total, load_rows(cells, windows, tap[t] + c, count - c))
                by = spread(areas, pick(area, RESULTS, m), windows, ONE)
                store_tile(divide(total, by), sums, m * width + c, width)
        scatter(sums, width, count, band, rows, columns, channel, y, ys)
    keep((room, room_cells, room_sums))


@kernel(FLAT, STEPS, numbers(types.int32), STEPS, FLAT, STEPS, INT, INT, INT, INT, INT)
def scatter_maxima(
    dy, dys, indices, places, dx, dxs, channels, rows, columns, high, wide, first, last
):  # fmt: skip
    """Planes [first, last) of n·c; what falls on one place adds up in the order of dy."""
    for plane in range(first, last):
        n, c = divmod(plane, channels)
        to = dxs.at + n * dxs.n + c * dxs.c
        for row in range(high):
            for column in range(wide):
                dx[to + row * dxs.h + column * dxs.w] = 0
        piled = dxs.h == wide * dxs.w
        for p in range(rows):
            at = dys.at + n * dys.n + c * dys.c + p * dys.h
            spot = places.at + n * places.n + c * places.c + p * places.h
            for q in range(columns):
                index = indices[spot + q * places.w]
                if piled:
                    dx[to + index * dxs.w] += dy[at + q * dys.w]
                else:
                    row, column = divmod(index, wide)
                    dx[to + row * dxs.h + column * dxs.w] += dy[at + q * dys.w]


@helper
def windows_over(position, axis):
    """The windows [first, stop) that hold a position of x."""
    first = max(0, -((axis.first + axis.taps - 1 - position) // axis.step))
    return first, min(axis.size_out, (position - axis.first) // axis.step + 1)


@kernel(FLAT, STEPS, FLAT, STEPS, FLAT, AXIS, AXIS, INT)
def share_out(dy, dys, dx, dxs, areas, rows, columns, channels, first, last):
    """Rows [first, last) of n·h of dx, each cell from the windows over it, last to first.

    That is the order of the window's offsets, in which the NumPy reference adds.
    """
    for unit in range(first, last):
        n, row = divmod(unit, rows.size_in)
        p_first, p_stop = windows_over(row, rows)
        for column in range(columns.size_in):
            q_first, q_stop = windows_over(column, columns)
            at = dys.at + n * dys.n
            to = dxs.at + n * dxs.n + row * dxs.h + column * dxs.w
            for c in range(channels):
                dx[to + c * dxs.c] = 0
            for p in range(p_stop - 1, p_first - 1, -1):
                for q in range(q_stop - 1, q_first - 1, -1):
                    area = areas[p * columns.size_out + q]
                    here = at + p * dys.h + q * dys.w
                    for c in range(channels):
                        dx[to + c * dxs.c] += dy[here + c * dys.c] / area


def _areas(dims: PoolDims, include_pad: bool, like: Array) -> Array:
    high, wide = (np.array(dims.counts(axis, include_pad), like.dtype) for axis in (0, 1))
    return np.outer(high, wide).ravel()


def _as_channels(*arrays: Array) -> tuple[Array, ...]:
    """Images as more channels of one image, where all arrays are C-contiguous."""
    if not all(a.flags.c_contiguous for a in arrays):
        return arrays
    return tuple(a.reshape(1, -1, *a.shape[2:]) for a in arrays)


def _walk(x: Array, dims: PoolDims) -> tuple[TapAxis, TapAxis, Plan, int, float]:
    rows, columns = dims.forward_taps
    k = numba_cut.Walk(rows, columns, len(x), x.shape[1], 1, 1, x.itemsize)
    work = x.size * PER_CELL
    threads = numba_tasks.threads_for(work)
    plan = numba_cut.cut_blocks(k, 1 if threads == 1 else numba_tasks.SLICES * threads)
    units = numba_cut.bands(plan, k) * numba_cut.ceil_div(plan.channels, plan.block)
    return rows, columns, plan, units, work


@lru_cache(maxsize=256)
def _along_rows(columns: TapAxis, itemsize: int, wanted: bool) -> bool:
    """Windows by 1 or 2 along a row, which fill half a vector if places are wanted."""
    lanes = BYTES // itemsize
    full = not wanted or 2 * columns.size_out >= lanes
    return columns.step <= 2 and columns.first == 0 and full and numba_cut.inside(columns)


_NOWHERE = flat(np.empty((1, 1, 1, 1), np.int32))


def max_pool2d(x: Array, y: Array, indices: Array | None, dims: PoolDims) -> None:
    if dims.n == 0:
        return
    wanted = indices is not None
    rows, columns = dims.forward_taps
    memory, steps = flat(x)
    maxima, to = flat(y)
    wheres, spots = _NOWHERE if indices is None else flat(indices)
    in_rows = steps.w == to.w == spots.w == 1
    if in_rows and _along_rows(columns, x.itemsize, wanted):
        numba_tasks.run(
            maximum_of_rows, dims.n * dims.c, x.size * PER_CELL, memory, steps,
            maxima, to, wheres, spots, rows, columns, dims.c, memory.size, wanted,
        )  # fmt: skip
        return
    arrays = [x, y] if indices is None else [x, y, indices]
    x, y, *places = _as_channels(*arrays)
    wheres, spots = flat(places[0]) if places else _NOWHERE
    rows, columns, plan, units, work = _walk(x, dims)
    numba_tasks.run(
        maximum, units, work, *flat(x), *flat(y), wheres, spots, rows, columns, plan, wanted
    )  # fmt: skip


def max_pool2d_dx(dy: Array, indices: Array, dx: Array) -> None:
    n, c, high, wide = dx.shape
    numba_tasks.run(
        scatter_maxima, n * c, dx.size * PER_CELL,
        *flat(dy), *flat(indices), *flat(dx), c, *dy.shape[2:], high, wide,
    )  # fmt: skip


def avg_pool2d(x: Array, y: Array, dims: PoolDims, include_pad: bool) -> None:
    if dims.n == 0:
        return
    areas = _areas(dims, include_pad, x)
    x, y = _as_channels(x, y)
    rows, columns, plan, units, work = _walk(x, dims)
    numba_tasks.run(mean, units, work, *flat(x), *flat(y), areas, rows, columns, plan)


def avg_pool2d_dx(dy: Array, dx: Array, dims: PoolDims, include_pad: bool) -> None:
    work = dx.size * dims.kh * dims.kw * PER_CELL
    areas = _areas(dims, include_pad, dy)
    numba_tasks.run(
        share_out, dims.n * dims.h, work, *flat(dy), *flat(dx), areas, *dims.forward_taps, dims.c
    )  # fmt: skip
