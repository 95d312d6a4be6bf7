"""Checkpoints: a whole training in a file, from which it goes on bit for bit.

A file is an .npz of plain arrays, never a pickle: ``net.*`` are the weights, ``optimizer.*``
the velocities, ``callback.*`` what callbacks remember in arrays, and ``meta`` is a JSON text
with all else: epoch, history, settings of the optimizer, states of the generators.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from ..hooks import Callback, TrainingState
from ..interrupts import uninterrupted
from ..kernels.arrays import Array
from ..kernels.dims import as_int
from ..optim import Group
from ..state import load, save
from .monitor import Monitor


__all__ = ["Checkpoint", "load_checkpoint_weights", "read_checkpoint", "write_checkpoint"]

PathLike = str | os.PathLike[str]

_META = {
    "epoch",
    "step",
    "steps_per_epoch",
    "history",
    "groups",
    "generators",
    "callbacks",
    "memories",
}
_SETTINGS = [f.name for f in fields(Group) if f.name not in ("parameters", "velocities")]


class Checkpoint(Callback):
    """Write the training after each epoch; keep the last epoch and the best ones.

    ``last.npz`` is the last complete epoch, ``epoch-0007.npz`` and its like the best.
    ``fit(..., resume=folder / "last.npz")`` goes on from there.  A new training in the same
    folder takes the place of the earlier one, when its first epoch is complete.

    Parameters
    ----------
    folder : path
        Made if it is not there.
    keep : int
        How many of the best epochs to keep.
    monitor : str
        A column of :class:`fastconv.History` that tells which are the best; accuracies
        are to rise, all else to fall.
    mode : "min", "max" or None
        Whether the column is to fall or to rise, where that is not as said above.

    Attributes
    ----------
    best_paths : list of Path
        The files kept, best first.

    Raises
    ------
    ValueError
        If a setting has a value that cannot be, the column is not measured, or a callback
        with a memory comes behind this one: it would be written before it has seen the epoch.
    """

    def __init__(
        self,
        folder: PathLike,
        keep: int = 3,
        monitor: str = "val_loss",
        mode: str | None = None,
    ) -> None:
        if as_int(keep, "Checkpoint", "keep") < 0:
            raise ValueError(f"Checkpoint: keep must be at least 0, got {keep}")
        self.folder, self.keep = Path(folder), keep
        self._monitor = Monitor("Checkpoint", monitor, mode)
        self._best: list[tuple[float, int]] = []  # (value, epoch), best first

    @property
    def best_paths(self) -> list[Path]:
        return [self._path(epoch) for _, epoch in self._best]

    def _path(self, epoch: int) -> Path:
        return self.folder / f"epoch-{epoch:04d}.npz"

    def on_train_begin(self, state: TrainingState) -> None:
        behind = state.callbacks[list(state.callbacks).index(self) + 1 :]
        late = [c for c in behind if hasattr(c, "state_dict")]
        if late:
            raise ValueError(
                f"Checkpoint: {type(late[0]).__name__} comes behind it and would be kept as it was "
                "before the epoch; put the Checkpoint last, and only one"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        if not len(state.history):
            self._best = []
        # A training resumed into another folder, or from an older file, misses some of them.
        self._best = [(value, epoch) for value, epoch in self._best if self._path(epoch).exists()]

    def on_epoch_end(self, state: TrainingState) -> None:
        with uninterrupted():  # so that best_paths are files that are there
            self._write(state)

    def _write(self, state: TrainingState) -> None:
        before = self.best_paths
        if self.keep:
            value = self._monitor.read(state.history)
            self._best = sorted([*self._best, (value, state.epoch)])[: self.keep]
        if (path := self._path(state.epoch)) in self.best_paths:
            write_checkpoint(state, path)
        write_checkpoint(state, self.folder / "last.npz")
        if len(state.history) == 1:  # a new training takes the place of an earlier one
            before += self.folder.glob("epoch-[0-9][0-9][0-9][0-9].npz")
        for path in set(before) - set(self.best_paths):
            path.unlink(missing_ok=True)

    def state_dict(self) -> dict[str, Any]:
        return {"best": self._best}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._best = [(value, epoch) for value, epoch in state["best"]]


def write_checkpoint(state: TrainingState, path: PathLike) -> None:
    """Write a training to an .npz file, which is complete or not there.

    Parameters
    ----------
    state : TrainingState
        After an epoch.
    path : path

    Raises
    ------
    OSError, ValueError
        If the file cannot be written.
    TypeError
        If a callback remembers what is neither an array nor JSON.
    """
    arrays = _prefixed("net.", state.net.state_dict())
    arrays |= _prefixed("optimizer.", state.optimizer.state_dict())
    memories: list[dict[str, Any]] = []
    for i, remembered in enumerate(_memories(state)):
        found = remembered.state_dict()
        large = {name: a for name, a in found.items() if isinstance(a, np.ndarray)}
        arrays |= _prefixed(f"callback.{i}.", large)
        memories.append({name: v for name, v in found.items() if name not in large})
    meta = {
        "epoch": state.epoch,
        "step": state.step,
        "steps_per_epoch": state.steps_per_epoch,
        "history": state.history.as_dict(),
        "groups": [{name: getattr(g, name) for name in _SETTINGS} for g in state.optimizer.groups],
        "generators": [rng.bit_generator.state for rng in _generators(state)],
        "callbacks": [type(c).__name__ for c in _memories(state)],
        "memories": memories,
    }
    text = json.dumps(meta, default=_plain).encode()
    save({**arrays, "meta": np.frombuffer(text, np.uint8)}, path)


def read_checkpoint(path: PathLike, state: TrainingState) -> None:
    """Put a training back as it was when the file was written.

    Parameters
    ----------
    path : path
    state : TrainingState
        Of the same network, optimizer and callbacks; changed in place.

    Raises
    ------
    ValueError
        If the file is no checkpoint, or one of another network, optimizer or callbacks.
    OSError
        If it cannot be read.
    """
    arrays, meta = _read(path)
    _check_same(path, state, meta)
    state.optimizer.load_state_dict(_without("optimizer.", arrays))  # refuses before it changes
    state.net.load_state_dict(_without("net.", arrays))
    for group, settings in zip(state.optimizer.groups, meta["groups"], strict=True):
        for name in settings.keys() & set(_SETTINGS):  # a file may hold any names
            setattr(group, name, settings[name])
    for rng, found in zip(_generators(state), meta["generators"], strict=True):
        rng.bit_generator.state = found
    for i, (callback, memory) in enumerate(zip(_memories(state), meta["memories"], strict=True)):
        callback.load_state_dict({**memory, **_without(f"callback.{i}.", arrays)})
    columns = meta["history"]
    for values in zip(*columns.values(), strict=True):
        state.history.append(**dict(zip(columns, values, strict=True)))
    state.epoch, state.step = meta["epoch"], meta["step"]


def load_checkpoint_weights(path: PathLike) -> dict[str, Array]:
    """The weights alone, for ``net.load_state_dict``.

    Raises
    ------
    ValueError
        If the file is no checkpoint.
    OSError
        If it cannot be read.
    """
    return _without("net.", _read(path)[0])


def _read(path: PathLike) -> tuple[dict[str, Array], dict[str, Any]]:
    arrays = load(path)
    try:
        meta = json.loads(arrays.pop("meta").tobytes())
    except (KeyError, ValueError):
        meta = None
    if not isinstance(meta, dict) or not meta.keys() >= _META:
        raise ValueError(
            f"checkpoint: {path} was not written by Checkpoint; weights alone are read by fc.load"
        )
    return arrays, meta


def _plain(value: Any) -> Any:
    """NumPy's numbers and arrays as JSON has them; some generators have arrays in their state."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(
        f"Checkpoint: a callback's state_dict() holds {value!r}; it must hold arrays, and numbers, "
        "texts, lists and dictionaries of them"
    )


