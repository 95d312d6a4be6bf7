"""Depthwise convolution in Numba, y, dx and dw: the lanes are channels, one filter for each.

A block of channels of a band is gathered channels-last as in the walk (in NCHW that is a transpose
of short rows); a tile is a few results, or for dw the taps, of one vector of channels.
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
from __future__ import annotations

import numpy as np

from .conv2d_numba_gram import load_grads
from .numba_bands import (
    Plan,
    band_of,
    bands_of,
    ceil_div,
    gather_band,
    place_taps,
    reach,
    scatter,
)
from .numba_options import AXIS, BOOL, FLAT, STEPS, integers, kernel, room_for
from .numba_tiles import (
    aligned,
    keep,
    lanes_of,
    load_tile,
    multiply_spans,
    no_sums,
    pick,
    pointer,
    rectify,
    store_tile,
)


RESULTS = tuple(range(8))  # of a tile
TAPS = tuple(range(9))  # of a tile of dw
ONE = (0,)  # vector of channels


@kernel(FLAT, STEPS, FLAT, FLAT, FLAT, STEPS, AXIS, AXIS, integers(Plan), BOOL)
def depthwise(source, sources, weights, bias, out, results, rows, columns, plan, relu, first, last):
    """Units [first, last) of bands × blocks of channels; weights[tap][channel]"""
    channels, block, lanes = plan.channels, plan.block, lanes_of(source)
    blocks, taps = ceil_div(channels, block), rows.taps * columns.taps
    most, spare = plan.images * plan.rows * plan.columns, len(RESULTS)
    places = np.empty(most + spare + taps, np.int64)
    size = plan.images * reach(rows, plan.rows) * reach(columns, plan.columns) * block
    room = room_for(source, size + lanes)
    width = ceil_div(block, lanes) * lanes
    room_sums = room_for(source, (most + spare) * width)
    pixel, tap = pointer(places), pointer(places[most + spare :])
    cells, sums, w = aligned(room), aligned(room_sums), weights
    for unit in range(first, last):
        index, b = divmod(unit, blocks)
        channel = b * block
        count = min(block, channels - channel)
        band = band_of(plan, rows, columns, index)
        pixels = band.images * band.rows * band.columns
        gather_band(source, sources, band, channel, count, rows, columns, cells, pixel, 0)
        place_taps(rows, columns, reach(columns, band.columns) * count, count, 0, tap)
        for m in range(pixels, pixels + spare):
            pixel[m] = pixel[pixels - 1]
        for c in range(0, count, lanes):
            for m in range(0, pixels, len(RESULTS)):
                places_m = pick(pixel, RESULTS, m)
                tile = load_tile(bias, channel + c, 0, places_m, ONE)
                for t in range(taps):
                    tile = multiply_spans(
                        tile, cells, places_m, tap[t] + c, w, ONE, t * channels + channel + c,
                        count - c,
                    )  # fmt: skip
                if relu:
                    tile = rectify(tile)
                store_tile(tile, sums, m * width + c, width)
        scatter(sums, width, count, band, rows, columns, channel, out, results)
    keep((places, room, room_sums))


@kernel(FLAT, STEPS, FLAT, STEPS, FLAT, AXIS, AXIS, integers(Plan))
def depthwise_dw(x, xs, dy, dys, totals, rows, columns, plan, first, last):
    """Units [first, last) of parts × blocks of channels; totals[part][tap][channel]"""
    channels, block, lanes = plan.channels, plan.block, lanes_of(x)
    blocks, taps = ceil_div(channels, block), rows.taps * columns.taps
    most, spare = plan.images * plan.rows * plan.columns, len(TAPS)
    places = np.empty(most + taps + spare, np.int64)
    size = plan.images * reach(rows, plan.rows) * reach(columns, plan.columns) * block
    room = room_for(x, size + lanes)
    room_grads = room_for(x, most * block + lanes)
    pixel, tap = pointer(places), pointer(places[most:])
    cells, grads, sums = aligned(room), aligned(room_grads), totals
    wide = ceil_div(channels, lanes) * lanes
    bands = bands_of(plan, rows, columns)
    for unit in range(first, last):
        part, b = divmod(unit, blocks)
        channel = b * block
        count = min(block, channels - channel)
        begin = part * bands // plan.parts
        base = part * ceil_div(taps, len(TAPS)) * len(TAPS) * wide + channel
        for index in range(begin, (part + 1) * bands // plan.parts):
            band = band_of(plan, rows, columns, index)
            pixels = band.images * band.rows * band.columns
            gather_band(x, xs, band, channel, count, rows, columns, cells, pixel, 0)
            load_grads(dy, dys, band, channel, count, count, 0, pixels, grads)
            place_taps(rows, columns, reach(columns, band.columns) * count, count, 0, tap)
            for t in range(taps, taps + spare):
                tap[t] = 0
            for c in range(0, count, lanes):
                for t in range(0, taps, len(TAPS)):
                    at = base + t * wide + c
                    taps_t = pick(tap, TAPS, t)
                    if index == begin:
                        tile = no_sums(cells, taps_t, ONE)
                    else:
                        tile = load_tile(sums, at, wide, taps_t, ONE)
                    for m in range(pixels):
                        tile = multiply_spans(
                            tile, cells, taps_t, pixel[m] + c, grads, ONE, m * count + c, count - c
                        )
                    store_tile(tile, sums, at, wide)
    keep((places, room, room_grads))
