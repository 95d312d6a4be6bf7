"""Local response normalisation in plain NumPy: the specification of the others.

With S the sum of x² over `size` neighbouring channels and d = k + alpha/size · S,
y = x · d^-beta.  (Krizhevsky et al. 2012, section 3.3, but for alpha, which the paper
does not divide by size; PyTorch, Caffe and ONNX do, and so do we.)
"""

from __future__ import annotations

import numpy as np

from .arrays import Array


def window_sum(a: Array, before: int, after: int) -> Array:
    """Σ of a over the channels c - before … c + after that exist."""
    channels = a.shape[1]
    total = np.zeros_like(a)
    for shift in range(-before, after + 1):
        to = slice(max(0, -shift), max(0, min(channels, channels - shift)))
        source = slice(max(0, shift), max(0, min(channels, channels + shift)))
        total[:, to] += a[:, source]
    return total


def _denominator(x: Array, size: int, alpha: float, k: float) -> Array:
    return k + alpha / size * window_sum(x * x, size // 2, (size - 1) // 2)


def lrn(x: Array, y: Array, size: int, alpha: float, beta: float, k: float) -> None:
    y[...] = x * _denominator(x, size, alpha, k) ** -beta


def lrn_dx(dy: Array, x: Array, dx: Array, size: int, alpha: float, beta: float, k: float) -> None:
    """dx = dy·d^-β - 2αβ/size · x · Σ over the windows that hold c of dy·x·d^(-β-1)"""
    d = _denominator(x, size, alpha, k)
    scale = d**-beta
    # channel c lies in the windows of the channels c - (size-1)//2 … c + size//2
    spread = window_sum(dy * x * scale / d, (size - 1) // 2, size // 2)
    dx[...] = dy * scale - (2 * alpha * beta / size) * x * spread
