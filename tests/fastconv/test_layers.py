"""Every layer against central differences, and the rules that all layers share."""

import copy
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import fastconv as fc
from fastconv.kernels.arrays import is_channels_last, to_channels_last


F64 = np.float64

# name: (layer, shape of x)
LAYERS = {
    "conv": (lambda: fc.Conv2d(2, 3, 3, rng=1, dtype=F64), (2, 2, 5, 4)),
    "conv-strided": (lambda: fc.Conv2d(2, 3, 3, 2, 1, rng=1, dtype=F64), (2, 2, 6, 5)),
    "conv-same": (lambda: fc.Conv2d(1, 2, (2, 3), padding="same", rng=1, dtype=F64), (1, 1, 4, 4)),
    "conv-sides": (
        lambda: fc.Conv2d(1, 2, 2, padding=((1, 0), (0, 2)), rng=1, dtype=F64),
        (1, 1, 4, 3),
    ),
    "conv-dilated": (lambda: fc.Conv2d(1, 2, 3, dilation=2, rng=1, dtype=F64), (2, 1, 6, 6)),
    "conv-grouped": (lambda: fc.Conv2d(4, 6, 3, groups=2, rng=1, dtype=F64), (2, 4, 4, 4)),
    "conv-depthwise": (
        lambda: fc.Conv2d(3, 3, 3, padding=1, groups=3, rng=1, dtype=F64),
        (2, 3, 4, 4),
    ),
    "conv-no-bias": (lambda: fc.Conv2d(2, 3, 1, bias=False, rng=1, dtype=F64), (2, 2, 3, 3)),
    "linear": (lambda: fc.Linear(5, 4, rng=1, dtype=F64), (3, 5)),
    "linear-no-bias": (lambda: fc.Linear(5, 4, bias=False, rng=1, dtype=F64), (3, 5)),
    "max-pool": (lambda: fc.MaxPool2d(2), (2, 3, 4, 6)),
    "max-pool-overlapping": (lambda: fc.MaxPool2d(3, 2, 1, ceil_mode=True), (2, 2, 6, 5)),
    "max-pool-dilated": (lambda: fc.MaxPool2d(2, 1, dilation=2), (1, 2, 5, 5)),
    "avg-pool": (lambda: fc.AvgPool2d(2), (2, 3, 4, 6)),
    "avg-pool-inside": (lambda: fc.AvgPool2d(3, 2, 1, count_include_pad=False), (2, 2, 5, 5)),
    "global-avg-pool": (lambda: fc.GlobalAvgPool2d(), (2, 3, 4, 5)),
    "relu": (lambda: fc.ReLU(), (2, 3, 4, 4)),
    "leaky-relu": (lambda: fc.LeakyReLU(0.1), (2, 3, 4, 4)),
    "sigmoid": (lambda: fc.Sigmoid(), (2, 3, 4, 4)),
    "tanh": (lambda: fc.Tanh(), (2, 3, 4, 4)),
    "flatten": (lambda: fc.Flatten(), (2, 3, 4, 5)),
    "dropout": (lambda: fc.Dropout(0.4, 1), (2, 3, 4, 4)),
    "lrn": (lambda: fc.LocalResponseNorm(3, alpha=0.3, k=2.0), (2, 5, 3, 3)),
    "sequential": (
        lambda: fc.Sequential(
            fc.Dropout(0.2, 1),
            fc.Conv2d(1, 3, 3, rng=1, dtype=F64),
            fc.Sequential(fc.Tanh(), fc.LocalResponseNorm(3)),
            fc.AvgPool2d(2),
            fc.Flatten(),
            fc.Linear(12, 3, rng=2, dtype=F64),
        ),
        (2, 1, 6, 6),
    ),
}
ORDERS = {
    "C": lambda x: x,
    "channels-last": lambda x: to_channels_last(x) if x.ndim == 4 else x,
    "flipped": lambda x: x[::-1, ::-1].copy()[::-1, ::-1],
}


@pytest.fixture(params=LAYERS)
def case(request):
    make, shape = LAYERS[request.param]
    return make(), shape


