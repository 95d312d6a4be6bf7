"""What holds for every implementation: same bits, inputs untouched, nothing outside."""

from __future__ import annotations

import importlib
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import is_dataclass, replace
from threading import Barrier

import numpy as np
import pytest
from kernel_support import every_way, laid_out, normals, poisoned, ways

from fastconv import kernels
from fastconv.kernels import ConvDims, PoolDims, registry


threads = importlib.import_module("fastconv.kernels.threads")
BACKENDS = [
    pytest.param(b, marks=pytest.mark.skipif(bool(reason), reason=str(reason)))
    for b, reason in ((b, registry.backend_why_not(b)) for b in registry.BACKENDS)
]
# all but the update, which works in place: test_elementwise holds it to the same
VERBS = tuple(verb for verb in registry.TABLE if verb != "sgd_update")
ELEMENTWISE = ("relu", "relu_dx", "dropout", "softmax_cross_entropy")
CONV = (
    "n3c17h19w23_k33r3x3_s1x1_p1x1_d1x1_g1",
    "n4c6h26w25_k16r5x5_s2x1_p2x2_d1x1_g2",
    "n3c32h15w14_k32r3x3_s1x1_p1x1_d1x1_g32",
    "n5c64h7w9_k48r1x1_s1x1_p0x0_d1x1_g1",
    "n9c330h9w7_k131r1x1_s2x1_p0x0_d1x1_g1",  # dw of 1×1 in place, images together
    "n3c40h9w11_k130r3x3_s2x2_p1x1_d1x1_g1",  # columns
    "n2c307h7w7_k130r3x3_s1x1_p1x1_d1x1_g1",  # columns, in parts and with a rest
    "n2c70h15w15_k48r1x1_s1x1_p0x0_d1x1_g1",  # dx of columns, filters copied
    "n9c1030h1w1_k139r1x1_s1x1_p0x0_d1x1_g1",  # a linear layer, its weights in place
    "n2c64h24w24_k112r3x3_s1x1_p1x1_d1x1_g1",  # dw's total too large for parts of its own
    "n3c20h13w29_k40r5x5_s1x1_p2x2_d1x1_g1",
)
POOL = ("n3c17h21w22_r3x3_s2x2_p1x1_d1x1", "n5c8h24w24_r2x2_s2x2_p0x0_d1x1")
LRN_SHAPE = (3, 37, 17, 19)
FLAT_SHAPE = (3, 37, 31, 29)


