"""Rows 10 to 13 of the course: L2, L1, max-norm and dropout, layer by layer, on the numbers."""

from itertools import product

import numpy as np
import pytest

import fastconv as fc
from fastconv.regularisation import per_layer


def net64(*sizes, rng=0):
    return fc.models.mlp(*sizes, rng=rng).astype(np.float64)


def step_of_penalty_alone(net, groups, lr=0.5):
    """The change of every parameter in a step where the data have no gradient."""
    before = net.state_dict()
    for p in net.parameters():
        p.grad = np.zeros_like(p.value)
    fc.SGD(groups, lr=lr).step()
    after = net.state_dict()
    return {name: (after[name] - before[name], before[name]) for name in before}


def test_l2_is_alpha_w_with_an_alpha_of_each_layer():
    net = net64(4, 3, 2)
    net.layers[1].bias.value[...] = 1.0
    moved = step_of_penalty_alone(net, per_layer(net, l2=[0.1, 0.4]))
    for name, alpha in (("1.weight", 0.1), ("3.weight", 0.4)):
        change, w = moved[name]
        np.testing.assert_allclose(change, -0.5 * alpha * w, rtol=1e-12)
    np.testing.assert_array_equal(moved["1.bias"][0], 0)  # biases are not decayed


def test_l1_is_alpha_times_the_sign():
    net = net64(4, 3, 2)
    net.layers[1].weight.value[0, 0] = 0.0
    moved = step_of_penalty_alone(net, per_layer(net, l1={"1": 0.01}))
    change, w = moved["1.weight"]
    np.testing.assert_allclose(change, -0.5 * 0.01 * np.sign(w), rtol=1e-12, atol=1e-16)
    assert change[0, 0] == 0
    np.testing.assert_array_equal(moved["3.weight"][0], 0)  # no name, no penalty


def train(digits, net, groups, epochs=12):
    (x, y), held_out = digits
    fc.fit(net, (x, y), fc.SGD(groups, lr=0.05, momentum=0.9), epochs, seed=0)
    return fc.evaluate(net, held_out)[1]


def test_l1_makes_weights_sparse(digits):
    share, accuracy = {}, {}
    for l1 in (0.0, 3e-3):
        net = fc.models.mlp(64, 48, 10, rng=0)
        accuracy[l1] = train(digits, net, per_layer(net, l1=[l1, 0.0]))
        share[l1] = np.mean(np.abs(net.layers[1].weight.value) < 1e-3)
    assert share[0.0] < 0.05
    assert share[3e-3] > 0.4
    assert accuracy[3e-3] > accuracy[0.0] - 0.03


@pytest.mark.parametrize("layer", [fc.Linear(64, 20, rng=0), fc.Conv2d(1, 20, 8, rng=0)], ids=repr)
def test_max_norm_is_of_the_weights_into_each_unit(layer, digits):
    head = [fc.Flatten()] if isinstance(layer, fc.Linear) else []
    tail = [] if head else [fc.Flatten()]
    net = fc.Sequential(*head, layer, fc.ReLU(), *tail, fc.Linear(20, 10, rng=1))
    free = np.linalg.norm(layer.weight.value.reshape(20, -1), axis=1)
    assert (free > 1).all()
    accuracy = train(digits, net, per_layer(net, max_norm=[0.7, None]), epochs=4)
    norms = np.linalg.norm(layer.weight.value.reshape(20, -1), axis=1)
    assert (norms <= 0.7 * (1 + 1e-6)).all()
    assert (norms > 0.6).any()
    assert np.linalg.norm(net.layers[-1].weight.value, axis=1).max() > 0.7  # its own setting
    assert accuracy > 0.8


def test_dropout_has_a_p_for_each_layer(course):
    """p = [0, 0, 0.5, 0, 0.25], of the inputs and the hidden layers."""
    p = course["dropout_p_by_layer"]
    net = fc.models.mlp(50, 40, 400, 30, 400, 10, dropout=p, rng=0)
    drops = {i: layer.p for i, layer in enumerate(net.layers) if isinstance(layer, fc.Dropout)}
    assert list(drops.values()) == [0.5, 0.25]
    followers = [net.layers[i + 1].weight.value.shape for i in drops]
    assert followers == [(30, 400), (10, 400)]  # before the layers that read these units
    x = np.ones((300, 50), np.float32)
    net.reseed(np.random.SeedSequence(1))
    for i, chance in drops.items():
        y = net.layers[i].forward(np.ones((300, 400), np.float32), train=True)
        assert np.mean(y == 0) == pytest.approx(chance, abs=0.01)
    np.testing.assert_array_equal(net(x), net(x))  # none at prediction
    inputs = fc.models.mlp(50, 10, dropout=[0.3], rng=0).layers[1]
    assert isinstance(inputs, fc.Dropout)


def test_scaled_weights_and_inverted_dropout_have_the_same_expectation():
    """Over all masks: w·(m∘x) on average, (1-p)·w·x, and (1-p) times w·(m∘x/(1-p))."""
    rng = np.random.default_rng(0)
    p, x, w = 0.3, rng.normal(size=5), rng.normal(size=(3, 5))
    plain, inverted = np.zeros(3), np.zeros(3)
    for mask in product([0, 1], repeat=5):
        m = np.array(mask)
        chance = np.prod(np.where(m == 1, 1 - p, p))
        plain += chance * (w @ (m * x))
        inverted += chance * (w @ (m * x / (1 - p)))
    np.testing.assert_allclose(plain, (1 - p) * w @ x, rtol=1e-12)  # predict with (1-p)·w
    np.testing.assert_allclose(inverted, w @ x, rtol=1e-12)  # predict with w
    # The layer is the inverted form: its mean is x, and what it keeps is x / (1-p).
    layer = fc.Dropout(p, rng=1)
    y = layer.forward(np.broadcast_to(x, (200_000, 5)).copy(), train=True)
    np.testing.assert_allclose(y.mean(axis=0), x, atol=0.01)
    np.testing.assert_allclose(y[y[:, 0] != 0, 0], x[0] / (1 - p), rtol=1e-6)
    np.testing.assert_array_equal(layer(x[None]), x[None])


def test_settings_by_list_dict_and_value():
    net = fc.models.mlp(6, 5, 4, 3)
    groups = per_layer(net, l2=[1, 2, 3], lr={"3": 0.5}, momentum=0.9)
    assert [g["l2"] for g in groups] == [1, 2, 3]
    assert [g["l2"] for g in per_layer(net, l2=np.array([1.0, 2.0, 3.0]))] == [1, 2, 3]
    assert [g.get("lr") for g in groups] == [None, 0.5, None]
    assert [g["momentum"] for g in groups] == [0.9] * 3
    assert [g.lr for g in fc.SGD(groups, lr=0.1).groups] == [0.1, 0.5, 0.1]
    with pytest.raises(ValueError, match=r"l2 has 2 values, but 3 layers.*\['1', '3', '5'\]"):
        per_layer(net, l2=[1, 2])
    with pytest.raises(ValueError, match=r"l1 has \['0'\], but the layers with parameters are"):
        per_layer(net, l1={"0": 1})
