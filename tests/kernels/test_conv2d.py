"""Convolution: every way against the reference (itself tested in test_reference)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from kernel_support import (
    CONV_CASES,
    CONV_SAMPLE,
    INPUT_MEMORIES,
    OUT_MEMORIES,
    PADDINGS,
    assert_result,
    assert_same,
    conv_options,
    every_way,
    integers,
    laid_out,
    normals,
    numerical_gradient,
    poisoned,
    reference,
)

from fastconv import kernels
from fastconv.kernels import ConvDims
from fastconv.kernels.arrays import is_channels_last


every_case = pytest.mark.parametrize("case", CONV_CASES)
sample = pytest.mark.parametrize("case", CONV_SAMPLE)


@lru_cache(maxsize=8)
def problem(case, dtype):
    """dims, x, w, b, dy of whole numbers."""
    dims = ConvDims.parse(case)
    shapes = (dims.x_shape, dims.w_shape, (dims.k,), dims.y_shape)
    return dims, *(integers(seed, shape, dtype) for seed, shape in enumerate(shapes))


@lru_cache(maxsize=8)
def expected(verb, case, dtype, bias=False, relu=False):
    dims, x, w, b, dy = problem(case, dtype)
    shape, arguments = {
        "conv2d": (dims.y_shape, (x, w, b if bias else None)),
        "conv2d_dx": (dims.x_shape, (dy, w)),
        "conv2d_dw": (dims.w_shape, (dy, x)),
    }[verb]
    result = poisoned(shape, dtype)
    reference(verb)(*arguments, result, dims, *([relu] if verb == "conv2d" else []))
    return result


@every_case
@pytest.mark.parametrize(("bias", "relu"), [(False, False), (True, True)], ids=["", "bias-relu"])
@every_way("conv2d")
def test_conv2d(way, case, bias, relu, dtype):
    dims, x, w, b, _ = problem(case, dtype)
    y = poisoned(dims.y_shape, dtype)
    way.run(x, w, b if bias else None, y, dims, relu)
    assert_result(way, y, expected("conv2d", case, dtype, bias, relu))


@every_case
@every_way("conv2d_dx")
def test_conv2d_dx(way, case, dtype):
    dims, _, w, _, dy = problem(case, dtype)
    dx = poisoned(dims.x_shape, dtype)
    way.run(dy, w, dx, dims)
    assert_result(way, dx, expected("conv2d_dx", case, dtype))


@every_case
@every_way("conv2d_dw")
def test_conv2d_dw(way, case, dtype):
    dims, x, _, _, dy = problem(case, dtype)
    dw = poisoned(dims.w_shape, dtype)
    way.run(dy, x, dw, dims)
    assert_result(way, dw, expected("conv2d_dw", case, dtype))


# many small planes, planes above 256 pixels
DB_SHAPES = [
    (2, 17, 5, 7),
    (3, 100, 1, 1),
    (1, 1, 13, 13),
    (0, 3, 2, 2),
    (9, 5, 6, 7),
    (2, 3, 19, 17),
]


@pytest.mark.parametrize("memory", INPUT_MEMORIES)
@pytest.mark.parametrize("shape", DB_SHAPES)
@every_way("conv2d_db")
def test_conv2d_db(way, shape, memory, dtype):
    dy = integers(0, shape, dtype)
    if memory == "broadcast" and not len(dy):
        pytest.skip("there is no image to repeat")
    dy = laid_out(dy, memory)
    db = poisoned(shape[1:2], dtype, "sliced")
    way.run(dy, db)
    assert_same(db, np.array([dy[:, k].sum() for k in range(shape[1])], dtype))


@every_way("conv2d_db")
def test_conv2d_db_of_many_terms_is_accurate(way):
    dy = np.full((4, 3, 500, 500), 0.1, np.float32)
    db = poisoned((3,), np.float32)
    way.run(dy, db)
    np.testing.assert_allclose(db, dy[0, 0, 0, 0].astype(float) * 1e6, rtol=1e-5)


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("memory", ["C", "channels-last"])
def test_dw_of_many_pixels_is_accurate(memory, kernel):
    """Sums of small gradients go in parts; of 1×1 kernels in NCHW they are one chain."""
    dims = ConvDims.of((4, 64, 56, 56), (64, 64, kernel, kernel), padding=kernel // 2)
    x, dy = (laid_out(normals(i, dims.x_shape, np.float32), memory) for i in range(2))
    dw = kernels.conv2d_dw(dy, x, dims.w_shape, padding=kernel // 2, algorithm="direct")
    rows, at = dy[:, :3].astype(float), kernel // 2
    for c in range(2):
        want = (rows * x[:, c : c + 1].astype(float)).sum((0, 2, 3))
        error = np.abs(dw[:3, c, at, at] - want).max() / np.abs(dw).max()
        assert error < (6e-6 if (memory, kernel) == ("C", 1) else 2e-6)


@pytest.mark.parametrize("memory", INPUT_MEMORIES)
@sample
@every_way("conv2d")
def test_memory_layouts(way, case, memory, dtype):
    """y, dx and dw, with every input in one memory, the result in each."""
    dims, *arrays = problem(case, dtype)
    x, w, b, dy = (laid_out(a, memory) for a in arrays)
    for verb, arguments, shape, options in (
        ("conv2d", (x, w, b), dims.y_shape, (False,)),
        ("conv2d_dx", (dy, w), dims.x_shape, ()),
        ("conv2d_dw", (dy, x), dims.w_shape, ()),
    ):
        want = poisoned(shape, dtype)
        reference(verb)(*(laid_out(a, "C") for a in arguments), want, dims)
        for out_memory in OUT_MEMORIES:
            got = poisoned(shape, dtype, out_memory)
            way.sibling(verb).run(*arguments, got, dims, *options)
            assert_result(way, got, want)


def swapped(a):
    return a.astype(a.dtype.newbyteorder())


def unaligned(a):
    place = np.empty(a.nbytes + 1, np.uint8)[1:].view(a.dtype).reshape(a.shape)
    place[...] = a
    assert not place.flags.aligned
    return place


@pytest.mark.parametrize("spoil", [swapped, unaligned])
@sample
@every_way("conv2d")
def test_arrays_that_no_kernel_can_walk(way, case, spoil, dtype):
    dims, x, w, b, dy = problem(case, dtype)
    way.skip_if_refused(dims, dtype)
    how = conv_options(dims)
    y = kernels.conv2d(spoil(x), spoil(w), spoil(b), **how, **way.options)
    assert_result(way, y, expected("conv2d", case, dtype, bias=True))
    dx = kernels.conv2d_dx(spoil(dy), spoil(w), dims.x_shape, **how, **way.options)
    assert_result(way, dx, expected("conv2d_dx", case, dtype))
    dw = kernels.conv2d_dw(spoil(dy), spoil(x), dims.w_shape, **how, **way.options)
    assert_result(way, dw, expected("conv2d_dw", case, dtype))
    assert_same(kernels.conv2d_db(spoil(dy), backend=way.impl.backend), dy.sum((0, 2, 3)))


@pytest.mark.parametrize("out_memory", [*OUT_MEMORIES, "unaligned"])
@sample
@every_way("conv2d")
def test_out(way, case, out_memory, dtype):
    """The verbs overwrite `out`, whatever its memory, and return that very array."""
    dims, x, w, _, dy = problem(case, dtype)
    way.skip_if_refused(dims, dtype)

    def place(shape):
        if out_memory == "unaligned":
            return unaligned(poisoned(shape, dtype))
        return poisoned(shape, dtype, out_memory)

    how = conv_options(dims)
    y, dx, dw = place(dims.y_shape), place(dims.x_shape), place(dims.w_shape)
    assert kernels.conv2d(x, w, **how, **way.options, out=y) is y
    assert kernels.conv2d_dx(dy, w, dims.x_shape, **how, **way.options, out=dx) is dx
    assert kernels.conv2d_dw(dy, x, dims.w_shape, **how, **way.options, out=dw) is dw
    for got, verb in ((y, "conv2d"), (dx, "conv2d_dx"), (dw, "conv2d_dw")):
        assert_result(way, got, expected(verb, case, dtype))


@sample
@every_way("conv2d")
def test_result_has_the_memory_format_of_the_input(way, case, dtype):
    dims, x, w, _, dy = problem(case, dtype)
    way.skip_if_refused(dims, dtype)
    how = conv_options(dims)
    y = kernels.conv2d(laid_out(x, "channels-last"), w, **how, **way.options)
    dx = kernels.conv2d_dx(laid_out(dy, "channels-last"), w, dims.x_shape, **how, **way.options)
    assert is_channels_last(y)
    assert is_channels_last(dx)
    assert kernels.conv2d(x, w, **how, **way.options).flags.c_contiguous
    assert kernels.conv2d_dx(dy, w, dims.x_shape, **how, **way.options).flags.c_contiguous
    assert kernels.conv2d_dw(dy, x, dims.w_shape, **how, **way.options).flags.c_contiguous


# --- shapes that nobody thought of -------------------------------------------------------


@st.composite
def conv_dims(draw):
    small = st.integers(1, 3)
    groups = draw(st.sampled_from([1, 1, 2, 5]))
    c, k = groups * draw(st.integers(1, 9)), groups * draw(st.integers(1, 20))
    axes = []
    for _ in range(2):
        kernel, stride, dilation = draw(st.integers(1, 4)), draw(small), draw(small)
        pads = draw(st.tuples(st.integers(0, 4), st.integers(0, 4)))
        least = max(1, dilation * (kernel - 1) + 1 - sum(pads))
        axes.append((draw(st.integers(least, least + 9)), kernel, stride, pads, dilation))
    sizes, kernel, stride, pads, dilation = zip(*axes, strict=True)
    return ConvDims(draw(st.integers(0, 2)), c, *sizes, k, *kernel, stride, pads, dilation, groups)


@given(
    dims=conv_dims(),
    memory=st.sampled_from([m for m in INPUT_MEMORIES if m != "broadcast"]),
    out_memory=st.sampled_from(OUT_MEMORIES),
    bias=st.booleans(),
    relu=st.booleans(),
)
@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@example(  # planes whose rows are one row, the first of them over padding
    dims=ConvDims.parse("n1c2h3w5_k3r1x1_s1x1_p2:1x0_d1x1_g1"),
    memory="reversed",
    out_memory="C",
    bias=True,
    relu=False,
)
@every_way("conv2d")
def test_any_shape(way, dtype, dims, memory, out_memory, bias, relu):
    shapes = (dims.x_shape, dims.w_shape, (dims.k,), dims.y_shape)
    x, w, b, dy = (laid_out(integers(i, s, dtype), memory) for i, s in enumerate(shapes))
    for verb, arguments, shape, options in (
        ("conv2d", (x, w, b if bias else None), dims.y_shape, (relu,)),
        ("conv2d_dx", (dy, w), dims.x_shape, ()),
        ("conv2d_dw", (dy, x), dims.w_shape, ()),
    ):
        got, want = poisoned(shape, dtype, out_memory), poisoned(shape, dtype)
        way.sibling(verb).run(*arguments, got, dims, *options)
        reference(verb)(*arguments, want, dims, *options)
        assert_result(way, got, want)


# --- gradients -----------------------------------------------------------------------------


@pytest.mark.parametrize("memory", ["C", "channels-last"])
@pytest.mark.parametrize("padding", PADDINGS, ids=str)
@pytest.mark.parametrize(
    ("kernel", "stride", "dilation", "groups"),
    [((3, 2), 1, 1, 1), ((3, 2), (2, 1), 1, 2), ((3, 2), 1, (1, 2), 1), ((3, 3), 1, 1, 2)],
    ids=str,
)
@every_way("conv2d")
def test_numerical_gradients(way, padding, kernel, stride, dilation, groups, memory):
    x = laid_out(normals(0, (1, 2, 5, 4), np.float64), memory)
    w, b = normals(1, (2, 2 // groups, *kernel), np.float64), normals(2, (2,), np.float64)
    how = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    way.skip_if_refused(ConvDims.of(x.shape, w.shape, **how), np.float64)
    how |= way.options
    dy = laid_out(normals(3, kernels.conv2d(x, w, b, **how).shape, np.float64), memory)
    dx = kernels.conv2d_dx(dy, w, x.shape, **how)
    dw = kernels.conv2d_dw(dy, x, w.shape, **how)
    db = kernels.conv2d_db(dy, backend=way.impl.backend)
    close = {"rtol": 1e-6, "atol": 1e-8}
    f = numerical_gradient
    np.testing.assert_allclose(dx, f(lambda v: kernels.conv2d(v, w, b, **how), x, dy), **close)
    np.testing.assert_allclose(dw, f(lambda v: kernels.conv2d(x, v, b, **how), w, dy), **close)
    np.testing.assert_allclose(db, f(lambda v: kernels.conv2d(x, w, v, **how), b, dy), **close)


@every_way("conv2d")
def test_random_numbers_are_as_accurate_as_the_reference(way, dtype):
    """On a sum of 2700 products: within so many roundings of the largest result."""
    roundings = 300 if way.impl.algorithm == "winograd" else 50
    dims = ConvDims.parse("n1c300h6w5_k20r3x3_s1x1_p1x1_d1x1_g1")
    x, w, dy = (
        normals(i, s, dtype) for i, s in enumerate((dims.x_shape, dims.w_shape, dims.y_shape))
    )
    for verb, a, b, shape in (
        ("conv2d", x, w, dims.y_shape),
        ("conv2d_dx", dy, w, dims.x_shape),
        ("conv2d_dw", dy, x, dims.w_shape),
    ):
        got, want = poisoned(shape, dtype), poisoned(shape, np.float64)
        none = (None,) if verb == "conv2d" else ()
        way.sibling(verb).run(a, b, *none, got, dims)
        reference(verb)(a.astype("f8"), b.astype("f8"), *none, want, dims)
        tolerance = roundings * np.finfo(dtype).eps * np.abs(want).max()
        np.testing.assert_allclose(got, want, rtol=0, atol=tolerance)


@pytest.mark.parametrize("size", [8, 34])
@every_way("conv2d_dw")
def test_dw_of_pixels_that_no_window_reads(way, size, dtype):
    """Times no gradient, or times 0, NaN would still be NaN."""
    if way.impl.algorithm == "winograd":
        pytest.skip("winograd spreads NaN over a tile")
    dims = ConvDims.parse(f"n2c18h{size}w{size}_k18r3x3_s2x2_p0x0_d1x1_g18")
    x, dy = integers(0, dims.x_shape, dtype), integers(1, dims.y_shape, dtype)
    got, want = poisoned(dims.w_shape, dtype), poisoned(dims.w_shape, np.float64)
    reference("conv2d_dw")(dy.astype("f8"), x.astype("f8"), want, dims)
    x[:, :, -1], x[:, :, :, -1] = np.nan, np.nan
    way.run(dy, x, got, dims)
    np.testing.assert_array_equal(got, want)


@every_way("conv2d")
def test_relu_keeps_nan(way, dtype):
    x = integers(0, (1, 3, 4, 4), dtype)
    x[0, 1, 2, 2] = np.nan
    w = integers(1, (17, 3, 1, 1), dtype) + 5
    way.skip_if_refused(ConvDims.of(x.shape, w.shape), dtype)
    y = kernels.conv2d(x, w, activation="relu", **way.options)
    assert np.isnan(y[0, :, 2, 2]).all()
    assert np.isnan(y).sum() == 17


@pytest.mark.parametrize("groups", [1, 17])
@every_way("conv2d")
def test_relu_of_infinities(way, groups, dtype):
    x = np.ones((1, 17, 3, 3), dtype)
    x[:, :, 0, 0], x[:, :, 2, 2] = -np.inf, np.inf
    w = np.ones((17, 17 // groups, 1, 1), dtype)
    way.skip_if_refused(ConvDims.of(x.shape, w.shape, groups=groups), dtype)
    y = kernels.conv2d(x, w, groups=groups, activation="relu", **way.options)
    assert (y[:, :, 0, 0] == 0).all()
    assert (y[:, :, 2, 2] == np.inf).all()


# --- PyTorch -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "case",
    [
        "n2c3h9w8_k5r3x3_s1x1_p1x1_d1x1_g1",
        "n2c4h11w9_k6r3x2_s2x1_p1x0_d1x2_g2",
        "n1c6h9w9_k6r3x3_s2x2_p2x2_d2x2_g6",
        "n2c4h10w12_k8r1x3_s3x2_p0x2_d1x3_g4",
    ],
)
@pytest.mark.parametrize("backend", kernels.available_backends())
def test_as_pytorch(case, backend):
    torch = pytest.importorskip("torch")
    dims = ConvDims.parse(case)
    (top, _), (left, _) = dims.pad
    shapes = (dims.x_shape, dims.w_shape, (dims.k,), dims.y_shape)
    x, w, b, dy = (normals(i, s, np.float64) for i, s in enumerate(shapes))
    how = {"stride": dims.stride, "dilation": dims.dilation, "groups": dims.groups}
    tx, tw, tb = (torch.tensor(a, requires_grad=True) for a in (x, w, b))
    ty = torch.nn.functional.conv2d(tx, tw, tb, padding=(top, left), **how)
    ty.backward(torch.tensor(dy))
    how |= {"padding": (top, left), "backend": backend}
    close = {"rtol": 1e-10, "atol": 1e-10}
    np.testing.assert_allclose(kernels.conv2d(x, w, b, **how), ty.detach(), **close)
    np.testing.assert_allclose(kernels.conv2d_dx(dy, w, x.shape, **how), tx.grad, **close)
    np.testing.assert_allclose(kernels.conv2d_dw(dy, x, w.shape, **how), tw.grad, **close)
    np.testing.assert_allclose(kernels.conv2d_db(dy, backend=backend), tb.grad, **close)
