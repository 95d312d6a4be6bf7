"""The learning curve while it grows."""

from __future__ import annotations

import importlib
import importlib.util
import os
from pathlib import Path
from typing import Any

from ..hooks import Callback, TrainingState


__all__ = ["LivePlot"]


class LivePlot(Callback):
    """Draw the learning curve after each epoch: into a file, or in a notebook.

    Parameters
    ----------
    path : path, optional
        Of a picture, replaced each time; most viewers show the new one at once.  Its folder
        is made if it is not there.  Without a path the curve is shown in the notebook that
        runs this.

    Raises
    ------
    ImportError
        If there is no path, and IPython is not installed; in training, if matplotlib is not.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        if path is None and importlib.util.find_spec("IPython") is None:
            raise ImportError("LivePlot: without a path this needs IPython; give path='curve.png'")
        self.path = None if path is None else Path(path)
        self._shown: Any = None

    def on_train_begin(self, state: TrainingState) -> None:
        self._shown = None
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)

    def on_epoch_end(self, state: TrainingState) -> None:
        from .. import plot

        figure = plot.learning_curve(state.history, self.path)
        if self.path is not None:
            return
        if self._shown is None:
            display = importlib.import_module("IPython.display").display
            self._shown = display(figure, display_id=True)
        else:
            self._shown.update(figure)
