"""Every option given to Numba, the types of arguments, and the moment a kernel is compiled.

That is its first call, never an import.  A kernel has one signature per dtype, over memory as one
axis (see ``flat``), so that no layout of the caller's costs a compilation.  Inputs are
declared read-only.  Compiled kernels are kept on disk, where Numba keeps them.
"""

# mypy: allow-untyped-calls
from __future__ import annotations

import hashlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cache, wraps
from pathlib import Path
from typing import Any, NamedTuple

import numba
import numpy as np
from numba import types

from .arrays import Array, is_channels_last
from .dims import TapAxis


try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = [
    "AXIS",
    "BOOL",
    "FLAT",
    "INT",
    "OUT",
    "REAL",
    "STEPS",
    "Steps",
    "flat",
    "helper",
    "integers",
    "kernel",
    "reads",
    "writes",
]

# "contract" lets a product and a sum become one FMA.  The other flags of fastmath stay
# off: they drop NaN, or reorder sums and with them the bits of the result.
# parallel=True is not for us: Numba's workqueue ends the process when two Python threads
# meet in it (numba#10565).
_OPTIONS: dict[str, Any] = {
    "nogil": True,
    "fastmath": {"contract"},
    "boundscheck": False,
    "error_model": "numpy",
}
NOTICE = 1.0  # seconds of compiling after which the user is told why it takes so long

TypeOf = Callable[[Any], Any]  # a Numba type, given the type of the kernel's real numbers


def reads(dtype: Any) -> TypeOf:
    """An input array of one axis, in one piece."""
    return lambda real: types.Array(dtype or real, 1, "C", readonly=True)


def writes(dtype: Any) -> TypeOf:
    """A result array of one axis, in one piece."""
    return lambda real: types.Array(dtype or real, 1, "C")


FLAT, OUT = reads(None), writes(None)


def REAL(real: Any) -> Any:
    return real


def INT(real: Any) -> Any:
    return types.int64


def BOOL(real: Any) -> Any:
    return types.boolean


def integers(kind: Any) -> TypeOf:
    """A NamedTuple whose members are integers."""
    return lambda real: types.NamedUniTuple(types.int64, len(kind._fields), kind)


class Steps(NamedTuple):
    """An (N, C, H, W) array in memory: where its first element is, and from each to the next."""

    at: int
    n: int
    c: int
    h: int
    w: int


STEPS, AXIS = integers(Steps), integers(TapAxis)


def flat(a: Array) -> tuple[Array, Steps]:
    """The memory that an array of four axes spans, as one axis, and the steps in it."""
    steps = [stride // a.itemsize for stride in a.strides]
    if a.flags.c_contiguous:
        return a.reshape(-1), Steps(0, *steps)
    if is_channels_last(a):
        return a.transpose(0, 2, 3, 1).reshape(-1), Steps(0, *steps)
    lengths = [(size - 1) * step for size, step in zip(a.shape, steps, strict=True)]
    lowest = a[tuple(slice(-1, None) if step < 0 else slice(0, 1) for step in steps)]
    span = 1 + sum(abs(length) for length in lengths)
    memory = np.lib.stride_tricks.as_strided(lowest, (span,), (a.itemsize,))
    return memory, Steps(-sum(length for length in lengths if length < 0), *steps)


# Compiled into the kernels that call it, hence not cached by itself.
helper = numba.njit(**_OPTIONS)


@cache
def _digest() -> str:
    """Of all that is compiled into kernels: Numba looks for changes in a kernel's own file only."""
    sources = sorted(Path(__file__).parent.glob("*numba*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]


def kernel(*arguments: TypeOf) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorate a kernel whose first argument is an array of its dtype."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        if numba.config.DISABLE_JIT:
            return function
        lock, compiled = threading.Lock(), {}

        @wraps(function)
        def run(*values: Any) -> None:
            dtype = values[0].dtype
            code = compiled.get(dtype)
            if code is None:
                with lock:  # of threads that meet here one compiles
                    code = compiled.get(dtype)
                    if code is None:
                        code = compiled[dtype] = _compile(function, dtype, arguments)
            code(*values)

        return run

    return decorate


def _compile(
    function: Callable[..., None], dtype: Any, arguments: tuple[TypeOf, ...]
) -> Callable[..., None]:
    real = numba.from_dtype(dtype)
    signature = types.void(*(argument(real) for argument in arguments))
    name = function.__qualname__
    with _notice(f"{function.__module__.rpartition('.')[2]}.{name} for {dtype}"):
        function.__qualname__ = f"{name}-{dtype}-{_digest()}"  # names its file in the cache
        try:
            waiting = numba.njit(cache=True, **_OPTIONS)(function)
        except RuntimeError:  # no directory for the cache can be written: compile each time
            waiting, turn = numba.njit(**_OPTIONS)(function), nullcontext()
        else:
            turn = _turn(Path(waiting.stats.cache_path), function.__qualname__)
        finally:
            function.__qualname__ = name
        with turn:
            waiting.compile(signature)
    # The compiled function itself: choosing it by the types of 40 integers would take 10 us.
    return waiting.overloads[signature.args].entry_point  # type: ignore[no-any-return]


@contextmanager
def _turn(folder: Path, name: str) -> Iterator[None]:
    """Of processes that start together one compiles a kernel; the others load what it wrote."""
    if fcntl is None:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # until the file is closed
        yield


@contextmanager
def _notice(what: str) -> Iterator[None]:
    """Say what is going on if it takes more than a second."""
    start = time.perf_counter()

    def tell() -> None:
        print(f"fastconv: Numba compiles {what}, once ...", file=sys.stderr, flush=True)

    timer = threading.Timer(NOTICE, tell)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
    seconds = time.perf_counter() - start
    if seconds > NOTICE:
        print(f"fastconv: ... done in {seconds:.1f} s", file=sys.stderr, flush=True)
