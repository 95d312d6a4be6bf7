"""How a training run shows that it is alive, on standard error."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar


__all__ = ["report", "watched"]

T = TypeVar("T")


def watched(
    items: Iterable[T], title: str, show: bool, total: int, unit: str = "batch"
) -> Iterator[T]:
    """The items one by one, behind a progress bar if asked for and tqdm is installed."""
    if show and importlib.util.find_spec("tqdm") is not None:
        tqdm = importlib.import_module("tqdm").tqdm
        seconds = 0.1 if sys.stderr.isatty() else 5  # a log keeps every line of the bar
        bar = {"leave": False, "mininterval": seconds, "file": sys.stderr}
        yield from tqdm(items, desc=title, total=total, unit=unit, **bar)
    else:
        yield from items


def report(title: str, values: dict[str, float | int | None]) -> None:
    """One line that stays."""
    shown = "  ".join(f"{name} {value:.4g}" for name, value in values.items() if value is not None)
    print(f"{title}  {shown}", file=sys.stderr, flush=True)
