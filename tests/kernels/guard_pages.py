"""Run every way of one backend on arrays between pages that must not be touched.

A script (test_invariants starts it), because the proof of a failure is a crash.  Each
array ends exactly where an inaccessible page begins, or begins where one ends; inputs lie
on pages that cannot be written.  The last line printed tells which call crashed.
Usage: guard_pages.py BACKEND
"""

from __future__ import annotations

import ctypes
import faulthandler
import importlib
import mmap
import sys
from collections import deque
from itertools import product

import kernel_support as support
import numpy as np

from fastconv.kernels import ConvDims, PoolDims, registry


PAGE = mmap.PAGESIZE
NONE, READ = 0, 1  # PROT_…
CONV = (
    "n2c3h9w8_k5r3x3_s1x1_p1x1_d1x1_g1",
    "n1c1h12w12_k6r5x5_s1x1_p0x0_d1x1_g1",
    "n2c17h5w7_k19r3x2_s2x1_p1:0x0:2_d1x2_g1",
    "n3c18h4w5_k33r1x1_s1x1_p0x0_d1x1_g1",
    "n2c16h7w7_k16r3x3_s2x2_p1x1_d1x1_g16",
    "n2c140h17w19_k90r1x1_s1x1_p0x0_d1x1_g2",  # dw of 1×1 in place, parts of a plane
    "n5c40h5w6_k130r3x3_s2x2_p1x1_d1x1_g1",  # columns, filters in place
    "n2c307h7w7_k130r3x3_s1x1_p1x1_d1x1_g1",  # columns, in parts and with a rest
    "n1c70h15w15_k33r1x1_s1x1_p0x0_d1x1_g1",  # dx of columns, filters copied
    "n7c531h1w1_k139r1x1_s1x1_p0x0_d1x1_g1",  # linear layers, weights in place
    "n2c517h1w1_k131r1x1_s1x1_p0x0_d1x1_g1",
    "n2c19h17w35_k19r3x3_s2x2_p1x1_d1x1_g19",
    "n1c5h15w30_k5r5x3_s1x1_p2x1_d1x1_g5",
    "n1c3h9w21_k6r3x3_s1x1_p0x0_d2x1_g3",
    "n1c34h5w5_k51r3x3_s1x1_p1x1_d1x1_g17",
    "n1c3h23w19_k7r11x11_s4x4_p0x0_d1x1_g1",
    "n1c5h1w1_k3r3x3_s1x1_p1x1_d1x1_g1",
    "n2c66h8w9_k50r3x3_s1x1_p0x0_d1x1_g1",  # blocks and panels of Winograd's
    "n2c17h9w7_k19r5x5_s1x1_p2x2_d1x1_g1",
    "n1c4h4w9_k8r9x2_s1x3_p8x3_d1x1_g1",  # phases of dx without column taps
    "n1c5h13w6_k6r1x9_s3x1_p0x8_d1x1_g1",  # and without row taps
    "n1c2h3w98_k3r1x3_s1x2_p0x0_d1x4_g1",
    "n1c130h21w20_k5r3x3_s1x1_p9x9_d9x9_g1",
)
POOL = (
    "n2c3h9w8_r2x2_s2x2_p0x0_d1x1",
    "n2c17h7w5_r3x3_s2x2_p1x1_d1x1",
    "n1c33h6w9_r3x2_s1x2_p2x1_d1x1_ceil",
    "n3c1h5w31_r2x5_s2x3_p0x2_d1x1",
)
LRN = (((2, 17, 3, 5), 5), ((1, 4, 7, 3), 4), ((1, 33, 1, 1), 3))

libc = ctypes.CDLL(None, use_errno=True)
# mappings live on, so that nothing reuses their addresses; a process may have 65530 (three each)
kept: deque[mmap.mmap] = deque(maxlen=16_000)


def protect(address: int, size: int, rights: int) -> None:
    if libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(size), rights):
        raise OSError(ctypes.get_errno(), "mprotect")