def apart(rng, shape):
    """Values 0.1 from each other and 0.05 from 0: no kink or tie within a small step."""
    n = int(np.prod(shape))
    return ((rng.permutation(n) - n // 2) * 0.1 + 0.05).reshape(shape)


def forward(layer, x):
    """forward in training with the same dropout at each call."""
    layer.reseed(np.random.SeedSequence(5))
    return layer.forward(x, train=True)


def central_difference(f, a, step=1e-5):
    """df/da, element by element; `a` is changed in place and restored."""
    grad = np.empty(a.shape)
    for i in np.ndindex(a.shape):
        before = a[i]
        a[i] = before + step
        high = f()
        a[i] = before - step
        grad[i] = (high - f()) / (2 * step)
        a[i] = before
    return grad


@pytest.mark.parametrize("order", ORDERS)
def test_gradients_are_the_central_differences(case, order, backend, rng):
    layer, shape = case
    x = ORDERS[order](apart(rng, shape))
    for p in layer.parameters():
        p.value[...] = rng.normal(size=p.value.shape)
    dy = rng.normal(size=layer.output_shape(shape))

    def loss():
        return float(np.sum(forward(layer, x) * dy))

    forward(layer, x)
    dx = layer.backward(dy)
    assert dx.dtype == F64
    np.testing.assert_allclose(dx, central_difference(loss, x), atol=2e-8)
    grads = [p.grad.copy() for p in layer.parameters()]
    for p, grad in zip(layer.parameters(), grads, strict=True):
        np.testing.assert_allclose(grad, central_difference(loss, p.value), atol=2e-7)


def test_whole_network_gradient_in_random_directions(backend, rng):
    """LeNet-5 in float64: the slope along a random direction of all parameters at once."""
    net = fc.models.lenet5(rng=0).astype(F64)
    x, labels = rng.normal(size=(4, 1, 28, 28)), np.array([1, 3, 5, 7])
    _, dscores = fc.softmax_cross_entropy(net.forward(x, train=True), labels)
    net.backward_parameters(dscores)
    ways = [rng.normal(size=p.value.shape) for p in net.parameters()]
    slope = sum(float(np.sum(p.grad * v)) for p, v in zip(net.parameters(), ways, strict=True))

    def loss(step):
        for p, v in zip(net.parameters(), ways, strict=True):
            p.value += step * v
        value, _ = fc.softmax_cross_entropy(net(x), labels)
        for p, v in zip(net.parameters(), ways, strict=True):
            p.value -= step * v
        return value

    assert slope == pytest.approx((loss(1e-7) - loss(-1e-7)) / 2e-7, rel=1e-5)


def test_output_shape_is_that_of_the_result(case, rng):
    layer, shape = case
    assert layer(apart(rng, shape)).shape == layer.output_shape(shape)


def test_empty_batch_forward_and_backward(case):
    layer, shape = case
    x = np.zeros((0, *shape[1:]))
    y = layer.forward(x, train=True)
    assert y.shape == layer.output_shape(x.shape)
    assert layer.backward(np.zeros(y.shape)).shape == x.shape
    assert all(not p.grad.any() for p in layer.parameters())


def test_gradients_add_up_until_zero_grad(case, rng):
    layer, shape = case
    x, dy = apart(rng, shape), rng.normal(size=layer.output_shape(shape))
    forward(layer, x)
    layer.backward(dy)
    once = [p.grad.copy() for p in layer.parameters()]
    layer.backward(dy)
    for p, grad in zip(layer.parameters(), once, strict=True):
        np.testing.assert_array_equal(p.grad, grad + grad)
        p.zero_grad()
        assert p.grad is None


def test_backward_parameters_gives_the_same_gradients(case, rng):
    layer, shape = case
    x, dy = apart(rng, shape), rng.normal(size=layer.output_shape(shape))
    forward(layer, x)
    layer.backward(dy)
    expected = [p.grad.copy() for p in layer.parameters()]
    for p in layer.parameters():
        p.zero_grad()
    layer.backward_parameters(dy)
    for p, grad in zip(layer.parameters(), expected, strict=True):
        np.testing.assert_array_equal(p.grad, grad)


def test_inputs_are_not_modified_and_may_be_read_only(case, rng):
    layer, shape = case
    x, dy = apart(rng, shape), rng.normal(size=layer.output_shape(shape))
    copies = x.copy(), dy.copy()
    x.flags.writeable = dy.flags.writeable = False
    forward(layer, x)
    layer.backward(dy)
    np.testing.assert_array_equal((x, dy)[0], copies[0])
    np.testing.assert_array_equal((x, dy)[1], copies[1])


def test_backward_without_training_forward(case, rng):
    layer, shape = case
    layer(apart(rng, shape))  # prediction keeps nothing
    with pytest.raises(RuntimeError, match=r"call forward\(x, train=True\) first"):
        layer.backward(np.zeros(layer.output_shape(shape)))


def test_dy_of_a_wrong_shape(case, rng):
    layer, shape = case
    forward(layer, apart(rng, shape))
    name = type(layer).__name__
    with pytest.raises(fc.ShapeError, match=rf"{name}.backward: dy has shape \(1, 1\), but the la"):
        layer.backward(np.zeros((1, 1)))


def test_not_real_numbers(case):
    layer, shape = case
    with pytest.raises(TypeError, match="x must hold real numbers, got dtype complex128"):
        layer(np.zeros(shape, complex))


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.uint8, np.bool_, np.int64])
def test_inputs_take_the_dtype_of_the_parameters(dtype, rng):
    x = rng.integers(0, 2, (2, 1, 6, 6)).astype(dtype)
    net = LAYERS["sequential"][0]()
    np.testing.assert_array_equal(net(x), net(x.astype(F64)))
    net.astype(np.float32)
    y = net.forward(x, train=True)
    assert y.dtype == np.float32
    assert net.backward(np.ones(y.shape)).dtype == np.float32
    assert all(p.grad.dtype == np.float32 for p in net.parameters())


