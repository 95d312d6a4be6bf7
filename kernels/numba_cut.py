"""How the walks of Numba's kernels are cut into bands and units of work.

Bands are as large as L2 holds, units as many as the threads want.  What y and dx are does not
depend on it; of dw, whose sums it orders, the cut knows the sizes alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from . import numba_bands, numba_tasks
from .dims import TapAxis
from .numba_bands import VECTORS, Plan
from .numba_options import plain
from .numba_tiles import BYTES


__all__ = ["Walk", "bands", "ceil_div", "cut", "cut_blocks", "cut_planes", "inside", "largest"]

ceil_div: Callable[[int, int], int] = plain(numba_bands.ceil_div)
reach: Callable[[TapAxis, int], int] = plain(numba_bands.reach)

BAND = 256 * 1024  # bytes of a gathered band (of its windows, where they are unrolled): in L2
PLANES = 1024 * 1024  # bytes of planes, if BAND does not hold those of a row
PIXELS = 512  # results of a band, at most
BLOCK = 256  # bytes of the channels of a band where each channel is by itself
PER_FLOP = 0.02  # nanoseconds, for the choice of threads


class Walk(NamedTuple):
    """A walk's axes and the sizes of a group, whichever gradient it is of."""

    rows: TapAxis
    columns: TapAxis
    n: int
    groups: int
    channels: int
    filters: int
    item: int  # bytes of a number

    @property
    def lanes(self) -> int:
        return BYTES // self.item

    @property
    def vectors(self) -> int:
        return ceil_div(self.filters, self.lanes)

    @property
    def panels(self) -> int:
        return ceil_div(self.vectors, VECTORS)

    @property
    def width(self) -> int:
        """Filters, filled up to whole vectors."""
        return self.vectors * self.lanes

    @property
    def window(self) -> int:
        return self.rows.taps * self.columns.taps

    @property
    def work(self) -> float:
        """Nanoseconds, about."""
        results = self.n * self.rows.size_out * self.columns.size_out * self.filters
        return 2 * results * self.channels * self.groups * self.window * PER_FLOP

    @property
    def wanted(self) -> int:
        """Units of work."""
        threads = numba_tasks.threads_for(self.work)
        return 1 if threads == 1 else numba_tasks.SLICES * threads

    @property
    def depthwise(self) -> bool:
        return self.groups > 1 and self.channels == self.filters == 1

    @property
    def few(self) -> bool:
        """Whether lanes of filters would mostly be empty, and planes fit."""
        return 2 * self.filters <= self.lanes and plane_bytes(self, 1) <= PLANES

    def without_gaps(self) -> Walk:
        """Over a source that lacks the cells which windows of one tap skip."""
        rows, columns = (
            axis._replace(first=0, step=1, dilation=1, size_in=axis.size_out)
            if skips(axis)
            else axis
            for axis in (self.rows, self.columns)
        )
        return self._replace(rows=rows, columns=columns)


def inside(axis: TapAxis) -> bool:
    """Whether no window reaches over the edge."""
    last = axis.first + (axis.size_out - 1) * axis.step + (axis.taps - 1) * axis.dilation
    return axis.first >= 0 and last < axis.size_in


def skips(axis: TapAxis) -> bool:
    """Whether windows of one tap skip cells, and none lies outside."""
    return axis.taps == 1 and axis.step > 1 and inside(axis)


def largest(size: int, fits: Callable[[int], bool]) -> int:
    """Into how large parts a size is cut: the largest that fits (1 if none does), then evenly."""
    low, high = 1, size
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return ceil_div(size, ceil_div(size, low))


def bands(plan: Plan, k: Walk) -> int:
    across = ceil_div(k.columns.size_out, plan.columns)
    return ceil_div(plan.n, plan.images) * ceil_div(k.rows.size_out, plan.rows) * across


def largest_block(k: Walk, results: int) -> int:
    """So many channels that the windows of some results of a row fit into a band."""
    cells = reach(k.rows, 1) * reach(k.columns, min(results, k.columns.size_out)) * k.item
    return largest(k.channels, lambda channels: channels * cells <= BAND)


def cut(k: Walk, block: int, unrolled: bool, in_place: bool, wanted: int) -> Plan:
    """Bands of `block` channels; as many of them, with chunks of panels, as are wanted."""
    window = k.window * block if unrolled else 0

    def fits(images: int, high: int, wide: int) -> bool:
        cells = 0 if in_place else reach(k.rows, high) * reach(k.columns, wide) * block
        pixels = images * high * wide
        return pixels <= PIXELS and (images * cells + window * pixels) * k.item <= BAND

    rows, columns = k.rows.size_out, k.columns.size_out
    images = high = 1
    wide = largest(columns, lambda q: fits(1, 1, q))
    if wide == columns:
        high = largest(rows, lambda p: fits(1, p, wide))
    if (high, wide) == (rows, columns):
        images = min(largest(k.n, lambda i: fits(i, rows, columns)), max(1, k.n // wanted))
    plan = Plan(
        n=k.n, groups=k.groups, channels=k.channels, filters=k.filters,
        images=images, rows=high, columns=wide, chunks=1, parts=1, block=block,
        unrolled=int(unrolled), in_place=int(in_place),
    )  # fmt: skip
    chunks = ceil_div(wanted, bands(plan, k) * k.groups)
    return plan._replace(chunks=min(k.panels, chunks))


def plane_bytes(k: Walk, high: int) -> int:
    """Of the planes of a group for so many rows of results, all phases of the stride."""
    rows, columns = (
        axis.step * ceil_div(reach(axis, count), axis.step)
        for axis, count in ((k.rows, high), (k.columns, k.columns.size_out))
    )
    return rows * columns * k.channels * k.item


def cut_planes(k: Walk, wanted: int) -> Plan:
    """Bands of whole rows of one image, as many as are wanted if images and groups are few."""
    most = largest(k.rows.size_out, lambda p: plane_bytes(k, p) <= BAND)
    high = min(most, ceil_div(k.rows.size_out, ceil_div(wanted, k.n * k.groups)))
    return Plan(
        n=k.n, groups=k.groups, channels=k.channels, filters=k.filters,
        images=1, rows=high, columns=k.columns.size_out, chunks=1, parts=1, block=k.channels,
        unrolled=0, in_place=0,
    )  # fmt: skip


def cut_blocks(k: Walk, wanted: int) -> Plan:
    """Bands of a few vectors of channels, each by itself: a group of its own."""
    near = k._replace(groups=1, channels=k.groups, filters=k.groups)
    block = min(k.groups, BLOCK // k.item, largest_block(near, 1))
    blocks = ceil_div(k.groups, block)
    plan = cut(near, block, False, False, ceil_div(wanted, blocks))
    lacking = ceil_div(wanted, bands(plan, k) * blocks)
    high = ceil_div(plan.rows, lacking)  # fewer rows rather than narrower blocks
    return plan._replace(rows=ceil_div(k.rows.size_out, ceil_div(k.rows.size_out, high)), chunks=1)
