"""Slices of a Numba kernel's work as tasks: on the compiled pool, or on Python's threads.

Nothing of Numba's own threading is used: its default layer ends the process when two Python
threads meet in it.  Which thread does a slice changes no bit.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import Any

import numpy as np
from numba import config

from .arrays import Array
from .numba_denormals import flushed
from .numba_options import Kernel
from .threads import MAX_THREADS, get_num_threads


try:
    cpu: Any = importlib.import_module(f"{__package__}.cpu")
except ImportError:  # the pure Python wheel
    cpu = None

__all__ = ["run", "threads_for"]

# Nanoseconds of work below which other threads are not worth waking.  Python's take 100 us.
THREADED_WORK = 20_000 if cpu else 300_000
SLICES = 4  # tasks per thread, so that a slow thread does not keep the others waiting

Task = Callable[[int], int]  # the number of a task → whether it failed
_FUNCTION = ctypes.CFUNCTYPE(
    ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64
)  # releases the GIL


def threads_for(work: float) -> int:
    """How many threads some nanoseconds of work are worth."""
    return get_num_threads() if work > THREADED_WORK else 1


def run(kernel: Kernel, units: int, work: float, *arguments: Any) -> None:
    """All units of a kernel's work, which takes `work` nanoseconds.

    Raises
    ------
    MemoryError
        If a kernel had no memory for its scratch.
    """
    threads = min(threads_for(work), units)
    count = min(units, SLICES * threads) if threads > 1 else min(units, 1)
    if config.DISABLE_JIT:
        with np.errstate(all="ignore"):  # as compiled: no warnings of infinities
            kernel.function(*arguments, 0, units)
        return
    task = kernel.task(arguments[0].dtype)
    if cpu is not None:
        failed = cpu.run_words(task, arguments, units, count, threads)
    else:
        words = np.array([units, count, *_words(arguments)])
        failed = _on_python_threads(_caller(task, words, arguments), count, threads)
    if failed:
        raise MemoryError(f"{kernel.name}: no memory for the scratch of {threads} threads")


def _words(arguments: tuple[Any, ...]) -> Iterator[int]:
    """The arguments of a kernel as 64 bits each: as ``cpu.run_words`` makes them."""
    for value in arguments:
        if isinstance(value, np.ndarray):
            yield value.__array_interface__["data"][0]
        elif isinstance(value, tuple):
            yield from value
        elif isinstance(value, float):
            yield int(np.float64(value).view(np.int64))
        elif isinstance(value, int):
            yield int(value)
        else:
            raise TypeError(f"a kernel takes arrays, integers and floats, not {type(value)}")


def _caller(task: int, words: Array, arguments: tuple[Any, ...]) -> Task:
    """Calls a function of Numba's; keeps what it works on, even if nobody waits for it any more."""
    function, place = _FUNCTION(task), words.ctypes.data

    def call(index: int, kept: tuple[Any, ...] = (words, arguments)) -> int:
        result, error = ctypes.c_void_p(), ctypes.c_void_p()
        return int(function(ctypes.addressof(result), ctypes.addressof(error), place, index))

    return call


def _draw(task: Task, indices: Any, lock: Any) -> int:
    """Do tasks, drawn in order, until none is left; how many failed."""
    failed = 0
    with flushed():
        while True:
            with lock:
                index = next(indices, None)
            if index is None:
                return failed
            failed += task(index) != 0


_pool: tuple[int, ThreadPoolExecutor] | None = None


def _executor() -> ThreadPoolExecutor:
    """The process's own: a forked child, in which no thread of it lives, makes another."""
    global _pool
    if _pool is None or _pool[0] != os.getpid():
        _pool = os.getpid(), ThreadPoolExecutor(MAX_THREADS, "fastconv")
    return _pool[1]


def _on_python_threads(task: Task, count: int, threads: int) -> int:
    """How many tasks failed.  After an interrupt nothing more is begun, and none is running."""
    indices, lock = iter(range(count)), threading.Lock()
    helpers: list[Future[int]] = []
    try:
        with suppress(RuntimeError):  # no more threads can be started: fewer do it
            while len(helpers) < threads - 1:
                helpers.append(_executor().submit(_draw, task, indices, lock))
        failed = _draw(task, indices, lock)
    finally:
        with lock:
            for _ in indices:
                pass
        # one that has not begun is not waited for: another caller may have the threads
        begun = [helper for helper in helpers if not helper.cancel()]
        wait(begun)
    return failed + sum(helper.result() for helper in begun)