class Call:
    """One call of a verb's implementation: its inputs, options, and shapes of results."""

    def __init__(self, verb, case, dtype):
        self.verb = verb
        if verb.startswith("conv2d"):
            dims = ConvDims.parse(case)
            shapes = (dims.x_shape, dims.w_shape, (dims.k,), dims.y_shape)
            x, w, b, dy = (normals(i, s, dtype) for i, s in enumerate(shapes))
            self.inputs, results, self.options = {
                "conv2d": ((x, w, b), [dims.y_shape], (dims, False)),
                "conv2d_dx": ((dy, w), [dims.x_shape], (dims,)),
                "conv2d_dw": ((dy, x), [dims.w_shape], (dims,)),
                "conv2d_db": ((dy,), [(dims.k,)], ()),
            }[verb]
        elif verb.startswith("lrn"):
            x, dy = (normals(i, LRN_SHAPE, dtype) for i in range(2))
            self.inputs = (x,) if verb == "lrn" else (dy, x)
            results, self.options = [LRN_SHAPE], (5, 0.5, 0.75, 2.0)
        elif verb == "softmax_cross_entropy":
            shape = (300, 37)
            labels = np.arange(300) % 37
            self.inputs, results, self.options = (normals(0, shape, dtype), labels), [shape], ()
        elif verb in ELEMENTWISE:
            a, b = (normals(i, FLAT_SHAPE, dtype) for i in range(2))
            self.inputs = (a,) if verb == "relu" else (a, b)
            results, self.options = [FLAT_SHAPE], (0.5,) if verb == "dropout" else ()
        else:
            dims = PoolDims.parse(case)
            x, dy = normals(0, dims.x_shape, dtype), normals(1, dims.y_shape, dtype)
            y, indices = poisoned(dims.y_shape, dtype), poisoned(dims.y_shape, np.int32)
            registry.TABLE["max_pool2d"][-1].load()(x, y, indices, dims)
            self.inputs, results, self.options = {
                "max_pool2d": ((x,), [dims.y_shape], (dims,)),
                "max_pool2d_dx": ((dy, indices), [dims.x_shape], ()),
                "avg_pool2d": ((x,), [dims.y_shape], (dims, True)),
                "avg_pool2d_dx": ((dy,), [dims.x_shape], (dims, False)),
            }[verb]
        self.outs = [(shape, dtype) for shape in results]
        if verb == "max_pool2d":
            self.outs.append((self.outs[0][0], np.int32))
        if verb == "softmax_cross_entropy":
            self.outs.append(((300,), np.float64))

    def run(self, way, inputs=None, memory="C", images=None):
        """The results, as arrays; `images` runs that slice of the batch alone."""
        inputs = self.inputs if inputs is None else inputs
        options, outs = list(self.options), self.outs
        if images is not None:
            n = inputs[0].shape[0]
            inputs = [a[images] if a.ndim == 4 and a.shape[0] == n else a for a in inputs]
            count = inputs[0].shape[0]
            outs = [((count, *shape[1:]), dtype) for shape, dtype in outs]
            options = [replace(o, n=count) if is_dataclass(o) else o for o in options]
        results = [poisoned(shape, dtype, memory) for shape, dtype in outs]
        way.run(*inputs, *results, *options)
        return results

    def bits(self, way, **how):
        return [a.tobytes() for a in self.run(way, **how)]


def cases(verb):
    if verb.startswith("conv2d"):
        return CONV
    return POOL if "pool2d" in verb else ("usual",)


def every_way_and_case(verbs):
    """Parametrise over (way, case) for several verbs at once."""
    pairs = [(way, case) for verb in verbs for way in ways(verb) for case in cases(verb)]
    ids = [f"{way.impl.verb}-{way}-{case}" for way, case in pairs]
    return pytest.mark.parametrize(("way", "case"), pairs, ids=ids, indirect=["way"])


@pytest.fixture
def many_threads(monkeypatch):
    """As on a machine with more processors than this one may have."""
    monkeypatch.setattr(threads, "cpu_count", lambda: 8)


@pytest.mark.parametrize("memory", ["C", "channels-last"])
@every_way_and_case(VERBS)
def test_same_bits_for_any_number_of_threads(way, case, memory, dtype, many_threads):
    call = Call(way.impl.verb, case, dtype)
    inputs = [laid_out(a, memory) for a in call.inputs]
    with kernels.threads(1):
        want = call.bits(way, inputs=inputs, memory=memory)
    for count in (2, 3, 8, 2):
        with kernels.threads(count):
            assert call.bits(way, inputs=inputs, memory=memory) == want


@every_way_and_case([v for v in VERBS if v not in ("conv2d_dw", "conv2d_db", *ELEMENTWISE)])
def test_an_image_does_not_know_its_batch(way, case, dtype):
    """Alone, first, last, in the middle: the same bits."""
    call = Call(way.impl.verb, case, dtype)
    batch = call.run(way)
    for n in range(len(batch[0])):
        alone = call.run(way, images=slice(n, n + 1))
        for got, want in zip(alone, batch, strict=True):
            assert got.tobytes() == want[n : n + 1].tobytes()
    backwards = call.run(way, images=slice(None, None, -1))
    for got, want in zip(backwards, batch, strict=True):
        assert got[::-1].tobytes() == want.tobytes()


