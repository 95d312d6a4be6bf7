"""The package as its pure Python wheel has it: nothing compiled, Numba on Python's threads.

A script (test_numba starts it), because modules that were imported stay.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time


sys.modules["fastconv.kernels.cpu"] = None  # what an import of it meets where it is not built
os.environ["FASTCONV_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "4"

import numpy as np  # noqa: E402

import fastconv as fc  # noqa: E402
from fastconv import kernels  # noqa: E402
from fastconv.kernels import numba_denormals, numba_tasks, registry  # noqa: E402
from fastconv.kernels import threads as limit  # noqa: E402


numba_tasks.get_num_threads = lambda: kernels.get_num_threads() and 4  # whatever the machine has

x = np.random.default_rng(0).standard_normal((8, 16, 20, 20)).astype(np.float32)
w = np.random.default_rng(1).standard_normal((32, 16, 3, 3)).astype(np.float32)


def results():
    y = fc.conv2d(x, w, padding=1)
    return y, *fc.conv2d_backward(y, x, w, padding=1), fc.max_pool2d(x, 2), fc.avg_pool2d(x, 2)


def same(a, b) -> bool:
    return all((p == q).all() for p, q in zip(a, b, strict=True))


def in_child(pipe):
    pipe.send(same(results(), want))


def check_interrupt():
    """After it nothing is written any more, and nothing crashes where the arrays are gone."""

    def interrupt(number, frame):
        raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, interrupt)
    big = np.ones((4, 64, 200, 200), np.float32)
    kernel, out = np.ones((64, 64, 3, 3), np.float32), np.empty_like(big)
    interrupted = 0
    for _ in range(3):
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        try:
            fc.conv2d(big, kernel, padding=1, out=out)
        except KeyboardInterrupt:
            interrupted += 1
        signal.setitimer(signal.ITIMER_REAL, 0)
        out[...] = -1
        time.sleep(0.1)
        assert (out == -1).all()
    assert interrupted


def check_denormals():
    tiny = np.full(64, 1e-41, np.float32)
    with numba_denormals.flushed():
        assert (tiny * np.float32(1) == 0).all()
    assert (tiny * np.float32(1) != 0).all()
    assert (kernels.relu(tiny) == 0).all()
    assert (tiny * np.float32(1) != 0).all()


assert fc.available_backends() == ("numba", "numpy")
assert registry.select("conv2d", None, x.dtype).name == "direct-numba"
assert "the compiled kernels are not installed" in registry.backend_why_not("cython")
fc.show_runtime()
seen = []
callers = [threading.Thread(target=lambda: seen.append(results())) for _ in range(20)]
for caller in callers:  # the first of them compile
    caller.start()
for caller in callers:
    caller.join()
want = results()
assert [same(found, want) for found in seen] == [True] * 20
reference = fc.conv2d(x, w, padding=1, backend="numpy")
assert np.abs(want[0] - reference).max() < 1e-4
numba_tasks.get_num_threads = lambda: 1
assert same(results(), want)
numba_tasks.get_num_threads = lambda: 4
if hasattr(signal, "setitimer"):
    check_interrupt()
if numba_denormals._BITS:
    check_denormals()
with limit(1):
    assert kernels.get_num_threads() == 1
if hasattr(os, "fork"):
    here, there = multiprocessing.Pipe()
    child = multiprocessing.get_context("fork").Process(target=in_child, args=(there,))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    assert here.recv()
print("all is well")
