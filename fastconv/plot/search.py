"""The results of a search for hyperparameters."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from numbers import Real
from typing import Any

import numpy as np

from ..kernels.arrays import Array
from .figures import TRAINING, VALIDATION, PathLike, figure, finished, logarithmic, tidy


__all__ = ["search_results"]

_DECADES = 30  # from here on there is no room for 1, 2, 5, 10 … on an axis
Row = tuple[dict[str, Any], float, float]  # setting, mean error (NaN if it failed), spread


def search_results(table: Any, path: PathLike | None = None) -> Any:
    """The error of every setting: a curve, a map, or dots for each of several parameters.

    One parameter is a curve with its spread; two parameters of which every combination is
    there are a map; else each parameter has a panel of dots.  The best is marked.  Settings
    that failed are counted; they are empty cells of a map, and left out of the others.

    Parameters
    ----------
    table : list of dict, or dict
        ``SearchResult.table`` of :mod:`fastconv.search`, or scikit-learn's ``cv_results_``,
        whose scores are shown as 1 - score.
    path : path, optional

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If no setting was measured, or settings have no parameters, or a column is missing.
    ImportError
        If matplotlib is not installed.
    """
    rows = _from_scikit_learn(table) if isinstance(table, Mapping) else _from_search(table)
    measured = [row for row in rows if np.isfinite(row[1])]
    names = list(dict.fromkeys(name for setting, _, _ in rows for name in setting))
    if not measured or not names:
        raise ValueError("search_results: the table has no setting that was measured")
    values = {name: _ordered(row[0].get(name) for row in rows) for name in names}
    varied = [name for name in names if len(values[name]) > 1] or names[:1]
    best = min(measured, key=lambda row: row[1])
    settings = {tuple(_key(row[0].get(name)) for name in varied) for row in rows}
    seen = {name: _ordered(row[0].get(name) for row in measured) for name in varied}
    if len(varied) == 1:
        picture = _curve(measured, varied[0], seen, best)
    elif len(varied) == 2 and len(settings) == len(rows) == prod(len(values[v]) for v in varied):
        picture = _map(rows, varied, values, best)
    else:
        picture = _dots(measured, varied, seen, best)
    failed = len(rows) - len(measured)
    title = ", ".join(f"{name} {_text(best[0].get(name))}" for name in varied)
    note = f"; {failed} of {len(rows)} settings failed" if failed else ""
    picture.suptitle(f"best: {title}, error {best[1]:.3g}{note}", fontsize="medium")
    return finished(picture, path)


def _from_search(table: Any) -> list[Row]:
    def number(value: Any) -> float:
        return np.nan if value is None else float(value)

    wanted = {"setting", "mean_error", "std_error"}
    rows = list(table)
    for i, row in enumerate(rows):
        _check_columns(wanted, row, f"row {i} of the table")
    return [
        (dict(row["setting"]), number(row["mean_error"]), number(row["std_error"])) for row in rows
    ]


def _from_scikit_learn(table: Mapping[str, Any]) -> list[Row]:
    wanted = ("params", "mean_test_score", "std_test_score")
    _check_columns(set(wanted), table, "the table")
    columns = (table[name] for name in wanted)
    return [(dict(p), 1 - float(m), float(s)) for p, m, s in zip(*columns, strict=True)]


def _check_columns(wanted: set[str], found: Any, where: str) -> None:
    missing = sorted(wanted.difference(found))
    if missing:
        raise ValueError(
            f"search_results: {where} lacks {missing}; give the table of fastconv.search, or "
            "cv_results_ of a search with one score"
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _ordered(values: Any) -> list[Any]:
    """Each value once: numbers by size, others as they come."""
    found: list[Any] = []
    for value in values:
        if value not in found:
            found.append(value)
    return sorted(found) if all(map(_is_number, found)) else found


def _text(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _positions(ax: Any, name: str, values: list[Any]) -> dict[Any, float]:
    """Where each value stands on the horizontal axis, which is labelled for it."""
    ax.set_xlabel(name)
    if all(map(_is_number, values)):
        spread = values[-1] / values[0] if values[0] > 0 else 1
        if 10 <= spread < _DECADES:
            logarithmic(ax.xaxis)
        elif spread >= _DECADES:
            ax.set_xscale("log")
        return {_key(value): float(value) for value in values}
    labels = [_text(v) for v in values]
    style = {"rotation": 45, "ha": "right", "rotation_mode": "anchor", "fontsize": "small"}
    ax.set_xticks(range(len(values)), labels, **style)
    return {_key(value): float(i) for i, value in enumerate(values)}


def _key(value: Any) -> Any:
    return str(value)  # settings may be lists, which are no keys


def _curve(rows: list[Row], name: str, values: dict[str, list[Any]], best: Row) -> Any:
    picture = figure(6.0, 3.8)
    ax = picture.subplots()
    where = _positions(ax, name, values[name])
    points = sorted((where[_key(s.get(name))], mean, std) for s, mean, std in rows)
    x, mean, std = (np.array(column) for column in zip(*points, strict=True))
    ax.errorbar(x, mean, std, color=TRAINING, marker="o", markersize=4, capsize=3, linewidth=1.4)
    ax.plot(where[_key(best[0].get(name))], best[1], "o", color=VALIDATION, markersize=8, zorder=3)
    ax.set_ylabel("mean validation error")
    tidy(ax)
    return picture


def _map(rows: list[Row], names: list[str], values: dict[str, list[Any]], best: Row) -> Any:
    down, right = (values[name] for name in names)
    errors = np.full((len(down), len(right)), np.nan)

    def cell(setting: dict[str, Any]) -> tuple[int, int]:
        return down.index(setting.get(names[0])), right.index(setting.get(names[1]))

    for setting, mean, _ in rows:
        errors[cell(setting)] = mean
    picture = figure(2.6 + 0.75 * len(right), 1.9 + 0.5 * len(down))
    ax = picture.subplots()
    shown = ax.imshow(errors, cmap="viridis_r", aspect="auto")
    middle = _middle(errors)
    for place, error in np.ndenumerate(errors):
        if np.isnan(error):
            ax.text(place[1], place[0], "failed", color="grey", ha="center", va="center")
            continue
        colour = "black" if error < middle else "white"
        weight = "bold" if place == cell(best[0]) else "normal"
        style = {"ha": "center", "va": "center", "fontsize": "small", "fontweight": weight}
        ax.text(place[1], place[0], f"{error:.3g}", color=colour, **style)
    ax.set_xticks(range(len(right)), [_text(v) for v in right])
    ax.set_yticks(range(len(down)), [_text(v) for v in down])
    ax.set(xlabel=names[1], ylabel=names[0])
    bar = picture.colorbar(shown, ax=ax, label="mean validation error")
    bar.outline.set_visible(False)
    return picture


def _middle(errors: Array) -> float:
    return float((np.nanmin(errors) + np.nanmax(errors)) / 2)


def _dots(rows: list[Row], names: list[str], values: dict[str, list[Any]], best: Row) -> Any:
    picture = figure(max(4.0, 2.8 * len(names)), 3.4)
    grid = picture.subplots(1, len(names), sharey=True, squeeze=False)[0]
    for ax, name in zip(grid, names, strict=True):
        where = _positions(ax, name, values[name])
        for setting, mean, _ in rows:
            chosen = setting is best[0]
            style = {"color": VALIDATION if chosen else TRAINING, "markersize": 8 if chosen else 4}
            ax.plot(where[_key(setting.get(name))], mean, "o", zorder=3 if chosen else 2, **style)
        tidy(ax)
    grid[0].set_ylabel("mean validation error")
    return picture
