"""Images as tiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..kernels import ShapeError
from ..kernels.arrays import Array
from .figures import PathLike, figure, finished


__all__ = ["before_after", "images", "tiles"]

_SIDE, _LINE, _COLUMNS = 1.0, 0.18, 8  # inches of a tile, a line of its title; tiles in a row


def images(x: Array, titles: Sequence[Any] | None = None, path: PathLike | None = None) -> Any:
    """Images as tiles, eight in a row.

    Parameters
    ----------
    x : array (N, C, H, W)
        One channel is shown in grey, three as colours, of others their mean.
    titles : sequence, optional
        One for each image.
    path : path, optional

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ShapeError
        If x is no such batch, or there is not a title for each image.
    ImportError
        If matplotlib is not installed.
    """
    x = np.asarray(x)
    if titles is not None and len(titles) != len(x):
        raise ShapeError(f"images: {len(titles)} titles for {len(x)} images")
    return finished(tiles(x, None if titles is None else [str(t) for t in titles]), path)


def before_after(x: Array, changed: Array, path: PathLike | None = None) -> Any:
    """Images, and below each what an augmentation made of it.

    Parameters
    ----------
    x, changed : array (N, C, H, W)
        As many in both; the first eight are shown.
    path : path, optional

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ShapeError
        If these are no such batches.
    ImportError
        If matplotlib is not installed.
    """
    before, after = np.asarray(x), np.asarray(changed)
    if len(before) != len(after):
        raise ShapeError(f"before_after: {len(before)} images before and {len(after)} after")
    shown = min(len(before), _COLUMNS)
    titles = ["before"] + [""] * (shown - 1) + ["after"] + [""] * (shown - 1)
    both = [*_pictures(before[:shown]), *_pictures(after[:shown])]
    return finished(_grid(both, titles, "", shown), path)


def tiles(x: Array, titles: Sequence[str] | None = None, head: str = "") -> Any:
    """A figure of images (N, C, H, W), with a title above all."""
    return _grid(_pictures(x), titles, head, _COLUMNS)


def _pictures(x: Array) -> list[Array]:
    """Each image as matplotlib shows it: (H, W), or (H, W, 3) in [0, 1]."""
    if x.ndim != 4:
        raise ShapeError(f"images: x must have shape (N, C, H, W), got {x.shape}")
    if x.shape[1] != 3:
        return list(x.mean(axis=1) if len(x) else [])
    low, high = (x.min(), x.max()) if len(x) else (0, 1)
    scaled = x if low >= 0 and high <= 1 else (x - low) / max(high - low, 1e-12)
    return list(scaled.transpose(0, 2, 3, 1))


def _grid(pictures: list[Array], titles: Sequence[str] | None, head: str, columns: int) -> Any:
    if not pictures:
        whole = figure(4.0, 0.7)
        whole.suptitle(head or "no images", y=0.5, va="center")
        return whole
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    lines = max((title.count("\n") + 1 for title in titles or () if title), default=0)
    high = _SIDE + 0.1 + _LINE * lines
    whole = figure(max(4.0, columns * (_SIDE + 0.1)), rows * high + (0.4 if head else 0.1))
    grid = whole.subplots(rows, columns, squeeze=False)
    for i, ax in enumerate(grid.flat):
        ax.set_axis_off()
        if i < len(pictures):
            ax.imshow(pictures[i], cmap="gray_r")
            if titles:
                ax.set_title(titles[i], fontsize="small")
    if head:
        whole.suptitle(head)
    return whole
