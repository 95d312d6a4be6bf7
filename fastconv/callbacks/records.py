"""The history on disk, complete after every epoch."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path

from ..files import replacing
from ..history import COLUMNS, History
from ..hooks import Callback, TrainingState


__all__ = ["CSVHistory", "JSONHistory"]


class _Record(Callback):
    """Rewrites a file after each epoch: it is small, and never half written."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def on_train_begin(self, state: TrainingState) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)  # or fail before an epoch is spent

    def on_epoch_end(self, state: TrainingState) -> None:
        with replacing(self.path) as file:
            file.write(self.text(state.history).encode())

    def text(self, history: History) -> str:
        raise NotImplementedError


class CSVHistory(_Record):
    """A line per epoch under the columns' names; what was not measured is empty.

    Parameters
    ----------
    path : path
        Replaced if it is there; its folder is made if it is not.
    """

    def text(self, history: History) -> str:
        lines = io.StringIO()
        table = csv.writer(lines, lineterminator="\n")
        table.writerow(COLUMNS)
        table.writerows(zip(*history.as_dict().values(), strict=True))
        return lines.getvalue()


class JSONHistory(_Record):
    """The columns as one JSON object.

    Parameters
    ----------
    path : path
        Replaced if it is there; its folder is made if it is not.
    """

    def text(self, history: History) -> str:
        return history.to_json()
