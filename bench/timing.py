"""How a contest is timed: contestants take turns in one process, each from rest.

Every round runs every contestant once, so a slow minute of the machine hits all of them;
what counts is the median over the rounds of a ratio within a round.

NumPy's BLAS leaves its threads spinning after a product, for 26 to 100 ms, and the peers'
pools spin as well; they would slow whoever comes next.  So each timing begins when the
process has fallen idle.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any


SHORTEST = 2e-3  # seconds; shorter calls are repeated within one timing
PAUSE = 1.0  # seconds to wait for idleness at most

Run = Callable[[], Any]


def repeats(run: Run) -> int:
    """How many calls one timing takes, so that it is long against the clock."""
    run()
    start = time.perf_counter()
    run()
    return max(1, round(SHORTEST / (time.perf_counter() - start)))


def seconds(run: Run, calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        run()
    return (time.perf_counter() - start) / calls


def wait_until_idle(limit: float) -> None:
    """Sleep until no thread of this process uses the processor, at most `limit` seconds."""
    until = time.perf_counter() + limit
    while time.perf_counter() < until:
        used = time.process_time()
        time.sleep(0.01)
        if time.process_time() - used < 1e-3:
            return


def race(runs: Sequence[Run], rounds: int, pause: float = PAUSE) -> list[list[float]]:
    """Seconds of a call, of each contestant in each round."""
    calls = [repeats(run) for run in runs]
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(rounds):
        for run, count, taken in zip(runs, calls, times, strict=True):
            wait_until_idle(pause)
            run()  # fetches its data into the caches, wakes its threads
            taken.append(seconds(run, count))
    return times
