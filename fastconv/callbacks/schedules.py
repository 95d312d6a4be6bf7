"""Learning-rate schedules: factors of every group's own learning rate.

Several work together, a warm-up with a cosine for instance: their factors are multiplied.
When the training ends, the groups have their own rates again.
"""

from __future__ import annotations

from math import cos, inf, pi, prod
from typing import Any

from ..hooks import Callback, TrainingState
from ..kernels.dims import as_int
from .monitor import Monitor
from .settings import as_min_delta, as_number


__all__ = ["CosineLR", "ExponentialLR", "ReduceOnPlateau", "Schedule", "StepLR", "WarmUp"]


class Schedule(Callback):
    """The factor that is in force, and the rates that it is a factor of."""

    def __init__(self) -> None:
        self.factor = 1.0
        self._rates: list[float] = []

    def on_train_begin(self, state: TrainingState) -> None:
        if not len(state.history):  # else a resumed training, whose memory has been loaded
            self.factor = 1.0
            self._rates = [group.lr for group in state.optimizer.groups]

    def on_train_end(self, state: TrainingState) -> None:
        for group, rate in zip(state.optimizer.groups, self._rates, strict=True):
            group.lr = rate

    def apply(self, state: TrainingState, factor: float) -> None:
        """Put a factor in force, beside those of the other schedules."""
        self.factor = factor
        whole = prod(c.factor for c in state.callbacks if isinstance(c, Schedule))
        for group, rate in zip(state.optimizer.groups, self._rates, strict=True):
            group.lr = rate * whole

    def state_dict(self) -> dict[str, Any]:
        return {"factor": self.factor, "rates": self._rates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.factor, self._rates = state["factor"], list(state["rates"])


class StepLR(Schedule):
    """factor^⌊epochs done / every⌋: a step down after every so many epochs.

    Parameters
    ----------
    every : int
        Epochs.
    factor : float
        Of each step, in (0, 1].
    """

    def __init__(self, every: int, factor: float = 0.1) -> None:
        super().__init__()
        self.every = _at_least_one("StepLR", "every", every)
        self.step_factor = _reducing("StepLR", factor)

    def on_epoch_end(self, state: TrainingState) -> None:
        self.apply(state, self.step_factor ** (state.epoch // self.every))


class ExponentialLR(Schedule):
    """factor^(epochs done).

    Parameters
    ----------
    factor : float
        Of each epoch, in (0, 1].
    """

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.epoch_factor = _reducing("ExponentialLR", factor)

    def on_epoch_end(self, state: TrainingState) -> None:
        self.apply(state, self.epoch_factor**state.epoch)


class CosineLR(Schedule):
    """From 1 to `final` along half a cosine (Loshchilov and Hutter 2017, without restarts).

    final + (1 - final)·(1 + cos(π·epochs done/epochs))/2, with the epochs of `fit`.

    Parameters
    ----------
    final : float
        In [0, 1].
    """

    def __init__(self, final: float = 0.0) -> None:
        super().__init__()
        self.final = _share("CosineLR", "final", final)

    def on_train_begin(self, state: TrainingState) -> None:
        super().on_train_begin(state)
        if len(state.history):  # resumed, it may be for more epochs than before
            self.on_epoch_end(state)

    def on_epoch_end(self, state: TrainingState) -> None:
        falling = (1 + cos(pi * state.epoch / state.epochs)) / 2
        self.apply(state, self.final + (1 - self.final) * falling)


class ReduceOnPlateau(Schedule):
    """Times `factor` whenever `patience` epochs bring no improvement.

    Parameters
    ----------
    monitor : str
        A column of :class:`fastconv.History`; accuracies are to rise, all else to fall.
    factor : float
        Of each reduction, in (0, 1].
    patience : int
        Epochs.
    min_delta : float
        What an improvement must exceed.
    smallest : float
        In [0, 1]; below this the product of the reductions does not go.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 3,
        min_delta: float = 0.0,
        smallest: float = 0.0,
    ) -> None:
        super().__init__()
        who = "ReduceOnPlateau"
        self.reduction = _reducing(who, factor)
        self.patience = _at_least_one(who, "patience", patience)
        self.min_delta = as_min_delta(who, min_delta)
        self.smallest = _share(who, "smallest", smallest)
        self._monitor = Monitor(who, monitor)
        self._best, self._waited = inf, 0

    def on_train_begin(self, state: TrainingState) -> None:
        super().on_train_begin(state)
        if not len(state.history):
            self._best, self._waited = inf, 0

    def on_epoch_end(self, state: TrainingState) -> None:
        value = self._monitor.read(state.history)
        better = value < self._best - self.min_delta
        self._best = value if better else self._best
        self._waited = 0 if better else self._waited + 1
        if self._waited == self.patience:
            self._waited = 0
            self.apply(state, max(self.factor * self.reduction, self.smallest))

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "best": self._best, "waited": self._waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._best, self._waited = state["best"], state["waited"]


class WarmUp(Schedule):
    """k/steps in step k of the first so many steps, then 1.

    Parameters
    ----------
    steps : int
        Updates, not epochs.
    """

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = _at_least_one("WarmUp", "steps", steps)

    def before_update(self, state: TrainingState) -> None:
        if state.step < self.steps:
            self.apply(state, (state.step + 1) / self.steps)


def _reducing(who: str, factor: float) -> float:
    number = as_number(who, "factor", factor)
    if not 0 < number <= 1:
        raise ValueError(f"{who}: factor must satisfy 0 < factor <= 1, got {factor}")
    return number


def _share(who: str, name: str, value: float) -> float:
    number = as_number(who, name, value)
    if not 0 <= number <= 1:
        raise ValueError(f"{who}: {name} must satisfy 0 <= {name} <= 1, got {value}")
    return number


def _at_least_one(who: str, name: str, value: int) -> int:
    if as_int(value, who, name) < 1:
        raise ValueError(f"{who}: {name} must be at least 1, got {value}")
    return int(value)
