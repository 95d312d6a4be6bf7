"""A gradient takes the memory of the last one, unless somebody could still look at that."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import fastconv as fc


@pytest.fixture(params=["linear", "conv"])
def layer(request):
    """With weights of 1 MiB and more: smaller gradients get memory of their own."""
    if request.param == "linear":
        return fc.Linear(640, 512, rng=0)
    return fc.Conv2d(64, 512, 3, padding=1, rng=0)


def gradient(layer, seed, zero=True):
    """One pass; returns nothing, so that nobody holds the gradient."""
    shape = (2, 640) if isinstance(layer, fc.Linear) else (2, 64, 5, 5)
    x = np.random.default_rng(seed).standard_normal(shape).astype(layer.dtype)
    if zero:
        layer.weight.zero_grad()
    layer.backward_parameters(np.ones_like(layer.forward(x, train=True)))


def expected(layer, seed):
    other = copy.deepcopy(layer)
    gradient(other, seed)
    return other.weight.grad.copy()


def address(layer):
    return layer.weight.grad.ctypes.data


def test_memory_is_used_again(layer):
    gradient(layer, 0)
    place = address(layer)
    for seed in (1, 2):
        gradient(layer, seed)
        assert address(layer) == place
        np.testing.assert_array_equal(layer.weight.grad, expected(layer, seed))


@pytest.mark.parametrize("hold", [lambda g: g, lambda g: g[:1], lambda g: g.T, memoryview])
def test_what_somebody_holds_stays(layer, hold):
    gradient(layer, 0)
    place, want = address(layer), layer.weight.grad.copy()
    held = hold(layer.weight.grad)
    gradient(layer, 1)
    assert address(layer) != place
    np.testing.assert_array_equal(held, hold(want))
    np.testing.assert_array_equal(layer.weight.grad, expected(layer, 1))
    del held
    place = address(layer)
    gradient(layer, 2)
    assert address(layer) == place


def test_gradients_add_up(layer):
    first, second = expected(layer, 0), expected(layer, 1)
    for _ in range(2):
        gradient(layer, 0)
        gradient(layer, 1, zero=False)
        np.testing.assert_array_equal(layer.weight.grad, first + second)


def test_another_value_has_another_room(layer):
    gradient(layer, 0)
    layer.astype("float64")
    gradient(layer, 1)
    assert layer.weight.grad.dtype == np.float64
    np.testing.assert_array_equal(layer.weight.grad, expected(layer, 1))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda a: pickle.loads(pickle.dumps(a))])
def test_copies_have_rooms_of_their_own(layer, duplicate):
    gradient(layer, 0)
    other, want = duplicate(layer), layer.weight.grad.copy()
    gradient(other, 1)
    np.testing.assert_array_equal(layer.weight.grad, want)
    gradient(layer, 2)
    np.testing.assert_array_equal(other.weight.grad, expected(layer, 1))


def test_small_gradients_have_memory_of_their_own():
    weight = fc.Linear(20, 10, rng=0).weight
    assert weight.room() is None
