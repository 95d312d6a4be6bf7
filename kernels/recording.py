"""Kernel calls written down while they are made, to be made again on the same memory.

What a verb does before its kernel runs (checks, allocation, the choice of a kernel) has the
same outcome whenever shapes, options and weights are the same.  Who makes the same calls
again, with other numbers in the same arrays, may leave it out.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np


__all__ = ["Recording", "is_recording", "recorded"]

Kernel = Callable[..., Any]


class _OfThread(threading.local):
    recording: Recording | None = None


_active = _OfThread()


class Recording:
    """The kernel calls that this thread makes while it is entered.

    For calls that write one array each, the last of their arguments' arrays.

    Parameters
    ----------
    most_bytes : int
        Of results: a recording of more gives up, and keeps nothing.

    Attributes
    ----------
    calls : list of (kernel, arguments), or None if it gave up
    """

    def __init__(self, most_bytes: int) -> None:
        self.calls: list[tuple[Kernel, tuple[Any, ...]]] | None = []
        self._bytes_left = most_bytes

    def __enter__(self) -> Recording:
        _active.recording = self
        return self

    def __exit__(self, *exc_info: object) -> None:
        _active.recording = None

    def make(self, kernel: Kernel, *arguments: Any) -> None:
        """Make a call and write it down."""
        kernel(*arguments)
        arrays = [a for a in arguments if isinstance(a, np.ndarray)]
        self._bytes_left -= arrays[-1].nbytes
        if self._bytes_left < 0:
            self.calls = None
        if self.calls is not None:
            self.calls.append((kernel, arguments))


def recorded(kernel: Kernel) -> Kernel:
    """The kernel; for a thread that records, one that is written down as well."""
    recording = _active.recording
    return kernel if recording is None else partial(recording.make, kernel)


def is_recording() -> bool:
    """Whether this thread's calls are being written down."""
    return _active.recording is not None
