"""Kernel calls written down while they are made, to be made again on the same memory.

What a verb does before its kernel runs (checks, allocation, the choice of a kernel) has the
same outcome whenever shapes, options and weights are the same.  Who makes the same calls
again, with other numbers in the same arrays, may leave it out.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np


__all__ = ["Recording", "is_recording", "recorded"]

Array = np.ndarray[Any, Any]
Kernel = Callable[..., None]
Again = Callable[..., Any]  # a step of a compiled kernel (step.pxi), or None


class _OfThread(threading.local):
    recording: Recording | None = None


_active = _OfThread()


class Recording:
    """The kernel calls that this thread makes in a function.

    For kernels that write one array, the last of those that they get, from the first.

    Parameters
    ----------
    most_bytes : int
        Of results: a recording of more gives up, and keeps nothing.

    Attributes
    ----------
    arrays : list of (first, last)
        Of each call.
    """

    def __init__(self, most_bytes: int) -> None:
        self._made: list[Any] = []  # steps, or callables
        self.arrays: list[tuple[Array, Array]] = []
        self._bytes_left = most_bytes

    def of(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function, and write the kernel calls in it down."""
        try:  # not a context manager: an interrupt can come before its exit
            _active.recording = self
            return function(*arguments)
        finally:
            _active.recording = None

    def make(self, kernel: Kernel, again: Again | None, *arguments: Any) -> None:
        """Make a call and write it down: as ``again`` prepares it, if that can."""
        kernel(*arguments)
        arrays = [a for a in arguments if isinstance(a, np.ndarray)]
        self._bytes_left -= arrays[-1].nbytes
        if self._bytes_left < 0:
            self._made, self.arrays = [], []
            return
        step = None if again is None else again(*arguments)
        self._made.append(partial(kernel, *arguments) if step is None else step)
        self.arrays.append((arrays[0], arrays[-1]))

    def calls(self) -> list[Callable[[], None]]:
        """What makes the calls again, one after the other.

        It is good while all but the numbers in the first arrays stays as it was, numbers of
        weights and biases included.
        """
        calls: list[Callable[[], None]] = []
        for is_call, made in groupby(self._made, callable):
            if is_call:
                calls += made
            else:
                cpu = importlib.import_module(f"{__package__}.cpu")  # not in the pure wheel
                calls.append(cpu.Steps([*made]))
        return calls


def recorded(kernel: Kernel, again: Again | None = None) -> Kernel:
    """The kernel; for a thread that records, one whose calls are written down as well."""
    recording = _active.recording
    return kernel if recording is None else partial(recording.make, kernel, again)


def is_recording() -> bool:
    """Whether this thread's calls are being written down."""
    return _active.recording is not None
