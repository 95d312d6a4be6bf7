"""Row 16 of the course: greedy pre-training of a stack of Linear layers."""

from itertools import pairwise

import numpy as np
import pytest

import fastconv as fc
from fastconv.pretraining import pretrain


pytest.importorskip("sklearn")


def deep(rng=0):
    rng = np.random.default_rng(rng)
    sizes = (64, 100, 100, 100)
    layers = [fc.Flatten()]
    for size_in, size_out in pairwise(sizes):
        layers += [fc.Linear(size_in, size_out, init="xavier_normal", rng=rng), fc.Sigmoid()]
    return fc.Sequential(*layers, fc.Linear(100, 10, init="xavier_normal", rng=rng))


def test_layers_get_the_machines_weights(digits):
    from sklearn.neural_network import BernoulliRBM

    x = digits[0][0][:200]
    net = deep()
    last = net.layers[-1].weight.value.copy()
    pretrain(net, x, epochs=2, lr=0.1, batch_size=20, seed=3)
    v = x.reshape(200, 64)
    for layer, units in ((net.layers[i], 100) for i in (1, 3, 5)):
        machine = BernoulliRBM(units, learning_rate=0.1, batch_size=20, n_iter=2, random_state=3)
        v = machine.fit_transform(v)
        np.testing.assert_array_equal(layer.weight.value, machine.components_.astype(np.float32))
        np.testing.assert_array_equal(
            layer.bias.value, machine.intercept_hidden_.astype(np.float32)
        )
    np.testing.assert_allclose(net[:-1](x), v, atol=1e-5)  # the layers are what they learned
    np.testing.assert_array_equal(net.layers[-1].weight.value, last)


def test_a_deep_sigmoid_network_learns_sooner(digits):
    """Without it, three layers of sigmoids hardly move in so few epochs."""
    (x, y), _ = digits
    losses = {}
    for begun in (False, True):
        net = deep()
        if begun:
            pretrain(net, x, lr=0.1, seed=0)
        sgd = fc.SGD(net.parameters(), lr=0.1, momentum=0.9)
        losses[begun] = fc.fit(net, (x, y), sgd, epochs=5, seed=0)["loss"][-1]
    assert losses[True] < 0.5 * losses[False]


def test_refused(digits):
    x = digits[0][0][:10]
    with pytest.raises(ValueError, match=r"x must be in \[0, 1\], as probabilities, got .* to 16"):
        pretrain(deep(), x * 16)
    with pytest.raises(fc.ShapeError, match="has 32 features, but the first Linear layer reads 64"):
        pretrain(deep(), x[:, :, :4])
    for bad in (x[:0], 3):
        with pytest.raises(fc.ShapeError, match="with N of at least 1"):
            pretrain(deep(), bad)
    with pytest.raises(ValueError, match=r"put Sigmoid\(\) behind each hidden Linear"):
        pretrain(fc.models.mlp(64, 32, 10, rng=0), x)
    with pytest.raises(ValueError, match="at least two Linear layers"):
        pretrain(fc.Sequential(fc.Flatten(), fc.Linear(64, 10)), x)
