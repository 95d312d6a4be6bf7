"""What a search is given, checked."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ..kernels import ShapeError
from ..kernels.dims import as_int


__all__ = [
    "Setting",
    "all_settings",
    "checked_data",
    "checked_reshuffles",
    "checked_settings",
    "checked_test",
    "needs_sklearn",
]

Setting = dict[str, Any]


def needs_sklearn() -> None:
    if importlib.util.find_spec("sklearn") is None:
        raise ImportError("search needs scikit-learn: pip install 'fastconv[sklearn]'")


def all_settings(settings: Any) -> list[Setting]:
    if isinstance(settings, Mapping):
        needs_sklearn()
        from sklearn.model_selection import ParameterGrid

        return list(ParameterGrid(settings))
    if isinstance(settings, str) or not isinstance(settings, Iterable):
        raise TypeError(
            "search: settings must be a dict of lists (a grid) or an iterable of dicts, "
            f"got {settings!r}"
        )
    return list(settings)


def checked_settings(estimator: Any, settings: list[Any]) -> list[Setting]:
    if not hasattr(estimator, "get_params") or isinstance(estimator, type):
        raise TypeError(f"search: estimator must be a scikit-learn estimator, got {estimator!r}")
    if not settings:
        raise ValueError("search: settings is empty; give at least one")
    known = estimator.get_params()
    for setting in settings:
        if not isinstance(setting, Mapping):
            raise TypeError(f"search: each of the settings must be a dict, got {setting!r}")
        for name in setting:
            if str(name).partition("__")[0] not in known:
                raise ValueError(
                    f"search: settings has {name!r}, which {type(estimator).__name__} does not; "
                    f"use one of {', '.join(sorted(known))}"
                )
    return [dict(setting) for setting in settings]


def checked_reshuffles(who: str, reshuffles: Any) -> int:
    count = int(as_int(reshuffles, who, "reshuffles"))
    if count < 1:
        raise ValueError(f"{who}: reshuffles must be at least 1, got {count}")
    return count


def checked_data(name: str, data: Any) -> tuple[Any, Any]:
    from sklearn.utils import indexable

    if not isinstance(data, tuple | list) or len(data) != 2:
        raise TypeError(f"search: {name} must be a pair (X, y), got {type(data).__name__}")
    x, y = (np.asarray(a) if isinstance(a, list) else a for a in data)
    try:
        indexable(x, y)
    except ValueError as error:
        raise ShapeError(f"search: {name} has X and y of different lengths: {error}") from error
    return x, y


def checked_test(test: Any, x: Any) -> tuple[Any, Any]:
    """A test set that would not fit shows before the work, not after."""
    held_out = checked_data("test", test)
    if np.shape(held_out[0])[1:] != np.shape(x)[1:]:
        raise ShapeError(
            f"search: test has X of shape {np.shape(held_out[0])}, learning {np.shape(x)}; their "
            "examples must be alike"
        )
    return held_out
