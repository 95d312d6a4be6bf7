"""What a unit sees of the input: all that it could, and what it does."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from ..kernels import ShapeError
from ..kernels.arrays import Array
from ..kernels.dims import as_pads
from ..layers import Layer, Sequential
from ..summary import summary
from .figures import GREY, VALIDATION, PathLike, figure, finished


__all__ = ["effective_field", "effective_receptive_field", "receptive_field"]

Pair = tuple[int, int]

_RANDOM_IMAGES = 16
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
    picture = figure(7.0, 4.2)
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
    picture.legend(handles[::-1], labels[::-1], loc="outside right center", frameon=False)
    ax.set(xlabel="column", ylabel="row")
    ax.spines[["top", "right", "bottom", "left"]].set_visible(False)
    return finished(picture, path)


def effective_field(net: Layer, x: Array | tuple[int, int, int], layer: str | None = None) -> Array:
    """How much each input pixel moves a unit in the middle (Luo et al. 2017).

    The mean over the images of |∂y/∂x|, y being the unit in the middle of the planes, summed
    over its channels, and x summed over its own.  Less than 1e-5 of the largest is rounding,
    and 0.

    Parameters
    ----------
    net : Layer
    x : array (N, C, H, W), or (C, H, W)
        Images, or the shape of one: then 16 of normal random numbers, always the same.
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
    x = _images(x)
    chain, _ = _until(copy.deepcopy(net), x, layer)
    y = chain.forward(x, train=True)
    dy = np.zeros_like(y)
    dy[:, :, y.shape[2] // 2, y.shape[3] // 2] = 1
    dx = chain.backward(dy)
    field = np.asarray(np.abs(dx).sum(axis=1).mean(axis=0))
    field[field < _ROUNDING * field.max()] = 0
    return field


def effective_receptive_field(
    net: Layer,
    x: Array | tuple[int, int, int],
    layer: str | None = None,
    path: PathLike | None = None,
) -> Any:
    """:func:`effective_field` as a picture, in the outline of the theoretical field.

    The title says how much of that has any effect at all, as height×width.

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
    x = _images(x)
    field = effective_field(net, x, layer)
    chain, name = _until(net, x, layer)
    picture = figure(5.0, 4.2)
    ax = picture.subplots()
    shown = ax.imshow(field / max(field.max(), 1e-30), cmap="magma", vmin=0, vmax=1)
    rows, columns = _theoretical_field(chain, x.shape)
    _outline(ax, _inside(rows, field.shape[0]), _inside(columns, field.shape[1]))
    seen = np.argwhere(field > 0)
    size = np.ptp(seen, axis=0) + 1 if len(seen) else (0, 0)
    theory = f"{rows[1] - rows[0] + 1}×{columns[1] - columns[0] + 1}"
    title = f"Effective receptive field of layer {name}\nseen {size[0]}×{size[1]}, theory {theory}"
    ax.set_title(title, fontsize="medium")
    bar = picture.colorbar(shown, ax=ax, label="|∂y/∂x| of the largest")
    bar.outline.set_visible(False)
    return finished(picture, path)


def _outline(ax: Any, rows: Pair, columns: Pair) -> None:
    from matplotlib.patches import Rectangle

    corner = columns[0] - 0.5, rows[0] - 0.5
    size = columns[1] - columns[0] + 1, rows[1] - rows[0] + 1
    ax.add_patch(Rectangle(corner, *size, fill=False, edgecolor=VALIDATION, linewidth=1.5))


def _inside(ends: Pair, size: int) -> Pair:
    """Without what lies in the padding."""
    return max(0, ends[0]), min(size - 1, ends[1])


def _theoretical_field(chain: Sequential, shape: Any) -> tuple[Pair, Pair]:
    """First and last row, and column, that a unit in the middle of the results can see."""
    steps = []
    for _, leaf in chain.leaves():
        window, stride = leaf.window(shape)
        padding = getattr(leaf, "geometry", {}).get("padding", 0)
        pads = as_pads(padding, "effective_receptive_field", shape[2:], window, stride)
        steps.append((window, stride, pads))
        shape = leaf.output_shape(shape)
    ends = [(size // 2, size // 2) for size in shape[2:]]
    for window, stride, pads in reversed(steps):
        for i in (0, 1):
            first, last = (end * stride[i] - pads[i][0] for end in ends[i])
            ends[i] = first, last + window[i] - 1
    return ends[0], ends[1]


def _images(x: Any) -> Array:
    if isinstance(x, tuple) and len(x) == 3 and all(isinstance(size, int) for size in x):
        rng = np.random.default_rng(0)
        return rng.standard_normal((_RANDOM_IMAGES, *x), np.float32)
    return np.asarray(x)


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
        raise ShapeError(
            "effective_field: x must be images (N, C, H, W), or the shape (C, H, W) of one; got "
            f"shape {x.shape}"
        )
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
