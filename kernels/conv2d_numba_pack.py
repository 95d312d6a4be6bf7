"""Weights for the walk in Numba: panels of a few vectors of filters, in the order of the depth."""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
from __future__ import annotations

from typing import NamedTuple

from .numba_bands import VECTORS, ceil_div, clear, copy, copy_matrix, panel_of
from .numba_options import AXIS, FLAT, INT, helper, integers, kernel, room_for
from .numba_tiles import aligned, keep, lanes_of


CHANNELS = 16  # whose weights are transposed together, in L1


class Weights(NamedTuple):
    """Steps in (O, C/groups, KH, KW): between groups, filters and channels of the walk, rows."""

    group: int
    filter: int
    channel: int
    row: int


@helper
def weight_of(rows, columns, steps, i, j):
    """Where in a window the weight of tap (i, j) is."""
    return (rows.k_first + i * rows.k_step) * steps.row + columns.k_first + j * columns.k_step


@helper
def pack_rows(w, at, steps, packed, to, rows, columns, channels, count, width, part):
    """Filters are rows of w: some channels of them transposed, then the filters of each weight."""
    window = steps.channel
    for c0 in range(0, channels, CHANNELS):
        some = min(CHANNELS, channels - c0)
        first = at + c0 * window
        copy_matrix(w, first, steps.filter, 1, part, 0, 1, width, count, some * window)
        for i in range(rows.taps):
            for j in range(columns.taps):
                here = weight_of(rows, columns, steps, i, j) * width
                there = to + ((i * columns.taps + j) * channels + c0) * width
                for c in range(some):
                    copy(part, here + c * window * width, packed, there + c * width, count)


@helper
def pack_columns(w, at, steps, packed, to, rows, columns, channels, count, width):
    """Channels are rows of w, their filters beside one another, a window apart."""
    for c in range(channels):
        for i in range(rows.taps):
            for j in range(columns.taps):
                here = at + c * steps.channel + weight_of(rows, columns, steps, i, j)
                there = to + ((i * columns.taps + j) * channels + c) * width
                copy_matrix(w, here, 0, steps.filter, packed, there, 0, 1, 1, count)


@kernel(FLAT, FLAT, AXIS, AXIS, integers(Weights), INT, INT, INT)
def pack(w, packed, rows, columns, steps, filters, channels, block, first, last):
    """Panels [first, last) of all groups, the channels in blocks.

    packed[panel][block][row tap][column tap][channel][lane]: a lane is a filter, zero behind
    the last.
    """
    lanes = lanes_of(w)
    vectors = ceil_div(filters, lanes)
    panels = ceil_div(vectors, VECTORS)
    window = rows.taps * columns.taps
    by_rows = steps.channel <= steps.filter
    room = room_for(w, min(CHANNELS, block) * steps.channel * VECTORS * lanes if by_rows else 0)
    part = aligned(room)
    for unit in range(first, last):
        g, panel = divmod(unit, panels)
        begin, stop = panel_of(panel, vectors)
        width, filter0 = (stop - begin) * lanes, begin * lanes
        count = min(width, filters - filter0)
        to = (g * vectors + begin) * lanes * window * channels
        if count < width:
            clear(packed, to, width * window * channels)
        at = g * steps.group + filter0 * steps.filter
        for c0 in range(0, channels, block):
            some = min(block, channels - c0)
            here, there = at + c0 * steps.channel, to + c0 * window * width
            if by_rows:
                pack_rows(w, here, steps, packed, there, rows, columns, some, count, width, part)
            else:
                pack_columns(w, here, steps, packed, there, rows, columns, some, count, width)
    keep((room,))