def _check_same(path: PathLike, state: TrainingState, meta: dict[str, Any]) -> None:
    """Whether the training is the file's, before anything is changed."""
    mine = [type(c).__name__ for c in _memories(state)]
    kept = meta["callbacks"]
    if mine != kept:
        raise ValueError(f"checkpoint: {path} has the callbacks {kept}, but this training {mine}")
    if meta["steps_per_epoch"] != state.steps_per_epoch:
        raise ValueError(
            f"checkpoint: {path} has {meta['steps_per_epoch']} steps an epoch, but this training "
            f"{state.steps_per_epoch}; give the same data and batch_size"
        )
    if len(meta["groups"]) != len(state.optimizer.groups):
        raise ValueError(
            f"checkpoint: {path} has {len(meta['groups'])} groups of parameters, but this "
            f"optimizer {len(state.optimizer.groups)}"
        )
    rngs = list(_generators(state))
    if len(meta["generators"]) != len(rngs):
        raise ValueError(
            f"checkpoint: {path} has {len(meta['generators'])} generators, but this network has "
            f"{len(rngs) - 1} layers with chance"
        )


def _memories(state: TrainingState) -> list[Any]:
    return [c for c in state.callbacks if hasattr(c, "state_dict")]


def _generators(state: TrainingState) -> Iterator[np.random.Generator]:
    yield state.rng
    for _, layer in state.net.leaves():
        rng = getattr(layer, "rng", None)
        if isinstance(rng, np.random.Generator):
            yield rng


def _prefixed(prefix: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    return {prefix + name: a for name, a in arrays.items()}


def _without(prefix: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    return {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}
