"""Which epochs are better: a column of the history, and its direction."""

from __future__ import annotations

from math import inf, isnan

from ..history import COLUMNS, History


__all__ = ["Monitor"]

_LARGER_IS_BETTER = ("accuracy", "val_accuracy")


class Monitor:
    """Reads a column of the history, turned so that smaller is better.

    Parameters
    ----------
    who : str
        The callback that reads, for the messages.
    column : str
    mode : "min", "max" or None
        Whether smaller or larger is better; None: larger for accuracies, smaller for all else.

    Raises
    ------
    ValueError
        If there is no such column or mode.
    """

    def __init__(self, who: str, column: str, mode: str | None = None) -> None:
        if column not in COLUMNS:
            raise ValueError(f"{who}: monitor={column!r} is not one of {COLUMNS}")
        if mode not in (None, "min", "max"):
            raise ValueError(f"{who}: mode must be 'min', 'max' or None, got {mode!r}")
        self.who, self.column = who, column
        larger = column in _LARGER_IS_BETTER if mode is None else mode == "max"
        self.sign = -1.0 if larger else 1.0

    def read(self, history: History) -> float:
        """The value of the last epoch, or its negative where larger is better.

        NaN is read as infinity: worse than any number, where NaN would compare with none.
        """
        value = history[self.column][-1]
        if value is None:
            raise ValueError(
                f"{self.who}: monitor={self.column!r} was not measured; give fit "
                "validation=(x, y), or monitor='loss'"
            )
        return inf if isnan(value) else self.sign * float(value)
