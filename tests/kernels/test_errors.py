"""Bad input: the type of the error, and a message with the function, the values, the rule."""

# ruff: noqa: E501  a message reads best beside the call that provokes it
from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from fastconv import kernels
from fastconv.kernels import ConvDims, PoolDims, ShapeError


x = np.ones((2, 4, 8, 8), np.float32)
w = np.ones((6, 4, 3, 3), np.float32)
y = np.ones((2, 6, 6, 6), np.float32)
pooled, indices = kernels.max_pool2d(x, 2, return_indices=True, backend="numpy")


def locked(shape):
    a = np.empty(shape, np.float32)
    a.setflags(write=False)
    return a


def conv(*arguments, **options):
    return lambda: kernels.conv2d(*arguments, **options)


def max_pool(*arguments, **options):
    return lambda: kernels.max_pool2d(*arguments, **options)


def max_pool_dx(*arguments, **options):
    return lambda: kernels.max_pool2d_dx(*arguments, **options)


def lrn(*arguments, **options):
    return lambda: kernels.local_response_norm(*arguments, **options)


# fmt: off
SHAPES = [
    # ranks, and the missing axis
    (conv(x[0], w), r"conv2d: x must have 4 axes \(N, C, H, W\), got .*add the missing axes, e\.g\. x\[:, None\] or x\[None\]"),
    (conv(x[0, 0], w), r"conv2d: x must have 4 axes .* got shape \(8, 8\); .*x\[None, None\]"),
    (conv(x[0, 0, 0], w), r"conv2d: x must have 4 axes \(N, C, H, W\), got shape \(8,\)$"),
    (conv(x, w[0]), r"conv2d: w must have 4 axes \(O, C/groups, KH, KW\), got shape \(4, 3, 3\)$"),
    (lambda: kernels.conv2d_db(y[0]), r"conv2d_db: dy must have 4 axes \(N, O, OH, OW\), got"),
    (max_pool(x[0], 2), r"max_pool2d: x must have 4 axes"),
    (lrn(x[0], 3), r"local_response_norm: x must have 4 axes"),
    (lambda: kernels.avg_pool2d(x[0], 2), r"avg_pool2d: x must have 4 axes"),
    # channels, groups
    (conv(x, w[:, :3]), r"conv2d: x \(2, 4, 8, 8\) has 4 channels, but w \(6, 3, 3, 3\) with groups=1 reads 3; w must have shape \(O, C/groups, KH, KW\)"),
    (conv(x, w, groups=2), r"with groups=2 reads 8"),
    (conv(x, w[:5, :2], groups=2), r"conv2d: groups=2 must divide both the 4 channels of x and the 5 filters of w"),
    (lambda: ConvDims(1, 4, 5, 5, 4, 1, 1, groups=0), r"ConvDims: groups=0 must divide"),
    # sizes
    (conv(x[:, :0], w[:, :0]), r"conv2d: x has shape \(2, 0, 8, 8\); only N may be 0"),
    (conv(x[:, :, :0], w), r"conv2d: x has shape \(2, 4, 0, 8\); only N may be 0"),
    (conv(x, w[:, :, :0]), r"conv2d: w has shape \(6, 4, 0, 3\); every size must be at least 1"),
    (conv(x, w[:0]), r"conv2d: w has shape \(0, 4, 3, 3\); every size must be at least 1"),
    (conv(x[:, :, :2], w), r"conv2d: the height of x with padding is 2, smaller than the window of 3 \(kernel 3, dilation 1\); use more padding, a smaller kernel or larger images"),
    (conv(x, w, dilation=(1, 5), padding=(0, 1)), r"the width of x with padding is 10, smaller than the window of 11 \(kernel 3, dilation 5\)"),
    (lambda: kernels.conv2d_dx(y, w, (2, 4, 2**31, 2**31)), r"conv2d_dx: an array of shape \(2, 4, 2147483648, 2147483648\) would not fit in memory"),
    (lambda: PoolDims.of((2**30, 2**20, 2**10, 2**10), 2), r"max_pool2d: an array of shape .* would not fit"),
    # gradients that belong to another problem
    (lambda: kernels.conv2d_dx(y, w, (2, 4, 9, 8)), r"conv2d_dx: dy has shape \(2, 6, 6, 6\), but n2c4h9w8\S* needs \(2, 6, 7, 6\)"),
    (lambda: kernels.conv2d_dw(y[:1], x, w.shape), r"conv2d_dw: dy has shape \(1, 6, 6, 6\), but n2\S* needs \(2, 6, 6, 6\)"),
    (lambda: kernels.conv2d_dx(y, w, (2, 4, 8)), r"conv2d_dx: x_shape must be a shape of 4 sizes \(N, C, H, W\), got \(2, 4, 8\)"),
    (lambda: kernels.conv2d_dw(y, x, 6), r"conv2d_dw: w_shape must be a shape of 4 sizes \(N, C, H, W\), got 6"),
    (lambda: kernels.avg_pool2d_dx(pooled, (2, 4, 8), 2), r"avg_pool2d_backward: input_shape must be a shape of 4 sizes"),
    (lambda: kernels.avg_pool2d_dx(pooled, (2, 4, 10, 8), 2), r"avg_pool2d_backward: dy has shape \(2, 4, 4, 4\), but n2\S* needs \(2, 4, 5, 4\)"),
    (lambda: kernels.local_response_norm_dx(y, x, 3), r"local_response_norm_backward: dy has shape .*, but x of the same shape needs \(2, 4, 8, 8\)"),
    (conv(x, w, np.ones(5, "f4")), r"conv2d: b has shape \(5,\), but w with 6 filters needs \(6,\)"),
    (conv(x, w, np.ones((6, 1), "f4")), r"conv2d: b has shape \(6, 1\), but w with 6 filters"),
    (max_pool_dx(pooled, indices, (2, 5, 8, 8)), r"max_pool2d_backward: dy \(2, 4, 4, 4\) and input_shape \(2, 5, 8, 8\) must agree in N and C"),
    (max_pool_dx(pooled, indices, (2, 4, 0, 8)), r"max_pool2d_backward: .* only N may be 0"),
    (max_pool_dx(pooled, indices[:1], (2, 4, 8, 8)), r"max_pool2d_backward: indices has shape \(1, 4, 4, 4\), but dy of the same shape needs \(2, 4, 4, 4\)"),
    (max_pool_dx(pooled[0], indices, (2, 4, 8, 8)), r"max_pool2d_backward: dy must have 4 axes \(N, C, OH, OW\), got"),
    # pooling windows
    (max_pool(x, 2, padding=2), r"max_pool2d: padding \(2, 2\) of the height must be smaller than the window of 2, so that every window holds a cell of x"),
    (max_pool(x, 3, padding=((0, 0), (0, 3))), r"padding \(0, 3\) of the width must be smaller"),
    (max_pool(x, (2, 9)), r"max_pool2d: the width of x with padding is 8, smaller than the window of 9; use a smaller window or ceil_mode=True"),
    (max_pool(x[:, :, :2], (9, 2), stride=1, ceil_mode=True), r"max_pool2d: a window of 9 \(dilation 1\) would hold no cell of x, whose height is 2; use less padding or dilation"),
    (max_pool(x[:, :, :1], (2, 1), padding=(1, 0), dilation=(2, 1)), r"a window of 3 \(dilation 2\) would hold no cell of x, whose height is 1"),
    (lambda: PoolDims.of((1, 1, 2**16, 2**15), 2), r"max_pool2d: a plane of 65536 x 32768 has more cells than a 32-bit index"),
    (max_pool(x[:, :0], 2), r"max_pool2d: x has shape \(2, 0, 8, 8\); only N may be 0"),
    (lambda: kernels.avg_pool2d(x, 9), r"avg_pool2d: the height of x with padding is 8"),
    # out
    (conv(x, w, out=y[:1].copy()), r"conv2d: out has shape \(1, 6, 6, 6\), but the result has \(2, 6, 6, 6\)"),
    (max_pool(x, 2, out=np.empty((2, 4, 4, 5), "f4")), r"max_pool2d: out has shape"),
]

