"""dw in Numba: rows are channels × taps, lanes filters, the depth pixels.

    totals[channels · taps, filters] += cells[pixels, channels · taps]ᵀ @ grads[pixels, filters]

x is gathered band by band as in the walk, dy beside it.  Work is cut into blocks of channels
and panels of filters; where these are few, also into parts of the bands, whose totals are added
up in order afterwards.  The cut depends on the sizes alone, hence so does the order of a sum.
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
from __future__ import annotations

import numpy as np

from .numba_bands import (
    ROWS,
    VECTORS,
    Plan,
    band_of,
    bands_of,
    ceil_div,
    clear,
    copy_matrix,
    gather_band,
    panel_of,
    place_taps,
    reach,
    unroll,
)
from .numba_options import AXIS, FLAT, INT, STEPS, helper, integers, kernel, room_for
from .numba_tiles import (
    aligned,
    beside,
    keep,
    lanes_of,
    load_tile,
    multiply_add,
    no_sums,
    pick,
    pointer,
    store_tile,
)


PIXELS = 128  # of a band whose gradients stay in L1 while the rows pass over them


@helper
def load_grads(dy, steps, band, channel, filters, width, first, count, grads):
    """grads[pixel][width] of pixels [first, first + count) of a band, 0 behind the last filter"""
    if filters < width:
        clear(grads, 0, count * width)
    piled = steps.h == band.columns * steps.w  # rows follow one another
    m, stop = first, first + count
    while m < stop:
        row, q = divmod(m, band.columns)
        image, p = divmod(row, band.rows)
        at = steps.at + (band.n + image) * steps.n + channel * steps.c
        at += (band.row + p) * steps.h + (band.column + q) * steps.w
        pixels = min(stop - m, (band.rows - p if piled else 1) * band.columns - q)
        to = (m - first) * width
        copy_matrix(dy, at, steps.w, steps.c, grads, to, width, 1, pixels, filters)
        m += pixels


@helper
def add_products(cells, pixel, first, count, row, rows, grads, columns, totals, at, fresh):
    """totals[row][width] += Σ over the pixels cells[row + pixel] · grads[pixel][width]"""
    width = len(columns) * lanes_of(cells)
    for r in range(0, rows, len(ROWS)):
        places = pick(row, ROWS, r)
        if fresh:
            tile = no_sums(cells, places, columns)
        else:
            tile = load_tile(totals, at + r * width, width, places, columns)
        b = 0
        for m in range(first, first + count):
            tile = multiply_add(tile, cells, places, pixel[m], grads, columns, b)
            b += width
        store_tile(tile, totals, at + r * width, width)


@helper
def add_panel(vectors, cells, pixel, first, count, row, rows, grads, totals, at, fresh):
    """``add_products`` by a tile that is as many vectors wide."""
    if vectors == 1:
        one = beside(cells, (0,))
        add_products(cells, pixel, first, count, row, rows, grads, one, totals, at, fresh)
    elif vectors == 2:
        two = beside(cells, (0, 1))
        add_products(cells, pixel, first, count, row, rows, grads, two, totals, at, fresh)
    elif VECTORS == 3:
        three = beside(cells, (0, 1, 2))
        add_products(cells, pixel, first, count, row, rows, grads, three, totals, at, fresh)


@helper
def place_rows(tap, taps, run, channels, row):
    """In `row` where channel and tap of each row of the totals lie, from a pixel's window on."""
    m = 0
    for c in range(channels):
        for t in range(taps):
            for i in range(c, run, channels):
                row[m] = tap[t] + i
                m += 1
    for r in range(len(ROWS)):
        row[m + r] = 0


@helper
def block_rows(window, channels):
    """Rows of the totals of a block of channels: whole tiles."""
    return ceil_div(window * channels, len(ROWS)) * len(ROWS)


