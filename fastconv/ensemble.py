"""Ensembles: several networks that predict by averaging their probabilities."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np

from .callbacks.checkpoint import load_checkpoint_weights
from .kernels import ShapeError
from .kernels.arrays import Array
from .kernels.dims import as_int
from .layers.base import Layer
from .losses import softmax
from .optim import SGD
from .training import evaluate, fit


__all__ = ["Ensemble"]

MakeNet = Callable[[Any], Layer]
MakeOptimizer = Callable[[Layer], SGD]


class Ensemble:
    """The average of several networks (Hansen and Salamon 1990).

    Parameters
    ----------
    nets : iterable of Layer
        Each of whose results are scores (N, classes), for the same classes.

    Attributes
    ----------
    nets : list of Layer
    table : list of dict
        Of :meth:`of_cross_validation`: "name", "errors" of the folds, "mean_error", best
        first; else empty.

    Raises
    ------
    TypeError, ValueError
        If there is no network, or something else.
    """

    def __init__(self, nets: Iterable[Layer]) -> None:
        if isinstance(nets, Layer):  # a Sequential is iterable, but its layers are not networks
            raise TypeError(f"Ensemble: give a list of networks, e.g. [net], got {nets!r}")
        self.nets = list(nets)
        self.table: list[dict[str, Any]] = []
        if not self.nets:
            raise ValueError("Ensemble: give at least one network")
        for net in self.nets:
            if not isinstance(net, Layer):
                raise TypeError(f"Ensemble: {net!r} is not a Layer")

    @classmethod
    def of_initialisations(
        cls,
        make_net: MakeNet,
        data: tuple[Any, Any],
        members: int = 5,
        *,
        optimizer: MakeOptimizer | None = None,
        seed: int = 0,
        **settings: Any,
    ) -> Self:
        """The same model trained from different initial weights.

        Parameters
        ----------
        make_net : function (rng) -> Layer
        data : (x, y)
        members : int
        optimizer : function (net) -> SGD, optional
            Default: that of :func:`fastconv.fit`.
        seed : int
            Of the members' seeds, which differ.
        **settings
            Of :func:`fastconv.fit`.
        """
        count = _at_least_one("members", members)
        return cls(
            _trained(make_net, data, optimizer, own, settings) for own in _seeds(seed, count)
        )

    @classmethod
    def of_cross_validation(
        cls,
        candidates: Mapping[str, MakeNet],
        data: tuple[Any, Any],
        top: int = 3,
        *,
        folds: int = 4,
        optimizer: MakeOptimizer | None = None,
        seed: int = 0,
        **settings: Any,
    ) -> Self:
        """The models with the smallest errors in a cross-validation, trained on all data.

        Parameters
        ----------
        candidates : dict of functions (rng) -> Layer
            By name.
        data : (x, y)
        top : int
            How many of the candidates become members.
        folds : int
            Stratified, by scikit-learn.
        optimizer, seed, **settings
            As in :meth:`of_initialisations`.

        Raises
        ------
        ImportError
            If scikit-learn is not installed.
        """
        if not isinstance(candidates, Mapping):
            raise TypeError(
                "Ensemble: candidates must be a dict of functions (rng) -> Layer by name, got "
                f"{type(candidates).__name__}"
            )
        if not 1 <= as_int(top, "Ensemble", "top") <= len(candidates):
            raise ValueError(
                f"Ensemble: top must be from 1 to the {len(candidates)} candidates, got {top}"
            )
        try:
            from sklearn.model_selection import StratifiedKFold
        except ImportError as error:
            raise ImportError(
                "cross-validation needs scikit-learn: pip install 'fastconv[sklearn]'"
            ) from error
        if not isinstance(data, tuple | list) or len(data) != 2:
            raise TypeError("Ensemble: data must be a pair (x, y); weights are not supported here")
        x, y = np.asarray(data[0]), np.asarray(data[1])
        splits = list(StratifiedKFold(folds, shuffle=True, random_state=seed).split(y, y))
        seeds = _seeds(seed, folds + 1)
        table: list[dict[str, Any]] = []
        for name, make_net in candidates.items():
            errors = []
            for (training, held), own in zip(splits, seeds[1:], strict=True):
                part = x[training], y[training]
                net = _trained(make_net, part, optimizer, own, settings)
                errors.append(_error(net, x[held], y[held]))
            row = {"name": name, "errors": errors, "mean_error": float(np.mean(errors))}
            table.append(row)
        table.sort(key=lambda row: row["mean_error"])
        best = [candidates[row["name"]] for row in table[:top]]
        found = cls(_trained(make_net, (x, y), optimizer, seeds[0], settings) for make_net in best)
        found.table = table
        return found

    @classmethod
    def of_checkpoints(
        cls, net: Layer, checkpoints: Iterable[str | os.PathLike[str] | Mapping[str, Any]]
    ) -> Self:
        """One network as it was at several moments of its training (Huang et al. 2017).

        Parameters
        ----------
        net : Layer
            Copied; it is not changed.
        checkpoints : iterable of paths, or of state_dicts
            Files of :class:`fastconv.callbacks.Checkpoint`, as in its ``best_paths``.
        """
        if isinstance(checkpoints, str | os.PathLike | Mapping):
            raise TypeError(
                "Ensemble: checkpoints must be a list of paths or state_dicts, got one "
                f"{type(checkpoints).__name__}; put it in a list"
            )
        nets = []
        for found in checkpoints:
            state = found if isinstance(found, Mapping) else load_checkpoint_weights(found)
            member = copy.deepcopy(net)
            member.load_state_dict(state)
            nets.append(member)
        return cls(nets)

    def predict_proba(self, x: Any, batch_size: int = 256) -> Array:
        """Mean probabilities (N, classes).

        Raises
        ------
        ShapeError
            If the networks do not make scores of the same classes.
        """
        members = [softmax(net.predict(x, batch_size)) for net in self.nets]
        shapes = {p.shape for p in members}
        if len(shapes) > 1:
            raise ShapeError(f"Ensemble: the members' scores have different shapes: {shapes}")
        return np.asarray(np.mean(members, axis=0))

    __call__ = predict_proba

    def predict(self, x: Any, batch_size: int = 256) -> Array:
        """The most probable class of each example, (N,)."""
        return np.asarray(self.predict_proba(x, batch_size).argmax(axis=1))

    def accuracy(self, x: Any, y: Any) -> float:
        """Share of right answers of the average."""
        y, needed = np.asarray(y), np.shape(x)[:1]
        if y.shape != needed:
            raise ShapeError(f"Ensemble: y has shape {y.shape}, but x {np.shape(x)} needs {needed}")
        return float(np.mean(self.predict(x) == y))

    def member_accuracies(self, x: Any, y: Any) -> list[float]:
        """Share of right answers of each network alone."""
        return [1 - _error(net, x, y) for net in self.nets]

    def __len__(self) -> int:
        return len(self.nets)

    def __repr__(self) -> str:
        return f"Ensemble({len(self)} networks)"


def _trained(
    make_net: MakeNet,
    data: tuple[Any, Any],
    optimizer: MakeOptimizer | None,
    seed: int,
    settings: Mapping[str, Any],
) -> Layer:
    net = make_net(np.random.default_rng(seed))
    if not isinstance(net, Layer):
        raise TypeError(f"Ensemble: make_net must return a Layer, got {net!r}")
    made = None if optimizer is None else optimizer(net)
    history = fit(net, data, made, seed=seed, **settings)
    if history.interrupted:  # an ensemble of half-trained networks is not what was asked for
        raise KeyboardInterrupt
    return net


def _seeds(seed: int, count: int) -> Sequence[int]:
    return [int(s) for s in np.random.SeedSequence(seed).generate_state(count)]


def _error(net: Layer, x: Any, y: Any) -> float:
    accuracy = evaluate(net, (x, y))[1]
    if accuracy is None:
        raise TypeError("Ensemble: y must be integer labels (N,)")
    return 1 - accuracy


def _at_least_one(name: str, value: int) -> int:
    if as_int(value, "Ensemble", name) < 1:
        raise ValueError(f"Ensemble: {name} must be at least 1, got {value}")
    return value
