"""dw in Numba where a group has few filters: dot products of planes.

    totals[channels · taps, filters] += planes[channels · taps, pixels] @ grads[filters, pixels]ᵀ

The lanes are pixels on both sides; what the lanes of a sum hold is added up at the end, in order.
x is gathered in planes as in ``conv2d_numba_planar``, dy beside it.
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
from __future__ import annotations

import numpy as np

from .conv2d_numba_planar import (
    copy_strided,
    gather_planes,
    pitch_of,
    place_depth,
    place_lines,
    plane_size,
)
from .numba_bands import Plan, ceil_div, clear, reach
from .numba_options import AXIS, FLAT, INT, STEPS, helper, integers, kernel, room_for
from .numba_tiles import (
    SUMS,
    aligned,
    keep,
    lanes_of,
    load_tile,
    multiply_spans,
    pick,
    pointer,
    store_tile,
)


# Tiles of rows (channels and taps) × filters.
ROWS, FILTERS = tuple(range(SUMS // 6)), (0, 1, 2, 3, 4, 5)


@helper
def add_dots(
    cells, place, first, grads, column, filter0, pitch, high, wide, totals, at
):  # fmt: skip
    """totals[row][filter][lane] += … of one tile, over the rows of a band"""
    lanes = lanes_of(cells)
    places, columns = pick(place, ROWS, first), pick(column, FILTERS, filter0)
    tile = load_tile(totals, at, len(FILTERS) * lanes, places, columns)
    for p in range(high):
        for q in range(0, wide, lanes):
            a, b = p * pitch + q, p * wide + q
            tile = multiply_spans(tile, cells, places, a, grads, columns, b, wide - q)
    store_tile(tile, totals, at, len(FILTERS) * lanes)


@helper
def load_planes(dy, steps, n, channel, filters, row0, high, wide, grads):
    """grads[filter][row][column] of the rows [row0, row0 + high), without gaps"""
    together = high if steps.h == wide * steps.w else 1
    for k in range(filters):
        start = steps.at + n * steps.n + (channel + k) * steps.c + row0 * steps.h
        for p in range(0, high, together):
            to = (k * high + p) * wide
            copy_strided(dy, start + p * steps.h, steps.w, grads, to, together * wide)


@kernel(FLAT, STEPS, FLAT, STEPS, FLAT, AXIS, AXIS, integers(Plan))
def dots(x, xs, dy, dys, totals, rows, columns, plan, first, last):
    """Units [first, last) of parts × groups; totals[part][group][row tile][filter tile]…[lane]"""
    channels, filters, lanes = plan.channels, plan.filters, lanes_of(x)
    depth, pitch, wide = channels * rows.taps * columns.taps, pitch_of(columns), columns.size_out
    down, across = ceil_div(depth, len(ROWS)), ceil_div(filters, len(FILTERS))
    size = len(ROWS) * len(FILTERS) * lanes
    room = room_for(x, channels * plane_size(rows, columns, plan.rows) + lanes)
    room_grads = room_for(x, filters * plan.rows * wide + lanes)
    lines = ceil_div(reach(rows, plan.rows), rows.step) * rows.step * columns.step
    # (a tile may reach behind the last row and the last filter: places of zeros)
    placed, columned = depth + len(ROWS), filters + len(FILTERS)
    places = np.zeros(placed + columned + lines + 2 * columns.step, np.int64)
    cells, grads, sums = aligned(room), aligned(room_grads), totals
    place, column = pointer(places), pointer(places[placed:])
    line, edge = pointer(places[placed + columned :]), pointer(places[placed + columned + lines :])
    bands = ceil_div(rows.size_out, plan.rows)
    ready = 0
    for unit in range(first, last):
        part, g = divmod(unit, plan.groups)
        base = unit * down * across * size
        clear(sums, base, down * across * size)
        every = plan.n * bands
        for index in range(part * every // plan.parts, (part + 1) * every // plan.parts):
            n, band = divmod(index, bands)
            row0 = band * plan.rows
            high = min(plan.rows, rows.size_out - row0)
            if high != ready:
                place_lines(rows, columns, high, line, edge)
                place_depth(rows, columns, high, channels, line, place)
                for k in range(filters):
                    column[k] = k * high * wide
                ready = high
            gather_planes(
                x, xs, n, g * channels, channels, row0, high, rows, columns,
                line, edge, cells,
            )  # fmt: skip
            load_planes(dy, dys, n, g * filters, filters, row0, high, wide, grads)
            for d in range(down):
                for f in range(across):
                    at = base + (d * across + f) * size
                    add_dots(
                        cells, place, d * len(ROWS), grads, column, f * len(FILTERS),
                        pitch, high, wide, sums, at,
                    )  # fmt: skip
    keep((room, room_grads, places))


@kernel(FLAT, FLAT, INT, integers(Plan))
def add_lanes(totals, dw, depth, plan, first, last):
    """Groups [first, last): lanes and parts added up, to dw (K, C/groups, KH, KW) in one piece."""
    lanes, filters = lanes_of(totals), plan.filters
    rows, wide = len(ROWS), len(FILTERS)
    down, across = ceil_div(depth, rows), ceil_div(filters, wide)
    for g in range(first, last):
        for k in range(filters):
            for t in range(depth):
                tile = t // rows * across + k // wide
                at = (tile * rows + t % rows) * wide + k % wide
                total = 0.0
                for part in range(plan.parts):
                    start = ((part * plan.groups + g) * down * across * rows * wide + at) * lanes
                    for lane in range(lanes):
                        total += np.float64(totals[start + lane])
                dw[(g * filters + k) * depth + t] = total
