"""Calls that are written down give, for other numbers in x, what the verb gives."""

from __future__ import annotations

import threading
import weakref

import numpy as np
import pytest

from fastconv import kernels
from fastconv.kernels import PreparedWeights
from fastconv.kernels.arrays import channels_last
from fastconv.kernels.recording import Recording, is_recording


RNG = np.random.default_rng(0)

# x, w, options: bands in place and gathered, planes, dots, flattened, depthwise, Winograd, groups
CONVOLUTIONS = {
    "bands": ((2, 20, 9, 10), (33, 20, 3, 2), {}),
    "gathered bands": ((1, 6, 14, 14), (16, 6, 5, 5), {"padding": 2, "stride": (1, 2)}),
    "planes": ((2, 1, 28, 28), (6, 1, 5, 5), {"padding": 2}),
    "planes under a stride": ((1, 3, 23, 31), (7, 3, 5, 5), {"stride": 2}),
    "one tap": ((2, 40, 5, 5), (70, 40, 1, 1), {"stride": 2}),
    "a linear layer": ((3, 84, 1, 1), (10, 84, 1, 1), {}),
    "a large linear layer": ((3, 400, 1, 1), (300, 400, 1, 1), {}),
    "a window as large as the image": ((2, 16, 5, 5), (120, 16, 5, 5), {}),
    "the same of few weights": ((2, 3, 4, 2), (5, 3, 4, 2), {}),
    "depthwise": ((1, 24, 8, 8), (24, 1, 3, 3), {"groups": 24, "padding": 1}),
    "groups": ((2, 8, 7, 7), (6, 4, 3, 3), {"groups": 2, "dilation": 2}),
    "Winograd's": ((1, 64, 12, 12), (64, 64, 3, 3), {"padding": 1}),
}


def numbers(shape, dtype, last):
    x = channels_last(shape, dtype) if last else np.empty(shape, dtype)
    x[...] = RNG.standard_normal(shape)
    return x


def spaced(x):
    """The same numbers with gaps between all of them."""
    wide = np.zeros([2 * size for size in x.shape], x.dtype)[::2, ::2, ::2, ::2]
    wide[...] = x
    return wide


def check_again(call, x):
    """A recorded call, made again for other numbers, against the call itself."""
    with Recording(1 << 20) as recording:
        y = call(x)
    (again,) = recording.calls()
    ((first, last),) = recording.arrays
    assert np.may_share_memory(first, x)
    assert last is y or last.base is y
    for _ in range(3):
        x[...] = RNG.standard_normal(x.shape)
        want = call(x).copy()
        y[...] = np.nan
        again()
        assert y.tobytes() == want.tobytes()
    return again


@pytest.mark.parametrize("problem", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
@pytest.mark.parametrize("prepared", [False, True])
@pytest.mark.parametrize("memory", ["first", "last", "spaced"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("backend", kernels.available_backends())
def test_convolutions(problem, prepared, memory, dtype, backend):
    x_shape, w_shape, options = problem
    x = numbers(x_shape, dtype, memory == "last")
    x = spaced(x) if memory == "spaced" else x
    w, b = (RNG.standard_normal(shape).astype(dtype) for shape in (w_shape, w_shape[:1]))
    for bias in (None, b, b[::-1]):
        weights = PreparedWeights(w) if prepared else w

        def call(x, weights=weights, bias=bias):
            return kernels.conv2d(x, weights, bias, activation="relu", backend=backend, **options)

        check_again(call, x)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("shape", [(1, 6, 28, 28), (3, 16, 13, 13), (2, 2, 1000, 3), (1, 1, 9, 9)])
@pytest.mark.parametrize("backend", kernels.available_backends())
def test_max_pooling(shape, last, backend):
    x = numbers(shape, np.float32, last)
    check_again(lambda x: kernels.max_pool2d(x, 2, return_indices=False, backend=backend), x)
    check_again(
        lambda x: kernels.max_pool2d(
            x, 3, stride=2, padding=1, return_indices=False, backend=backend
        ),
        x,
    )


@pytest.mark.skipif("cython" not in kernels.available_backends(), reason="compiled kernels")
def test_what_is_prepared_for_its_next_call():
    """Not the kernel with its arguments, but a step."""
    for name in ("bands", "planes", "a large linear layer", "a window as large as the image"):
        x_shape, w_shape, options = CONVOLUTIONS[name]
        w = RNG.standard_normal(w_shape)
        again = check_again(
            lambda x, w=w, options=options: kernels.conv2d(x, w, **options),
            numbers(x_shape, np.float64, True),
        )
        assert type(again).__name__ == "Steps"


@pytest.mark.skipif("cython" not in kernels.available_backends(), reason="compiled kernels")
def test_a_step_keeps_its_memory_and_leaves_none():
    """Arrays of a recorded call live as long as it, and go with it."""
    x_shape, w_shape, options = CONVOLUTIONS["planes"]

    x = numbers(x_shape, np.float32, False)
    with Recording(1 << 20) as recording:
        y = kernels.conv2d(x, np.ones(w_shape, np.float32), None, **options)
    want = kernels.conv2d(x, np.ones(w_shape, np.float32), None, **options)
    (again,) = recording.calls()
    gone = weakref.ref(x)
    del x
    recording.arrays.clear()
    y[...] = 0
    again()
    np.testing.assert_array_equal(y, want)
    assert gone() is not None
    del again, recording
    assert gone() is None


def test_no_images():
    with Recording(1 << 20) as recording:
        y = kernels.conv2d(np.zeros((0, 2, 5, 5)), np.zeros((3, 2, 5, 5)))
        kernels.max_pool2d(np.zeros((0, 2, 5, 5)), 2, return_indices=False)
    for again in recording.calls():
        again()
    assert y.shape == (0, 3, 1, 1)


def test_more_bytes_than_wanted_are_not_kept():
    x, w = np.zeros((1, 1, 10, 10)), np.zeros((1, 1, 3, 3))
    with Recording(8 * 8 * 8) as recording:
        kernels.conv2d(x, w)
        assert len(recording.calls()) == 1
        kernels.conv2d(x, w)
        kernels.conv2d(x[..., :3, :3], w)  # of less, but after that
    assert recording.calls() == recording.arrays == []


def test_only_this_thread_records():
    x, w = np.zeros((1, 1, 10, 10)), np.zeros((1, 1, 3, 3))
    seen = []

    def other():
        seen.append(is_recording())
        kernels.conv2d(x, w)

    with Recording(1 << 20) as recording:
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert is_recording()
    assert seen == [False]
    assert not is_recording()
    assert recording.calls() == []
    kernels.conv2d(x, w)
    assert recording.calls() == []


def test_an_error_ends_it():
    with pytest.raises(kernels.ShapeError), Recording(1 << 20) as recording:
        kernels.conv2d(np.zeros((1, 1, 2, 2)), np.zeros((1, 1, 3, 3)))
    assert recording.calls() == []
    assert not is_recording()