@pytest.mark.parametrize("filters", [16, 15])
def test_images_stay_in_one_memory_order_between_layers(filters, rng):
    """Channels-last, or where filters are few as they come."""
    seen = []

    class Spy(fc.Layer):
        def forward(self, x, train=False):
            seen.append(is_channels_last(x))
            return x

        def backward(self, dy):
            seen.append(is_channels_last(dy))
            return dy

    net = fc.Sequential(
        fc.Sequential(Spy(), fc.Conv2d(2, filters, 3)), Spy(), fc.ReLU(), Spy(), fc.MaxPool2d(2),
        Spy(), fc.Dropout(0.5), Spy(), fc.LocalResponseNorm(3), Spy(), fc.LeakyReLU(), Spy(),
        fc.Flatten(), fc.Linear(9 * filters, 2),
    )  # fmt: skip
    y = net.forward(rng.normal(size=(2, 2, 8, 8)), train=True)
    net.backward(np.ones(y.shape))
    assert seen == [filters >= 16] * 14


def test_memory_order_does_not_change_the_bits(rng):
    net = LAYERS["sequential"][0]()
    x = rng.normal(size=(3, 1, 6, 6))
    results = [forward(net, ORDERS[order](x)) for order in ORDERS]
    for other in results[1:]:
        np.testing.assert_array_equal(results[0], other)


def test_flatten_is_in_the_order_of_the_axes(rng):
    x = rng.normal(size=(2, 3, 4, 5))
    np.testing.assert_array_equal(fc.Flatten()(to_channels_last(x)), x.reshape(2, 60))


def test_many_threads_predict_with_one_network(rng):
    net = fc.models.lenet5(rng=0)
    batches = [rng.normal(size=(3, 1, 28, 28)).astype(np.float32) for _ in range(40)]
    expected = [net(x) for x in batches]
    with ThreadPoolExecutor(8) as pool:
        for y, wanted in zip(pool.map(net, batches), expected, strict=True):
            np.testing.assert_array_equal(y, wanted)


def test_prediction_leaves_a_training_pass_alone(rng):
    layer = fc.Conv2d(1, 2, 3, rng=0, dtype=F64)
    x, dy = rng.normal(size=(1, 1, 4, 4)), np.ones((1, 2, 2, 2))
    layer.forward(x, train=True)
    expected = layer.backward(dy)
    layer.forward(x, train=True)
    layer(rng.normal(size=(5, 1, 9, 9)))
    np.testing.assert_array_equal(layer.backward(dy), expected)


