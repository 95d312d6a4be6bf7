"""The protocol: splits, trainings, the smallest mean error, one test at the end."""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from statistics import fmean, pstdev
from typing import Any

import numpy as np

from ..interrupts import interrupt_noticed, uninterrupted
from ..progress import watched
from .checks import (
    Setting,
    all_settings,
    checked_data,
    checked_reshuffles,
    checked_settings,
    checked_test,
    needs_sklearn,
)
from .log import Log, digest, identity, stable, without_addresses


__all__ = ["SearchResult", "count_trainings", "search"]

PathLike = str | os.PathLike[str]

_MEASURES = ("mean_error", "std_error")


@dataclass(repr=False)
class SearchResult:
    """What :func:`search` found; ``str(result)`` is a table to read.

    Attributes
    ----------
    table : list of dict
        A row for each setting, in the order given: "setting" (dict), "errors" (validation
        error of each reshuffle, None where the training failed), "mean_error" and
        "std_error" (their mean and standard deviation over all reshuffles, None if one
        failed), "seconds" (of all its trainings), "failure" (text of the first, or None).
    best : dict
        The row with the smallest mean error; of equals the first.
    best_estimator_ : estimator or None
        With the best setting, trained on the whole learning set; None where that failed,
        as best["failure"] then says.
    test_error : float or None
        Its error on the test set; None where there was none.
    trainings : int
        Done in this call: those read from a `resume` file are not in it, the winner's is.
    """

    table: list[dict[str, Any]]
    best: dict[str, Any]
    best_estimator_: Any
    test_error: float | None
    trainings: int

    def __repr__(self) -> str:
        error, setting = self.best["mean_error"], self.best["setting"]
        return f"SearchResult({len(self.table)} settings, best {setting}: {error:.4g})"

    def __str__(self) -> str:
        names = list(dict.fromkeys(name for row in self.table for name in row["setting"]))
        lines = [["", *names, "error", "±", "seconds", ""]]
        for row in self.table:
            values = [_shown(row["setting"][n]) if n in row["setting"] else "" for n in names]
            measured = [f"{row[n]:.4f}" if row[n] is not None else "-" for n in _MEASURES]
            remark = "failed: " + row["failure"].splitlines()[0] if row["failure"] else ""
            mark = "*" if row is self.best else ""
            lines.append([mark, *values, *measured, f"{row['seconds']:.2f}", remark])
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        widths[-1] = 0  # remarks begin below one another
        padded = [[t.rjust(w) for t, w in zip(line, widths, strict=True)] for line in lines]
        tested = "" if self.test_error is None else f"; test error {self.test_error:.4f}"
        last = f"* smallest mean validation error, retrained on the whole learning set{tested}"
        return "\n".join(["  ".join(line).rstrip() for line in padded] + [last])

    def plot(self, path: PathLike | None = None) -> Any:
        """The picture of :func:`fastconv.plot.search_results`, a matplotlib Figure."""
        from .. import plot

        return plot.search_results(self.table, path)


def count_trainings(settings: Any, reshuffles: int = 3) -> int:
    """Trainings before the winner's: with m reshuffles, p values of q parameters m·p^q.

    Parameters
    ----------
    settings, reshuffles
        As for :func:`search`; a generator is used up by counting.

    Examples
    --------
    >>> count_trainings([{"lr": 0.1}, {"lr": 0.01}], reshuffles=3)
    6
    """
    return len(all_settings(settings)) * checked_reshuffles("count_trainings", reshuffles)


