import numpy as np
import pytest

import fastconv as fc


def count(net):
    return sum(p.value.size for p in net.parameters())


def test_perceptron_parameters(course):
    assert count(fc.models.mlp(784, 100, 10)) == course["parameters"]["mlp_784_100_10"] == 79510


def test_perceptron_takes_images_and_vectors(rng):
    net = fc.models.mlp(784, 100, 10, rng=0)
    x = rng.normal(size=(3, 1, 28, 28))
    np.testing.assert_array_equal(net(x), net(x.reshape(3, 784)))


def test_lenet():
    net = fc.models.lenet5(rng=0)
    assert count(net) == 61706
    assert net(np.zeros((2, 1, 28, 28), np.uint8)).shape == (2, 10)
    assert fc.models.lenet5(classes=3, in_channels=3)(np.zeros((1, 3, 28, 28))).shape == (1, 3)
    np.testing.assert_array_equal(net[0].weight.value, fc.models.lenet5(rng=0)[0].weight.value)


def test_alexnet_shapes(course):
    """Layer by layer as in the table, which lists no ReLU, Flatten or Dropout."""
    net = fc.models.alexnet(rng=0)
    expected = [tuple(s) for s in course["alexnet_shapes_hwc"]]
    shapes, shape = [(1, 3, 227, 227)], (1, 3, 227, 227)
    for layer in net:
        shape = layer.output_shape(shape)
        if not isinstance(layer, fc.ReLU | fc.Flatten | fc.Dropout):
            shapes.append(shape)
    hwc = [(*s[2:], s[1]) for s in shapes]
    assert hwc == expected
    assert count(net) == 62_378_344
    norms = [layer for layer in net if isinstance(layer, fc.LocalResponseNorm)]
    assert [repr(n) for n in norms] == ["LocalResponseNorm(5, alpha=0.0005, beta=0.75, k=2.0)"] * 2


def test_the_norm_of_alexnet_is_that_of_the_paper(rng):
    """b_i = a_i / (2 + 1e-4 Σ_{j=i-2}^{i+2} a_j²)^0.75, summed in plain Python."""
    norm = next(f for f in fc.models.alexnet(2, rng=0) if isinstance(f, fc.LocalResponseNorm))
    a = rng.normal(size=9) * 100
    expected = [
        a[i] / (2 + 1e-4 * sum(a[j] ** 2 for j in range(max(0, i - 2), min(9, i + 3)))) ** 0.75
        for i in range(9)
    ]
    np.testing.assert_allclose(norm(a.reshape(1, 9, 1, 1)).ravel(), expected)


def test_alexnet_trains(rng):
    """Real steps on two images: the loss of a small step is lower."""
    net = fc.models.alexnet(classes=3, rng=0, dropout=0.0)
    x, y = rng.normal(size=(2, 3, 227, 227)).astype(np.float32), np.array([0, 2])
    sgd = fc.SGD(net.parameters(), lr=1e-5)
    losses = []
    for _ in range(3):
        loss, dscores = fc.softmax_cross_entropy(net.forward(x, train=True), y)
        losses.append(loss)
        sgd.zero_grad()
        net.backward_parameters(dscores)
        sgd.step()
    assert losses[0] > losses[1] > losses[2]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fc.models.mlp(10), r"mlp: give at least inputs and outputs, .* got \(10,\)"),
        (
            lambda: fc.models.mlp(4, 3, 2, dropout=[0.5]),
            r"mlp: dropout \[0.5\] has 1 values, but the inputs and hidden layers .* need 2",
        ),
        (lambda: fc.models.mlp(4, 3, 2, dropout=[0, 1.0]), "Dropout: p is the chance of zeroing"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
