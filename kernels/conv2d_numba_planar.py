"""y and dx in Numba where a group has few filters: lanes are pixels.

    y[filters, pixels] = weights[filters, depth] @ planes[depth, pixels]

A channel's plane is gathered, padded, its rows and columns split by their phase of the stride.
Then every tap is one offset, and the results of a band lie one behind the other, rows and all:
those between the rows (a window reaches over the edge there) are computed and dropped.
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
from __future__ import annotations

import numpy as np

from .numba_bands import Plan, ceil_div, clear, copy, reach
from .numba_options import AXIS, BOOL, FLAT, STEPS, helper, integers, kernel, room_for
from .numba_tiles import (
    SUMS,
    aligned,
    beside,
    keep,
    lanes_of,
    multiply_add,
    pick,
    pointer,
    rectify,
    spread,
    store_tile,
)


# Tiles of filters × vectors of pixels, by the number of filters.
ROWS1, VECTORS1 = (0,), (0, 1, 2, 3, 4, 5)
ROWS3, VECTORS3 = (0, 1, 2), (0, 1, 2)
ROWS6, VECTORS6 = (0, 1, 2, 3, 4, 5), tuple(range(SUMS // 6))


@helper
def pitch_of(columns):
    """From a row of a plane to the next, the columns of one phase."""
    return ceil_div(reach(columns, columns.size_out), columns.step)


@helper
def plane_size(rows, columns, high):
    """Of one channel, for so many rows of results, every phase of the stride."""
    return rows.step * columns.step * ceil_div(reach(rows, high), rows.step) * pitch_of(columns)


@helper
def place_lines(rows, columns, high, line, edge):
    """In `line` where in a plane each row of the source, and phase of the columns, begins.

    In `edge`, of each phase, the cells [first, stop) of such a line that lie inside the source.
    """
    across, pitch = ceil_div(reach(rows, high), rows.step), pitch_of(columns)
    for i in range(across * rows.step):
        for phase in range(columns.step):
            plane = i % rows.step * columns.step + phase
            line[i * columns.step + phase] = (plane * across + i // rows.step) * pitch
    for phase in range(columns.step):
        begin = columns.first + phase
        first = min(pitch, max(0, ceil_div(-begin, columns.step)))
        edge[2 * phase] = first
        edge[2 * phase + 1] = max(
            first, min(pitch, ceil_div(columns.size_in - begin, columns.step))
        )


@helper
def place_depth(rows, columns, high, channels, line, place):
    """In `place` where the results of a band meet each channel and tap, in this order."""
    size, t = plane_size(rows, columns, high), 0
    for c in range(channels):
        for i in range(rows.taps):
            for j in range(columns.taps):
                column = j * columns.dilation
                begin = line[i * rows.dilation * columns.step + column % columns.step]
                place[t] = c * size + begin + column // columns.step
                t += 1


@helper
def copy_strided(x, at, step, y, to, count):
    """y[to + i] = x[at + i · step]"""
    if step == 1:
        copy(x, at, y, to, count)
    elif step == 2:  # LLVM makes vectors of a step that it knows
        for i in range(count):
            y[to + i] = x[at + 2 * i]
    else:
        for i in range(count):
            y[to + i] = x[at + i * step]


@helper
def gather_planes(
    source, steps, n, channel, channels, row0, high, rows, columns, line, edge, cells
):
    """The planes of some channels for the results of rows [row0, row0 + high)."""
    size, pitch = plane_size(rows, columns, high), pitch_of(columns)
    top, used = rows.first + row0 * rows.step, reach(rows, high)
    step = columns.step * steps.w
    for c in range(channels):
        start = steps.at + n * steps.n + (channel + c) * steps.c + columns.first * steps.w
        for i in range(used):
            inside = 0 <= top + i < rows.size_in
            for phase in range(columns.step):
                to = c * size + line[i * columns.step + phase]
                before, stop = edge[2 * phase], edge[2 * phase + 1]
                if inside:
                    at = start + (top + i) * steps.h + phase * steps.w + before * step
                    clear(cells, to, before)
                    copy_strided(source, at, step, cells, to + before, stop - before)
                    clear(cells, to + stop, pitch - stop)
                else:
                    clear(cells, to, pitch)


@helper
def multiply_planes(
    weights, row, rows, bias, cells, place, depth, columns, relu, sums, pitch, length
):  # fmt: skip
    """sums[r][pixel] = bias[row[r]] + Σ_t weights[row[r] · depth + t] · cells[place[t] + pixel]"""
    wide = len(columns) * lanes_of(cells)
    filters, places = pick(row, rows, 0), pick(row, rows, len(ROWS6))
    for pixel in range(0, length, wide):
        tile = spread(bias, filters, rows, columns)
        for t in range(depth):
            at = place[t] + pixel
            tile = multiply_add(tile, weights, places, t, cells, columns, at)
        if relu:
            tile = rectify(tile)
        store_tile(tile, sums, pixel, pitch)


@helper
def multiply_filters(weights, row, count, bias, cells, place, depth, relu, sums, pitch, length):
    """``multiply_planes`` by the smallest tile that holds `count` filters."""
    if count == 1:
        columns = beside(cells, VECTORS1)
        multiply_planes(
            weights, row, ROWS1, bias, cells, place, depth, columns, relu, sums, pitch, length
        )
    elif count <= 3:
        columns3 = beside(cells, VECTORS3)
        multiply_planes(
            weights, row, ROWS3, bias, cells, place, depth, columns3, relu, sums, pitch, length
        )
    else:
        columns6 = beside(cells, VECTORS6)
        multiply_planes(
            weights, row, ROWS6, bias, cells, place, depth, columns6, relu, sums, pitch, length
        )


@helper
def scatter_plane(sums, at, pitch, high, columns, rows, out, to, steps):
    """The results of one filter, row by row, without what lies between the rows."""
    step, count = columns.out_step * steps.w, columns.size_out
    for p in range(high):
        here, there = at + p * pitch, to + p * rows.out_step * steps.h
        if step == 1:
            copy(sums, here, out, there, count)
        else:
            for q in range(count):
                out[there + q * step] = sums[here + q]


@kernel(FLAT, STEPS, FLAT, FLAT, FLAT, STEPS, AXIS, AXIS, integers(Plan), BOOL)
def planar(source, sources, weights, bias, out, results, rows, columns, plan, relu, first, last):
    """Units [first, last) of images × bands × groups; weights[group][filter][channel][tap]"""
    channels, filters, lanes = plan.channels, plan.filters, lanes_of(source)
    depth = channels * rows.taps * columns.taps
    pitch = pitch_of(columns)
    spare = len(VECTORS1) * lanes  # a tile may go on behind the last result
    length = plan.rows * pitch + spare
    room = room_for(source, channels * plane_size(rows, columns, plan.rows) + spare)
    room_sums = room_for(source, (1 if filters == 1 else len(ROWS6)) * length)
    lines = ceil_div(reach(rows, plan.rows), rows.step) * rows.step * columns.step
    places = np.empty(depth + 2 * len(ROWS6) + lines + 2 * columns.step, np.int64)
    cells, sums = aligned(room), aligned(room_sums)
    place, row = pointer(places), pointer(places[depth:])
    line = pointer(places[depth + 2 * len(ROWS6) :])
    edge = pointer(places[depth + 2 * len(ROWS6) + lines :])
    bands = ceil_div(rows.size_out, plan.rows)
    ready = 0
    for unit in range(first, last):
        rest, g = divmod(unit, plan.groups)
        n, band = divmod(rest, bands)
        row0 = band * plan.rows
        high = min(plan.rows, rows.size_out - row0)
        if high != ready:
            place_lines(rows, columns, high, line, edge)
            place_depth(rows, columns, high, channels, line, place)
            ready = high
        gather_planes(
            source, sources, n, g * channels, channels, row0, high, rows, columns,
            line, edge, cells,
        )  # fmt: skip
        used = (high - 1) * pitch + columns.size_out
        for filter0 in range(0, filters, len(ROWS6)):
            count = min(len(ROWS6), filters - filter0)
            for r in range(len(ROWS6)):
                row[r] = g * filters + min(filter0 + r, filters - 1)
                row[len(ROWS6) + r] = row[r] * depth
            multiply_filters(
                weights, row, count, bias, cells, place, depth, relu, sums,
                length, used,
            )  # fmt: skip
            for r in range(count):
                to = results.at + n * results.n + (g * filters + filter0 + r) * results.c
                to += (rows.out_first + row0 * rows.out_step) * results.h
                to += columns.out_first * results.w
                scatter_plane(sums, r * length, pitch, high, columns, rows, out, to, results)
    keep((room, room_sums, places))
