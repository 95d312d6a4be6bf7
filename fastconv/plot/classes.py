"""What a classifier confuses, and the examples that it gets wrong."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..kernels import ShapeError
from ..kernels.arrays import Array
from ..layers import Layer
from ..losses import softmax
from .figures import PathLike, figure, finished
from .images import tiles


__all__ = ["confusion_matrix", "misclassified"]

_WITH_SHARES, _LONG = 12, 4  # classes with room for per cent; letters that fit below a cell


def confusion_matrix(
    y_true: Any, y_predicted: Any, classes: Any = None, path: PathLike | None = None
) -> Any:
    """How often each class was taken for which: a row for each true class.

    Numbers are counts, with per cent of the row for up to 12 classes; colours are per cent
    of the row.

    Parameters
    ----------
    y_true, y_predicted : array (N,)
        Classes of any kind.
    classes : sequence, optional
        All of them, in the order to show; default: those that occur, sorted.
    path : path, optional

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ShapeError
        If the shapes differ or are empty.
    ValueError
        If a class occurs that `classes` does not have.
    ImportError
        If matplotlib is not installed.
    """
    true, predicted = np.asarray(y_true), np.asarray(y_predicted)
    if true.shape != predicted.shape or true.ndim != 1 or not true.size:
        raise ShapeError(
            f"confusion_matrix: y_true {true.shape} and y_predicted {predicted.shape} must be of "
            "one shape (N,), with N at least 1"
        )
    found = np.unique(np.concatenate([true, predicted]))
    names = list(found.tolist() if classes is None else classes)
    unknown = [name for name in found.tolist() if name not in names]
    if unknown:
        raise ValueError(f"confusion_matrix: classes={names} lacks {unknown}")
    place = {name: i for i, name in enumerate(names)}
    counts = np.zeros((len(names), len(names)), int)
    np.add.at(
        counts, ([place[c] for c in true.tolist()], [place[c] for c in predicted.tolist()]), 1
    )
    cell = 0.56 if len(names) <= _WITH_SHARES else 0.45
    side = min(12.0, 1.6 + cell * len(names))
    picture = figure(side + 1.0, side)
    ax = picture.subplots()
    shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    shown = ax.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    for (i, j), count in np.ndenumerate(counts):
        if count:
            colour = "white" if shares[i, j] > 60 else "black"
            text = f"{count}\n{shares[i, j]:.0f}%" if len(names) <= _WITH_SHARES else str(count)
            ax.text(j, i, text, ha="center", va="center", color=colour, fontsize="small")
    upright = max(len(str(name)) for name in names) > _LONG
    ax.set_xticks(range(len(names)), names, rotation=90 if upright else 0)
    ax.set_yticks(range(len(names)), names)
    right = np.trace(counts) / counts.sum()
    ax.set(xlabel="predicted class", ylabel="true class", title=f"{right:.1%} right")
    bar = picture.colorbar(shown, ax=ax, label="share of the true class (%)", shrink=0.8)
    bar.outline.set_visible(False)
    return finished(picture, path)


def misclassified(
    net_or_probabilities: Layer | Array,
    x: Array,
    y: Any,
    path: PathLike | None = None,
    most: int = 24,
) -> Any:
    """The images that a network gets wrong, those it was surest of first.

    Parameters
    ----------
    net_or_probabilities : Layer, or array (N, classes)
        A network whose results are scores, or probabilities.
    x : array (N, C, H, W)
    y : integer array (N,)
        The true classes.
    path : path, optional
    most : int
        Shown.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ShapeError
        If the shapes do not fit.
    ImportError
        If matplotlib is not installed.
    """
    x, y = np.asarray(x), np.asarray(y)
    if isinstance(net_or_probabilities, Layer):
        chances = softmax(net_or_probabilities.predict(x))
    else:
        chances = np.asarray(net_or_probabilities)
    if y.shape != (len(x),) or chances.ndim != 2 or len(chances) != len(x):
        raise ShapeError(
            f"misclassified: x {x.shape}, y {y.shape} and probabilities {chances.shape} must have "
            "as many examples each"
        )
    predicted = chances.argmax(axis=1)
    wrong = np.flatnonzero(predicted != y)
    wrong = wrong[np.argsort(-chances[wrong].max(axis=1), kind="stable")]
    head = f"{len(wrong)} of {len(x)} are wrong"
    if len(wrong) > most:
        head += f"; the {most} surest"
    titles = [f"said {predicted[i]} ({chances[i].max():.0%})\nis {y[i]}" for i in wrong[:most]]
    return finished(tiles(x[wrong[:most]], titles, head), path)