@every_way_and_case(VERBS)
def test_inputs_are_not_modified(way, case, dtype):
    call = Call(way.impl.verb, case, dtype)
    before = [a.tobytes() for a in call.inputs]
    call.run(way)
    assert [a.tobytes() for a in call.inputs] == before


@every_way_and_case(VERBS)
def test_denormals_of_the_caller_stay(way, case, dtype):
    """Flush-to-zero inside a kernel must not leak into the caller's thread."""
    tiny = np.full(4, 1e-40, np.float32)
    Call(way.impl.verb, case, dtype).run(way)
    assert (tiny * np.float32(1) > 0).all()
    assert (np.float32(1e-30) * np.full(4, 1e-10, np.float32) > 0).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_outside_the_arrays_is_touched(backend, run_script):
    if sys.platform == "win32":
        pytest.skip("mprotect is POSIX's")
    # and glibc's checking allocator for the scratch between the arrays
    checks = {"LD_PRELOAD": "libc_malloc_debug.so.0", "MALLOC_CHECK_": "3"}
    told = run_script("guard_pages.py", backend, **(checks if sys.platform == "linux" else {}))
    assert told.count("\n") > 500


@pytest.mark.parametrize("backend", BACKENDS)
def test_after_fork(backend, run_script):
    if not hasattr(os, "fork"):
        pytest.skip("this system does not fork")
    told = run_script("-W", "ignore::DeprecationWarning", "after_fork.py", backend)
    assert told.startswith("same bits")


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_hundred_python_threads_at_once(backend, many_threads):
    x, w = normals(0, (2, 8, 18, 18), np.float32), normals(1, (24, 8, 3, 3), np.float32)

    def compute():
        y = kernels.conv2d(x, w, padding=1, backend=backend)
        dx = kernels.conv2d_dx(y, w, x.shape, padding=1, backend=backend)
        dw = kernels.conv2d_dw(y, x, w.shape, padding=1, backend=backend)
        pooled, indices = kernels.max_pool2d(y, 2, return_indices=True, backend=backend)
        normal = kernels.local_response_norm(y, 5, backend=backend)
        return [a.tobytes() for a in (y, dx, dw, pooled, indices, normal)]

    want, barrier = compute(), Barrier(100)

    def together(_):
        barrier.wait(timeout=60)
        return compute() == want

    with ThreadPoolExecutor(100) as pool:
        assert all(pool.map(together, range(100)))


@every_way("conv2d")
def test_zero_images_are_computed_by_every_verb(way, dtype):
    """Shapes are kept, dw and db are zeros, and nothing is read."""
    how = {"padding": 1, **way.options}
    backend = way.impl.backend
    x, w = np.empty((0, 3, 5, 5), dtype), normals(0, (4, 3, 3, 3), dtype)
    y = kernels.conv2d(x, w, np.ones(4, dtype), activation="relu", **how)
    assert y.shape == (0, 4, 5, 5)
    assert kernels.conv2d_dx(y, w, x.shape, **how).shape == x.shape
    dw = kernels.conv2d_dw(y, x, w.shape, **how, out=poisoned(w.shape, dtype))
    assert (dw == 0).all()
    db = kernels.conv2d_db(y, backend=backend, out=poisoned((4,), dtype))
    assert (db == 0).all()
    pooled, indices = kernels.max_pool2d(y, 2, return_indices=True, backend=backend)
    assert pooled.shape == indices.shape == (0, 4, 2, 2)
    assert kernels.max_pool2d_dx(pooled, indices, y.shape, backend=backend).shape == y.shape
    assert kernels.avg_pool2d(y, 2, backend=backend).shape == (0, 4, 2, 2)
    assert kernels.avg_pool2d_dx(pooled, y.shape, 2, backend=backend).shape == y.shape
    assert kernels.local_response_norm(y, 3, backend=backend).shape == y.shape
