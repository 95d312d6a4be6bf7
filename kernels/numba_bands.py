"""Bands of an image for the Numba kernels: matrices copied, cells gathered, results scattered.

A band is some results of the walk (``TapAxis``), of whole images or of a part of one.  What it
reads is gathered once, padded and channels-last, whatever the memory format of the source; then
padding, strides, groups and formats are no concern of the inner loops.
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
from __future__ import annotations

from typing import NamedTuple

from .numba_options import helper
from .numba_tiles import SUMS, lanes_of, move, transpose, transpose_some


# The tile of packed panels: ROWS × VECTORS sums.
VECTORS = 3 if SUMS == 24 else 2
ROWS = tuple(range(SUMS // VECTORS))


class Plan(NamedTuple):
    """How a walk is cut: sizes of a group in channels, of a band in results."""

    n: int
    groups: int
    channels: int
    filters: int
    images: int
    rows: int
    columns: int
    chunks: int  # of panels, each a unit of work
    parts: int  # of the bands, whose totals of dw are added up
    block: int  # channels that are gathered together
    unrolled: int  # 1 or 0
    in_place: int


class Band(NamedTuple):
    """First results and how many."""

    n: int
    row: int
    column: int
    images: int
    rows: int
    columns: int


@helper
def ceil_div(a, b):
    return -(-a // b)


@helper
def reach(axis, count):
    """How many source positions `count` neighbouring results span."""
    return (count - 1) * axis.step + (axis.taps - 1) * axis.dilation + 1


@helper
def bands_of(plan, rows, columns):
    across = ceil_div(columns.size_out, plan.columns)
    return ceil_div(plan.n, plan.images) * ceil_div(rows.size_out, plan.rows) * across


@helper
def band_of(plan, rows, columns, index):
    rest, c = divmod(index, ceil_div(columns.size_out, plan.columns))
    image, r = divmod(rest, ceil_div(rows.size_out, plan.rows))
    n, row, column = image * plan.images, r * plan.rows, c * plan.columns
    return Band(
        n,
        row,
        column,
        min(plan.images, plan.n - n),
        min(plan.rows, rows.size_out - row),
        min(plan.columns, columns.size_out - column),
    )


@helper
def panel_of(index, vectors):
    """The vectors [first, stop) of a panel: as many as a tile has, or evenly fewer."""
    panels = ceil_div(vectors, VECTORS)
    return index * vectors // panels, (index + 1) * vectors // panels


@helper
def copy(x, at, y, to, count):
    """y[to + i] = x[at + i]"""
    for i in range(0, count, lanes_of(x)):
        move(x, at + i, y, to + i, count - i)


@helper
def clear(x, at, count):
    fill(x, at, count, 0)


@helper
def fill(x, at, count, value):
    for i in range(at, at + count):
        x[i] = value


@helper
def copy_matrix(x, at, x_row, x_column, y, to, y_row, y_column, rows, columns):
    """y[to + r · y_row + c · y_column] = x[at + r · x_row + c · x_column]"""
    if x_column == 1 and y_column == 1:
        if x_row == columns and y_row == columns:
            copy(x, at, y, to, rows * columns)
        else:
            for r in range(rows):
                copy(x, at + r * x_row, y, to + r * y_row, columns)
        return
    if x_column == 1 and y_row == 1:  # columns for rows, rows for columns
        x_row, x_column, y_row, y_column, rows, columns = 1, x_row, y_column, 1, columns, rows
    if x_row == 1 and y_column == 1:  # transposed
        lanes = lanes_of(x)
        for r in range(0, rows, lanes):
            for c in range(0, columns, lanes):
                here, there = at + c * x_column + r, to + r * y_row + c
                if r + lanes <= rows and c + lanes <= columns:
                    transpose(x, here, x_column, y, there, y_row)
                else:
                    transpose_some(x, here, x_column, y, there, y_row, columns - c, rows - r)
        return
    for c in range(columns):
        for r in range(rows):
            y[to + r * y_row + c * y_column] = x[at + r * x_row + c * x_column]


@helper
def gather(
    source, steps, n, channel, channels, top, left, rows, columns, high, wide, cells, to, border
):  # fmt: skip
    """cells[to + (i · wide + j) · channels + c] = x[n, channel + c, top + i, left + j]

    What lies outside x is `border`.
    """
    start = steps.at + n * steps.n + channel * steps.c
    before = min(wide, max(0, -left))
    stop = max(before, min(wide, columns.size_in - left))
    whole = before == 0 and stop == wide and top >= 0 and top + high <= rows.size_in
    together = high if whole and steps.h == wide * steps.w else 1  # rows without a gap are one
    for i in range(0, high, together):
        row, at = top + i, to + i * wide * channels
        if not 0 <= row < rows.size_in:
            fill(cells, at, wide * channels, border)
            continue
        fill(cells, at, before * channels, border)
        fill(cells, at + stop * channels, (wide - stop) * channels, border)
        first, pixels = start + row * steps.h + (left + before) * steps.w, stop - before
        at += before * channels
        copy_matrix(
            source, first, steps.w, steps.c, cells, at, channels, 1, pixels * together, channels
        )


@helper
def gather_cells(source, steps, band, channel, channels, rows, columns, cells, border):
    """The cells of a band: images of the rows and columns that its windows reach."""
    high, wide = reach(rows, band.rows), reach(columns, band.columns)
    top = rows.first + band.row * rows.step
    left = columns.first + band.column * columns.step
    for image in range(band.images):
        gather(
            source, steps, band.n + image, channel, channels, top, left, rows, columns,
            high, wide, cells, image * high * wide * channels, border,
        )  # fmt: skip


@helper
def place_cells(band, rows, columns, channels, pixel):
    """In `pixel` where in a band's cells the window of each result begins."""
    high, wide = reach(rows, band.rows), reach(columns, band.columns)
    m = 0
    for image in range(band.images):
        for p in range(band.rows):
            row = (image * high + p * rows.step) * wide
            for q in range(band.columns):
                pixel[m] = (row + q * columns.step) * channels
                m += 1