def search(
    estimator: Any,
    settings: Any,
    learning: tuple[Any, Any],
    test: tuple[Any, Any] | None = None,
    *,
    reshuffles: int = 3,
    validation_size: float = 0.25,
    scoring: Any = None,
    n_jobs: int | None = None,
    seed: int | None = None,
    resume: PathLike | None = None,
    progress: bool = True,
) -> SearchResult:
    """Find the setting with the smallest validation error.

    The learning set is split into a training and a validation part `reshuffles` times,
    stratified by class for classifiers; every setting is trained and validated on each of
    these splits, and its errors averaged.  The smallest mean wins.  An estimator with that
    setting is then trained on the whole learning set, and the test set is used: once.

    A training that fails is recorded, the others go on; its setting cannot win.

    Parameters
    ----------
    estimator : scikit-learn estimator
        Cloned for each training; give it a `random_state` for results that can be repeated.
    settings : dict, or iterable of dict
        A dict of lists is a grid of all combinations.  Anything else holds the settings one
        by one, such as ``sklearn.model_selection.ParameterSampler(distributions, n_iter,
        random_state=0)`` for a random search.
    learning : (X, y)
    test : (X, y), optional
        Not looked at before the winner has been retrained.
    reshuffles : int
        Splits into training and validation part.
    validation_size : float or int
        Share (or number) of the learning set's examples to validate on.
    scoring : str or function (estimator, X, y) -> score, optional
        A name of ``sklearn.metrics.get_scorer_names()``.  The error is 1 - score, for names
        "neg_…" and functions -score.  Default: 1 - ``estimator.score`` of classifiers, the
        mean squared error of regressors.
    n_jobs : int, optional
        Trainings at a time, as in joblib; -1 for one per core.  Another backend, such as a
        Dask cluster, is chosen by ``joblib.parallel_config`` around the call.
    seed : int, optional
        Of the splits.
    resume : path, optional
        File to which each finished training is written at once.  If it exists, its
        trainings, failed ones too, are not repeated.
    progress : bool
        Say the number of trainings in advance, and show a bar (with tqdm, if installed), on
        standard error.

    Returns
    -------
    SearchResult

    Raises
    ------
    KeyboardInterrupt
        On Ctrl-C, once the `resume` file is safe; the same call goes on from there.
    RuntimeError
        If no setting could be trained on every split.
    ShapeError, TypeError, ValueError
        If data or settings cannot be used, or `resume` is of another search.
    ImportError
        If scikit-learn is not installed.
    """
    needs_sklearn()
    wanted = checked_settings(estimator, all_settings(settings))
    reshuffles = checked_reshuffles("search", reshuffles)
    x, y = checked_data("learning", learning)
    held_out = None if test is None else checked_test(test, x)
    error = _Error(estimator, scoring)
    problem = {
        "estimator": type(estimator).__qualname__ + identity(estimator.get_params()),
        "settings": [identity(setting) for setting in wanted],
        "reshuffles": reshuffles,
        "validation_size": validation_size,
        "scoring": stable(scoring),
        "seed": seed,
        "data": digest(x, y),
    }
    log = Log(resume, problem)
    splits = _splits(estimator, x, y, reshuffles, validation_size, log.split_seed)
    jobs = [(s, r) for s in range(len(wanted)) for r in range(reshuffles) if (s, r) not in log.done]
    if progress:
        _announce(len(wanted), reshuffles, len(log.done))
    calls = ((s, r, estimator, wanted[s], error, x, y, *splits[r]) for s, r in jobs)
    with _parallel(n_jobs, _train, calls) as finished:
        for s, r, outcome in watched(finished, "search", progress, len(jobs), "training"):
            with uninterrupted():
                log.add(s, r, outcome)
    table = [
        _row(setting, [log.done[s, r] for r in range(reshuffles)])
        for s, setting in enumerate(wanted)
    ]
    best = _smallest(table)
    winner = _with_setting(estimator, best["setting"])
    try:
        with interrupt_noticed():
            winner.fit(x, y)
        tested = None if held_out is None else error(winner, *held_out)
    except Exception as problem:  # the table is not lost for it
        best["failure"] = f"on the whole learning set: {type(problem).__name__}: {problem}"
        winner, tested = None, None
    return SearchResult(table, best, winner, tested, len(jobs) + 1)


