"""db in Numba: dy summed over images and pixels, in float64, for there may be millions of terms."""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
from __future__ import annotations

import numpy as np

from .numba_options import FLAT, INT, STEPS, helper, kernel, summing
from .numba_tiles import keep, pointer


@summing
def sum_run(x, at, step, count):
    """Σ x[at + i · step]; beside one another, LLVM adds them up in vectors."""
    total = 0.0
    if step == 1:
        for i in range(count):
            total += np.float64(x[at + i])
    else:
        for i in range(count):
            total += np.float64(x[at + i * step])
    return total


@helper
def add_channels(dy, at, step, pixels, totals, count):
    """totals[channel] += Σ over the pixels; channels beside one another are the lanes."""
    for q in range(pixels):
        for k in range(count):
            totals[k] += dy[at + q * step + k]


@kernel(FLAT, FLAT, STEPS, INT, INT, INT)
def sum_filters(dy, db, steps, images, rows, columns, first, last):
    """db[first:last]"""
    room = np.zeros(last - first)
    totals = pointer(room)
    for n in range(images):
        for p in range(rows):
            at = steps.at + n * steps.n + p * steps.h + first * steps.c
            if steps.c == 1:
                add_channels(dy, at, steps.w, columns, totals, last - first)
            else:
                for k in range(last - first):
                    totals[k] += sum_run(dy, at + k * steps.c, steps.w, columns)
    for k in range(last - first):
        db[first + k] = totals[k]
    keep((room,))
