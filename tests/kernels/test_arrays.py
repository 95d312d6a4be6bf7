"""Dtypes, memory formats, ``out=``: what happens to arrays at the boundary."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_support import assert_same, integers, laid_out

from fastconv import kernels
from fastconv.kernels import arrays
from fastconv.kernels.arrays import (
    channels_last,
    is_channels_last,
    to_channels_last,
)


def convolved(x_dtype, w_dtype, backend=None):
    x, w = (integers(i, s, "i1") for i, s in enumerate(((2, 3, 5, 4), (2, 3, 1, 1))))
    if np.dtype(x_dtype).kind in "ub":
        x = abs(x)
    y = kernels.conv2d(x.astype(x_dtype), w.astype(w_dtype), backend=backend)
    want = kernels.conv2d(
        x.astype(x_dtype).astype("f8"), w.astype(w_dtype).astype("f8"), backend="numpy"
    )
    return y, want


@pytest.mark.parametrize(
    ("x_dtype", "w_dtype", "result"),
    [
        ("f4", "f4", "f4"),
        ("f8", "f8", "f8"),
        ("u1", "f4", "f4"),
        ("i8", "f4", "f4"),
        ("u1", "i2", "f4"),
        ("?", "f4", "f4"),
        ("i4", "f8", "f8"),
        ("f8", "i4", "f8"),
        ("f2", "f2", "f2"),
        ("f2", "f4", "f4"),
        ("f2", "i4", "f2"),
        ("f8", "f2", "f8"),
        (">f4", "<f4", "f4"),
        (">f8", ">f8", "f8"),
    ],
)
@pytest.mark.parametrize("backend", kernels.available_backends())
def test_dtype_of_the_result(x_dtype, w_dtype, result, backend):
    y, want = convolved(x_dtype, w_dtype, backend)
    assert y.dtype == np.dtype(result)
    assert y.dtype.isnative
    assert_same(y, want.astype(result))


@pytest.mark.parametrize("dtype", ["u1", "?", "f2", "f4", "f8"])
def test_dtype_of_pooling_and_normalisation(dtype):
    x = abs(integers(0, (1, 3, 4, 4), "i1")).astype(dtype)
    result = {"f2": "f2", "f8": "f8"}.get(dtype, "f4")
    y, indices = kernels.max_pool2d(x, 2, return_indices=True)
    assert y.dtype == result
    assert indices.dtype == np.int32
    assert kernels.avg_pool2d(x, 2).dtype == result
    assert kernels.local_response_norm(x, 3).dtype == result
    assert kernels.max_pool2d_dx(y, indices, x.shape).dtype == result


def test_half_precision_is_computed_in_single():
    """2048 + 1 is 2048 in float16: the sum of 4096 ones shows how it was added."""
    x, w = np.ones((1, 4096, 1, 1), np.float16), np.ones((1, 4096, 1, 1), np.float16)
    assert kernels.conv2d(x, w).item() == 4096


def test_half_precision_out():
    x, w = np.ones((1, 2, 3, 3), "f2"), np.ones((4, 2, 2, 2), "f2")
    out = np.full((1, 4, 2, 2), np.nan, "f2")
    assert kernels.conv2d(x, w, out=out) is out
    assert (out == 8).all()


def test_lists_are_arrays():
    assert kernels.max_pool2d([[[[1, 2], [3, 4]]]], 2).item() == 4


def test_channels_last():
    a = channels_last((2, 3, 4, 5), np.float32)
    assert a.shape == (2, 3, 4, 5)
    assert is_channels_last(a)
    assert a.transpose(0, 2, 3, 1).flags.c_contiguous
    assert not is_channels_last(np.empty((2, 3, 4, 5)))
    assert not is_channels_last(a[:, :, ::2])
    assert not is_channels_last(a[:, :2])
    assert is_channels_last(a[1:])
    assert is_channels_last(a[:, :, 1:][:1])
    assert not is_channels_last(a[:, :, 1:])  # a gap between the images


def test_format_of_one_channel_is_told_by_its_strides():
    grey = np.empty((2, 28, 28, 1), np.float32)
    assert is_channels_last(grey.transpose(0, 3, 1, 2))
    assert not is_channels_last(np.empty((2, 1, 28, 28), np.float32))
    assert not is_channels_last(channels_last((2, 3, 1, 1), np.float32))


def test_to_channels_last_copies_only_what_it_must():
    x = integers(0, (2, 3, 4, 5), np.float32)
    y = to_channels_last(x)
    assert is_channels_last(y)
    assert_same(y, x)
    assert to_channels_last(y) is y
    z = to_channels_last(y, np.float64)
    assert is_channels_last(z)
    assert_same(z, x.astype(np.float64))


@pytest.mark.parametrize("memory", ["C", "channels-last"])
def test_copies_of_unusable_arrays_keep_the_memory_format(memory):
    x = laid_out(integers(0, (2, 3, 4, 4), np.float32), memory)
    swapped = x.astype(x.dtype.newbyteorder(), order="K")
    y = kernels.max_pool2d(swapped, 2)
    assert is_channels_last(y) == (memory == "channels-last")
    assert_same(y, kernels.max_pool2d(x, 2))


def test_strides_that_are_no_multiple_of_the_item():
    """A field of a packed record: aligned by luck or not, no kernel can walk it."""
    record = np.zeros((2, 3, 4, 4), np.dtype([("a", "u1"), ("b", "f4"), ("c", "u1")]))
    record["b"] = integers(0, record.shape, np.float32)
    x = record["b"]
    assert x.strides[-1] == 6
    assert_same(kernels.max_pool2d(x, 2), kernels.max_pool2d(x.copy(), 2))


def test_public_names_exist():
    for name in arrays.__all__:
        assert hasattr(arrays, name)
    for name in kernels.__all__:
        assert hasattr(kernels, name)
