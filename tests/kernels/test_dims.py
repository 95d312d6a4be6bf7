"""Shape arithmetic: names, sizes against their defining inequality, walks against loops."""

from __future__ import annotations

import struct
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_support import CONV_CASES, DILATED_POOL_CASES, POOL_CASES

from fastconv.kernels import ConvDims, PoolDims, ShapeError


@pytest.mark.parametrize("case", CONV_CASES)
def test_name_of_conv_reads_back(case):
    assert str(ConvDims.parse(case)) == case
    assert ConvDims.parse(str(ConvDims.parse(case))) == ConvDims.parse(case)


@pytest.mark.parametrize("case", POOL_CASES + DILATED_POOL_CASES)
def test_name_of_pool_reads_back(case):
    assert str(PoolDims.parse(case)) == case


def test_name_says_everything():
    dims = ConvDims.of(
        (2, 8, 14, 15),
        (16, 4, 3, 5),
        stride=(2, 1),
        padding=((1, 2), (0, 0)),
        dilation=(1, 2),
        groups=2,
    )
    assert str(dims) == "n2c8h14w15_k16r3x5_s2x1_p1:2x0_d1x2_g2"
    assert dims.x_shape == (2, 8, 14, 15)
    assert dims.w_shape == (16, 4, 3, 5)
    assert dims.y_shape == (2, 16, 8, 7)
    assert dims.window == (3, 9)
    assert dims.macs == 2 * 16 * 8 * 7 * 4 * 15
    assert dims.flops == 2 * dims.macs


def test_dims_are_frozen_hashable_and_equal_by_value():
    a, b = (ConvDims.parse(CONV_CASES[0]) for _ in range(2))
    assert a == b
    assert hash(a) == hash(b)
    with pytest.raises(AttributeError):
        a.n = 3


AXES = list(product((1, 2, 7, 8), (1, 2, 3), (1, 2, 3), (0, 1, 2), (0, 3), (1, 2, 3)))


def test_size_of_conv_by_its_defining_inequality():
    """The last window fits, and one more would not."""
    checked = 0
    for size, kernel, stride, lo, hi, dilation in AXES:
        window = dilation * (kernel - 1) + 1
        padded = size + lo + hi
        if padded < window:
            continue
        dims = ConvDims.of(
            (1, 1, size, 9),
            (1, 1, kernel, 1),
            stride=(stride, 1),
            padding=((lo, hi), (0, 0)),
            dilation=(dilation, 1),
        )
        last = (dims.out_h - 1) * stride + window
        assert last <= padded < last + stride
        checked += 1
    assert checked > 500


def test_size_of_pool_with_ceil_mode_by_its_defining_inequality():
    """Every cell that floor leaves over gets a window, if that begins before the end padding."""
    checked = 0
    for size, kernel, stride, lo, hi, _ in AXES:
        if max(lo, hi) >= kernel or size + lo + hi < kernel:
            continue
        how = {"stride": (stride, 1), "padding": ((lo, hi), (0, 0))}
        floor = PoolDims.of((1, 1, size, 9), (kernel, 1), **how)
        ceil = PoolDims.of((1, 1, size, 9), (kernel, 1), **how, ceil_mode=True)
        assert (floor.out_h - 1) * stride + kernel <= size + lo + hi
        reached = (floor.out_h - 1) * stride + kernel
        more = reached < size + lo + hi and floor.out_h * stride < size + lo
        assert ceil.out_h == floor.out_h + more
        assert all(start < size for start in ceil.starts(0))
        checked += 1
    assert checked > 100


