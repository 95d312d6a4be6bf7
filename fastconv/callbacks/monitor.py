"""Which epochs are better: a column of the history, and its direction."""

from __future__ import annotations

from ..history import COLUMNS, History


__all__ = ["Monitor"]

_LARGER_IS_BETTER = ("accuracy", "val_accuracy")


class Monitor:
    """Reads a column of the history, turned so that smaller is better.

    Raises
    ------
    ValueError
        If there is no such column.
    """

    def __init__(self, who: str, column: str) -> None:
        if column not in COLUMNS:
            raise ValueError(f"{who}: monitor={column!r} is not one of {COLUMNS}")
        self.who, self.column = who, column
        self.sign = -1.0 if column in _LARGER_IS_BETTER else 1.0

    def read(self, history: History) -> float:
        """The value of the last epoch, or its negative where larger is better."""
        value = history[self.column][-1]
        if value is None:
            raise ValueError(
                f"{self.who}: monitor={self.column!r} was not measured; give fit "
                "validation=(x, y), or monitor='loss'"
            )
        return self.sign * float(value)
