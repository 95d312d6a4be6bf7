"""Why a convolution is done the way it is: the answer to "why is it slow?"."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import registry
from .dims import ConvDims, as_shape4
from .threads import get_num_threads


__all__ = ["Explanation", "explain"]

VERBS = ("conv2d", "conv2d_dx", "conv2d_dw")


@dataclass(frozen=True)
class Explanation:
    """What :func:`explain` found; ``str()`` of it is the text."""

    dims: ConvDims
    dtype: np.dtype[Any]
    threads: int
    chosen: dict[str, str]  #: per verb the implementation, e.g. "direct-cython"
    refused: dict[str, str]  #: per other implementation of conv2d, why it is not used
    details: dict[str, str] = field(default_factory=dict)  #: way, copies, scratch, ...

    def __str__(self) -> str:
        lines = [f"conv2d {self.dims} {self.dtype}: {self.dims.flops / 1e6:.4g} MFLOP"]
        lines += [f"  {verb:<10} {name}" for verb, name in self.chosen.items()]
        lines += [f"  {'threads':<10} at most {self.threads}"]
        lines += [f"  {heading:<10} {text}" for heading, text in self.details.items()]
        lines += [f"  not {name}: {reason}" for name, reason in self.refused.items()]
        return "\n".join(lines)


def explain(
    x_shape: tuple[int, int, int, int],
    w_shape: tuple[int, int, int, int],
    *,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    dtype: Any = "float32",
    channels_last: bool = False,
    algorithm: str = "auto",
    backend: str | None = None,
) -> Explanation:
    """Say how :func:`conv2d` and its gradients would be computed, and why so.

    Parameters
    ----------
    x_shape : (N, C, H, W)
    w_shape : (O, C/groups, KH, KW)
    stride, padding, dilation, groups, algorithm, backend
        As in :func:`conv2d`.
    dtype : float32 or float64
    channels_last : bool
        Whether x lies in memory as NHWC.

    Returns
    -------
    Explanation
        Print it: implementation per verb, instruction set, tile, tasks, threads, copies,
        scratch, and the reason why each other implementation is not used.

    Raises
    ------
    ShapeError, TypeError, ValueError
        As :func:`conv2d`.
    """
    kind = np.dtype(dtype)
    if kind not in (np.float32, np.float64):
        raise TypeError(f"explain: dtype must be float32 or float64, got {kind}")
    dims = ConvDims.of(
        as_shape4(x_shape, "explain", "x_shape"),
        as_shape4(w_shape, "explain", "w_shape"),
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        verb="explain",
    )
    chosen = {verb: registry.select(verb, dims, kind, backend, algorithm) for verb in VERBS}
    first = chosen["conv2d"]
    refused = {
        impl.name: reason or f"{first.name} comes first"
        for impl, reason in registry.candidates("conv2d", dims, kind, backend, algorithm)
        if impl != first
    }
    details = _details(first, dims, kind, channels_last)
    names = {verb: impl.name for verb, impl in chosen.items()}
    return Explanation(dims, kind, get_num_threads(), names, refused, details)


def _details(
    impl: registry.Implementation, dims: ConvDims, dtype: np.dtype[Any], channels_last: bool
) -> dict[str, str]:
    if impl.backend == "numpy":
        return {}
    module = importlib.import_module(f"{__package__}.{impl.module}")
    flat = dims.flattened if impl.algorithm == "direct" else None
    given = flat or dims, dtype, channels_last or flat is not None
    found: dict[str, str]
    if impl.backend == "numba":
        found = module.describe(*given, impl.algorithm == "im2col")
    else:
        found = module.describe(*given)
    if flat:
        found["way"] = f"as a linear layer of {flat.c} inputs; {found['way']}"
    if impl.backend == "numba":
        return found
    cpu = importlib.import_module(f"{__package__}.cpu")
    return {"isa": f"{cpu.current_isa()}, of {', '.join(cpu.available_isas())}", **found}
