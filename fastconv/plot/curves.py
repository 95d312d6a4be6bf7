"""Learning curves: errors over epochs, and over the size of the training set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..kernels import ShapeError
from .figures import TRAINING, VALIDATION, PathLike, figure, finished, logarithmic, tidy


if TYPE_CHECKING:
    from ..history import History

__all__ = ["learning_curve", "training_size_curve"]


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
    picture = figure(9.0, 3.8)
    left, right = picture.subplots(1, 2)
    _curves(left, epochs, history["loss"], history["val_loss"])
    left.set(title="Loss", ylabel="mean loss per example")
    _curves(right, epochs, _wrong(history["accuracy"]), _wrong(history["val_accuracy"]))
    right.set(title="Error", ylabel="wrong answers (%)")
    return finished(picture, path)


def training_size_curve(
    sizes: Any, training_scores: Any, validation_scores: Any, path: PathLike | None = None
) -> Any:
    """Training and validation error over the size of the training set, with their spread.

    Parameters
    ----------
    sizes : array (S,)
        Examples trained on.
    training_scores, validation_scores : array (S, folds)
        Shares of right answers, as ``sklearn.model_selection.learning_curve`` returns them.
    path : path, optional

    Returns
    -------
    matplotlib.figure.Figure
        The bands are one standard deviation over the folds.

    Raises
    ------
    ShapeError
        If the shapes do not fit.
    ImportError
        If matplotlib is not installed.
    """
    sizes = np.asarray(sizes)
    picture = figure(6.0, 3.8)
    ax = picture.subplots()
    lines = (
        ("training", training_scores, TRAINING),
        ("validation", validation_scores, VALIDATION),
    )
    for label, scores, colour in lines:
        wrong = 100 * (1 - np.asarray(scores))
        if wrong.ndim != 2 or len(wrong) != len(sizes):
            raise ShapeError(
                f"training_size_curve: {label} scores must have shape ({len(sizes)}, folds), got "
                f"{wrong.shape}"
            )
        mean, spread = wrong.mean(axis=1), wrong.std(axis=1)
        ax.plot(sizes, mean, label=label, color=colour, marker="o", markersize=3.5)
        ax.fill_between(sizes, mean - spread, mean + spread, color=colour, alpha=0.15, linewidth=0)
    ax.set(title="Learning curve", xlabel="training examples", ylabel="wrong answers (%)")
    ax.set_ylim(bottom=0)
    ax.legend(frameon=False)
    tidy(ax)
    return finished(picture, path)


def _curves(ax: Any, epochs: list[Any], training: Sequence[Any], validation: Sequence[Any]) -> None:
    """Both lines, on a logarithmic axis where their values allow it."""
    style = {"marker": "o", "markersize": 3.5, "linewidth": 1.6}
    lines = [("training", training, TRAINING), ("validation", validation, VALIDATION)]
    lines = [line for line in lines if None not in line[1]]
    for label, values, colour in lines:
        ax.plot(epochs, values, label=label, color=colour, **style)
    if lines:
        ax.legend(frameon=False)
        if min(min(values) for _, values, _ in lines) > 0:
            logarithmic(ax.yaxis)
    ax.set_xlabel("epoch")
    ax.xaxis.get_major_locator().set_params(integer=True)
    tidy(ax)


def _wrong(accuracy: Sequence[Any]) -> list[Any]:
    """Accuracies (None where not measured) as per cent of wrong answers."""
    return [None if a is None else 100 * (1 - a) for a in accuracy]