def _train(
    s: int,
    r: int,
    estimator: Any,
    setting: Setting,
    error: _Error,
    x: Any,
    y: Any,
    training: Any,
    validation: Any,
) -> tuple[int, int, dict[str, Any]]:
    """Setting `s` on split `r`: what came of it."""
    began = time.perf_counter()
    value, failure = None, None
    try:
        candidate = _with_setting(estimator, setting)
        with interrupt_noticed():
            candidate.fit(_part(x, training), _part(y, training))
        value = error(candidate, _part(x, validation), _part(y, validation))
    except Exception as problem:
        failure = f"{type(problem).__name__}: {problem}"
    seconds = time.perf_counter() - began
    return s, r, {"error": value, "seconds": seconds, "failure": failure}


def _with_setting(estimator: Any, setting: Setting) -> Any:
    from sklearn.base import clone

    values = {name: clone(value, safe=False) for name, value in setting.items()}
    return clone(estimator).set_params(**values)


def _part(a: Any, rows: Any) -> Any:
    return a.iloc[rows] if hasattr(a, "iloc") else a[rows]


class _Error:
    """What is to be made small, from a score that would be large."""

    def __init__(self, estimator: Any, scoring: Any) -> None:
        from sklearn.base import is_classifier
        from sklearn.metrics import check_scoring

        if scoring is None and not is_classifier(estimator):
            scoring = "neg_mean_squared_error"
        self._score = check_scoring(estimator, scoring)
        negative = callable(scoring) or str(scoring).startswith("neg_")
        self._of_full_score = 0.0 if negative else 1.0

    def __call__(self, estimator: Any, x: Any, y: Any) -> float:
        value = self._of_full_score - float(self._score(estimator, x, y))
        if not np.isfinite(value):
            raise ValueError(f"the error is {value}")
        return value


def _splits(
    estimator: Any, x: Any, y: Any, reshuffles: int, validation_size: float, seed: int
) -> list[tuple[Any, Any]]:
    from sklearn.base import is_classifier
    from sklearn.model_selection import ShuffleSplit, StratifiedShuffleSplit

    kind = StratifiedShuffleSplit if is_classifier(estimator) else ShuffleSplit
    return list(kind(reshuffles, test_size=validation_size, random_state=seed).split(x, y))


def _row(setting: Setting, outcomes: list[dict[str, Any]]) -> dict[str, Any]:
    errors = [outcome["error"] for outcome in outcomes]
    complete = None not in errors
    return {
        "setting": setting,
        "errors": errors,
        "mean_error": fmean(errors) if complete else None,
        "std_error": pstdev(errors) if complete else None,
        "seconds": sum(outcome["seconds"] for outcome in outcomes),
        "failure": next((o["failure"] for o in outcomes if o["failure"]), None),
    }


def _smallest(table: list[dict[str, Any]]) -> dict[str, Any]:
    complete = [row for row in table if row["mean_error"] is not None]
    if not complete:
        raise RuntimeError(
            f"search: each of the {len(table)} settings failed in a training; the first: "
            f"{table[0]['setting']}: {table[0]['failure']}"
        )
    return min(complete, key=lambda row: float(row["mean_error"]))


@contextmanager
def _parallel(n_jobs: int | None, function: Any, calls: Iterable[Any]) -> Iterator[Any]:
    """Results in the order in which they are finished, where the backend can do that."""
    joblib = importlib.import_module("joblib")
    try:
        pool = joblib.Parallel(n_jobs, return_as="generator_unordered")
    except ValueError:  # multiprocessing, for one
        pool = joblib.Parallel(n_jobs)
    results = pool(joblib.delayed(function)(*call) for call in calls)
    with closing(results) if hasattr(results, "close") else nullcontext():
        yield results


def _announce(settings: int, reshuffles: int, done: int) -> None:
    counts = (settings, "setting"), (reshuffles, "reshuffle"), (settings * reshuffles, "training")
    text = "{} × {} = {}".format(*(f"{n} {what}{'s' * (n != 1)}" for n, what in counts))
    text += f" ({done} of them done before)" if done else ""
    print(f"{text}, and one of the winner", file=sys.stderr, flush=True)


def _shown(value: Any) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else without_addresses(str(value))
    return text if len(text) <= 30 else text[:29] + "…"
