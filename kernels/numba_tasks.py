"""Slices of a Numba kernel's results as tasks: on the compiled pool, or on Python's threads.

Kernels release the GIL.  Nothing of Numba's own threading is used: its default layer ends the
process when two Python threads meet in it.  Which thread does a slice changes no bit.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from .numba_denormals import flushed
from .threads import MAX_THREADS, get_num_threads


try:
    from . import cpu
except ImportError:  # the pure Python wheel
    cpu = None

__all__ = ["run", "threads_for"]

# Nanoseconds of work below which other threads are not worth waking.  Python's take 100 us.
THREADED_WORK = 20_000 if cpu else 300_000
SLICES = 4  # tasks per thread, so that a slow thread does not keep the others waiting

Task = Callable[[int], None]


def threads_for(work: float) -> int:
    """How many threads some nanoseconds of work are worth."""
    return get_num_threads() if work > THREADED_WORK else 1


def run(kernel: Callable[..., None], units: int, work: float, *arguments: Any) -> None:
    """kernel(*arguments, first, last) for slices of 0 … units, which take `work` nanoseconds."""
    threads = min(threads_for(work), units)
    count = min(units, SLICES * threads) if threads > 1 else min(units, 1)

    def task(i: int) -> None:
        kernel(*arguments, i * units // count, (i + 1) * units // count)

    if cpu is not None:
        cpu.run_tasks(task, count, threads)
    elif threads == 1:
        _draw(task, iter(range(count)), threading.Lock())
    else:
        _on_python_threads(task, count, threads)


def _draw(task: Task, indices: Any, lock: Any) -> None:
    """Do tasks, drawn in order, until none is left."""
    with flushed():
        while True:
            with lock:
                index = next(indices, None)
            if index is None:
                return
            task(index)


_pool: tuple[int, ThreadPoolExecutor] | None = None


def _executor() -> ThreadPoolExecutor:
    """The process's own: a forked child, in which no thread of it lives, makes another."""
    global _pool
    if _pool is None or _pool[0] != os.getpid():
        _pool = os.getpid(), ThreadPoolExecutor(MAX_THREADS, "fastconv")
    return _pool[1]


def _on_python_threads(task: Task, count: int, threads: int) -> None:
    indices, lock = iter(range(count)), threading.Lock()
    helpers = [_executor().submit(_draw, task, indices, lock) for _ in range(threads - 1)]
    try:
        _draw(task, indices, lock)
    finally:
        # those that have not begun are not waited for: another caller may have the threads
        begun = [helper for helper in helpers if not helper.cancel()]
        errors = [error for error in (helper.exception() for helper in begun) if error]
    for error in errors:
        raise error
