"""The NumPy reference itself: against numbers worked by hand and pure Python loops."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from kernel_support import (
    CONV_SAMPLE,
    DILATED_POOL_CASES,
    POOL_CASES,
    assert_same,
    integers,
    normals,
    poisoned,
)

from fastconv import kernels
from fastconv.kernels import ConvDims, PoolDims


BACKENDS = kernels.available_backends()

# --- numbers worked by hand ------------------------------------------------------------


def plane(*rows):
    return np.array(rows, np.float32)[None, None]


@pytest.mark.parametrize("algorithm", ["direct", "im2col"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_edge_between_bright_and_dark(backend, algorithm):
    """A horizontal edge under a Sobel filter: cross-correlation, not flipped."""
    x = plane(*[[10] * 6] * 3, *[[0] * 6] * 3)
    w = plane([1, 2, 1], [0, 0, 0], [-1, -2, -1])
    y = kernels.conv2d(x, w, backend=backend, algorithm=algorithm)
    assert y[0, 0].tolist() == [[0] * 4, [40] * 4, [40] * 4, [0] * 4]


@pytest.mark.parametrize("algorithm", ["direct", "im2col"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_of_a_small_convolution(backend, algorithm):
    """x 2x3, w 1x2, stride (1, 1): every product written out."""
    how = {"backend": backend, "algorithm": algorithm}
    x, w, b = plane([1, 2, 3], [4, 5, 6]), plane([10, -1]), np.array([0.5], np.float32)
    dy = plane([1, 2], [3, 4])
    y = kernels.conv2d(x, w, b, **how)
    assert y[0, 0].tolist() == [[8.5, 17.5], [35.5, 44.5]]  # 10-2, 20-3; 40-5, 50-6; + 0.5
    dx = kernels.conv2d_dx(dy, w, (1, 1, 2, 3), **how)
    assert dx[0, 0].tolist() == [[10, 19, -2], [30, 37, -4]]
    dw = kernels.conv2d_dw(dy, x, (1, 1, 1, 2), **how)
    assert dw[0, 0].tolist() == [[1 + 4 + 12 + 20, 2 + 6 + 15 + 24]]
    assert kernels.conv2d_db(dy, backend=backend).tolist() == [10]


@pytest.mark.parametrize("backend", BACKENDS)
def test_two_by_two_maxima(backend):
    x = plane([1, 1, 2, 4], [5, 6, 7, 8], [3, 2, 1, 0], [1, 2, 3, 4])
    y, indices = kernels.max_pool2d(x, 2, return_indices=True, backend=backend)
    assert y[0, 0].tolist() == [[6, 8], [3, 4]]
    assert indices[0, 0].tolist() == [[5, 7], [8, 15]]
    dx = kernels.max_pool2d_dx(y, indices, x.shape, backend=backend)
    assert dx[0, 0].tolist() == [[0] * 4, [0, 6, 0, 8], [3, 0, 0, 0], [0, 0, 0, 4]]


@pytest.mark.parametrize("backend", BACKENDS)
def test_divisors_of_averages(backend):
    """3x3 windows, stride 2, padding 1, ceil_mode on 4x4: the last windows are cut at 5."""
    x = np.ones((1, 1, 4, 4), np.float32)
    how = {"stride": 2, "padding": 1, "ceil_mode": True, "backend": backend}
    counted = kernels.avg_pool2d(x, 3, **how) * 36
    assert counted[0, 0].tolist() == [[16, 24, 12], [24, 36, 18], [12, 18, 9]]
    assert (kernels.avg_pool2d(x, 3, **how, count_include_pad=False) == 1).all()
    dx = kernels.avg_pool2d_dx(np.full((1, 1, 1, 1), 8, "f4"), (1, 1, 2, 2), 2, backend=backend)
    assert dx[0, 0].tolist() == [[2, 2], [2, 2]]


@pytest.mark.parametrize("backend", BACKENDS)
def test_normalisation_by_neighbours(backend):
    """size 3, alpha 3, beta 1, k 1 on channels 1, 2, 3: divisors 1+5, 1+14, 1+13."""
    x = np.array([1.0, 2.0, 3.0]).reshape(1, 3, 1, 1)
    y = kernels.local_response_norm(x, 3, alpha=3, beta=1, k=1, backend=backend)
    np.testing.assert_allclose(y.ravel(), [1 / 6, 2 / 15, 3 / 14], rtol=1e-14)


# --- pure Python loops -----------------------------------------------------------------------


def taps(dims):
    """(y position, x position, w position) of every product of a convolution."""
    og, cg = dims.k // dims.groups, dims.c // dims.groups
    (top, _), (left, _) = dims.pad
    ranges = (dims.n, dims.k, dims.out_h, dims.out_w, cg, dims.kh, dims.kw)
    for n, k, p, q, c, i, j in product(*map(range, ranges)):
        h = p * dims.stride[0] + i * dims.dilation[0] - top
        w = q * dims.stride[1] + j * dims.dilation[1] - left
        if 0 <= h < dims.h and 0 <= w < dims.w:
            yield (n, k, p, q), (n, k // og * cg + c, h, w), (k, c, i, j)


@pytest.mark.parametrize(
    "case",
    [
        *(c for c in CONV_SAMPLE if "c18" not in c and "c17" not in c),
        "n1c3h7w7_k3r3x3_s1x1_p1x1_d1x1_g3",
        "n1c4h9w10_k4r2x3_s4x3_p1x0_d2x3_g2",
        "n2c2h2w1_k3r3x2_s2x2_p2:3x1:0_d1x1_g1",
        "n0c2h4w4_k3r2x2_s1x1_p0x0_d1x1_g1",
    ],
)
@pytest.mark.parametrize("algorithm", ["direct", "im2col"])
def test_convolution_by_loops(case, algorithm):
    dims, how = ConvDims.parse(case), {"backend": "numpy", "algorithm": algorithm}
    how |= {"stride": dims.stride, "padding": dims.pad}
    how |= {"dilation": dims.dilation, "groups": dims.groups}
    shapes = (dims.x_shape, dims.w_shape, (dims.k,), dims.y_shape)
    x, w, b, dy = (integers(i, s, np.float64) for i, s in enumerate(shapes))
    y = np.zeros(dims.y_shape) + b[:, None, None]
    dx, dw = np.zeros(dims.x_shape), np.zeros(dims.w_shape)
    for at_y, at_x, at_w in taps(dims):
        y[at_y] += x[at_x] * w[at_w]
        dx[at_x] += dy[at_y] * w[at_w]
        dw[at_w] += dy[at_y] * x[at_x]
    assert_same(kernels.conv2d(x, w, b, **how), y)
    assert_same(kernels.conv2d(x, w, b, **how, activation="relu"), np.maximum(y, 0))
    assert_same(kernels.conv2d_dx(dy, w, x.shape, **how), dx)
    assert_same(kernels.conv2d_dw(dy, x, w.shape, **how), dw)
    assert_same(kernels.conv2d_db(dy, backend="numpy"), dy.sum((0, 2, 3)))


def window(dims, p, q):
    """The cells of x under window (p, q), in reading order."""
    (top, _), (left, _) = dims.pad
    for i, j in product(range(dims.kh), range(dims.kw)):
        h = p * dims.stride[0] + i * dims.dilation[0] - top
        w = q * dims.stride[1] + j * dims.dilation[1] - left
        if 0 <= h < dims.h and 0 <= w < dims.w:
            yield h, w


def padded_area(dims, p, q):
    """Cells of window (p, q) inside x and its padding."""
    (top, bottom), (left, right) = dims.pad
    rows = range(-top, dims.h + bottom)
    columns = range(-left, dims.w + right)
    first_h, first_w = p * dims.stride[0] - top, q * dims.stride[1] - left
    return sum(
        first_h + i in rows and first_w + j in columns
        for i, j in product(range(dims.kh), range(dims.kw))
    )


def is_larger(a, b):
    return a > b or (math.isnan(a) and not math.isnan(b))


SMALL_POOLS = [c for c in POOL_CASES if np.prod(PoolDims.parse(c).y_shape) <= 1000]


@pytest.mark.parametrize("case", [*SMALL_POOLS, *DILATED_POOL_CASES])
def test_max_pooling_by_loops(case):
    dims = PoolDims.parse(case)
    x = integers(0, dims.x_shape, np.float64)
    x[np.random.default_rng(1).random(x.shape) < 0.1] = np.nan
    x[np.random.default_rng(2).random(x.shape) < 0.2] = -np.inf
    dy = integers(3, dims.y_shape, np.float64)
    y, indices, dx = poisoned(dims.y_shape, "f8"), poisoned(dims.y_shape, "i4"), np.zeros(x.shape)
    for n, c, p, q in np.ndindex(*dims.y_shape):
        cells = list(window(dims, p, q))
        best = cells[0]
        for cell in cells:
            if is_larger(x[n, c][cell], x[n, c][best]):
                best = cell
        y[n, c, p, q] = x[n, c][best]
        indices[n, c, p, q] = best[0] * dims.w + best[1]
        dx[n, c][best] += dy[n, c, p, q]
    how = {"stride": dims.stride, "padding": dims.pad, "dilation": dims.dilation}
    how |= {"ceil_mode": dims.ceil_mode, "backend": "numpy"}
    got, places = kernels.max_pool2d(x, (dims.kh, dims.kw), **how, return_indices=True)
    assert_same(got, y)
    assert_same(places, indices)
    assert_same(kernels.max_pool2d(x, (dims.kh, dims.kw), **how), y)
    assert_same(kernels.max_pool2d_dx(dy, places, x.shape, backend="numpy"), dx)


@pytest.mark.parametrize("include_pad", [True, False])
@pytest.mark.parametrize("case", SMALL_POOLS)
def test_average_pooling_by_loops(case, include_pad):
    dims = PoolDims.parse(case)
    x, dy = normals(0, dims.x_shape, np.float64), normals(1, dims.y_shape, np.float64)
    y, dx = poisoned(dims.y_shape, np.float64), np.zeros(dims.x_shape)
    for n, c, p, q in np.ndindex(*dims.y_shape):
        cells = list(window(dims, p, q))
        area = padded_area(dims, p, q) if include_pad else len(cells)
        y[n, c, p, q] = sum(x[n, c][cell] for cell in cells) / area
        for cell in cells:
            dx[n, c][cell] += dy[n, c, p, q] / area
    how = {"stride": dims.stride, "padding": dims.pad, "ceil_mode": dims.ceil_mode}
    how |= {"count_include_pad": include_pad, "backend": "numpy"}
    close = {"rtol": 1e-12, "atol": 1e-14}
    kernel = (dims.kh, dims.kw)
    np.testing.assert_allclose(kernels.avg_pool2d(x, kernel, **how), y, **close)
    np.testing.assert_allclose(kernels.avg_pool2d_dx(dy, x.shape, kernel, **how), dx, **close)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 9])
def test_normalisation_by_loops(size):
    x = normals(0, (2, 5, 2, 2), np.float64)
    y = poisoned(x.shape, np.float64)
    for n, c, h, w in np.ndindex(*x.shape):
        near = range(max(0, c - size // 2), min(5, c + (size - 1) // 2 + 1))
        energy = sum(x[n, i, h, w] ** 2 for i in near)
        y[n, c, h, w] = x[n, c, h, w] / (2 + 0.5 / size * energy) ** 0.75
    got = kernels.local_response_norm(x, size, alpha=0.5, beta=0.75, k=2.0, backend="numpy")
    np.testing.assert_allclose(got, y, rtol=1e-12)


@pytest.mark.parametrize("algorithm", ["direct", "im2col"])
def test_infinities_are_no_warning(algorithm):
    """Which pytest makes an error: OpenBLAS gives rise to it on finite numbers too."""
    x, w = np.full((1, 2, 6, 6), np.inf, np.float32), np.zeros((3, 2, 3, 3), np.float32)
    dy = np.zeros((1, 3, 4, 4), np.float32)
    options = {"backend": "numpy", "algorithm": algorithm}
    assert np.isnan(kernels.conv2d(x, w, **options)).all()
    assert np.isnan(kernels.conv2d_dw(dy, x, w.shape, **options)).all()
    assert np.isnan(kernels.conv2d_dx(np.full_like(dy, np.inf), w, x.shape, **options)).any()
