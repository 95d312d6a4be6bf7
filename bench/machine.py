"""What the machine can do: multiply-adds on registers, and copying memory."""

from __future__ import annotations

import ctypes
import platform
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


_ROUNDS = 2_000_000  # of the C loop: some 5 ms, so that starting threads does not count
_TRIALS = 30
_APART = 0.03  # seconds between them: other work on the machine may hide the peak for a while


class Peak(NamedTuple):
    """A run of as many floating-point operations a second as the machine gives."""

    run: Callable[[], Any]
    flops: float
    how: str


@cache
def _compiled() -> Any:
    """fma_peak.c as a library, or None where no C compiler works."""
    source, folder = Path(__file__).with_name("fma_peak.c"), tempfile.mkdtemp()
    library = Path(folder) / "fma_peak.so"
    command = ["cc", "-O2", "-march=native", "-shared", "-fPIC", "-o", library, source]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    loaded = ctypes.CDLL(str(library))
    loaded.fma_peak.restype = ctypes.c_double
    loaded.fma_peak.argtypes = ctypes.c_long, ctypes.POINTER(ctypes.c_float)
    return loaded


def peak(threads: int) -> Peak:
    """The C loop on each thread; NumPy's BLAS at 512×512×512 where nothing compiles C.

    (The caller limits BLAS to as many threads.)
    """
    library = _compiled()
    if library is None:
        a = np.ones((512, 512), "f4")
        return Peak(lambda: a @ a, 2 * 512**3, "NumPy's matrix product, 512x512x512")
    pool = ThreadPoolExecutor(threads)

    def run() -> list[float]:
        return list(pool.map(lambda _: library.fma_peak(_ROUNDS, ctypes.c_float()), range(threads)))

    return Peak(run, sum(run()), "bench/fma_peak.c, -O2 -march=native")


def gflops(found: Peak) -> float:
    return found.flops / _shortest(found.run) / 1e9


def bandwidth(threads: int) -> float:
    """GB/s of copying 128 MB, read and written bytes counted."""
    source = np.ones((threads, (32 << 20) // threads), "f4")
    target = np.zeros_like(source)
    with ThreadPoolExecutor(threads) as pool:

        def run() -> None:
            list(pool.map(np.copyto, target, source))  # NumPy lets go of the GIL

        return 2 * source.nbytes / _shortest(run) / 1e9


def _shortest(run: Callable[[], Any]) -> float:
    taken = []
    for _ in range(_TRIALS):
        time.sleep(_APART)
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return min(taken)


def describe(threads: int) -> dict[str, Any]:
    """The roofs, and what they belong to."""
    found = peak(threads)
    return {
        "processor": _processor(),
        "peak": gflops(found),
        "peak_how": found.how,
        "bandwidth": bandwidth(threads),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(": ")[2] for line in lines if line.startswith("model name"))
    return next(names, platform.processor())