@kernel(FLAT, STEPS, FLAT, STEPS, FLAT, AXIS, AXIS, integers(Plan))
def gram(x, xs, dy, dys, totals, rows, columns, plan, first, last):
    """Units [first, last) of parts × groups × blocks of channels × chunks of panels.

    totals[part][group][block][panel][row][width]
    """
    channels, filters, block, lanes = plan.channels, plan.filters, plan.block, lanes_of(x)
    vectors = ceil_div(filters, lanes)
    panels, blocks = ceil_div(vectors, VECTORS), ceil_div(channels, block)
    window = rows.taps * columns.taps
    most = plan.images * plan.rows * plan.columns
    places = np.empty(most + window + window * block + len(ROWS), np.int64)
    pixel, tap, row = pointer(places), pointer(places[most:]), pointer(places[most + window :])
    size = plan.images * reach(rows, plan.rows) * reach(columns, plan.columns) * block
    room = room_for(x, size)
    room_windows = room_for(x, most * window * block if plan.unrolled else 0)
    room_grads = room_for(x, PIXELS * VECTORS * lanes)
    cells, windows, grads = aligned(room), aligned(room_windows), aligned(room_grads)
    lies = windows if plan.unrolled else cells
    bands = bands_of(plan, rows, columns)
    for unit in range(first, last):
        base, chunk = divmod(unit, plan.chunks)
        rest, b = divmod(base, blocks)
        part, g = divmod(rest, plan.groups)
        count = min(block, channels - b * block)
        begin = part * bands // plan.parts
        for index in range(begin, (part + 1) * bands // plan.parts):
            band = band_of(plan, rows, columns, index)
            pixels = band.images * band.rows * band.columns
            channel = g * channels + b * block
            gather_band(x, xs, band, channel, count, rows, columns, cells, pixel, 0)
            pitch = reach(columns, band.columns) * count
            taps, run = place_taps(rows, columns, pitch, count, count, tap)
            if plan.unrolled:
                unroll(cells, pixel, pixels, tap, taps, run, windows)
                taps, run = 1, taps * run
            place_rows(tap, taps, run, count, row)
            for start in range(0, pixels, PIXELS):
                some = min(PIXELS, pixels - start)
                fresh = index == begin and start == 0
                for panel in range(
                    chunk * panels // plan.chunks, (chunk + 1) * panels // plan.chunks
                ):
                    vector, stop = panel_of(panel, vectors)
                    width, filter0 = (stop - vector) * lanes, vector * lanes
                    load_grads(
                        dy, dys, band, g * filters + filter0,
                        min(width, filters - filter0), width, start, some, grads,
                    )  # fmt: skip
                    at = (base * vectors + vector) * lanes * block_rows(window, block)
                    add_panel(
                        stop - vector, lies, pixel, start, some, row, window * count, grads,
                        totals, at, fresh,
                    )  # fmt: skip
    keep((places, room, room_windows, room_grads))


@kernel(FLAT, FLAT, INT, integers(Plan))
def add_parts(totals, dw, window, plan, first, last):
    """Panels [first, last) of groups × blocks × panels: totals to dw (K, C/groups, KH, KW)."""
    channels, filters, block = plan.channels, plan.filters, plan.block
    lanes = lanes_of(totals)
    vectors = ceil_div(filters, lanes)
    panels, blocks = ceil_div(vectors, VECTORS), ceil_div(channels, block)
    size = block_rows(window, block)
    apart = plan.groups * blocks * vectors * lanes * size
    room = room_for(totals, size * VECTORS * lanes if plan.parts > 1 else 0)
    sums = aligned(room)
    for unit in range(first, last):
        rest, panel = divmod(unit, panels)
        g, b = divmod(rest, blocks)
        begin, stop = panel_of(panel, vectors)
        width, filter0 = (stop - begin) * lanes, begin * lanes
        rows = window * min(block, channels - b * block)
        at = (rest * vectors + begin) * lanes * size
        to = ((g * filters + filter0) * channels + b * block) * window
        lies = totals
        if plan.parts > 1:
            for i in range(rows * width):
                total = totals[at + i]
                for part in range(1, plan.parts):
                    total += totals[at + part * apart + i]
                sums[i] = total
            lies, at = sums, 0
        count = min(width, filters - filter0)
        copy_matrix(lies, at, width, 1, dw, to, 1, channels * window, rows, count)
    keep((room,))
