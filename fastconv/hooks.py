"""What a training shows to those who watch it, and when it calls them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .history import History
from .layers.base import Layer
from .optim import SGD


__all__ = ["HOOKS", "Callback", "TrainingState"]


@dataclass
class TrainingState:
    """What a callback sees: the live objects, which it may change.

    Attributes
    ----------
    net : Layer
    optimizer : SGD
    history : History
    epoch, epochs : int
        The epoch that runs or has just ended, from 1; how many there are to be.
    step, steps_per_epoch : int
        Updates done so far, over all epochs; updates of one epoch.
    rng : numpy.random.Generator
        Of the shuffling and the augmentation.
    callbacks : list
        All of this training.
    """

    net: Layer
    optimizer: SGD
    history: History
    epoch: int = 0
    epochs: int = 1
    step: int = 0
    steps_per_epoch: int = 1
    rng: Any = None
    callbacks: Sequence[Any] = field(default=(), repr=False)


class Callback:
    """What :func:`fastconv.fit` calls; any object with one of these methods will do.

    One with a memory of its own also has ``state_dict()`` and ``load_state_dict(d)``, so
    that :class:`fastconv.callbacks.Checkpoint` can keep it.
    """

    def on_train_begin(self, state: TrainingState) -> bool | None:
        """Before the first epoch, in a resumed training with everything restored; True: no more."""

    def before_update(self, state: TrainingState) -> None:
        """With the gradients of a batch, before the optimizer's step."""

    def on_epoch_end(self, state: TrainingState) -> bool | None:
        """After each epoch, its history row written; True ends the training."""

    def on_train_end(self, state: TrainingState) -> None:
        """After the last epoch, also when a callback, Ctrl-C or an error ended the training."""


HOOKS = ("on_train_begin", "before_update", "on_epoch_end", "on_train_end")