@helper
def gather_band(source, steps, band, channel, channels, rows, columns, cells, pixel, border):
    gather_cells(source, steps, band, channel, channels, rows, columns, cells, border)
    place_cells(band, rows, columns, channels, pixel)


@helper
def place_taps(rows, columns, row_step, column_step, channels, tap):
    """Where the runs of a window begin, in `tap`; how many there are, and how long they are.

    Taps whose cells follow one another are one run.
    """
    together = columns.taps if columns.dilation * column_step == channels else 1
    t = 0
    for i in range(rows.taps):
        for j in range(0, columns.taps, together):
            tap[t] = i * rows.dilation * row_step + j * columns.dilation * column_step
            t += 1
    return t, together * channels


@helper
def unroll(cells, pixel, pixels, tap, taps, run, windows):
    """The windows of a band as rows of a matrix, and in `pixel` where each begins."""
    for m in range(pixels):
        for t in range(taps):
            copy(cells, pixel[m] + tap[t], windows, (m * taps + t) * run, run)
        pixel[m] = m * taps * run
    tap[0] = 0


@helper
def scatter(sums, width, filters, band, rows, columns, channel, out, steps):
    """Sums [pixel][width] of a band to the result, from `channel` on."""
    row_step, column_step = rows.out_step * steps.h, columns.out_step * steps.w
    start = steps.at + channel * steps.c
    start += (rows.out_first + band.row * rows.out_step) * steps.h
    start += (columns.out_first + band.column * columns.out_step) * steps.w
    together = band.rows if row_step == band.columns * column_step else 1
    for image in range(band.images):
        for p in range(0, band.rows, together):
            at = (image * band.rows + p) * band.columns * width
            to = start + (band.n + image) * steps.n + p * row_step
            copy_matrix(
                sums, at, width, 1, out, to, column_step, steps.c,
                together * band.columns, filters,
            )  # fmt: skip