VALUES = [
    (conv(x, w, stride=0), r"conv2d: stride must be at least 1, got 0"),
    (conv(x, w, stride=(1, -1)), r"conv2d: stride must be at least 1, got \(1, -1\)"),
    (conv(x, w, dilation=0), r"conv2d: dilation must be at least 1, got 0"),
    (conv(x, w, stride=2**63), r"conv2d: stride must be at most 2147483647, got 9223372036854775808"),
    (conv(x, w, padding=-1), r"conv2d: padding must be at least 0, got -1"),
    (conv(x, w, padding=((0, -1), (0, 0))), r"conv2d: padding must be at least 0, got \(0, -1\)"),
    (conv(x, w, groups=0), r"conv2d: groups must be at least 1, got 0"),
    (conv(x, w, stride=(1, 2, 3)), r"conv2d: stride must be an int or a pair, got \(1, 2, 3\)"),
    (conv(x, w, padding="full"), r"conv2d: padding='full' is unknown; padding is an int, \(ph, pw\), \(\(top, bottom\), \(left, right\)\), 'valid', 'same' or 'same_lower'"),
    (conv(x, w, padding=(1, 2, 3, 4)), r"conv2d: padding=\(1, 2, 3, 4\) has a wrong form; padding is"),
    (conv(x, w, padding=((1, 2, 3), (0, 0))), r"conv2d: padding must be an int or a pair, got"),
    (conv(x, w, activation="tanh"), r"conv2d: activation='tanh' is unknown; use one of \(None, 'relu'\)"),
    (conv(x, w, algorithm="fft"), r"conv2d: algorithm='fft' is unknown; use 'auto' or one of \('direct', 'im2col', 'winograd'\)"),
    (conv(x, w, backend="cuda"), r"conv2d: backend='cuda' is unknown; use one of \('auto', 'cython', 'numba', 'numpy'\)"),
    (lambda: kernels.use_backend("mkl"), r"use_backend: backend='mkl' is unknown; use one of"),
    (max_pool(x, 0), r"max_pool2d: kernel_size must be at least 1, got 0"),
    (max_pool(x, 2, stride=0), r"max_pool2d: stride must be at least 1, got 0"),
    (max_pool_dx(pooled, indices + 60, (2, 4, 8, 8)), r"max_pool2d_backward: indices run from \d+ to \d+, but a plane of input_shape has positions 0 to 63"),
    (max_pool_dx(pooled, indices - 10, (2, 4, 8, 8)), r"max_pool2d_backward: indices run from -10 to"),
    (lrn(x, 0), r"local_response_norm: size must be at least 1, got 0"),
    (lrn(x, 3, k=0), r"local_response_norm: k must be positive and alpha not negative, got k=0, alpha=0.0001"),
    (lrn(x, 3, alpha=-1), r"k must be positive and alpha not negative, got k=1.0, alpha=-1"),
    (lrn(x, 3, k=float("nan")), r"k must be positive and alpha not negative, got k=nan"),
    (conv(x, w, out=locked((2, 6, 6, 6))), r"conv2d: out is read-only; pass a writeable array"),
    (conv(x, w[:4], padding=1, out=x), r"conv2d: out overlaps an input in memory; pass a separate array"),
    (max_pool(x, 2, out=x[:, :, ::2, ::2]), r"max_pool2d: out overlaps an input in memory"),
    (conv(x, w, out=np.lib.stride_tricks.as_strided(y.copy(), y.shape, (864, 0, 24, 4))), r"conv2d: several elements of out share one place in memory"),
    (lambda: ConvDims.parse("n1c1"), r"ConvDims.parse: 'n1c1' is not of the form n2c8h14w14_k16r3x3_s2x2_p1x1_d1x1_g2"),
    (lambda: PoolDims.parse("n1c1"), r"PoolDims.parse: 'n1c1' is not of the form n2c8h14w14_r3x3_s2x2_p1x1_d1x1 \(then perhaps _ceil\)"),
]

