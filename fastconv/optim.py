"""Stochastic gradient descent, with momentum and regularisation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from math import inf
from numbers import Real
from typing import Any

import numpy as np

from .kernels import ShapeError, sgd_update
from .kernels.arrays import Array
from .parameter import Parameter


__all__ = ["SGD", "Group"]


@dataclass(eq=False)
class Group:
    """Parameters trained with the same settings; change a setting and the next step obeys.

    Attributes
    ----------
    parameters : list of Parameter
    lr, momentum, nesterov, l2, l1, max_norm
        As in :class:`SGD`.
    velocities : list of arrays, one per parameter
    """

    parameters: list[Parameter]
    lr: float
    momentum: float = 0.0
    nesterov: bool = False
    l2: float = 0.0
    l1: float = 0.0
    max_norm: float | None = None
    velocities: list[Array] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        if not self.parameters:
            raise ValueError("SGD: a group has no parameters")
        for p in self.parameters:
            if not isinstance(p, Parameter):
                raise TypeError(
                    f"SGD: parameters must be Parameter objects, got {type(p).__name__}; "
                    "give net.parameters()"
                )
        _check("lr", self.lr, inf)
        self.lr = float(self.lr)  # NumPy's float32 would be one in the history, too
        _check("momentum", self.momentum, 1)
        _check("l2", self.l2, inf)
        _check("l1", self.l1, inf)
        if self.max_norm is not None:
            _check("max_norm", self.max_norm, inf)
            if self.max_norm == 0:
                raise ValueError("SGD: max_norm must be positive, or None for no limit, got 0")
        if self.nesterov and self.momentum == 0:
            raise ValueError("SGD: nesterov=True needs momentum > 0, e.g. momentum=0.9")
        self.velocities = [np.zeros_like(p.read) for p in self.parameters if self.momentum]


def _check(name: str, value: Any, below: float) -> None:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"SGD: {name} must be a number, got {value!r}")
    if not 0 <= float(value) < below:
        raise ValueError(f"SGD: {name} must satisfy 0 <= {name} < {below}, got {value}")


_SETTINGS = {f.name for f in fields(Group)} - {"parameters", "velocities"}


class SGD:
    """Stochastic gradient descent, by PyTorch's formulas.

    With g the gradient, plus l2·w + l1·sign(w) for weights::

        v = momentum·v + g
        w = w - lr·v                    (nesterov: w - lr·(g + momentum·v))

    and then, if ``max_norm`` is given, each unit whose incoming weights have a greater
    Euclidean norm is scaled back to it.

    l2, l1 and max_norm leave alone the parameters whose ``decay`` is False: biases.

    Parameters
    ----------
    parameters_or_groups : parameters, or list of dict
        A group is ``{"parameters": [...]}`` (or ``"params"``) with settings of its own.
    lr : float
    momentum : float
        0 <= momentum < 1.
    nesterov : bool
    l2, l1 : float
        Weight decay: the loss gains ½·l2·Σw² + l1·Σ|w|.
    max_norm : float, optional
        Of the weights into one unit: of ``weight[i]``.

    Attributes
    ----------
    groups : list of Group

    Raises
    ------
    TypeError, ValueError
        If a setting has a value that cannot be, or a parameter is given twice.
    """

    def __init__(
        self,
        parameters_or_groups: Iterable[Parameter] | Iterable[Mapping[str, Any]],
        lr: float,
        momentum: float = 0.0,
        nesterov: bool = False,
        l2: float = 0.0,
        l1: float = 0.0,
        max_norm: float | None = None,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "nesterov": nesterov,
            "l2": l2,
            "l1": l1,
            "max_norm": max_norm,
        }
        given: list[Any] = list(parameters_or_groups)
        if not given or not isinstance(given[0], Mapping):
            given = [{"parameters": given}]
        self.groups = [_group(g, defaults) for g in given]
        all_ids = [id(p) for g in self.groups for p in g.parameters]
        if len(set(all_ids)) != len(all_ids):
            raise ValueError("SGD: a parameter is given twice; it would be updated twice a step")

    def zero_grad(self) -> None:
        """Forget the gradients: before each backward pass."""
        for group in self.groups:
            for p in group.parameters:
                p.zero_grad()

    def step(self) -> None:
        """Update every parameter that has a gradient, in place.

        Velocities and weights below the normal range (1e-38 in float32) become 0.
        """
        for group in self.groups:
            trained = [i for i, p in enumerate(group.parameters) if p.grad is not None]
            penalties = {"l2": group.l2, "l1": group.l1, "max_norm": group.max_norm}
            if not (group.l2 or group.l1 or group.max_norm):
                _update(group, trained, {})
                continue
            _update(group, [i for i in trained if group.parameters[i].decay], penalties)
            _update(group, [i for i in trained if not group.parameters[i].decay], {})

    def state_dict(self) -> dict[str, Array]:
        """Copies of the velocities, as "group.parameter"."""
        return {
            f"{i}.{j}": v.copy()
            for i, group in enumerate(self.groups)
            for j, v in enumerate(group.velocities)
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Copy velocities back, in place.

        Raises
        ------
        ValueError
            If the names or shapes are not those of this optimizer.
        """
        mine = {
            f"{i}.{j}": v
            for i, group in enumerate(self.groups)
            for j, v in enumerate(group.velocities)
        }
        theirs = {name: np.asarray(v) for name, v in state.items()}
        if {k: v.shape for k, v in mine.items()} != {k: v.shape for k, v in theirs.items()}:
            raise ShapeError(
                "SGD.load_state_dict: the velocities are those of other parameters: "
                f"{_shapes(theirs)}, but this optimizer has {_shapes(mine)}"
            )
        for name, v in mine.items():
            v[...] = theirs[name]

    def __repr__(self) -> str:
        return f"SGD({len(self.groups)} groups, lr={self.groups[0].lr})"


def _shapes(arrays: Mapping[str, Array]) -> str:
    return ", ".join(f"{name} {a.shape}" for name, a in arrays.items()) or "none"


def _group(given: Mapping[str, Any], defaults: Mapping[str, Any]) -> Group:
    settings = dict(given)
    parameters = settings.pop("parameters", settings.pop("params", None))
    unknown = sorted(settings.keys() - _SETTINGS)
    if parameters is None or unknown:
        raise ValueError(
            f"SGD: a group is {{'parameters': [...]}} with settings of {sorted(_SETTINGS)}, "
            f"got the keys {sorted(given)}"
        )
    return Group(list(parameters), **{**defaults, **settings})


def _update(group: Group, chosen: list[int], penalties: Mapping[str, Any]) -> None:
    """One step for some parameters of a group."""
    parameters = [group.parameters[i] for i in chosen]
    sgd_update(
        [p.value for p in parameters],
        [p.grad for p in parameters if p.grad is not None],
        [group.velocities[i] for i in chosen] if group.momentum else None,
        group.lr,
        momentum=group.momentum,
        nesterov=group.nesterov,
        **penalties,
    )
