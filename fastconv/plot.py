"""Pictures: learning curves, filters, and the feature maps they make.

Every function returns a matplotlib Figure and, given a path, also writes it there.  The
figures belong to nobody's global state: pyplot is not used, no window opens.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .files import replacing
from .kernels import ShapeError
from .kernels.arrays import Array
from .layers import Conv2d, Layer, ReLU


if TYPE_CHECKING:
    from .history import History

__all__ = ["feature_maps", "filters", "filters_and_feature_maps", "learning_curve"]

PathLike = str | os.PathLike[str]

_TRAINING, _VALIDATION = "#1f6fb4", "#d1495b"
_WEIGHTS, _MAPS, _IMAGE = "RdBu_r", "magma", "gray_r"
_DPI = 150
_WIDTH, _EDGE, _SCALE, _HEAD, _LARGEST_TILE = 9.0, 0.15, 0.95, 0.42, 1.35  # inches
_GAP = 0.08  # between tiles, as part of a tile
_MOST_FILTERS, _MOST_CHANNELS = 24, 12  # shown of a layer; a caption tells when there are more


def learning_curve(history: History, path: PathLike | None = None) -> Any:
    """Loss and error over the epochs, of the training and the validation part.

    Parameters
    ----------
    history : History
        As :func:`fastconv.fit` returns it, with at least one epoch.
    path : path, optional
        Where to write the picture; its suffix chooses the format.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If the history holds no epoch.
    ImportError
        If matplotlib is not installed.
    """
    epochs = list(history["epoch"])
    if not epochs:
        raise ValueError("learning_curve: the history is empty; train for an epoch first")
    figure = _figure(9.0, 3.8)
    left, right = figure.subplots(1, 2)
    _curves(left, epochs, history["loss"], history["val_loss"])
    left.set(title="Loss", ylabel="mean loss per example")
    _curves(right, epochs, _wrong(history["accuracy"]), _wrong(history["val_accuracy"]))
    right.set(title="Error", ylabel="wrong answers (%)")
    return _finished(figure, path)


def filters(layer_or_weights: Conv2d | Array, path: PathLike | None = None) -> Any:
    """The filters of a convolution: a column for each filter, a row for each channel.

    Red is positive and blue negative, on one scale.  At most 24 filters and 12 channels
    are shown.

    Parameters
    ----------
    layer_or_weights : Conv2d or array (O, C/groups, KH, KW)
    path : path, optional

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ShapeError
        If the weights have another number of axes.
    ImportError
        If matplotlib is not installed.
    """
    if isinstance(layer_or_weights, Conv2d):
        layer_or_weights = layer_or_weights.weight.value
    w = np.asarray(layer_or_weights)
    if w.ndim != 4:
        raise ShapeError(f"filters: weights must have 4 axes (O, C/groups, KH, KW), got {w.shape}")
    return _stacked([_filters_panel(w)], path)


def feature_maps(net: Layer, image: Array, path: PathLike | None = None) -> Any:
    """What every convolution of a network makes of one image, after its ReLU if one follows.

    Parameters
    ----------
    net : Layer
    image : array (H, W), (C, H, W) or (1, C, H, W)
    path : path, optional

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ShapeError
        If this is not one image, or no convolution makes planes of more than one pixel.
    ImportError
        If matplotlib is not installed.
    """
    x = _one_image("feature_maps", image)
    found = _convolutions("feature_maps", net, x)
    return _stacked([_image_panel(x), *(_maps_panel(c) for c in found)], path)


def filters_and_feature_maps(net: Layer, image: Array, path: PathLike | None = None) -> Any:
    """The filters of every convolution, and below each the map that it makes of an image.

    Parameters, result and errors are those of :func:`feature_maps`.
    """
    x = _one_image("filters_and_feature_maps", image)
    panels = [_image_panel(x)]
    for found in _convolutions("filters_and_feature_maps", net, x):
        panels += [_filters_panel(found.weight, f"Layer {found.name}: "), _maps_panel(found)]
    return _stacked(panels, path)


class _Convolution(NamedTuple):
    """What one convolution did to the image."""

    name: str  # of the layer, as in state_dict
    weight: Array  # (O, C/groups, KH, KW)
    maps: Array  # (O, OH, OW), after the ReLU if one follows
    rectified: bool


class _Panel(NamedTuple):
    """Tiles in rows and columns, on one colour scale."""

    title: str
    tiles: Array  # (rows, columns, height, width)
    colours: str
    low: float
    high: float
    unit: str


def _image_panel(x: Array) -> _Panel:
    """The image, a tile per channel."""
    return _Panel("Input image", x[0][None], _IMAGE, x.min(), x.max(), "value")


def _filters_panel(w: Array, layer: str = "") -> _Panel:
    shown = w[:_MOST_FILTERS, :_MOST_CHANNELS].transpose(1, 0, 2, 3)
    rows = f", in rows its {w.shape[1]} channels" if w.shape[1] > 1 else ""
    title = f"{layer}{w.shape[0]} filters of {w.shape[2]}×{w.shape[3]}{rows}"
    most = float(np.abs(w).max())
    title += _part_of(shown, w.shape[1], w.shape[0])
    return _Panel(title, shown, _WEIGHTS, -most, most, "weight")


def _maps_panel(found: _Convolution) -> _Panel:
    maps, shown = found.maps, found.maps[None, :_MOST_FILTERS]
    title = f"Layer {found.name}: {maps.shape[0]} feature maps of {maps.shape[1]}×{maps.shape[2]}"
    title += " after ReLU" if found.rectified else ""
    title += _part_of(shown, 1, maps.shape[0])
    return _Panel(title, shown, _MAPS, min(0.0, maps.min()), maps.max(), "activation")


def _part_of(shown: Array, rows: int, columns: int) -> str:
    """What a title adds when not everything is shown."""
    if shown.shape[:2] == (rows, columns):
        return ""
    channels = f" and {shown.shape[0]} channels" if rows > 1 else ""
    return f" (here the first {shown.shape[1]}{channels})"


def _one_image(who: str, image: Array) -> Array:
    x = np.asarray(image)
    x = x[None] if x.ndim == 2 else x
    x = x[None] if x.ndim == 3 else x
    if x.ndim != 4 or len(x) != 1:
        raise ShapeError(
            f"{who}: image must be one image (H, W), (C, H, W) or (1, C, H, W), "
            f"got shape {np.shape(image)}"
        )
    return x


def _convolutions(who: str, net: Layer, x: Array) -> list[_Convolution]:
    """Every convolution whose maps are more than single pixels."""
    found = []
    leaves = list(net.leaves())
    followers = [layer for _, layer in leaves[1:]] + [None]
    y = x.astype(net.dtype or x.dtype, copy=False)
    for (name, layer), after in zip(leaves, followers, strict=True):
        y = layer(y)
        if isinstance(layer, Conv2d) and y.shape[2:] != (1, 1):
            rectified = isinstance(after, ReLU)
            maps = np.maximum(y[0], 0) if rectified else y[0]
            found.append(_Convolution(name, layer.weight.value, maps, rectified))
    if not found:
        raise ShapeError(f"{who}: no convolution of the network makes planes of such an image")
    return found


def _stacked(panels: list[_Panel], path: PathLike | None) -> Any:
    """Panels below one another, laid out in inches so that equal columns stand in line."""
    pictures = [_mosaic(panel.tiles) for panel in panels]
    widths = [min(_LARGEST_TILE * p.tiles.shape[1], _WIDTH - _SCALE - _EDGE) for p in panels]
    heights = [w * p.shape[0] / p.shape[1] for w, p in zip(widths, pictures, strict=True)]
    total = sum(heights) + _HEAD * len(panels) + _EDGE
    figure, top = _figure(_WIDTH, total, None), total
    for panel, picture, width, height in zip(panels, pictures, widths, heights, strict=True):
        top -= _HEAD + height

        def axes(left: float, wide: float, bottom: float = top, high: float = height) -> Any:
            return figure.add_axes((left / _WIDTH, bottom / total, wide / _WIDTH, high / total))

        _draw(axes(_EDGE, width), axes(_EDGE + width + 0.1, 0.13), panel, picture)
    return _finished(figure, path)


def _draw(ax: Any, scale: Any, panel: _Panel, picture: Array) -> None:
    from matplotlib import colormaps

    colours = colormaps[panel.colours].with_extremes(bad="white")  # bad: between the tiles
    shown = ax.imshow(picture, cmap=colours)
    shown.set_clim(panel.low, panel.high if panel.high > panel.low else panel.low + 1)
    ax.set_title(panel.title, loc="left", fontsize="medium")
    ax.set_axis_off()
    bar = ax.figure.colorbar(shown, cax=scale, label=panel.unit)
    bar.ax.locator_params(nbins=3 if len(panel.tiles) == 1 else 6)
    bar.outline.set_visible(False)


def _mosaic(tiles: Array) -> Array:
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


def _curves(ax: Any, epochs: list[Any], training: Sequence[Any], validation: Sequence[Any]) -> None:
    """Both lines, on a logarithmic axis where their values allow it."""
    style = {"marker": "o", "markersize": 3.5, "linewidth": 1.6}
    lines = [("training", training, _TRAINING), ("validation", validation, _VALIDATION)]
    lines = [line for line in lines if None not in line[1]]
    for label, values, colour in lines:
        ax.plot(epochs, values, label=label, color=colour, **style)
    if lines:
        ax.legend(frameon=False)
        if min(min(values) for _, values, _ in lines) > 0:
            _logarithmic(ax.yaxis)
    ax.set_xlabel("epoch")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.grid(which="both", color="#dddddd", linewidth=0.6)
    ax.spines[["top", "right"]].set_visible(False)


def _logarithmic(axis: Any) -> None:
    """A logarithmic axis with plain numbers (1, 2, 5, 10 …) beside its lines."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axis.axes.set_yscale("log")
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def _wrong(accuracy: Sequence[Any]) -> list[Any]:
    """Accuracies (None where not measured) as per cent of wrong answers."""
    return [None if a is None else 100 * (1 - a) for a in accuracy]


def _figure(width: float, height: float, layout: Any = "constrained") -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("pictures need matplotlib: pip install 'fastconv[plot]'") from error
    return Figure(figsize=(width, height), layout=layout, dpi=_DPI)


def _finished(figure: Any, path: PathLike | None) -> Any:
    """The figure, written to `path` if there is one."""
    if path is not None:
        suffix = Path(path).suffix.lstrip(".") or "png"
        with replacing(path) as file:
            figure.savefig(file, format=suffix)
    return figure
