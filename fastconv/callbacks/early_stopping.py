"""Stop when the validation error no longer falls, and return to the best weights."""

from __future__ import annotations

from math import inf
from typing import Any

from ..hooks import Callback, TrainingState
from ..interrupts import uninterrupted
from ..kernels.arrays import Array
from ..kernels.dims import as_int
from .monitor import Monitor
from .settings import as_min_delta


__all__ = ["EarlyStopping"]


class EarlyStopping(Callback):
    """End a training after `patience` epochs without improvement; the best weights return.

    They do whichever way the training ends: by patience, after its last epoch, by Ctrl-C,
    by an error (Prechelt 1998, "Early Stopping - But When?").

    Parameters
    ----------
    monitor : str
        A column of :class:`fastconv.History`; accuracies are to rise, all else to fall.
    patience : int
        Epochs without improvement after which the training ends.
    min_delta : float
        What an improvement must exceed.
    mode : "min", "max" or None
        Whether the column is to fall or to rise, where that is not as said above.

    Attributes
    ----------
    best_epoch : int or None
        The epoch whose weights are restored; also ``history.best_epoch``.
    best_value : float or None
        Of the monitored column in that epoch.
    stopped_epoch : int or None
        The last epoch, if patience ended the training.

    Raises
    ------
    TypeError, ValueError
        If a setting has a value that cannot be, or the column is not measured.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        patience: int = 5,
        min_delta: float = 0.0,
        mode: str | None = None,
    ) -> None:
        if as_int(patience, "EarlyStopping", "patience") < 1:
            raise ValueError(f"EarlyStopping: patience must be at least 1, got {patience}")
        self.monitor, self.patience, self.mode = monitor, patience, mode
        self.min_delta = as_min_delta("EarlyStopping", min_delta)
        self._monitor = Monitor("EarlyStopping", monitor, mode)
        self._forget()

    def _forget(self) -> None:
        self.best_epoch: int | None = None
        self.stopped_epoch: int | None = None
        self._best, self._weights = inf, dict[str, Array]()

    @property
    def best_value(self) -> float | None:
        return None if self.best_epoch is None else self._monitor.sign * self._best

    def on_train_begin(self, state: TrainingState) -> bool:
        if not len(state.history):  # else a resumed training, whose memory has been loaded
            self._forget()
        return self._stops(state)

    def on_epoch_end(self, state: TrainingState) -> bool:
        value = self._monitor.read(state.history)
        if self.best_epoch is None or value < self._best - self.min_delta:
            with uninterrupted():  # a best epoch with the weights of another would be worse
                self._weights = state.net.state_dict()
                self._best, self.best_epoch = value, state.epoch
        return self._stops(state)

    def _stops(self, state: TrainingState) -> bool:
        best = self.best_epoch
        stop = best is not None and state.epoch - best >= self.patience
        self.stopped_epoch = state.epoch if stop else None
        return stop

    def on_train_end(self, state: TrainingState) -> None:
        if self.best_epoch is not None:
            state.net.load_state_dict(self._weights)
            state.history.best_epoch = self.best_epoch

    def state_dict(self) -> dict[str, Any]:
        weights = {f"weights.{name}": a for name, a in self._weights.items()}
        return {"best": self._best, "best_epoch": self.best_epoch, **weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._best, self.best_epoch = state["best"], state["best_epoch"]
        prefix = "weights."
        self._weights = {k[len(prefix) :]: a for k, a in state.items() if k.startswith(prefix)}
