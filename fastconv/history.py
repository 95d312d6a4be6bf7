"""What a training run measured, epoch by epoch."""

from __future__ import annotations

from collections.abc import Iterator


__all__ = ["History"]

COLUMNS = ("epoch", "loss", "accuracy", "val_loss", "val_accuracy", "seconds", "lr")

Value = float | int | None


class History:
    """Columns of one value per epoch: ``history["val_loss"]``; ``len(history)`` epochs.

    =============  ================================================================
    epoch          1, 2, …
    loss           mean over the epoch, measured while training (dropout included)
    accuracy       share of right answers, likewise; None where there are no classes
    val_loss       on the validation data after the epoch; None without them
    val_accuracy   likewise
    seconds        wall time of the epoch, validation included
    lr             learning rate (of the optimizer's first group)
    =============  ================================================================

    Attributes
    ----------
    interrupted : bool
        Whether Ctrl-C ended the training.
    best_epoch : int or None
        The epoch whose weights the network has, where :class:`fastconv.callbacks.EarlyStopping`
        restored them.
    """

    def __init__(self) -> None:
        self.interrupted = False
        self.best_epoch: int | None = None
        self._rows: list[dict[str, Value]] = []

    def append(self, **row: Value) -> None:
        """Add an epoch: a value for every column."""
        if row.keys() != set(COLUMNS):
            raise ValueError(f"History.append: a row has the columns {COLUMNS}, got {tuple(row)}")
        self._rows.append(row)

    def __getitem__(self, column: str) -> list[Value]:
        if column not in COLUMNS:
            raise KeyError(f"{column!r} is not a column; use one of {COLUMNS}")
        return [row[column] for row in self._rows]

    def keys(self) -> tuple[str, ...]:
        return COLUMNS

    def __iter__(self) -> Iterator[str]:
        return iter(COLUMNS)

    def __len__(self) -> int:
        return len(self._rows)

    def as_dict(self) -> dict[str, list[Value]]:
        return {name: self[name] for name in COLUMNS}

    def to_json(self) -> str:
        """The columns as one JSON object."""
        import json

        return json.dumps(self.as_dict())

    def __repr__(self) -> str:
        if not self._rows:
            return "History(no epochs)"
        return f"History({len(self)} epochs, last: {self._rows[-1]})"
