"""Gradient clipping."""

from __future__ import annotations

from math import inf, isfinite, sqrt

import numpy as np

from ..hooks import Callback, TrainingState
from .settings import as_number


__all__ = ["ClipGradients"]


class ClipGradients(Callback):
    """Scale all gradients together where their norm exceeds a limit (Pascanu et al. 2013).

    Parameters
    ----------
    max_norm : float
        Limit of the Euclidean norm over all gradients of a step.

    Attributes
    ----------
    last_norm : float or None
        The norm of the last step, before clipping.

    Raises
    ------
    TypeError, ValueError
        If `max_norm` is not a positive number.
    FloatingPointError
        In training, if a gradient is not finite; the weights are those before that step.
    """

    def __init__(self, max_norm: float) -> None:
        self.max_norm = as_number("ClipGradients", "max_norm", max_norm)
        if not 0 < self.max_norm < inf:
            raise ValueError(f"ClipGradients: max_norm must be positive, got {max_norm}")
        self.last_norm: float | None = None

    def before_update(self, state: TrainingState) -> None:
        gradients = [
            p.grad for g in state.optimizer.groups for p in g.parameters if p.grad is not None
        ]
        # In float64: the square of a float32 above 2e19 is infinite.
        norm = sqrt(sum(float(np.square(g, dtype=np.float64).sum()) for g in gradients))
        self.last_norm = norm
        if not isfinite(norm):
            raise FloatingPointError(
                f"ClipGradients: the gradients' norm is {norm} in step {state.step + 1}; lower lr"
            )
        if norm > self.max_norm:
            for gradient in gradients:
                gradient *= self.max_norm / norm
