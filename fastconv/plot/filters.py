"""The filters of convolutions, and the feature maps that they make of an image."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..kernels import ShapeError
from ..kernels.arrays import Array
from ..layers import Conv2d, Layer, ReLU
from .figures import PathLike, figure, finished, mosaic


__all__ = ["feature_maps", "filters", "filters_and_feature_maps"]

_WEIGHTS, _MAPS, _IMAGE = "RdBu_r", "magma", "gray_r"
_WIDTH, _EDGE, _SCALE, _HEAD, _LARGEST_TILE = 9.0, 0.15, 0.95, 0.42, 1.35  # inches
_MOST_FILTERS, _MOST_CHANNELS = 24, 12  # shown of a layer; a caption tells when there are more


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
    pictures = [mosaic(panel.tiles) for panel in panels]
    widths = [min(_LARGEST_TILE * p.tiles.shape[1], _WIDTH - _SCALE - _EDGE) for p in panels]
    heights = [w * p.shape[0] / p.shape[1] for w, p in zip(widths, pictures, strict=True)]
    total = sum(heights) + _HEAD * len(panels) + _EDGE
    whole, top = figure(_WIDTH, total, None), total
    for panel, picture, width, height in zip(panels, pictures, widths, heights, strict=True):
        top -= _HEAD + height

        def axes(left: float, wide: float, bottom: float = top, high: float = height) -> Any:
            return whole.add_axes((left / _WIDTH, bottom / total, wide / _WIDTH, high / total))

        _draw(axes(_EDGE, width), axes(_EDGE + width + 0.1, 0.13), panel, picture)
    return finished(whole, path)


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
