"""Pooling: every way against the reference; ties, NaN, infinities, padding, gradients."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kernel_support import (
    DILATED_POOL_CASES,
    INPUT_MEMORIES,
    OUT_MEMORIES,
    PADDINGS,
    POOL_CASES,
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
from fastconv.kernels import PoolDims
from fastconv.kernels.arrays import is_channels_last


SAMPLE = (
    "n2c17h9w8_r3x3_s2x2_p1x1_d1x1",
    "n3c5h6w11_r2x3_s1x2_p0:1x2:0_d1x1_ceil",
)
every_memory = pytest.mark.parametrize("memory", INPUT_MEMORIES)


def max_pool2d(way, x, dims, memory="C"):
    """y and indices, after asserting that y is the same without indices."""
    y, indices = poisoned(dims.y_shape, x.dtype, memory), poisoned(dims.y_shape, np.int32, memory)
    way.run(x, y, indices, dims)
    alone = poisoned(dims.y_shape, x.dtype, memory)
    way.run(x, alone, None, dims)
    assert_same(alone, y)
    return y, indices


def expected_max(x, dims):
    y, indices = poisoned(dims.y_shape, x.dtype), poisoned(dims.y_shape, np.int32)
    reference("max_pool2d")(x, y, indices, dims)
    return y, indices


def areas(dims, include_pad, dtype):
    return np.multiply.outer(dims.counts(0, include_pad), dims.counts(1, include_pad)).astype(dtype)


def divisible(seed, dims, include_pad, dtype):
    """A dy whose share per cell is a whole number, so that sums of shares are exact."""
    return integers(seed, dims.y_shape, dtype) * areas(dims, include_pad, dtype)


# --- every way, every case -------------------------------------------------------------


@pytest.mark.parametrize("case", POOL_CASES + DILATED_POOL_CASES)
@every_way("max_pool2d")
def test_max_pool2d(way, case, dtype):
    dims = PoolDims.parse(case)
    x = integers(0, dims.x_shape, dtype)  # nine values only: nearly every window has ties
    for got, want in zip(max_pool2d(way, x, dims), expected_max(x, dims), strict=True):
        assert_same(got, want)


@pytest.mark.parametrize("case", POOL_CASES + DILATED_POOL_CASES)
@every_way("max_pool2d_dx")
def test_max_pool2d_dx(way, case, dtype):
    dims = PoolDims.parse(case)
    _, indices = expected_max(integers(0, dims.x_shape, dtype), dims)
    dy = integers(1, dims.y_shape, dtype)
    dx, want = poisoned(dims.x_shape, dtype), poisoned(dims.x_shape, dtype)
    way.run(dy, indices, dx)
    reference("max_pool2d_dx")(dy, indices, want)
    assert_same(dx, want)


@pytest.mark.parametrize("include_pad", [True, False])
@pytest.mark.parametrize("case", POOL_CASES)
@every_way("avg_pool2d")
def test_avg_pool2d(way, case, include_pad, dtype):
    dims = PoolDims.parse(case)
    x = integers(0, dims.x_shape, dtype)
    y, want = poisoned(dims.y_shape, dtype), poisoned(dims.y_shape, dtype)
    way.run(x, y, dims, include_pad)
    reference("avg_pool2d")(x, want, dims, include_pad)
    assert_same(y, want)


@pytest.mark.parametrize("include_pad", [True, False])
@pytest.mark.parametrize("case", POOL_CASES)
@every_way("avg_pool2d_dx")
def test_avg_pool2d_dx(way, case, include_pad, dtype):
    dims = PoolDims.parse(case)
    dy = divisible(0, dims, include_pad, dtype)
    dx, want = poisoned(dims.x_shape, dtype), poisoned(dims.x_shape, dtype)
    way.run(dy, dx, dims, include_pad)
    reference("avg_pool2d_dx")(dy, want, dims, include_pad)
    assert_same(dx, want)


# --- memory ------------------------------------------------------------------------------


@every_memory
@pytest.mark.parametrize("case", SAMPLE)
@every_way("max_pool2d")
def test_memory_of_max(way, case, memory, dtype):
    dims = PoolDims.parse(case)
    x = laid_out(integers(0, dims.x_shape, dtype), memory)
    y, indices = expected_max(laid_out(x, "C"), dims)
    dy = laid_out(integers(1, dims.y_shape, dtype), memory)
    dx = poisoned(dims.x_shape, dtype)
    reference("max_pool2d_dx")(laid_out(dy, "C"), indices, dx)
    for out_memory in OUT_MEMORIES:
        for got, want in zip(max_pool2d(way, x, dims, out_memory), (y, indices), strict=True):
            assert_same(got, want)
        for index_memory in (m for m in INPUT_MEMORIES if m != "broadcast"):
            got = poisoned(dims.x_shape, dtype, out_memory)
            way.sibling("max_pool2d_dx").run(dy, laid_out(indices, index_memory), got)
            assert_same(got, dx)


@every_memory
@pytest.mark.parametrize("case", SAMPLE)
@every_way("avg_pool2d")
def test_memory_of_avg(way, case, memory, dtype):
    dims = PoolDims.parse(case)
    x = laid_out(integers(0, dims.x_shape, dtype), memory)
    dy = laid_out(divisible(1, dims, True, dtype), memory)
    for out_memory in OUT_MEMORIES:
        for verb, a, shape in (
            ("avg_pool2d", x, dims.y_shape),
            ("avg_pool2d_dx", dy, dims.x_shape),
        ):
            got, want = poisoned(shape, dtype, out_memory), poisoned(shape, dtype)
            way.sibling(verb).run(a, got, dims, True)
            reference(verb)(laid_out(a, "C"), want, dims, True)
            assert_same(got, want)


@every_way("max_pool2d")
def test_verbs_keep_the_memory_format_and_honour_out(way, dtype):
    x, backend = integers(0, (2, 5, 6, 8), dtype), way.impl.backend
    for memory in ("C", "channels-last"):
        source = laid_out(x, memory)
        y, indices = kernels.max_pool2d(source, 2, return_indices=True, backend=backend)
        results = [y, indices, kernels.avg_pool2d(source, 2, backend=backend)]
        results.append(kernels.max_pool2d_dx(y, indices, x.shape, backend=backend))
        results.append(kernels.avg_pool2d_dx(y, x.shape, 2, backend=backend))
        assert [is_channels_last(a) for a in results] == [memory == "channels-last"] * 5
        for memory_out in OUT_MEMORIES:
            outs = [poisoned(a.shape, dtype, memory_out) for a in results]
            assert kernels.max_pool2d(source, 2, backend=backend, out=outs[0]) is outs[0]
            assert kernels.avg_pool2d(source, 2, backend=backend, out=outs[2]) is outs[2]
            kernels.max_pool2d_dx(y, indices, x.shape, backend=backend, out=outs[3])
            kernels.avg_pool2d_dx(y, x.shape, 2, backend=backend, out=outs[4])
            for i in (0, 2, 3, 4):
                assert_same(outs[i], results[i])


@pytest.mark.parametrize("index_dtype", ["int64", "uint8", ">i4"])
@every_way("max_pool2d_dx")
def test_indices_of_any_integer_dtype(way, index_dtype):
    x = integers(0, (1, 3, 6, 6), np.float32)
    y, indices = kernels.max_pool2d(x, 2, return_indices=True)
    dx = kernels.max_pool2d_dx(y, indices.astype(index_dtype), x.shape, backend=way.impl.backend)
    assert_same(dx, kernels.max_pool2d_dx(y, indices, x.shape, backend="numpy"))


# --- ties, NaN, infinities ------------------------------------------------------------------

PLANES = [(1, 3, 3), (8, 3, 3), (17, 5, 4), (33, 2, 9)]  # channels around the vectors' widths


@pytest.mark.parametrize("memory", ["C", "channels-last"])
@pytest.mark.parametrize("plane", PLANES)
@every_way("max_pool2d")
def test_first_of_equals_wins(way, plane, memory, dtype):
    c, h, w = plane
    x = laid_out(np.full((2, *plane), -3, dtype), memory)
    dims = PoolDims.of(x.shape, 2, stride=1, padding=1)
    y, indices = max_pool2d(way, x, dims)
    assert (y == -3).all()
    first_row, first_column = (np.maximum(np.arange(s + 1) - 1, 0) for s in (h, w))
    assert_same(indices[1, c - 1], (first_row[:, None] * w + first_column).astype(np.int32))
    assert (indices == indices[0, 0]).all()


@every_way("max_pool2d")
def test_zeros_of_both_signs_are_equal(way, dtype):
    x = np.array([[[[-0.0, 0.0], [0.0, -0.0]]]], dtype)
    _, indices = max_pool2d(way, x, PoolDims.of(x.shape, 2))
    assert indices.item() == 0


@every_way("max_pool2d")
def test_near_ties(way, dtype):
    """The next larger number wins, wherever in the window and whichever channel."""
    x, one = np.ones((9, 19, 3, 3), dtype), np.dtype(dtype).type(1)
    for n in range(9):
        x[n].reshape(19, 9)[:, n] = np.nextafter(one, 2 * one)
    y, indices = max_pool2d(way, x, PoolDims.of(x.shape, 3))
    assert (y > 1).all()
    assert (indices == np.arange(9).reshape(9, 1, 1, 1)).all()


@pytest.mark.parametrize("channels", [1, 4, 17, 32])
@every_way("max_pool2d")
def test_windows_of_minus_infinity_have_a_real_index(way, channels, dtype):
    x = np.full((1, channels, 4, 5), -np.inf, dtype)
    dims = PoolDims.of(x.shape, 3, stride=2, padding=2)
    y, indices = max_pool2d(way, x, dims)
    assert (y == -np.inf).all()
    assert_same(indices, expected_max(x, dims)[1])
    assert indices.min() >= 0
    assert indices[0, 0, 0, 0] == 0  # the window's only cell of x


@pytest.mark.parametrize("memory", ["C", "channels-last"])
@pytest.mark.parametrize("position", range(9))
@every_way("max_pool2d")
def test_nan_wins(way, position, memory, dtype):
    x = integers(0, (2, 19, 3, 3), dtype)
    x[..., 1, 1] = np.inf
    x.reshape(2, 19, 9)[..., position] = np.nan
    x.reshape(2, 19, 9)[1, :, 8] = np.nan  # and a second one, later
    y, indices = max_pool2d(way, laid_out(x, memory), PoolDims.of(x.shape, 3))
    assert np.isnan(y).all()
    assert (indices == position).all()


@pytest.mark.parametrize("wanted", [False, True], ids=["y alone", "with indices"])
@pytest.mark.parametrize("gap", [0, 1])
@pytest.mark.parametrize("width", [5, 11, 37])
@pytest.mark.parametrize("above", [0, 1])
@pytest.mark.parametrize("case", ["k3s2", "k2s2", "k3s1", "k3s2d2"])
@every_way("max_pool2d")
def test_what_lies_beside_is_not_written(way, case, above, width, gap, wanted, dtype):
    """Neither behind rows of a larger array nor behind the last plane: vectors are longer."""
    kernel, stride, dilation = int(case[1]), int(case[3]), int(case[5:] or 1)
    padding = ((above, 0), (0, 0))
    dims = PoolDims.of((2, 3, 7, width), kernel, stride=stride, dilation=dilation, padding=padding)
    margins = ((1, 1), *3 * [(gap, gap)])
    inner = (slice(1, -1), *3 * [slice(gap, -gap or None)])
    cells = integers(0, dims.x_shape, dtype)
    cells[np.random.default_rng(1).random(cells.shape) < 0.2] = np.nan
    cells[0, 0] = -np.inf
    x = np.pad(cells, margins, constant_values=99)
    y = np.pad(np.full(dims.y_shape, np.nan, dtype), margins, constant_values=99)
    indices = np.pad(np.full(dims.y_shape, -1, np.int32), margins, constant_values=99)
    way.run(x[inner], y[inner], indices[inner] if wanted else None, dims)
    want_y, want_indices = expected_max(cells, dims)
    assert_same(y, np.pad(want_y, margins, constant_values=99))
    if wanted:
        assert_same(indices, np.pad(want_indices, margins, constant_values=99))


@pytest.mark.parametrize("nans", [0, 0.01, 0.2], ids=["numbers", "NaN", "NaNs"])
@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("height", [6, 7])
@every_way("max_pool2d")
def test_windows_by_twos_of_any_width(way, height, size, nans, dtype):
    """The maxima alone, of whole vectors and of what is left of one; a NaN stays in its windows."""
    for width in (*range(size, 42), 55, 101):
        x = integers(width, (2, 3, height, width), dtype)
        x[np.random.default_rng(width).random(x.shape) < nans] = np.nan
        x[0, 1] = -np.inf
        dims = PoolDims.of(x.shape, size, stride=(width % 3 + 1, 2))
        y = poisoned(dims.y_shape, dtype)
        way.run(x, y, None, dims)
        assert_same(y, expected_max(x, dims)[0])


@pytest.mark.parametrize("steps", [(1, 1), (-1, 1), (1, -1)])
@pytest.mark.parametrize("gaps", [(0, 0), (1, 0), (0, 1), (1, 1)])
@pytest.mark.parametrize("width", [2, 9, 17, 40])
@every_way("max_pool2d")
def test_planes_that_lie_in_one_pile(way, width, gaps, steps, dtype):
    """Windows that tile planes without a rest may be done as those of one high plane.

    An image ends such a pile: there are more channels in memory.
    """
    (x_gap, y_gap), (x_step, y_step) = gaps, steps
    dims = PoolDims.of((2, 5, 24, width), 2)
    x = integers(0, (2, 6, 24, width + 2 * x_gap), dtype)
    x = x[:, :5, ::x_step, x_gap : x_gap + width]
    y = np.full((2, 7, 12, dims.out_w + 2 * y_gap), 99, dtype)
    inner = y[:, 1:6, ::y_step, y_gap : y_gap + dims.out_w]
    way.run(x, inner, None, dims)
    assert_same(inner, expected_max(np.ascontiguousarray(x), dims)[0])
    assert (y == 99).sum() == y.size - inner.size


@every_way("max_pool2d")
def test_nan_stays_in_its_windows(way, dtype):
    x = integers(0, (1, 17, 6, 6), dtype)
    x[0, 5, 2, 3] = np.nan
    y, _ = max_pool2d(way, x, PoolDims.of(x.shape, 2))
    assert np.argwhere(np.isnan(y)).tolist() == [[0, 5, 1, 1]]


@pytest.mark.parametrize("memory", ["C", "channels-last"])
@every_way("max_pool2d")
def test_permuting_channels_permutes_the_result(way, memory, dtype):
    """Bit for bit, with NaN and ties among the values: no channel is in a special lane."""
    rng = np.random.default_rng(0)
    x = integers(0, (2, 37, 7, 6), dtype)
    x[rng.random(x.shape) < 0.05] = np.nan
    order = rng.permutation(37)
    dims = PoolDims.of(x.shape, 3, stride=2, padding=1)
    plain = max_pool2d(way, laid_out(x, memory), dims)
    permuted = max_pool2d(way, laid_out(x[:, order], memory), dims)
    for got, want in zip(permuted, plain, strict=True):
        assert got.tobytes() == want[:, order].tobytes()


@every_way("avg_pool2d")
def test_permuting_channels_permutes_averages(way, dtype):
    x = normals(0, (2, 37, 7, 6), dtype)
    order = np.random.default_rng(0).permutation(37)
    dims = PoolDims.of(x.shape, 3, stride=2, padding=1)
    for verb in ("avg_pool2d", "avg_pool2d_dx"):
        shape = dims.y_shape if verb == "avg_pool2d" else dims.x_shape
        a = x if verb == "avg_pool2d" else normals(1, dims.y_shape, dtype)
        plain, permuted = poisoned(shape, dtype), poisoned(shape, dtype)
        way.sibling(verb).run(a, plain, dims, False)
        way.sibling(verb).run(np.ascontiguousarray(a[:, order]), permuted, dims, False)
        assert permuted.tobytes() == plain[:, order].tobytes()


@every_way("max_pool2d_dx")
def test_overlapping_windows_add_up(way, dtype):
    """A single peak in the middle of 3x3 windows at stride 1 collects all nine gradients."""
    x = np.zeros((1, 18, 5, 5), dtype)
    x[..., 2, 2] = 1
    _, indices = kernels.max_pool2d(x, 3, stride=1, return_indices=True, backend="numpy")
    dy = np.arange(1, 10, dtype=dtype).reshape(3, 3) + np.zeros((1, 18, 3, 3), dtype)
    dx = poisoned(x.shape, dtype)
    way.run(dy, indices, dx)
    assert_same(dx, 45 * x)


# --- shapes that nobody thought of ------------------------------------------------------------


@st.composite
def pool_dims(draw, dilations=(1, 2, 3)):
    axes = []
    for _ in range(2):
        kernel, stride = draw(st.integers(1, 4)), draw(st.integers(1, 4))
        dilation = draw(st.sampled_from(dilations))
        window = dilation * (kernel - 1) + 1
        pads = draw(st.tuples(*[st.integers(0, window - 1)] * 2))
        # from the dilation on no window steps over the whole of x
        least = max(dilation, window - sum(pads), 1)
        axes.append((draw(st.integers(least, least + 9)), kernel, stride, pads, dilation))
    sizes, kernel, stride, pads, dilation = zip(*axes, strict=True)
    n, c = draw(st.integers(0, 2)), draw(st.integers(1, 40))
    return PoolDims(n, c, *sizes, *kernel, stride, pads, dilation, draw(st.booleans()))


hypothesis_settings = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
memories = st.sampled_from([m for m in INPUT_MEMORIES if m != "broadcast"])


@given(dims=pool_dims(), memory=memories, out_memory=st.sampled_from(OUT_MEMORIES))
@hypothesis_settings
@every_way("max_pool2d")
def test_any_shape_max(way, dtype, dims, memory, out_memory):
    x = laid_out(integers(0, dims.x_shape, dtype), memory)
    got, want = max_pool2d(way, x, dims, out_memory), expected_max(x, dims)
    assert_same(got[0], want[0])
    assert_same(got[1], want[1])
    dy = laid_out(integers(1, dims.y_shape, dtype), memory)
    dx, want_dx = poisoned(dims.x_shape, dtype, out_memory), poisoned(dims.x_shape, dtype)
    way.sibling("max_pool2d_dx").run(dy, laid_out(got[1], memory), dx)
    reference("max_pool2d_dx")(dy, want[1], want_dx)
    assert_same(dx, want_dx)


@given(
    dims=pool_dims(dilations=(1,)),
    memory=memories,
    out_memory=st.sampled_from(OUT_MEMORIES),
    include_pad=st.booleans(),
)
@hypothesis_settings
@every_way("avg_pool2d")
def test_any_shape_avg(way, dtype, dims, memory, out_memory, include_pad):
    x = laid_out(integers(0, dims.x_shape, dtype), memory)
    dy = laid_out(divisible(1, dims, include_pad, dtype), memory)
    for verb, a, shape in (("avg_pool2d", x, dims.y_shape), ("avg_pool2d_dx", dy, dims.x_shape)):
        got, want = poisoned(shape, dtype, out_memory), poisoned(shape, dtype)
        way.sibling(verb).run(a, got, dims, include_pad)
        reference(verb)(a, want, dims, include_pad)
        assert_same(got, want)


# --- gradients ---------------------------------------------------------------------------------


@pytest.mark.parametrize("memory", ["C", "channels-last"])
@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("padding", PADDINGS, ids=str)
@every_way("max_pool2d")
def test_numerical_gradient_of_max(way, padding, ceil_mode, memory):
    x = np.random.default_rng(0).permutation(np.arange(60.0)).reshape(1, 2, 5, 6)  # distinct values
    x, backend = laid_out(x, memory), way.impl.backend
    how = {"kernel_size": (3, 4), "stride": (2, 1), "padding": padding, "ceil_mode": ceil_mode}
    y, indices = kernels.max_pool2d(x, **how, return_indices=True, backend=backend)
    dy = laid_out(normals(1, y.shape, np.float64), memory)
    dx = kernels.max_pool2d_dx(dy, indices, x.shape, backend=backend)
    want = numerical_gradient(lambda v: kernels.max_pool2d(v, **how, backend=backend), x, dy)
    np.testing.assert_allclose(dx, want, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("memory", ["C", "channels-last"])
@pytest.mark.parametrize("include_pad", [False, True])
@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("padding", PADDINGS, ids=str)
@every_way("avg_pool2d")
def test_numerical_gradient_of_avg(way, padding, ceil_mode, include_pad, memory):
    x = laid_out(normals(0, (1, 2, 5, 6), np.float64), memory)
    how = {"kernel_size": (3, 4), "stride": (2, 1), "padding": padding, "ceil_mode": ceil_mode}
    how |= {"count_include_pad": include_pad, "backend": way.impl.backend}
    dy = laid_out(normals(1, kernels.avg_pool2d(x, **how).shape, np.float64), memory)
    dx = kernels.avg_pool2d_dx(dy, x.shape, **how)
    want = numerical_gradient(lambda v: kernels.avg_pool2d(v, **how), x, dy)
    np.testing.assert_allclose(dx, want, rtol=1e-6, atol=1e-8)


# --- PyTorch -------------------------------------------------------------------------------------


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("padding", [0, 1, (1, 0)])
@pytest.mark.parametrize("kernel_size", [2, 3, (3, 2)])
@pytest.mark.parametrize("stride", [1, 2, (2, 3), 4])
@pytest.mark.parametrize("backend", kernels.available_backends())
def test_as_pytorch(kernel_size, stride, padding, ceil_mode, backend):
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    x = torch.tensor(normals(0, (2, 3, 8, 9), np.float64), requires_grad=True)
    how = {"kernel_size": kernel_size, "stride": stride, "padding": padding, "ceil_mode": ceil_mode}
    y, indices = F.max_pool2d(x, **how, return_indices=True)
    got, got_indices = kernels.max_pool2d(
        x.detach().numpy(), **how, return_indices=True, backend=backend
    )
    assert_same(got, y.detach().numpy())
    assert_same(got_indices, indices.numpy().astype(np.int32))
    for include_pad in (False, True):
        y = F.avg_pool2d(x, **how, count_include_pad=include_pad)
        dy = normals(1, tuple(y.shape), np.float64)
        (dx,) = torch.autograd.grad(y, x, torch.tensor(dy))
        mine = how | {"count_include_pad": include_pad, "backend": backend}
        got = kernels.avg_pool2d(x.detach().numpy(), **mine)
        np.testing.assert_allclose(got, y.detach(), rtol=1e-12, atol=1e-14)
        got = kernels.avg_pool2d_dx(dy, tuple(x.shape), **mine)
        np.testing.assert_allclose(got, dx, rtol=1e-12, atol=1e-14)
