"""Layers keep packed weights in prediction, until the weights change."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import fastconv as fc
from fastconv.kernels import PreparedWeights


pytestmark = pytest.mark.skipif(
    "cython" not in fc.available_backends(), reason="the compiled kernels keep forms"
)


@pytest.fixture
def layer():
    return fc.Conv2d(32, 48, 3, padding=1, rng=0)


@pytest.fixture
def x():
    return np.random.default_rng(0).standard_normal((2, 32, 12, 12)).astype(np.float32)


def forms(layer):
    prepared = layer.weight.prepared()
    return list(prepared.forms.values()) if isinstance(prepared, PreparedWeights) else None


def test_predictions_pack_once(layer, x):
    first = layer(x)
    (form,) = forms(layer)
    assert layer(x).tobytes() == first.tobytes()
    assert forms(layer)[0] is form
    assert layer.forward(x, train=True).tobytes() == first.tobytes()


def test_writing_through_value_is_seen(layer, x):
    before = layer(x)
    layer.weight.value[...] *= 2
    np.testing.assert_allclose(layer(x), 2 * before, rtol=1e-4, atol=1e-4)


def test_a_new_value_is_seen(layer, x):
    layer(x)
    layer.weight.value = np.zeros_like(layer.weight.value)
    assert not layer(x).any()


def test_writing_through_a_reference_from_before_is_seen(layer, x):
    weights = layer.weight.value
    first_filter = weights[0]
    layer(x)
    assert forms(layer) is None  # somebody may write into it
    weights[...] = 0
    assert not layer(x).any()
    del weights
    first_filter[...] = 1  # a view holds the array too
    assert layer(x)[:, 0].any()
    assert not layer(x)[:, 1:].any()
    del first_filter
    layer(x)
    assert forms(layer)


def test_the_view_of_somebody_elses_array_is_never_trusted(layer, x):
    whole = np.ones((100, 32, 3, 3), np.float32)
    layer.weight.value = whole[:48]
    layer(x)
    whole[...] = 0
    assert not layer(x).any()


def test_training_and_loading_are_seen(layer, x):
    before = layer(x)
    state = copy.deepcopy(layer.state_dict())
    sgd = fc.SGD(layer.parameters(), lr=0.5)
    layer.backward(np.ones_like(layer.forward(x, train=True)))
    sgd.step()
    assert not np.allclose(layer(x), before)
    layer.load_state_dict(state)
    assert layer(x).tobytes() == before.tobytes()


def test_copies_and_pickles_are_without_forms(layer, x):
    want = layer(x)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert other.weight._prepared is None
        assert other(x).tobytes() == want.tobytes()
    assert len(pickle.dumps(layer)) < 2 * layer.weight.read.nbytes


def test_many_threads_predict_with_one_layer(layer, x):
    want = layer(x)
    with ThreadPoolExecutor(16) as pool:
        for _ in range(10):
            layer.weight.value  # noqa: B018 - drops what was packed
            results = list(pool.map(lambda _: layer(x), range(50)))
            assert all(y.tobytes() == want.tobytes() for y in results)
    assert forms(layer)