TYPES = [
    (conv(x, w.astype("f8")), r"conv2d: w is float64 but x is float32; convert one of them, e\.g\. w\.astype\(np\.float32\)"),
    (conv(x, w, np.ones(6)), r"conv2d: b is float64 but x is float32"),
    (lambda: kernels.conv2d_dx(y.astype("f8"), w, x.shape), r"conv2d_dx: dy is float64 but w is float32"),
    (lambda: kernels.local_response_norm_dx(x, x.astype("f8"), 3), r"local_response_norm_backward: x is float64 but dy is float32"),
    (conv(x.astype("c8"), w), r"conv2d: x has dtype complex64; it must be float32, float64, float16, integer or bool: convert it, e\.g\. x\.astype\(np\.float32\)"),
    (conv(x, w.astype(object)), r"conv2d: w has dtype object; it must be float32"),
    (max_pool(np.full((1, 1, 2, 2), "a"), 2), r"max_pool2d: x has dtype <U1; it must be"),
    (conv(x, w, stride=1.0), r"conv2d: stride must be an integer, got 1\.0"),
    (conv(x, w, stride=(1, True)), r"conv2d: stride must be an integer, got True"),
    (conv(x, w, padding=1.5), r"conv2d: padding must be an integer, got 1\.5"),
    (conv(x, w, padding=None), r"conv2d: padding must be an integer, got None"),
    (conv(x, w, groups=2.0), r"conv2d: groups must be an integer, got 2\.0"),
    (max_pool(x, "2"), r"max_pool2d: kernel_size must be an integer, got '2'"),
    (lambda: kernels.conv2d_dx(y, w, (2, 4, 8.0, 8)), r"conv2d_dx: x_shape must be an integer, got 8\.0"),
    (max_pool_dx(pooled, indices.astype("f4"), (2, 4, 8, 8)), r"max_pool2d_backward: indices must be integers, got dtype float32"),
    (lrn(x, 3.0), r"local_response_norm: size must be an integer, got 3\.0"),
    (lrn(x, 3, alpha="1"), r"local_response_norm: alpha must be a number, got '1'"),
    (lrn(x, 3, beta=1j), r"local_response_norm: beta must be a number, got 1j"),
    (lrn(x, 3, k=True), r"local_response_norm: k must be a number, got True"),
    (conv(x, w, out=[1]), r"conv2d: out must be an ndarray, got list"),
    (conv(x, w, out=np.empty(y.shape)), r"conv2d: out has dtype float64, but the result has float32"),
    (conv(x, w, out=np.empty(y.shape, np.dtype("f4").newbyteorder())), r"conv2d: out has dtype >f4, but the result has float32"),
]