# --- one layer each ---------------------------------------------------------------------


def test_parameter_counts(course):
    def count(layer):
        return sum(p.value.size for p in layer.parameters())

    numbers = course["parameters"]
    assert count(fc.Conv2d(1, 64, 3)) == numbers["conv_64_3x3x1"]
    assert count(fc.Conv2d(3, 30, 5, bias=False)) == numbers["conv_30_5x5x3_no_bias"]
    assert count(fc.Linear(128 * 128, 100)) == numbers["dense_16384_100"]
    assert fc.Conv2d(3, 96, 11).weight.value.size == numbers["alexnet_conv1_weights"]


def test_worked_output_sizes(course):
    for row in course["conv_out"]:
        side = row["i"]
        layer = fc.Conv2d(1, 1, row["k"], row["s"], row["p"])
        assert layer.output_shape((1, 1, side, side)) == (1, 1, row["o"], row["o"])


def test_worked_convolution_relu_and_pooling(course, backend):
    example = course["conv_digit"]
    w = np.array(example["w"])[:, None]
    conv = fc.Conv2d(1, 4, 3, init=lambda shape, rng: w, dtype=F64)
    y = conv(np.array(example["x"], F64)[None, None])
    np.testing.assert_allclose(y[0], example["y"], atol=1e-12)
    pool = course["max_pool"]
    y = fc.MaxPool2d(pool["kernel"], pool["stride"])(np.array(pool["x"], F64)[None, None])
    np.testing.assert_array_equal(y[0, 0], pool["y"])


def test_weights_are_seeded_and_biases_begin_at_zero():
    def conv(rng):
        return fc.Conv2d(3, 8, 3, rng=rng).weight.value

    np.testing.assert_array_equal(conv(7), conv(np.random.default_rng(7)))
    assert not np.array_equal(conv(7), conv(8))
    assert not np.array_equal(conv(None), conv(None))
    assert not fc.Conv2d(3, 8, 3).bias.value.any()
    assert not fc.Linear(3, 8).bias.value.any()


