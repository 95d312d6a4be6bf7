"""What a unit sees of the input: all that it could, and what it does."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from ..kernels import ShapeError
from ..kernels.arrays import Array
from ..layers import Layer, Sequential
from ..summary import summary
from .figures import GREY, VALIDATION, PathLike, figure, finished


__all__ = ["effective_field", "effective_receptive_field", "receptive_field"]

_ROUNDING = 1e-5  # of the largest: Winograd's algorithm spreads as much over whole tiles


def receptive_field(
    net: Layer, input_shape: tuple[int, int, int], path: PathLike | None = None
) -> Any:
    """The receptive field of a unit in the middle of each convolution and pooling, as squares.

    Parameters
    ----------
    net : Layer
    input_shape : (C, H, W)
    path : path, optional

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ShapeError
        If no layer sees more than one pixel.
    ImportError
        If matplotlib is not installed.
    """
    height, width = input_shape[1:]
    fields = _growing_fields(net, input_shape)
    picture = figure(6.4, 4.2)
    ax = picture.subplots()
    from matplotlib import colormaps
    from matplotlib.patches import Rectangle

    ax.add_patch(Rectangle((0, 0), width, height, facecolor="#f4f4f4", edgecolor=GREY))
    colours = colormaps["viridis"](np.linspace(0, 0.9, len(fields)))
    for (name, high, wide), colour in reversed(list(zip(fields, colours, strict=True))):
        corner = ((width - wide) / 2, (height - high) / 2)
        style = {"facecolor": (*colour[:3], 0.12), "edgecolor": colour, "linewidth": 1.8}
        ax.add_patch(Rectangle(corner, wide, high, label=f"{name}: {high}×{wide}", **style))
    margin = max(0, max(f[1] for f in fields) - height, max(f[2] for f in fields) - width) / 2 + 1
    ax.set(xlim=(-margin, width + margin), ylim=(height + margin, -margin), aspect="equal")
    ax.set_title(f"Receptive fields on an input of {height}×{width}")
    handles, labels = ax.get_legend_handles_labels()
    ax.legend(
        *(handles[::-1], labels[::-1]), loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False
    )
    ax.set(xlabel="column", ylabel="row")
    ax.spines[["top", "right", "bottom", "left"]].set_visible(False)
    return finished(picture, path)


def effective_field(net: Layer, x: Array, layer: str | None = None) -> Array:
    """How much each input pixel moves a unit in the middle (Luo et al. 2017).

    The mean over the images of |∂y/∂x|, y being the unit in the middle of the planes, summed
    over its channels, and x summed over its own.  Less than 1e-5 of the largest is rounding,
    and 0.

    Parameters
    ----------
    net : Layer
    x : array (N, C, H, W)
    layer : str, optional
        Its name as in ``summary``; default: the last one whose results are planes of more
        than one pixel.

    Returns
    -------
    array (H, W)

    Raises
    ------
    ShapeError, ValueError
        If x is no batch of images, or there is no such layer.
    """
    # A copy: neither gradients nor draws of a Dropout are to be left in the network.
    chain, _ = _until(copy.deepcopy(net), np.asarray(x), layer)
    y = chain.forward(np.asarray(x), train=True)
    dy = np.zeros_like(y)
    dy[:, :, y.shape[2] // 2, y.shape[3] // 2] = 1
    dx = chain.backward(dy)
    field = np.asarray(np.abs(dx).sum(axis=1).mean(axis=0))
    field[field < _ROUNDING * field.max()] = 0
    return field


def effective_receptive_field(
    net: Layer, x: Array, layer: str | None = None, path: PathLike | None = None
) -> Any:
    """:func:`effective_field` as a picture, in the outline of the theoretical field.

    Parameters
    ----------
    net, x, layer
        As in :func:`effective_field`.
    path : path, optional

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ShapeError, ValueError
        As :func:`effective_field`.
    ImportError
        If matplotlib is not installed.
    """
    field = effective_field(net, x, layer)
    _, name = _until(net, np.asarray(x), layer)
    rows = {row.name: row for row in summary(net, np.shape(x)[1:]).rows}
    picture = figure(5.0, 4.2)
    ax = picture.subplots()
    shown = ax.imshow(field / max(field.max(), 1e-30), cmap="magma", vmin=0, vmax=1)
    seen = np.argwhere(field > 0)
    title = f"Effective receptive field of layer {name}"
    if len(seen):
        from matplotlib.patches import Rectangle

        (top, left), (bottom, right) = seen.min(axis=0), seen.max(axis=0)
        corner, size = (left - 0.5, top - 0.5), (right - left + 1, bottom - top + 1)
        ax.add_patch(Rectangle(corner, *size, fill=False, edgecolor=VALIDATION, linewidth=1.5))
        theory = rows[name].receptive_field if name in rows else None
        title += f"\nseen {size[1]}×{size[0]}, theory {_size(theory)}"
    ax.set_title(title, fontsize="medium")
    bar = picture.colorbar(shown, ax=ax, label="|∂y/∂x| of the largest")
    bar.outline.set_visible(False)
    return finished(picture, path)


def _size(field: Any) -> str:
    return "×".join(map(str, field)) if isinstance(field, tuple) else f"{field}×{field}"


def _growing_fields(net: Layer, input_shape: tuple[int, ...]) -> list[tuple[str, int, int]]:
    """(layer, height, width) wherever the field is larger than before."""
    found: list[tuple[str, int, int]] = []
    last = (1, 1)
    for row in summary(net, input_shape).rows:
        field = row.receptive_field
        if field is None or len(row.output_shape) != 3:
            continue
        size = field if isinstance(field, tuple) else (field, field)
        if size != last:
            found.append((f"{row.name} {row.layer.partition('(')[0]}", *size))
        last = size
    if not found:
        raise ShapeError("receptive_field: no layer of the network sees more than one pixel")
    return found


def _until(net: Layer, x: Array, layer: str | None) -> tuple[Sequential, str]:
    """The layers up to one, in a row, and its name."""
    if x.ndim != 4:
        raise ShapeError(f"effective_field: x must be images (N, C, H, W), got shape {x.shape}")
    leaves, shape, last = list(net.leaves()), x.shape, None
    for i, (name, leaf) in enumerate(leaves):
        shape = leaf.output_shape(shape)
        planes = len(shape) == 4 and shape[2] * shape[3] > 1
        if planes and layer in (None, name):
            last = i
    if last is None:
        names = [name for name, _ in leaves]
        raise ValueError(
            f"effective_field: layer={layer!r} is no layer that makes planes; layers: {names}"
        )
    return Sequential(*(leaf for _, leaf in leaves[: last + 1])), leaves[last][0]
