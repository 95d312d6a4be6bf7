"""Calls that are written down give, for other numbers in x, what the verb gives."""

from __future__ import annotations

import threading
import weakref
from functools import partial

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
    recording = Recording(1 << 20)
    y = recording.of(call, x)
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


@pytest.mark.parametrize("name", ["a window as large as the image", "the same of few weights"])
@pytest.mark.parametrize("steps", [(2, 1, 1, 1), (1, 1, 1, 2), (1, 2, 1, 1), (-1, 1, 1, 1)])
def test_images_with_gaps_are_not_written_to(name, steps):
    """Where a window is the whole image, these are copied, or are views of what they were."""
    x_shape, w_shape, _ = CONVOLUTIONS[name]
    whole = RNG.standard_normal([n * abs(step) for n, step in zip(x_shape, steps, strict=True)])
    x = whole[tuple(slice(None, None, step) for step in steps)]
    w = RNG.standard_normal(w_shape)
    again = check_again(lambda x: kernels.conv2d(x, w), x)
    before = whole.copy()
    again()
    np.testing.assert_array_equal(whole, before)


def test_weights_in_another_order_of_memory():
    for name in ("a window as large as the image", "planes", "bands"):
        x_shape, w_shape, options = CONVOLUTIONS[name]
        w = np.asfortranarray(RNG.standard_normal(w_shape))
        check_again(
            lambda x, w=w, options=options: kernels.conv2d(x, w, **options),
            numbers(x_shape, np.float64, False),
        )


def test_one_weight_for_images_of_the_windows_size_and_for_larger_ones():
    w = RNG.standard_normal((16, 16, 2, 2))
    prepared = PreparedWeights(w)
    for size in (2, 9, 2):
        x = RNG.standard_normal((1, 16, size, size))
        np.testing.assert_array_equal(kernels.conv2d(x, prepared), kernels.conv2d(x, w))


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
    recording = Recording(1 << 20)
    y = recording.of(partial(kernels.conv2d, **options), x, np.ones(w_shape, np.float32))
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
    recording = Recording(1 << 20)
    y = recording.of(kernels.conv2d, np.zeros((0, 2, 5, 5)), np.zeros((3, 2, 5, 5)))
    pool = partial(kernels.max_pool2d, return_indices=False)
    recording.of(pool, np.zeros((0, 2, 5, 5)), 2)
    for again in recording.calls():
        again()
    assert y.shape == (0, 3, 1, 1)


def test_more_bytes_than_wanted_are_not_kept():
    x, w = np.zeros((1, 1, 10, 10)), np.zeros((1, 1, 3, 3))
    recording = Recording(8 * 8 * 8)
    recording.of(kernels.conv2d, x, w)
    assert len(recording.calls()) == 1
    recording.of(kernels.conv2d, x, w)
    recording.of(kernels.conv2d, x[..., :3, :3], w)  # of less, but after that
    assert recording.calls() == recording.arrays == []


def test_only_this_thread_records():
    x, w = np.zeros((1, 1, 10, 10)), np.zeros((1, 1, 3, 3))
    seen = []

    def other():
        seen.append(is_recording())
        kernels.conv2d(x, w)

    def start():
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        seen.append(is_recording())

    recording = Recording(1 << 20)
    recording.of(start)
    assert seen == [False, True]
    assert not is_recording()
    assert recording.calls() == []
    kernels.conv2d(x, w)
    assert recording.calls() == []


def test_an_error_ends_it():
    recording = Recording(1 << 20)
    with pytest.raises(kernels.ShapeError):
        recording.of(kernels.conv2d, np.zeros((1, 1, 2, 2)), np.zeros((1, 1, 3, 3)))
    assert recording.calls() == []
    assert not is_recording()