# fmt: on


def named(cases):
    return [pytest.param(call, match, id=match[:60]) for call, match in cases]


@pytest.mark.parametrize(("call", "match"), named(SHAPES))
def test_shape_errors(call, match):
    with pytest.raises(ShapeError, match=match):
        call()


@pytest.mark.parametrize(("call", "match"), named(VALUES))
def test_value_errors(call, match):
    with pytest.raises(ValueError, match=match):
        call()


@pytest.mark.parametrize(("call", "match"), named(TYPES))
def test_type_errors(call, match):
    with pytest.raises(TypeError, match=match):
        call()


def test_shape_errors_are_value_errors():
    assert issubclass(ShapeError, ValueError)


def test_numbers_that_are_numbers():
    """NumPy scalars and fractions are as good as Python's."""
    plain = kernels.local_response_norm(x, 3, alpha=0.5, k=2.0)
    other = kernels.local_response_norm(x, np.int8(3), alpha=Fraction(1, 2), k=np.float32(2))
    assert (plain == other).all()
    assert kernels.conv2d(x, w, stride=np.int64(2)).shape == (2, 6, 3, 3)


def test_out_is_untouched_by_a_refused_call():
    out = np.full((2, 6, 6, 6), 7, np.float32)
    with pytest.raises(ValueError, match="unknown"):
        kernels.conv2d(x, w, out=out, backend="cuda")
    assert (out == 7).all()
