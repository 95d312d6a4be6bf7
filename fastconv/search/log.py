"""The finished trainings of a search on disk, and what they were of."""

from __future__ import annotations

import importlib
import json
import os
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..files import replacing


__all__ = ["Log", "digest", "identity", "stable", "without_addresses"]

PathLike = str | os.PathLike[str]
Done = dict[tuple[int, int], dict[str, Any]]  # what came of (setting, reshuffle)


class Log:
    """The finished trainings, in a file of a JSON line each if there is a path.

    The first line has what the search is about, and the seed of its splits.
    """

    def __init__(self, path: PathLike | None, problem: dict[str, Any]) -> None:
        self._path = None if path is None else Path(path)
        drawn = np.random.SeedSequence(problem["seed"]).generate_state(1)[0]
        self._head: dict[str, Any] = {"search": problem, "split_seed": int(drawn)}
        self.done: Done = {}
        if self._path is not None:
            if self._path.exists():
                self._read(self._path)
            else:
                self._write(self._path)  # a folder that is not there shows before the work

    @property
    def split_seed(self) -> int:
        return int(self._head["split_seed"])

    def add(self, s: int, r: int, outcome: dict[str, Any]) -> None:
        self.done[s, r] = outcome
        if self._path is not None:
            self._write(self._path)

    def _write(self, path: Path) -> None:
        rows = ({"setting": s, "reshuffle": r, **o} for (s, r), o in self.done.items())
        with replacing(path) as file:
            for row in (self._head, *rows):
                file.write(json.dumps(row, default=_plain).encode() + b"\n")

    def _read(self, path: Path) -> None:
        try:
            head, *rows = map(json.loads, path.read_text().splitlines())
            before, split_seed = head["search"], int(head["split_seed"])
            self.done = {(row.pop("setting"), row.pop("reshuffle")): row for row in rows}
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(
                f"search: resume={str(path)!r} is not a file that search wrote; use another path"
            ) from error
        now = json.loads(json.dumps(self._head["search"], default=_plain))
        other = [name for name in now if now[name] != before.get(name)]
        if other:
            raise ValueError(
                f"search: resume={str(path)!r} is of a search with other {', '.join(other)}; use "
                "another path, or the same arguments (of a sampler a fixed random_state too)"
            )
        self._head["split_seed"] = split_seed


def _plain(value: Any) -> Any:
    """NumPy's numbers as JSON has them."""
    return value.item()


def identity(value: Any) -> str:
    """:func:`stable`, and a digest of what it does not show: weights, states, code."""
    joblib = importlib.import_module("joblib")
    return f"{stable(value)} {joblib.hash([_content(part) for part in _parts(value)])}"


def stable(value: Any, name: str = "") -> str:
    """A text for the value that is the same in the next process."""
    return name + without_addresses(repr(value))


def without_addresses(text: str) -> str:
    return re.sub(r" at 0x[0-9a-fA-F]+", "", text)


def _parts(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return [part for item in value.items() for one in item for part in _parts(one)]
    if isinstance(value, list | tuple):
        return [part for one in value for part in _parts(one)]
    return [value]


def _content(value: Any) -> Any:
    """A function's code and what it is a closure over; of anything else a digest."""
    joblib = importlib.import_module("joblib")
    code = value if hasattr(value, "co_code") else getattr(value, "__code__", None)
    if code is None:
        try:
            return joblib.hash(value)
        except (pickle.PicklingError, TypeError, AttributeError):  # of a class in a function
            return stable(value)
    held = getattr(value, "__defaults__", None) or ()
    held += tuple(cell.cell_contents for cell in getattr(value, "__closure__", None) or ())
    parts = [_content(part) for part in (*code.co_consts, *held)]
    return code.co_code, code.co_names, parts


def digest(x: Any, y: Any) -> str:
    joblib = importlib.import_module("joblib")
    return f"X {np.shape(x)}, y {np.shape(y)}, {joblib.hash((x, y))}"
