"""y and dx in Numba: the same walk over different arrays (``source`` is x or dy, ``out`` y or dx).

    y[pixels, filters] = cells[pixels, depth] @ packed[depth, filters]

A band is gathered; panels of packed weights then pass over it.  All pixels of a band have their
taps at the same offsets, so ``direct`` unrolls nothing; ``im2col`` copies the windows of a band
to rows of a matrix and is the same product from there on.  The order of the depth is the same
however the walk is cut.
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
from __future__ import annotations

import numpy as np

from .numba_bands import (
    ROWS,
    VECTORS,
    Plan,
    band_of,
    ceil_div,
    gather_band,
    panel_of,
    place_taps,
    reach,
    scatter,
    unroll,
)
from .numba_options import AXIS, BOOL, FLAT, STEPS, helper, integers, kernel, room_for
from .numba_tiles import (
    aligned,
    beside,
    keep,
    lanes_of,
    load_tile,
    multiply_add,
    pick,
    pointer,
    rectify,
    store_tile,
)


PANEL = 8 * 1024  # numbers of a panel that stay in L1 while they pass over the band


@helper
def multiply(
    cells, pixel, pixels, tap, taps, run, weights, at, columns, bias, bias_at, fresh, relu, sums
):  # fmt: skip
    """sums[pixel][width] = bias + Σ cells[pixel + tap + i] · weights[tap][i][width]

    `columns` are where the vectors of a step of the weights begin.  Sums that are not `fresh` go
    on from what they are.
    """
    width = len(columns) * lanes_of(cells)
    most = PANEL // width
    each, together = min(run, most), max(1, most // run)
    for t0 in range(0, taps, together):
        for i0 in range(0, run, each):
            last = t0 + together >= taps and i0 + each >= run
            for m in range(0, pixels, len(ROWS)):
                rows = pick(pixel, ROWS, m)
                if fresh and t0 == 0 and i0 == 0:
                    tile = load_tile(bias, bias_at, 0, rows, columns)
                else:
                    tile = load_tile(sums, m * width, width, rows, columns)
                for t in range(t0, min(t0 + together, taps)):
                    b = at + (t * run + i0) * width
                    for i in range(tap[t] + i0, tap[t] + min(i0 + each, run)):
                        tile = multiply_add(tile, cells, rows, i, weights, columns, b)
                        b += width
                if relu and last:
                    tile = rectify(tile)
                store_tile(tile, sums, m * width, width)


@helper
def multiply_panel(
    vectors, cells, pixel, pixels, tap, taps, run, weights, at, bias, bias_at, fresh, relu, sums
):  # fmt: skip
    """``multiply`` by a tile that is as many vectors wide."""
    if vectors == 1:
        multiply(
            cells, pixel, pixels, tap, taps, run, weights, at, beside(cells, (0,)),
            bias, bias_at, fresh, relu, sums,
        )  # fmt: skip
    elif vectors == 2:
        multiply(
            cells, pixel, pixels, tap, taps, run, weights, at, beside(cells, (0, 1)),
            bias, bias_at, fresh, relu, sums,
        )  # fmt: skip
    elif VECTORS == 3:
        multiply(
            cells, pixel, pixels, tap, taps, run, weights, at, beside(cells, (0, 1, 2)),
            bias, bias_at, fresh, relu, sums,
        )  # fmt: skip


@helper
def place_pixels(band, rows, columns, steps, channel, pixel):
    """In `pixel` where in the source itself the window of each result of a band begins."""
    m = 0
    for image in range(band.images):
        at = steps.at + (band.n + image) * steps.n + channel * steps.c
        for p in range(band.rows):
            row = at + (rows.first + (band.row + p) * rows.step) * steps.h
            for q in range(band.columns):
                pixel[m] = row + (columns.first + (band.column + q) * columns.step) * steps.w
                m += 1


@helper
def load_band(
    source, sources, band, channel, channels, rows, columns, plan, cells, windows, pixel, tap
):  # fmt: skip
    """Some channels of a band, as the plan says: gathered, unrolled, or found where they lie.

    Returns the number of results, of their windows' runs, and how long these are.
    """
    pixels = band.images * band.rows * band.columns
    if plan.in_place:
        place_pixels(band, rows, columns, sources, channel, pixel)
        taps, run = place_taps(rows, columns, sources.h, sources.w, channels, tap)
    else:
        gather_band(source, sources, band, channel, channels, rows, columns, cells, pixel, 0)
        pitch = reach(columns, band.columns) * channels
        taps, run = place_taps(rows, columns, pitch, channels, channels, tap)
    if plan.unrolled:
        unroll(cells, pixel, pixels, tap, taps, run, windows)
        taps, run = 1, taps * run
    for m in range(pixels, pixels + len(ROWS)):
        pixel[m] = pixel[pixels - 1]
    return pixels, taps, run


@kernel(FLAT, STEPS, FLAT, FLAT, FLAT, STEPS, AXIS, AXIS, integers(Plan), BOOL)
def walk(source, sources, weights, bias, out, results, rows, columns, plan, relu, first, last):
    """Units [first, last) of bands × groups × chunks of panels.

    A band is loaded once for all its panels, unless its channels are cut into blocks.
    """
    channels, filters, lanes = plan.channels, plan.filters, lanes_of(source)
    vectors, blocks = ceil_div(filters, lanes), ceil_div(channels, plan.block)
    panels, window = ceil_div(vectors, VECTORS), rows.taps * columns.taps
    most = plan.images * plan.rows * plan.columns
    spare = len(ROWS)  # the last tile of a band may have fewer pixels than rows
    places = np.empty(most + spare + window, np.int64)
    room_sums = room_for(source, (most + spare) * VECTORS * lanes)
    size = plan.images * reach(rows, plan.rows) * reach(columns, plan.columns) * plan.block
    room = room_for(source, 0 if plan.in_place else size)
    room_windows = room_for(source, most * window * plan.block if plan.unrolled else 0)
    pixel, tap, sums = pointer(places), pointer(places[most + spare :]), aligned(room_sums)
    cells, windows = aligned(room), aligned(room_windows)
    lies = source if plan.in_place else windows if plan.unrolled else cells  # what is multiplied
    ready, pixels, taps, run = -1, 0, 0, 0
    for unit in range(first, last):
        rest, chunk = divmod(unit, plan.chunks)
        index, g = divmod(rest, plan.groups)
        band = band_of(plan, rows, columns, index)
        for panel in range(chunk * panels // plan.chunks, (chunk + 1) * panels // plan.chunks):
            begin, stop = panel_of(panel, vectors)
            width, at = (stop - begin) * lanes, (g * vectors + begin) * lanes
            for b in range(blocks):
                channel, count = b * plan.block, min(plan.block, channels - b * plan.block)
                if rest * blocks + b != ready:
                    ready = rest * blocks + b
                    pixels, taps, run = load_band(
                        source, sources, band, g * channels + channel, count, rows, columns, plan,
                        cells, windows, pixel, tap,
                    )  # fmt: skip
                multiply_panel(
                    stop - begin, lies, pixel, pixels, tap, taps, run, weights,
                    (at * channels + channel * width) * window, bias, at,
                    b == 0, relu and b == blocks - 1, sums,
                )  # fmt: skip
            count = min(width, filters - begin * lanes)
            channel = g * filters + begin * lanes
            scatter(sums, width, count, band, rows, columns, channel, out, results)
    keep((places, room_sums, room, room_windows))
