"""A contest: its rows, the targets they are held to, and how a row is made."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from timing import Run, race


US = "fastconv"
WAY = f"{US}-winograd"  # which algorithm a call got is its own affair: its tolerance
FORMATS = ("nchw", "nhwc")

Row = dict[str, Any]


@dataclass
class Options:
    threads: int
    rounds: int = 9
    layers: str = ""
    memory: str = "nchw"  # of our arrays
    peak: float = 0.0  # GFLOP/s of the machine with these threads; 0: not measured


class Target(NamedTuple):
    """What the rows that `of` selects are held to: their geometric mean, each of them."""

    what: str
    mean: float | None = None
    each: float | None = None
    of: Callable[[Row], bool] = lambda row: True


class Section(NamedTuple):
    title: str
    rows: Callable[[Options], Iterator[Row]]
    targets: tuple[Target, ...]
    peers: tuple[str, ...] = ()  # one of them at least must be there


def contest(
    options: Options, layer: str, dims: Any, runs: dict[str, Run], flops: int = 0, unit: float = 1
) -> Row:
    """A row; the first of the runs is held against the best of the others, round by round.

    `unit` is what one run of the others counts, e.g. where they do less work.
    """
    times = dict(zip(runs, race(list(runs.values()), options.rounds), strict=True))
    us, *others = times
    ratios = [unit * min(rest) / own for own, *rest in zip(*times.values(), strict=True)]
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    row: Row = {"layer": layer, "dims": str(dims), "threads": options.threads}
    row["seconds"] = {name: _rounded(median) for name, median in medians.items()}
    row["best"] = min(others, key=medians.__getitem__)
    row["ratio"] = _rounded(statistics.median(ratios))
    if flops:
        row["gflops"] = _rounded(flops / medians[us] / 1e9)
        row["share"] = _rounded(row["gflops"] / options.peak) if options.peak else None
    return row


def _rounded(figure: float) -> float:
    return float(f"{figure:.4g}")


def chosen(cases: Any, options: Options) -> Iterator[Any]:
    return (case for case in cases if re.search(options.layers, case.name))
