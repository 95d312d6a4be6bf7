"""Every option given to Numba, the arguments of kernels, and the moment they are compiled.

That is their first call, never an import.  A kernel becomes a C function that the pool of threads
calls: status = task(&result, &error, words, index), as Numba's functions call one another; the
words are its arguments, 64 bits each.  No task takes the GIL: tasks that met in it made small
convolutions 0.3 ms slower on two threads than on one.
Compiled kernels are kept on disk, where Numba keeps them.
"""

# mypy: allow-untyped-calls, allow-untyped-defs, allow-untyped-decorators
from __future__ import annotations

import hashlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numba
import numpy as np
from numba import types
from numba.extending import intrinsic, overload
from numba.np.numpy_support import as_dtype

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
    "REAL",
    "STEPS",
    "Kernel",
    "Steps",
    "compiled",
    "flat",
    "helper",
    "inlined",
    "integers",
    "kernel",
    "numbers",
    "plain",
    "room_for",
    "summing",
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

helper = numba.njit(**_OPTIONS)  # compiled into the kernels that call it
inlined = numba.njit(forceinline=True, **_OPTIONS)  # … where LLVM would call it: 14 ns a plane
# A sum over a run whose length is no matter of how work is cut: its order is LLVM's, but one.
summing = numba.njit(**{**_OPTIONS, "fastmath": {"contract", "reassoc"}})


def plain(function: Any) -> Any:
    """A helper as Python runs it."""
    return getattr(function, "py_func", function)


class Kind(NamedTuple):
    """An argument of a kernel: how it is made of words, which stand for {0}, {1} …"""

    words: int
    text: str
    name: str = ""  # of what the text names so, besides "real", the kernel's real numbers
    value: Any = None


def numbers(number: Any = None) -> Kind:
    """An array of one axis, in one piece: a pointer to its first element."""
    if number is None:
        return Kind(1, "_pointer({0}, real)")
    return Kind(1, f"_pointer({{0}}, {number})", str(number), number)


def integers(made: Any) -> Kind:
    """A NamedTuple whose members are integers."""
    places = ", ".join(f"{{{i}}}" for i in range(len(made._fields)))
    return Kind(len(made._fields), f"{made.__name__}({places})", made.__name__, made)


FLAT, INT, BOOL = numbers(), Kind(1, "{0}"), Kind(1, "{0} != 0")
REAL = Kind(1, "_real({0}, real)")  # a float, as the bits of a double


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
    steps = _steps(a.strides, a.itemsize)
    if a.flags.c_contiguous:
        return a.reshape(-1), steps
    if is_channels_last(a):
        return a.transpose(0, 2, 3, 1).reshape(-1), steps
    lengths = [(size - 1) * step for size, step in zip(a.shape, steps[1:], strict=True)]
    lowest = a[tuple(slice(-1, None) if step < 0 else slice(0, 1) for step in steps[1:])]
    span = 1 + sum(abs(length) for length in lengths)
    memory = np.lib.stride_tricks.as_strided(lowest, (span,), (a.itemsize,))
    return memory, steps._replace(at=-sum(length for length in lengths if length < 0))


