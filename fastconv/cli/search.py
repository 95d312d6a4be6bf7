"""``fastconv search``: which settings are best, by the protocol of fastconv.search."""

from __future__ import annotations

import argparse
import csv
import importlib.util
import io
import json
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from .common import command, positive, say, write_text


__all__ = ["add"]

_TEXT = """\
Find the best settings of a network that reads handwritten digits.

Every combination of the --grid values (or --random N of them) is trained on a part of the
digits and validated on the rest, on several splits; the smallest mean error wins, is
trained on all of them, and tested once on digits that no setting has seen.

Settings: lr, momentum, l2, l1, max_norm, dropout, epochs, batch_size, and hidden (sizes
of the hidden layers of an mlp, such as 100 or 100-50).

Writes into the folder DIR (another one for each search):
  progress.jsonl   every finished training; the same command goes on from there
  table.json       the settings and their errors
  table.csv        the same for a spreadsheet
  search.png       the same as a picture, if matplotlib is installed"""

_EXAMPLES = """\
  fastconv search --grid lr=0.01,0.1
  fastconv search --grid hidden=4,8,16,32,64 --architecture mlp --digits 1000 --out hidden
  fastconv search --grid lr=0.01,0.03,0.1 --grid l2=0,0.001 --jobs 2 --out l2
  fastconv search --grid lr=0.01,0.1 --grid dropout=0,0.25,0.5 --random 4 --json --out random"""

_WHOLE = {"epochs", "batch_size"}
_NAMES = ("lr", "momentum", "l2", "l1", "max_norm", "dropout", "hidden", "epochs", "batch_size")


def add(commands: Any) -> None:
    parser = command(
        commands, "search", _run, "find the best settings for reading digits", _TEXT, _EXAMPLES
    )
    option = parser.add_argument
    option(
        *("--grid",),
        metavar="NAME=V,V,…",
        type=_values,
        action="append",
        required=True,
        help="values of a setting; give it again for another setting",
    )
    option("--random", metavar="N", type=positive, help="only N combinations, drawn at random")
    option("--architecture", choices=("lenet5", "mlp", "cnn"), default="lenet5", help="(lenet5)")
    option("--epochs", metavar="N", type=positive, default=4, help="of each training (4)")
    option("--reshuffles", metavar="N", type=positive, default=3, help="splits (3)")
    option("--jobs", metavar="N", type=positive, default=1, help="trainings at a time (1)")
    option("--digits", metavar="N", type=positive, help="learn from so many only")
    option("--data", metavar="PATH", help="an mnist.npz or a folder of IDX files")
    option("--out", metavar="DIR", default="fastconv-search", help="where results go (%(default)s)")
    option("--seed", metavar="N", type=int, default=0, help="same seed, same results (0)")
    option("--json", action="store_true", help="print one JSON object instead of a table")
    option("--quiet", action="store_true", help="no progress bar")


def _values(text: str) -> tuple[str, list[Any]]:
    name, equals, values = text.partition("=")
    if name not in _NAMES or not equals:
        raise argparse.ArgumentTypeError(
            f"{text!r} must be NAME=VALUE,VALUE with NAME of {', '.join(_NAMES)}"
        )
    try:
        found = [_value(name, value) for value in values.split(",")]
        if len(set(found)) < len(found):
            raise ValueError
    except ValueError:
        message = f"{values!r} are not values of {name}, each once"
        raise argparse.ArgumentTypeError(message) from None
    return name, found


def _value(name: str, text: str) -> Any:
    if name == "hidden":
        return tuple(int(part) for part in text.split("-"))
    value = int(text) if name in _WHOLE else float(text)
    if not isfinite(value):
        raise ValueError
    return value


def _run(options: Any) -> int:
    from ..datasets import mnist
    from ..sklearn import CNNClassifier

    settings = _settings(options)
    folder = Path(options.out)
    folder.mkdir(parents=True, exist_ok=True)
    (x, y), test = mnist(options.data)
    if options.digits:
        chosen = np.random.default_rng(options.seed).permutation(len(x))[: options.digits]
        x, y = x[chosen], y[chosen]
    estimator = CNNClassifier(
        options.architecture, epochs=options.epochs, random_state=options.seed
    )
    found = _search(options, estimator, settings, (x, y), test, folder / "progress.jsonl")
    result = {
        "best": found.best["setting"],
        "validation_error": found.best["mean_error"],
        "test_error": found.test_error,
        "table": found.table,
    }
    write_text(folder / "table.json", result)
    write_text(folder / "table.csv", _csv(found.table))
    if importlib.util.find_spec("matplotlib") is not None:
        found.plot(folder / "search.png")
    else:
        say("not drawn: search.png; it needs matplotlib: pip install 'fastconv[plot]'")
    print(json.dumps(result) if options.json else found)
    return 0


def _search(
    options: Any, estimator: Any, settings: Any, learning: Any, test: Any, log: Path
) -> Any:
    from ..search import search

    try:
        return search(
            estimator,
            settings,
            learning,
            test,
            reshuffles=options.reshuffles,
            n_jobs=options.jobs,
            seed=options.seed,
            resume=log,
            progress=not options.quiet,
        )
    except RuntimeError as error:  # no setting could be trained
        raise ValueError(str(error)) from error
    except ValueError as error:
        other = "resume=" in str(error)
        raise ValueError(f"{error}; --out DIR is for another path" if other else error) from error
    except KeyboardInterrupt:
        say(f"what is finished is in {log}; the same command goes on from there")
        raise


def _csv(table: list[dict[str, Any]]) -> str:
    """A line for each setting: its values, its error and the spread of that, its time."""
    names = list(table[0]["setting"])
    measures = ["mean_error", "std_error", "seconds", "failure"]
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow([*names, *measures])
    for row in table:
        values = (_plain(row["setting"][name]) for name in names)
        lines.writerow([*values, *(row[measure] for measure in measures)])
    return text.getvalue()


def _plain(value: Any) -> Any:
    """As it is written in --grid."""
    return "-".join(map(str, value)) if isinstance(value, tuple) else value


def _settings(options: Any) -> list[dict[str, Any]]:
    from sklearn.model_selection import ParameterGrid, ParameterSampler

    grid = dict(options.grid)
    if len(grid) < len(options.grid):
        raise ValueError("--grid names a setting twice; give all its values in one")
    if "hidden" in grid and options.architecture != "mlp":
        raise ValueError("--grid hidden=… is for --architecture mlp; other networks have none")
    if options.random is None:
        return list(ParameterGrid(grid))
    count = min(options.random, len(ParameterGrid(grid)))
    return list(ParameterSampler(grid, count, random_state=options.seed))