def test_only_weights_decay():
    for layer in (fc.Conv2d(1, 1, 1), fc.Linear(1, 1)):
        assert [(p.name, p.decay) for p in layer.parameters()] == [
            ("weight", True),
            ("bias", False),
        ]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: fc.Conv2d(0, 8, 3), ValueError, "Conv2d: in_channels must be at least 1, got 0"),
        (lambda: fc.Conv2d(3, -1, 3), ValueError, "Conv2d: out_channels must be at least 1, got"),
        (lambda: fc.Conv2d(3.0, 8, 3), TypeError, "Conv2d: in_channels must be an integer, got 3"),
        (lambda: fc.Conv2d(3, 8, 0), ValueError, "Conv2d: kernel_size must be at least 1, got 0"),
        (lambda: fc.Conv2d(3, 8, 3, stride=0), ValueError, "Conv2d: stride must be at least 1"),
        (lambda: fc.Conv2d(3, 8, 3, dilation=0), ValueError, "Conv2d: dilation must be at least"),
        (lambda: fc.Conv2d(3, 8, 3, padding="full"), ValueError, "Conv2d: padding='full' is unkn"),
        (
            lambda: fc.Conv2d(4, 8, 3, groups=3),
            ValueError,
            "Conv2d: groups=3 must divide both in_channels=4 and out_channels=8",
        ),
        (
            lambda: fc.Conv2d(3, 8, 3, dtype=np.float16),
            TypeError,
            "Conv2d: dtype must be float32 or float64, got float16",
        ),
        (
            lambda: fc.Conv2d(3, 8, 3, init="he"),
            ValueError,
            r"Conv2d: init='he' is unknown; use one of \('he_normal', .*'zeros'\)",
        ),
        (lambda: fc.Linear(0, 3), ValueError, "Linear: in_features must be at least 1, got 0"),
        (lambda: fc.Linear(3, True), TypeError, "Linear: out_features must be an integer, got Tr"),
        (lambda: fc.MaxPool2d(0), ValueError, "MaxPool2d: kernel_size must be at least 1, got 0"),
        (lambda: fc.MaxPool2d(2, padding=2), fc.ShapeError, "MaxPool2d: padding .* must be small"),
        (lambda: fc.AvgPool2d(2, stride=-1), ValueError, "AvgPool2d: stride must be at least 1"),
        (lambda: fc.Dropout(1), ValueError, r"Dropout: p is the chance of zeroing, 0 <= p < 1, go"),
        (lambda: fc.Dropout(-0.1), ValueError, r"0 <= p < 1, got -0.1"),
        (lambda: fc.LeakyReLU(-1), ValueError, "negative_slope must be at least 0 and finite"),
        (lambda: fc.Sequential("relu"), TypeError, "Sequential: layer 0 must be a Layer, got str"),
        (
            lambda: fc.Sequential([fc.ReLU()]),
            TypeError,
            r"layer 0 must be a Layer, got list; give the layers one by one: Sequential\(\*layers",
        ),
    ],
)
def test_bad_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (
            fc.Conv2d(3, 6, 5),
            (64, 1, 28, 28),
            r"Conv2d\(3, 6, 5\): x has shape \(64, 1, 28, 28\), but the layer reads \(N, 3, H, W\)",
        ),
        (fc.Conv2d(1, 6, 5), (64, 28, 28), r"images \(N, H, W\) need x\[:, None\]"),
        (fc.Conv2d(3, 6, 5), (64, 28, 28, 3), r"\(N, H, W, C\) need x.transpose\(0, 3, 1, 2\)"),
        (fc.Conv2d(1, 6, 5), (64, 1, 4, 28), "Conv2d: the height of x with padding is 4, smaller"),
        (
            fc.Linear(400, 120),
            (64, 256),
            r"Linear\(400, 120\): x has shape \(64, 256\), but the layer reads \(N, 400\); "
            r"make the layer Linear\(256, 120\)",
        ),
        (fc.Linear(400, 120), (64, 16, 5, 5), r"put Flatten\(\) before the layer"),
        (fc.MaxPool2d(2), (4, 5), r"MaxPool2d: x must be a shape of 4 sizes \(N, C, H, W\)"),
        (fc.AvgPool2d(3), (1, 1, 2, 2), "AvgPool2d: the height of x with padding is 2, smaller th"),
        (fc.GlobalAvgPool2d(), (4, 5), r"GlobalAvgPool2d: x must have shape \(N, C, H, W\), got"),
        (fc.Flatten(), (), "Flatten: x must have a first axis of examples, got a scalar"),
    ],
    ids=str,
)
def test_shapes_that_do_not_fit(layer, shape, message):
    """Said alike by output_shape and by forward."""
    with pytest.raises(fc.ShapeError, match=message):
        layer.output_shape(shape)
    with pytest.raises(fc.ShapeError, match=message):
        layer(np.zeros(shape, np.float32))


def test_sigmoid_of_extreme_inputs():
    x = np.array([[-1e30, -100.0, 0.0, 100.0, 1e30]], np.float32)
    y = fc.Sigmoid()(x)
    np.testing.assert_allclose(y, [[0, np.exp(-100.0), 0.5, 1, 1]], rtol=1e-6, atol=1e-45)


def test_dropout_zeroes_its_share_and_keeps_the_mean():
    layer, x = fc.Dropout(0.3, 0), np.ones((400, 500))
    y = layer.forward(x, train=True)
    zeros = np.mean(y == 0)  # standard deviation of the share: 0.001
    assert zeros == pytest.approx(0.3, abs=0.005)
    assert y.mean() == pytest.approx(1, abs=0.01)
    np.testing.assert_allclose(np.unique(y), [0, 1 / 0.7])
    np.testing.assert_array_equal(layer(x), x)
    assert not np.array_equal(layer.forward(x, train=True), y)


def test_inverted_dropout_has_the_expectation_of_scaled_weights(rng):
    """Scaled form: mask in training, weights times (1 - p) at prediction."""
    p, x = 0.4, rng.normal(size=(1, 20))
    linear, dropout = fc.Linear(20, 3, rng=0, dtype=F64), fc.Dropout(p, 1)
    many = np.repeat(x, 20_000, axis=0)
    inverted = linear(dropout.forward(many, train=True))
    plain = linear(many * (rng.random(many.shape) >= p))
    error = 5 * inverted.std(axis=0) / np.sqrt(len(many))
    assert np.all(np.abs(inverted.mean(axis=0) - linear(x)[0]) < error)
    linear.weight.value *= 1 - p
    assert np.all(np.abs(plain.mean(axis=0) - linear(x)[0]) < error)