@lru_cache(maxsize=256)
def _steps(strides: tuple[int, ...], itemsize: int) -> Steps:
    return Steps(0, *(stride // itemsize for stride in strides))


@intrinsic
def _pointer(context, word, number):
    pointer = types.CPointer(number.instance_type)

    def generate(context, builder, signature, values):
        return builder.inttoptr(values[0], context.get_value_type(pointer))

    return pointer(word, number), generate


@intrinsic
def _real(context, word, number):
    real = number.instance_type

    def generate(context, builder, signature, values):
        double = builder.bitcast(values[0], context.get_value_type(types.float64))
        return context.cast(builder, double, types.float64, real)

    return real(word, number), generate


SPARE = 64  # bytes


def room_for(x, count):
    """Memory for `count` numbers of the kind of those at x, behind the first cache line in it.

    (See ``numba_tiles.aligned`` and ``keep``.)
    """
    return np.empty(count + SPARE // x.itemsize, x.dtype)


@overload(room_for)
def _room_for(x, count):
    dtype = as_dtype(x.dtype)
    spare = SPARE // dtype.itemsize
    return lambda x, count: np.empty(count + spare, dtype)


@cache
def _digest() -> str:
    """Of all that is compiled into kernels: Numba looks for changes in a kernel's own file only."""
    here = Path(__file__).parent
    sources = [*sorted(here.glob("*numba*.py")), here / "dims.py"]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]


class Kernel:
    """A function of (arguments …, first, last): the units [first, last) of its work."""

    def __init__(self, function: Callable[..., None], kinds: tuple[Kind, ...]) -> None:
        self.function = function  # what Python itself runs with NUMBA_DISABLE_JIT=1
        self.name = f"{function.__module__.rpartition('.')[2]}.{function.__name__}"
        self._kinds = kinds
        self._lock = threading.Lock()
        self._tasks: dict[Any, int] = {}
        self._kept: list[Any] = []  # what owns the code

    def task(self, dtype: Any) -> int:
        """The address of the function for a dtype: its first caller compiles, or loads, it."""
        found = self._tasks.get(dtype)
        if found is None:
            with self._lock:
                found = self._tasks.get(dtype)
                if found is None:
                    found = self._tasks[dtype] = self._compiled(dtype)
        return found

    def _compiled(self, dtype: Any) -> int:
        signature = types.void(types.CPointer(types.int64), types.int64)
        with _notice(f"{self.name} for {dtype}"):
            code = compiled(self._from_words(dtype), signature)
        self._kept.append(code)
        made = code.overloads[signature.args]
        address: int = made.library.get_pointer_to_function(made.fndesc.llvm_func_name)
        return address

    def _from_words(self, dtype: Any) -> Callable[..., None]:
        """task(words, index): the first two words tell how the work is cut."""
        scope: dict[str, Any] = {"_pointer": _pointer, "_real": _real}
        scope["real"] = numba.from_dtype(dtype)
        scope["kernel"] = numba.njit(inline="always", **_OPTIONS)(self.function)
        given, at = [], 2
        for kind in self._kinds:
            given.append(kind.text.format(*(f"words[{at + i}]" for i in range(kind.words))))
            at += kind.words
            if kind.name:
                scope[kind.name] = kind.value
        name = f"{self.function.__name__}_{dtype}_{_digest()}"  # names its file in the cache
        text = f"""def {name}(words, index):
    units, count = words[0], words[1]
    kernel({", ".join(given)}, index * units // count, (index + 1) * units // count)
"""
        exec(compile(text, self.function.__code__.co_filename, "exec"), scope)
        made: Callable[..., None] = scope[name]
        made.__module__ = self.function.__module__
        return made


def kernel(*kinds: Kind) -> Callable[[Callable[..., None]], Kernel]:
    """Decorate a kernel; its first argument is an array of its real numbers."""
    return lambda function: Kernel(function, kinds)


def compiled(function: Callable[..., Any], signature: Any) -> Any:
    """Numba's dispatcher of a function, compiled for a signature or loaded from its cache."""
    try:
        code = numba.njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:  # no directory for the cache can be written: compile each time
        code = numba.njit(**_OPTIONS)(function)
        code.compile(signature)
    else:
        with _turn(Path(code.stats.cache_path), function.__name__):
            code.compile(signature)
    return code


@contextmanager
def _turn(folder: Path, name: str) -> Iterator[None]:
    """Of processes that start together one compiles a kernel; the others load what it wrote.

    Numba writes whole files, but of two writers of an index one would lose its entry.
    """
    file = _locked(folder / f"{name}.lock")
    try:
        yield
    finally:
        if file:
            fcntl.flock(file, fcntl.LOCK_UN)  # a child that was forked meanwhile has the file too
            file.close()


def _locked(path: Path) -> Any:
    """The file, once nobody else has it; None where that cannot be: then several may compile."""
    if fcntl is None:
        return None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w")
    except OSError:  # of another user
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError:  # a file system without locks
        file.close()
        return None
    return file


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