@pytest.mark.parametrize("lower", [False, True])
def test_same_padding_makes_ceil_size_over_stride(lower):
    padding = "same_lower" if lower else "same"
    for size, kernel, stride, dilation in product(range(1, 9), (1, 2, 3, 4), (1, 2, 3), (1, 2)):
        how = {"stride": stride, "padding": padding, "dilation": dilation}
        dims = ConvDims.of((1, 1, size, size), (1, 1, kernel, kernel), **how)
        assert (dims.out_h, dims.out_w) == (-(-size // stride),) * 2
        first, last = dims.pad[0]
        assert first - last in ((0, 1) if lower else (0, -1))


@pytest.mark.parametrize(
    ("padding", "pads"),
    [
        (1, ((1, 1), (1, 1))),
        (np.int64(2), ((2, 2), (2, 2))),
        ((1, 2), ((1, 1), (2, 2))),
        ([1, 2], ((1, 1), (2, 2))),
        (((1, 2), (3, 0)), ((1, 2), (3, 0))),
        ((1, (0, 2)), ((1, 1), (0, 2))),
        ("valid", ((0, 0), (0, 0))),
        ("same", ((0, 1), (0, 1))),
        ("same_lower", ((1, 0), (1, 0))),
    ],
)
def test_forms_of_padding(padding, pads):
    assert ConvDims.of((1, 1, 6, 6), (1, 1, 2, 2), padding=padding).pad == pads


def walk(rows, columns):
    """(result, source, weight) of every product of a walk, as pairs of positions."""
    for i, j in product(range(rows.size_out), range(columns.size_out)):
        at = rows.out_first + i * rows.out_step, columns.out_first + j * columns.out_step
        for s, t in product(range(rows.taps), range(columns.taps)):
            source = (
                rows.first + i * rows.step + s * rows.dilation,
                columns.first + j * columns.step + t * columns.dilation,
            )
            if 0 <= source[0] < rows.size_in and 0 <= source[1] < columns.size_in:
                yield (
                    at,
                    source,
                    (rows.k_first + s * rows.k_step, columns.k_first + t * columns.k_step),
                )


def products(dims):
    """(y, x, w) positions of every product of the convolution, by its formula."""
    for p, q, i, j in product(*map(range, (dims.out_h, dims.out_w, dims.kh, dims.kw))):
        h = p * dims.stride[0] + i * dims.dilation[0] - dims.pad[0][0]
        w = q * dims.stride[1] + j * dims.dilation[1] - dims.pad[1][0]
        if 0 <= h < dims.h and 0 <= w < dims.w:
            yield (p, q), (h, w), (i, j)


@pytest.mark.parametrize(
    "case", [c for c in CONV_CASES if np.prod(ConvDims.parse(c).y_shape) < 3e3]
)
def test_walks_meet_every_product_once(case):
    dims = ConvDims.parse(case)
    want = sorted(products(dims))
    assert sorted(walk(*dims.forward_taps)) == want
    backward = [(y, x, k) for phase in dims.dx_phases for x, y, k in walk(*phase)]
    assert sorted(backward) == want


@pytest.mark.parametrize("case", CONV_CASES)
def test_phases_write_every_element_of_dx_once(case):
    dims = ConvDims.parse(case)
    written = np.zeros((dims.h, dims.w), int)
    for rows, columns in dims.dx_phases:
        h = rows.out_first + rows.out_step * np.arange(rows.size_out)
        w = columns.out_first + columns.out_step * np.arange(columns.size_out)
        assert 0 <= h.min() <= h.max() < dims.h
        assert 0 <= w.min() <= w.max() < dims.w
        written[h[:, None], w] += 1
    assert (written == 1).all()


@given(
    st.tuples(st.integers(1, 30), st.integers(1, 6), st.integers(1, 7), st.integers(1, 7)),
    st.tuples(st.integers(0, 6), st.integers(0, 6)),
)
@settings(max_examples=300, derandomize=True, database=None, deadline=None)
def test_walks_of_any_axis(sizes, pads):
    size, kernel, stride, dilation = sizes
    if size + sum(pads) < dilation * (kernel - 1) + 1:
        with pytest.raises(ShapeError, match="smaller than the window"):
            ConvDims(1, 1, size, 1, 1, kernel, 1, (stride, 1), (pads, (0, 0)), (dilation, 1))
        return
    dims = ConvDims(1, 1, size, 1, 1, kernel, 1, (stride, 1), (pads, (0, 0)), (dilation, 1))
    want = sorted(products(dims))
    assert sorted(walk(*dims.forward_taps)) == want
    assert sorted((y, x, k) for phase in dims.dx_phases for x, y, k in walk(*phase)) == want


@pytest.mark.parametrize("case", POOL_CASES)
def test_divisors_of_averages(case):
    """Counted cell by cell: those inside x, or inside x and its padding."""
    dims = PoolDims.parse(case)
    for axis, size, kernel in ((0, dims.h, dims.kh), (1, dims.w, dims.kw)):
        lo, hi = dims.pad[axis]
        for include_pad in (False, True):
            cells = range(-lo, size + hi) if include_pad else range(size)
            want = tuple(sum(s + i in cells for i in range(kernel)) for s in dims.starts(axis))
            assert dims.counts(axis, include_pad) == want
            assert min(want) >= 1


def test_pool_stride_is_the_window_by_default():
    assert PoolDims.of((1, 1, 9, 8), (3, 2)).stride == (3, 2)


def test_equal_but_other_types_are_not_taken_from_the_cache():
    """1.0 == 1 and True == 1, but they are errors, also after the int was seen."""
    ConvDims.of((1, 1, 5, 5), (1, 1, 1, 1), stride=1)
    for stride in (1.0, True, (1, 1.0)):
        with pytest.raises(TypeError, match="stride must be an integer"):
            ConvDims.of((1, 1, 5, 5), (1, 1, 1, 1), stride=stride)


def test_words_are_sizes_and_both_axes():
    """Compiled kernels read the walk from them, in the order of common.pxi."""
    conv = ConvDims.parse("n2c8h14w15_k16r3x2_s2x1_p1x0:3_d1x2_g2")
    rows, columns = conv.forward_taps
    assert struct.unpack("24n", conv.words) == (2, 8, 16, 2, *rows, *columns)
    pool = PoolDims.parse("n2c8h14w15_r3x2_s2x3_p1x0_d1x1_ceil")
    rows, columns = pool.forward_taps
    assert struct.unpack("24n", pool.words) == (2, 8, 8, 8, *rows, *columns)