def test_dropout_by_layer(course):
    ps = course["dropout_p_by_layer"]
    net = fc.models.mlp(20, 20, 20, 20, 20, 20, dropout=ps)
    assert [layer.p for layer in net if isinstance(layer, fc.Dropout)] == [p for p in ps if p]
    kinds = "".join(type(layer).__name__[0] for layer in net[1:])
    assert kinds == "LRLRDLRLRDL"


def test_local_response_norm_arguments():
    with pytest.raises(ValueError, match="local_response_norm: size must be at least 1, got 0"):
        fc.LocalResponseNorm(0)(np.zeros((1, 1, 1, 1)))
    with pytest.raises(fc.ShapeError, match=r"local_response_norm: x must have 4 axes"):
        fc.LocalResponseNorm(5)(np.zeros((4, 5)))


def test_sequential_is_a_container():
    conv, relu, flat = fc.Conv2d(1, 2, 3), fc.ReLU(), fc.Flatten()
    net = fc.Sequential(conv, relu)
    net.append(flat)
    assert len(net) == 3
    assert list(net) == [conv, relu, flat]
    assert net[0] is conv
    assert net[-1] is flat
    assert list(net[:2]) == [conv, relu]
    assert isinstance(net[:2], fc.Sequential)
    assert net.parameters() == [conv.weight, conv.bias]
    assert repr(fc.Sequential(net[:2], flat)) == (
        "Sequential(\n  (0): Sequential(\n    (0): Conv2d(1, 2, 3)\n    (1): ReLU()\n  )\n"
        "  (1): Flatten()\n)"
    )


def test_sequential_refuses_one_layer_twice():
    relu = fc.ReLU()
    with pytest.raises(ValueError, match=r"ReLU\(\) is in the network already"):
        fc.Sequential(fc.Sequential(relu), fc.Tanh(), relu)


def test_training_skips_what_comes_before_the_first_parameters(rng):
    class Unused(fc.Layer):
        def forward(self, x, train=False):
            return x

    net = fc.Sequential(Unused(), fc.Linear(3, 2, rng=0, dtype=F64), fc.Tanh())
    net.forward(rng.normal(size=(4, 3)), train=True)
    net.backward_parameters(np.ones((4, 2)))
    assert net[1].weight.grad.any()
    with pytest.raises(NotImplementedError, match="Unused does not define backward"):
        net.backward(np.ones((4, 2)))


@pytest.mark.parametrize("n", [0, 1, 7, 10])
def test_predict_in_batches_gives_the_same_bits(n, rng):
    net = LAYERS["sequential"][0]()
    x = rng.normal(size=(n, 1, 6, 6))
    np.testing.assert_array_equal(net.predict(x, batch_size=4), net(x))


def test_a_deep_copy_is_independent(rng):
    net = LAYERS["sequential"][0]()
    x = rng.normal(size=(2, 1, 6, 6))
    before = net.forward(x)
    net.forward(x, train=True)
    other = copy.deepcopy(net)
    with pytest.raises(RuntimeError, match="call forward"):  # the pass is not copied
        other.backward(np.ones((2, 3)))
    for p in other.parameters():
        p.value += 1
    np.testing.assert_array_equal(net(x), before)
    assert not np.array_equal(other(x), before)


def test_predict_batch_size():
    with pytest.raises(ValueError, match="predict: batch_size must be at least 1, got 0"):
        fc.Flatten().predict(np.zeros((2, 2)), 0)


def test_reprs():
    assert [repr(layer) for layer in (
        fc.Conv2d(3, 8, (3, 5), 2, padding="same", groups=1, bias=False),
        fc.Linear(3, 4, bias=False),
        fc.MaxPool2d(3, 2, 1),
        fc.AvgPool2d(2, ceil_mode=True),
        fc.GlobalAvgPool2d(),
        fc.LeakyReLU(),
        fc.Dropout(0.25),
        fc.LocalResponseNorm(5),
    )] == [
        "Conv2d(3, 8, (3, 5), stride=2, padding='same', bias=False)",
        "Linear(3, 4, bias=False)",
        "MaxPool2d(3, 2, padding=1)",
        "AvgPool2d(2, 2, ceil_mode=True)",
        "GlobalAvgPool2d()",
        "LeakyReLU(0.01)",
        "Dropout(0.25)",
        "LocalResponseNorm(5, alpha=0.0001, beta=0.75, k=1.0)",
    ]  # fmt: skip


