"""Settings of callbacks that are numbers."""

from __future__ import annotations

from math import inf
from numbers import Real
from typing import Any


__all__ = ["as_min_delta", "as_number"]


def as_number(who: str, name: str, value: Any) -> float:
    """The value of a setting as a float.

    Raises
    ------
    TypeError
        If it is not a number.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{who}: {name} must be a number, got {value!r}")
    return float(value)


def as_min_delta(who: str, value: Any) -> float:
    """What an improvement must exceed, as a float.

    Raises
    ------
    TypeError, ValueError
        If it is not a number, or negative.
    """
    number = as_number(who, "min_delta", value)
    if not 0 <= number < inf:
        raise ValueError(f"{who}: min_delta must be 0 or greater, got {value}")
    return number