def guarded(values: np.ndarray, edge: str, memory: str, fixed: bool) -> np.ndarray:
    """A copy of `values` at one edge of its pages; `fixed`: that nobody can write."""
    inner = -(-max(values.nbytes, 1) // PAGE) * PAGE
    mapping = mmap.mmap(-1, inner + 2 * PAGE)
    kept.append(mapping)
    start = ctypes.addressof(ctypes.c_char.from_buffer(mapping))
    offset = PAGE + (inner - values.nbytes if edge == "end" else 0)
    shape = values.shape
    if memory == "channels-last" and values.ndim == 4:
        shape = (shape[0], *shape[2:], shape[1])
    a = np.frombuffer(mapping, values.dtype, values.size, offset).reshape(shape)
    if len(shape) == 4 and memory == "channels-last":
        a = a.transpose(0, 3, 1, 2)
    a[...] = values
    protect(start, PAGE, NONE)
    protect(start + PAGE + inner, PAGE, NONE)
    if fixed:
        protect(start + PAGE, inner, READ)
    return a


def check(way, inputs, result, options, want) -> None:
    """Every memory format and edge, the same for all arrays of the call."""
    for edge, memory in product(("end", "begin"), ("C", "channels-last")):
        print(way.impl.verb, way, edge, memory, *map(str, options), want.dtype, flush=True)
        arrays = [a if a is None else guarded(a, edge, memory, True) for a in inputs]
        results = [guarded(r, edge, memory, False) for r in result]
        way.run(*arrays, *results, *options)
        if want.size:
            largest = max(1, np.abs(want).max())
            np.testing.assert_allclose(results[0], want, rtol=1e-5, atol=1e-5 * largest)
        check_again(way.impl, arrays, results, options)


def check_again(impl, arrays, results, options) -> None:
    """The call as a step that is done twice."""
    if impl.again is None:
        return
    again = getattr(importlib.import_module(f"fastconv.kernels.{impl.module}"), impl.again)
    step = again(*arrays, *results, *options)
    if step is not None:
        from fastconv.kernels.cpu import Steps

        want = results[0].copy()
        results[0][...] = np.nan
        Steps([step, step])()
        np.testing.assert_array_equal(results[0], want)


def expected(verb, inputs, result, options):
    results = [r.copy() for r in result]
    support.reference(verb)(*inputs, *results, *options)
    return results


def convolution(way, dtype) -> None:
    verb = way.impl.verb
    for dims in map(ConvDims.parse, CONV):
        if way.refuses(dims, dtype):
            continue
        shapes = (dims.x_shape, dims.w_shape, (dims.k,), dims.y_shape)
        x, w, b, dy = (support.integers(i, s, dtype) for i, s in enumerate(shapes))
        inputs, shape, options = {
            "conv2d": ((x, w, b), dims.y_shape, (dims, True)),
            "conv2d_dx": ((dy, w), dims.x_shape, (dims,)),
            "conv2d_dw": ((dy, x), dims.w_shape, (dims,)),
            "conv2d_db": ((dy,), (dims.k,), ()),
        }[verb]
        result = [support.poisoned(shape, dtype)]
        check(way, inputs, result, options, expected(verb, inputs, result, options)[0])


def pooling(way, dtype) -> None:
    verb = way.impl.verb
    for dims in map(PoolDims.parse, POOL):
        x = support.integers(0, dims.x_shape, dtype)
        y, dx = support.poisoned(dims.y_shape, dtype), support.poisoned(dims.x_shape, dtype)
        where = support.poisoned(dims.y_shape, np.int32)
        dy = support.integers(1, dims.y_shape, dtype)
        _, indices = expected("max_pool2d", (x,), (y, where), (dims,))
        inputs, result, options = {
            "max_pool2d": ((x,), (y, where), (dims,)),
            "max_pool2d_dx": ((dy, indices), (dx,), ()),
            "avg_pool2d": ((x,), (y,), (dims, True)),
            "avg_pool2d_dx": ((dy,), (dx,), (dims, False)),
        }[verb]
        check(way, inputs, result, options, expected(verb, inputs, result, options)[0])
        if verb == "max_pool2d":
            check(way, inputs, (y,), (None, dims), expected(verb, inputs, result, options)[0])


def normalisation(way, dtype) -> None:
    for shape, size in LRN:
        x, dy = (support.normals(i, shape, dtype) for i in range(2))
        inputs = (x,) if way.impl.verb == "lrn" else (dy, x)
        result, options = [support.poisoned(shape, dtype)], (size, 0.5, 0.75, 2.0)
        check(way, inputs, result, options, expected(way.impl.verb, inputs, result, options)[0])


def elementwise(way, dtype) -> None:
    verb = way.impl.verb
    for size in (1, 15, 33, 20_000):
        a, b = (support.integers(i, (size,), dtype) for i in range(2))
        inputs, options = {
            "relu": ((a,), ()),
            "relu_dx": ((a, b), ()),
            "dropout": ((a, b), (0.5,)),
        }[verb]
        result = [support.poisoned((size,), dtype)]
        check(way, inputs, result, options, expected(verb, inputs, result, options)[0])


def loss(way, dtype) -> None:
    for n, classes in ((1, 1), (3, 10), (5, 37)):
        scores = support.normals(0, (n, classes), dtype)
        inputs = (scores, np.arange(n, dtype=np.int64) % classes)
        result = [support.poisoned(scores.shape, dtype), support.poisoned((n,), np.float64)]
        check(way, inputs, result, (), expected(way.impl.verb, inputs, result, ())[0])


def update(way, dtype) -> None:
    settings = (0.1, 0.9, True, 0.1, 0.1, 1.5)
    for edge, shape in product(("end", "begin"), ((1,), (3, 7), (5, 33), (3, 9_001))):
        print(way.impl.verb, way, edge, shape, dtype, flush=True)
        values = [support.normals(i, shape, dtype) for i in range(3)]
        w, grad, velocity = (guarded(a, edge, "C", i == 1) for i, a in enumerate(values))
        way.impl.load()([w], [grad], [velocity], *settings)
        support.reference(way.impl.verb)(*([a] for a in values), *settings)
        np.testing.assert_allclose(w, values[0], rtol=1e-5, atol=1e-5)


CHECKS = {
    "relu": elementwise,
    "relu_dx": elementwise,
    "dropout": elementwise,
    "softmax_cross_entropy": loss,
    "sgd_update": update,
}
FAMILIES = {"conv2d": convolution, "max": pooling, "avg": pooling, "lrn": normalisation}


def main(backend: str) -> None:
    faulthandler.enable()
    for verb in registry.TABLE:
        checks = CHECKS.get(verb) or FAMILIES[verb.split("_")[0]]
        for way in support.ways(verb):
            if way.impl.backend == backend and not way.missing:
                with way.in_use():
                    for dtype in support.DTYPES:
                        checks(way, dtype)


if __name__ == "__main__":
    main(sys.argv[1])