def _pass(net, x, one_by_one):
    """y, dx and the gradients of a pass in training; the layers fused, or each by itself."""
    net = copy.deepcopy(net)
    if one_by_one:
        y = x
        for layer in net:
            y = layer.forward(y, train=True)
        dx = np.ones_like(y)
        for layer in reversed(net.layers):
            dx = layer.backward(dx)
    else:
        y = net.forward(x, train=True)
        dx = net.backward(np.ones_like(y))
    return [y, dx, net(x), *(p.grad for p in net.parameters())]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_relu_is_fused_unseen(dtype, rng):
    """Behind Conv2d and Linear, in a row, first, last and nested: the same results."""
    how = {"rng": 0, "dtype": dtype}
    net = fc.Sequential(
        fc.ReLU(),
        fc.Conv2d(2, 5, 3, **how),
        fc.ReLU(),
        fc.ReLU(),
        fc.Sequential(fc.Conv2d(5, 4, 2, **how), fc.ReLU()),
        fc.Flatten(),
        fc.Linear(4 * 5 * 6, 7, **how),
        fc.ReLU(),
    )
    x = rng.normal(size=(3, 2, 8, 9)).astype(dtype)
    for got, want in zip(_pass(net, x, False), _pass(net, x, True), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("pool", [(2,), (3, 2), (3, 1, 1), (2, 3)], ids=str)
@pytest.mark.parametrize("first", [0, 1, 2])
def test_relu_before_max_pooling(pool, first, rng):
    """Its gradient is taken from the pooled results; windows that overlap, ties at 0, nested."""
    layers = [fc.Conv2d(2, 3, 3, rng=0, dtype=F64), fc.ReLU(), fc.MaxPool2d(*pool)]
    net = fc.Sequential(*layers[first:], fc.Sequential(fc.Conv2d(3, 4, 2, rng=1, dtype=F64)))
    x = rng.normal(size=(2, 3 if first else 2, 9, 10))
    for got, want in zip(_pass(net, x, False), _pass(net, x, True), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)
    net.forward(x, train=True)
    dy = np.ones(net.output_shape(x.shape))
    whole = copy.deepcopy(net)
    whole.forward(x, train=True)
    whole.backward(dy)
    net.backward_parameters(dy)
    for mine, all_of_it in zip(net.parameters(), whole.parameters(), strict=True):
        np.testing.assert_array_equal(mine.grad, all_of_it.grad)


def test_a_layer_of_your_own_is_never_fused(rng):
    class Doubled(fc.Linear):
        def forward(self, x, train=False):
            return 2 * super().forward(x, train)

    net = fc.Sequential(Doubled(3, 4, rng=0), fc.ReLU())
    x = rng.normal(size=(5, 3)).astype(np.float32)
    np.testing.assert_array_equal(net(x), np.maximum(net[0](x), 0))


def test_nan_passes_a_fused_relu():
    net = fc.Sequential(fc.Linear(2, 3, rng=0), fc.ReLU())
    assert np.isnan(net(np.full((1, 2), np.nan, np.float32))).all()


def test_one_channel_is_channels_last_without_a_copy(rng):
    for shape in ((4, 1, 5, 6), (4, 7, 1, 1)):
        x = rng.normal(size=shape)
        y = to_channels_last(x)
        assert np.shares_memory(x, y)
        np.testing.assert_array_equal(x, y)


def test_a_fused_relu_is_no_pass_of_its_own(monkeypatch, rng):
    net, x = fc.models.lenet5(rng=0), rng.random((2, 1, 28, 28), np.float32)
    want = net(x)
    monkeypatch.setattr("fastconv.layers.activations.relu", None)
    np.testing.assert_array_equal(net.forward(x, train=True), want)
