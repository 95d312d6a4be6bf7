"""What every picture has in common: a figure of nobody's, its colours, its file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from ..files import replacing
from ..kernels.arrays import Array


__all__ = [
    "DPI",
    "GREY",
    "TRAINING",
    "VALIDATION",
    "PathLike",
    "figure",
    "finished",
    "logarithmic",
    "mosaic",
    "tidy",
]

PathLike = str | os.PathLike[str]

TRAINING, VALIDATION, GREY = "#1f6fb4", "#d1495b", "#dddddd"
DPI = 150
_GAP = 0.08  # between tiles, as part of a tile


def figure(width: float, height: float, layout: Any = "constrained") -> Any:
    try:
        from .picture import Picture
    except ImportError as error:
        raise ImportError("pictures need matplotlib: pip install 'fastconv[plot]'") from error
    return Picture(figsize=(width, height), layout=layout, dpi=DPI)


def finished(figure: Any, path: PathLike | None) -> Any:
    """The figure, written to `path` if there is one."""
    if path is not None:
        suffix = Path(path).suffix.lstrip(".") or "png"
        with replacing(path) as file:
            figure.savefig(file, format=suffix)
    return figure


def tidy(ax: Any) -> None:
    """A grid, and no frame above and to the right."""
    ax.grid(which="both", color=GREY, linewidth=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)


def logarithmic(axis: Any) -> None:
    """A logarithmic axis with plain numbers (1, 2, 5, 10 …) beside its lines."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def mosaic(tiles: Array) -> Array:
    """Tiles (rows, columns, height, width) as one picture, NaN between them.

    Cells become squares of several pixels, so that tiles of all sizes have the same gap.
    """
    cell = max(1, 60 // tiles.shape[3])
    large = tiles.astype(float).repeat(cell, axis=2).repeat(cell, axis=3)
    rows, columns, height, width = large.shape
    gap = max(1, round(_GAP * width))
    spread = np.pad(large, ((0, 0), (0, 0), (0, gap), (0, gap)), constant_values=np.nan)
    picture = spread.transpose(0, 2, 1, 3).reshape(rows * (height + gap), columns * (width + gap))
    return picture[:-gap, :-gap]
