"""Local response normalisation: every way against the reference, gradients, PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kernel_support import (
    INPUT_MEMORIES,
    LRN_CASES,
    OUT_MEMORIES,
    assert_same,
    every_way,
    integers,
    laid_out,
    normals,
    numerical_gradient,
    poisoned,
    reference,
)

from fastconv import kernels
from fastconv.kernels.arrays import is_channels_last


# A power is not exact: a few roundings of the result, and of the terms that cancel in dx.
ROUNDINGS = 32
constants = pytest.mark.parametrize(
    ("alpha", "beta", "k"), [(1e-4, 0.75, 1.0), (0.5, 0.75, 2.0), (0.3, 0.5, 1.5), (2.0, 1.0, 0.1)]
)


def assert_close(got, want, scale=1.0):
    assert got.dtype == want.dtype
    tolerance = ROUNDINGS * np.finfo(want.dtype).eps
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance * scale)


def check(way, x, dy, *options, memory="C"):
    """y and dx of one way against the reference."""
    for verb, arguments in (("lrn", (x,)), ("lrn_dx", (dy, x))):
        got, want = poisoned(x.shape, x.dtype, memory), poisoned(x.shape, x.dtype)
        way.sibling(verb).run(*arguments, got, *options)
        reference(verb)(*arguments, want, *options)
        assert_close(got, want, np.abs(want).max(initial=1))


@constants
@pytest.mark.parametrize(("shape", "size"), LRN_CASES, ids=str)
@every_way("lrn")
def test_lrn(way, shape, size, alpha, beta, k, dtype):
    check(way, normals(0, shape, dtype), normals(1, shape, dtype), size, alpha, beta, k)


@every_way("lrn")
def test_exact_where_the_power_is(way, dtype):
    """k = 1, alpha = size, beta = 1 and one channel of 1s and 0s: y = x / (1 + x²)."""
    x = np.array([0, 1, 0, 1], dtype).reshape(1, 1, 2, 2)
    y = poisoned(x.shape, dtype)
    way.run(x, y, 1, 1.0, 1.0, 1.0)
    np.testing.assert_allclose(y, x / 2, rtol=1e-6)


@pytest.mark.parametrize("memory", INPUT_MEMORIES)
@pytest.mark.parametrize(("shape", "size"), [((2, 19, 3, 5), 5), ((3, 4, 1, 6), 4)], ids=str)
@every_way("lrn")
def test_memory_layouts(way, shape, size, memory, dtype):
    x, dy = (laid_out(normals(i, shape, dtype), memory) for i in range(2))
    for out_memory in OUT_MEMORIES:
        check(way, x, dy, size, 0.5, 0.75, 2.0, memory=out_memory)


@every_way("lrn")
def test_verbs_keep_the_memory_format_and_honour_out(way, dtype):
    x, dy = normals(0, (2, 7, 4, 5), dtype), normals(1, (2, 7, 4, 5), dtype)
    backend = way.impl.backend
    y = kernels.local_response_norm(laid_out(x, "channels-last"), 3, backend=backend)
    dx = kernels.local_response_norm_dx(dy, laid_out(x, "channels-last"), 3, backend=backend)
    assert is_channels_last(y)
    assert is_channels_last(dx)
    for memory in OUT_MEMORIES:
        out, out_dx = poisoned(x.shape, dtype, memory), poisoned(x.shape, dtype, memory)
        assert kernels.local_response_norm(x, 3, backend=backend, out=out) is out
        kernels.local_response_norm_dx(dy, x, 3, backend=backend, out=out_dx)
        assert_close(out, y)
        assert_close(out_dx, dx)


@every_way("lrn")
def test_size_one_normalises_each_element_alone(way, dtype):
    x = integers(0, (1, 17, 2, 3), dtype)
    y = poisoned(x.shape, dtype)
    way.run(x, y, 1, 3.0, 0.5, 4.0)
    assert_close(y, x / np.sqrt(4 + 3 * x * x))


@every_way("lrn")
def test_a_huge_element_gives_zero_and_no_nan(way):
    """x² overflows to infinity: x / infinity is 0."""
    x = np.full((1, 3, 2, 2), 1e30, np.float32)
    y = poisoned(x.shape, np.float32)
    with np.errstate(over="ignore"):
        way.run(x, y, 3, 1.0, 0.75, 1.0)
    assert_same(y, np.zeros_like(x))


@given(
    shape=st.tuples(*(st.integers(lo, hi) for lo, hi in ((0, 2), (1, 40), (1, 5), (1, 9)))),
    size=st.integers(1, 9),
    beta=st.sampled_from([0.75, 0.5, 1.3]),
    memory=st.sampled_from([m for m in INPUT_MEMORIES if m != "broadcast"]),
    out_memory=st.sampled_from(OUT_MEMORIES),
)
@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@every_way("lrn")
def test_any_shape(way, dtype, shape, size, beta, memory, out_memory):
    x, dy = (laid_out(normals(i, shape, dtype), memory) for i in range(2))
    check(way, x, dy, size, 0.7, beta, 1.3, memory=out_memory)


@pytest.mark.parametrize("memory", ["C", "channels-last"])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 12])
@every_way("lrn")
def test_numerical_gradient(way, size, memory):
    x = laid_out(normals(0, (1, 7, 2, 3), np.float64), memory)
    dy = laid_out(normals(1, x.shape, np.float64), memory)
    how = {"size": size, "alpha": 0.8, "beta": 0.75, "k": 1.5, "backend": way.impl.backend}
    dx = kernels.local_response_norm_dx(dy, x, **how)
    want = numerical_gradient(lambda v: kernels.local_response_norm(v, **how), x, dy)
    np.testing.assert_allclose(dx, want, rtol=1e-6, atol=1e-8)


@constants
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 9])
@pytest.mark.parametrize("backend", kernels.available_backends())
def test_as_pytorch(size, alpha, beta, k, backend):
    torch = pytest.importorskip("torch")
    x = torch.tensor(normals(0, (2, 7, 3, 4), np.float64), requires_grad=True)
    dy = normals(1, (2, 7, 3, 4), np.float64)
    y = torch.nn.functional.local_response_norm(x, size, alpha=alpha, beta=beta, k=k)
    y.backward(torch.tensor(dy))
    how = {"alpha": alpha, "beta": beta, "k": k, "backend": backend}
    a = x.detach().numpy()
    got = kernels.local_response_norm(a, size, **how)
    np.testing.assert_allclose(got, y.detach(), rtol=1e-12, atol=1e-14)
    got = kernels.local_response_norm_dx(dy, a, size, **how)
    np.testing.assert_allclose(got, x.grad, rtol=1e-10, atol=1e-12)
