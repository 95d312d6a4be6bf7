"""A network that predicts one shape again makes the same kernel calls again, and no other."""

from __future__ import annotations

import copy
import pickle
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import fastconv as fc
from fastconv.layers import replay


RNG = np.random.default_rng(0)


def lenet():
    return fc.models.lenet5(rng=0), (1, 28, 28)


def all_layers():
    """Every kind of layer that is replayed, one of them in a network of its own."""
    inner = fc.Sequential(
        fc.Conv2d(12, 12, 3, padding=1, groups=12, rng=1),
        fc.LocalResponseNorm(3),
        fc.Sequential(fc.AvgPool2d(2)),
    )
    net = fc.Sequential(
        fc.Conv2d(3, 12, 3, stride=2, dilation=2, padding=1, bias=False, rng=0),
        inner,
        fc.ReLU(),
        fc.Conv2d(12, 8, (1, 2), rng=2),
        fc.MaxPool2d(2, ceil_mode=True),
        fc.Flatten(),
        fc.Dropout(0.5, rng=3),
        fc.Linear(8 * 3 * 2, 7, rng=4),
    )
    return net, (3, 23, 23)


def images_out():
    """The result is of images, and channels-last."""
    net = fc.Sequential(fc.Conv2d(2, 5, 3, rng=0), fc.ReLU(), fc.MaxPool2d(2))
    return net, (2, 12, 11)


def reordered():
    """Planes, which a network inside turns into channels-last memory."""
    inner = fc.Sequential(fc.Conv2d(6, 20, 3, rng=1), fc.ReLU())
    return fc.Sequential(fc.Conv2d(3, 6, 3, rng=0), inner, fc.Flatten()), (3, 9, 9)


def pooled():
    return fc.Sequential(fc.Conv2d(4, 40, 3, rng=0), fc.GlobalAvgPool2d(), fc.Flatten()), (4, 9, 9)


def vectors():
    net = fc.Sequential(fc.Linear(30, 600, rng=0), fc.ReLU(), fc.Linear(600, 5, bias=False, rng=1))
    return net, (30,)


def whole_window():
    """A window as large as its images, which lie channels-last and have gaps between rows."""
    return fc.Sequential(fc.Conv2d(20, 90, 5, rng=0)), (20, 5, 5)


NETWORKS = [lenet, all_layers, images_out, reordered, pooled, vectors, whole_window]


def batch(shape, n=1):
    return RNG.standard_normal((n, *shape)).astype(np.float32)


def predictions(net, xs):
    """With the layers alone, as bytes."""
    return [net._forward(x, False).tobytes() for x in xs]


def order(y):
    """Steps along the axes that have more than one cell."""
    return [step for size, step in zip(y.shape, y.strides, strict=True) if size > 1]


def is_replayed(net):
    return net._replay is not None and bool(net._replay._calls)


def replayed(net, x):
    """The network, once it has written down what it does to x."""
    for _ in range(3):
        net(x)
    assert is_replayed(net)
    return net


@pytest.fixture
def net():
    """LeNet, at its fourth prediction."""
    return replayed(lenet()[0], batch((1, 28, 28)))


@pytest.fixture
def x():
    return batch((1, 28, 28))


@pytest.mark.parametrize("make", NETWORKS)
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("backend", fc.available_backends())
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_same_bits_as_the_layers(make, n, backend, dtype):
    net, shape = make()
    net.astype(dtype)
    xs = [batch(shape, n).astype(dtype) for _ in range(4)]
    with fc.use_backend(backend):
        want = predictions(net, xs)
        found = [net(x) for x in xs]
        assert is_replayed(net)
        assert [y.tobytes() for y in found] == want
        one = net._forward(xs[0], False)
        assert all(y.dtype == one.dtype and order(y) == order(one) for y in found)


@pytest.mark.parametrize("make", [all_layers, images_out, whole_window])
def test_the_memory_of_x_may_be_any(make):
    net, shape = make()
    x = batch(shape, 2)
    (want,) = predictions(net, [x])
    last = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    gaps = np.zeros((2, *shape[:2], 2 * shape[2]), np.float32)[..., ::2]
    gaps[...] = x
    for other in (x, last, gaps, x[:, :, ::-1].copy()[:, :, ::-1], x.tolist()):
        found = net(other)
        if not isinstance(other, list):  # of Python's floats, which are float64
            assert found.tobytes() == want
        np.testing.assert_array_equal(found, net(other))


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float16, np.float64, bool])
def test_other_dtypes_are_converted(net, x, dtype):
    x = (4 * x).astype(dtype)
    (want,) = predictions(net, [x])
    assert [net(x).tobytes() for _ in range(3)] == [want] * 3
    assert is_replayed(net)
    net(x.astype(np.float32))


def test_results_are_the_callers(net, x):
    first, second = net(x), net(2 * x)
    assert not np.array_equal(first, second)
    first[...] = 0
    assert net(x).any()
    assert not np.may_share_memory(net(x), x)


CHANGES = {
    "weights written to": lambda net: net[3].weight.value.__imul__(2),
    "biases written to": lambda net: net[6].bias.value.__iadd__(1),
    "a bias of a linear layer": lambda net: net[9].bias.value.__iadd__(1),
    "a value": lambda net: setattr(net[0].weight, "value", 2 * net[0].weight.value),
    "a parameter": lambda net: setattr(net[9], "weight", fc.Linear(120, 84, rng=9).weight),
    "no bias": lambda net: setattr(net[0], "bias", None),
    "a value nobody asked for": lambda net: setattr(
        net[0].weight, "value", np.ones((6, 1, 5, 5), "f4")
    ),
    "a state": lambda net: net.load_state_dict(fc.models.lenet5(rng=1).state_dict()),
    "a layer": lambda net: net.layers.__setitem__(5, fc.AvgPool2d(2)),
    "one layer more": lambda net: net.append(fc.ReLU()),
    "all layers": lambda net: setattr(net, "layers", net.layers[:-2]),
    "an option": lambda net: net[0].geometry.update(dilation=2, padding=4),
    "all options": lambda net: setattr(net[2], "geometry", fc.MaxPool2d(3, 2, 1).geometry),
    "a method": lambda net: setattr(net[1], "forward", lambda x, train=False: abs(x)),
    "the dtype": lambda net: net.astype(np.float64),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_changes_are_seen(net, x, change):
    net[0].bias.value += 0.1
    net[6].bias.value += 0.1
    before = net(x)
    assert replayed(net, x)(x).tobytes() == before.tobytes()
    change(net)
    (want,) = predictions(net, [x])
    found = [net(x) for _ in range(5)]
    assert all(y.tobytes() == want for y in found)
    assert found[0].tobytes() != before.tobytes() or change is CHANGES["a method"]


def test_training_is_seen(net, x):
    before = net(x)
    net.backward(np.ones_like(net.forward(x, train=True)))
    fc.SGD(net.parameters(), lr=0.1).step()
    (want,) = predictions(net, [x])
    assert net(x).tobytes() == want != before.tobytes()
    assert replayed(net, x)(x).tobytes() == want


def test_a_change_in_an_inner_network_is_seen():
    net, shape = all_layers()
    x = batch(shape)
    replayed(net, x)
    own = net[1].forward
    for change in (
        lambda: net[1].layers.__setitem__(1, fc.ReLU()),
        lambda: setattr(net[1][2], "layers", [fc.MaxPool2d(2)]),
        lambda: setattr(net[1], "forward", lambda x, train=False: 2 * own(x, train)),
    ):
        before = net(x)
        change()
        (want,) = predictions(net, [x])
        assert net(x).tobytes() == want != before.tobytes()
        if "forward" not in vars(net[1]):
            replayed(net, x)


def test_writing_through_a_reference_from_before_is_seen(x):
    net, _ = lenet()
    bias = net[3].bias.value
    want, *_ = [net(x) for _ in range(3)]
    assert not is_replayed(net)  # somebody may write into it
    bias += 1
    assert net(x).tobytes() != want.tobytes()
    assert net(x).tobytes() == predictions(net, [x])[0]
    del bias
    replayed(net, x)


def test_backends_are_seen(net, x, monkeypatch):
    before = net(x)
    monkeypatch.setattr(replay.Replay, "_write_down", lambda *_: pytest.fail("written down"))
    with fc.use_backend("numpy"):
        numpy = net(x)
    np.testing.assert_allclose(numpy, before, rtol=1e-4, atol=1e-5)


class Doubled(fc.layers.Layer):
    """A layer that computes without kernels, and counts."""

    calls = 0

    def forward(self, x, train=False):
        self.calls += 1
        return 2 * x


def test_layers_of_ones_own_are_called_each_time(x):
    inner = fc.Sequential(fc.Conv2d(1, 2, 3, rng=0))
    net = fc.Sequential(inner, Doubled())
    for n in range(5):
        assert net(x).tobytes() == predictions(net, [x])[0]
        assert net[1].calls == 2 * n + 2
    assert not is_replayed(net)
    assert is_replayed(inner)


class InPlace(fc.Conv2d):
    """A kernel call, and then NumPy in its result."""

    def forward(self, x, train=False, activation=None):
        y = super().forward(x, train, activation)
        y += 1
        return y


class Residual(fc.Sequential):
    """The same with a network."""

    def forward(self, x, train=False):
        y = super().forward(x, train)
        y += x
        return y


@pytest.mark.parametrize("layer", [InPlace(1, 2, 3, rng=0), Residual(fc.Conv2d(1, 1, 1, rng=0))])
def test_subclasses_are_called_each_time(x, layer):
    net = fc.Sequential(layer, fc.Conv2d(layer(x).shape[1], 3, 3, rng=1))
    want = predictions(net, [x])[0]
    assert [net(x).tobytes() for _ in range(5)] == [want] * 5
    assert not is_replayed(net)


def test_what_a_subclass_adds_is_added_once(x):
    net = Residual(fc.Conv2d(1, 1, 1, rng=0), fc.ReLU())
    want = (net._forward(x, False) + x).tobytes()
    assert [net(x).tobytes() for _ in range(5)] == [want] * 5
    assert is_replayed(net)  # but for what is added


def test_a_method_around_a_networks_own(net, x):
    own, (want,) = net.forward, [y.tobytes() for y in [2 * net(x)]]
    net.forward = lambda x, train=False: 2 * own(x, train)
    assert [net(x).tobytes() for _ in range(5)] == [want] * 5


def test_weights_in_another_order_of_memory():
    """A window as large as the image, whose weights have to be copied for it."""
    net, shape = whole_window()
    net[0].weight.value = np.asfortranarray(net[0].weight.value)
    x = batch(shape)
    replayed(net, x)
    heap = [np.full((90, 500), 1e9, np.float32) for _ in range(8)]
    assert net(x).tobytes() == predictions(net, [x])[0]
    del heap


def test_images_of_the_size_of_the_window_and_larger_ones():
    net = fc.Sequential(fc.Conv2d(16, 16, 2, rng=0))
    for shape in ((16, 2, 2), (16, 8, 9), (16, 2, 2)):
        x = batch(shape)
        with fc.use_backend("numpy"):
            want = net._forward(x, False)
        for _ in range(5):
            np.testing.assert_allclose(net(x), want, rtol=1e-4, atol=1e-4)


def test_attributes_that_nothing_reads(net, x):
    want = net(x)
    net[0].note = np.ones(3)
    assert net(x).tobytes() == want.tobytes()
    net[0].note = np.zeros(3)
    assert replayed(net, x)(x).tobytes() == want.tobytes()


def test_options_in_lists():
    net = fc.Sequential(fc.Conv2d(1, 2, 3, rng=0))
    net[0].geometry["padding"] = padding = [1, 1]
    x = batch((1, 9, 9))
    assert replayed(net, x)(x).shape == (1, 2, 9, 9)
    padding[0] = 0
    assert net(x).shape == (1, 2, 7, 9)


def test_each_dtype_of_x_has_its_own():
    """Without parameters the result is of the dtype of x."""
    net = fc.Sequential(fc.MaxPool2d(2))
    x = batch((1, 8, 8))
    replayed(net, x)
    assert net(x.astype(np.float64)).dtype == np.float64
    assert net(x).dtype == np.float32


def test_who_predicts_twice_writes_nothing_down(net, monkeypatch):
    monkeypatch.setattr(replay.Replay, "_write_down", lambda *_: pytest.fail("written down"))
    for size in (28, 28, 30, 30, 28, 28):
        net(batch((1, size, size))[:, :, :28, :28] if size == 28 else batch((1, 28, 28), 2))


def test_who_touches_a_parameter_each_time_writes_nothing_down(x, monkeypatch):
    net, _ = lenet()
    monkeypatch.setattr(replay.Replay, "_write_down", lambda *_: pytest.fail("written down"))
    for _ in range(6):
        net[0].bias.value[...] += 1
        assert net(x).tobytes() == predictions(net, [x])[0]


@pytest.mark.parametrize(
    "x", [np.ones((1, 2, 600, 600)), np.ones((1, 2, 200, 200))], ids=["x", "y"]
)
def test_large_ones_are_not_kept(x):
    net = fc.Sequential(fc.Conv2d(2, 64, 3, rng=0), fc.MaxPool2d(2))
    want = predictions(net, [x])[0]
    assert [net(x).tobytes() for _ in range(3)] == [want] * 3
    assert not is_replayed(net)


def test_layers_without_kernels_give_what_they_gave(x):
    net = fc.Sequential(fc.Dropout(0.5), fc.Flatten())
    for _ in range(3):
        np.testing.assert_array_equal(net(x), x.reshape(1, -1))
    empty = fc.Sequential()
    for _ in range(3):
        np.testing.assert_array_equal(empty(x), x)


def test_no_images(net):
    for _ in range(3):
        assert net(np.zeros((0, 1, 28, 28), np.float32)).shape == (0, 10)


def test_errors_stay_errors(net, x):
    for _ in range(3):
        with pytest.raises(fc.ShapeError, match="channels"):
            net(np.zeros((1, 2, 28, 28), np.float32))
        with pytest.raises(TypeError, match="real numbers"):
            net(x.astype(complex))
    (want,) = predictions(net, [x])
    assert [net(x).tobytes() for _ in range(3)] == [want] * 3


def test_an_interrupt_leaves_a_network_that_predicts(x, monkeypatch):
    net, _ = lenet()
    (want,) = predictions(net, [x])
    net(x), net(x)

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fc.layers.Linear, "forward", interrupted)
        with pytest.raises(KeyboardInterrupt):
            net(x)  # while it is written down
    assert [net(x).tobytes() for _ in range(3)] == [want] * 3
    assert is_replayed(net)


@pytest.fixture
def switching():
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_threads_with_inputs_of_different_shapes(net, switching):
    xs = [batch((1, 28, 28), 1 + i % 3) for i in range(60)]
    want = predictions(net, xs)
    with ThreadPoolExecutor(8) as pool:
        for _ in range(10):
            assert [y.tobytes() for y in pool.map(net, xs)] == want


def test_a_thread_that_writes_while_another_predicts(x, switching):
    """The last prediction is of the last weights, whatever was kept in between."""
    net = fc.Sequential(fc.Conv2d(1, 2, 3, rng=0))
    done = threading.Event()

    def predict():
        while not done.is_set():
            net(x)

    predicting = threading.Thread(target=predict)
    predicting.start()
    try:
        for n in range(2000):
            value = net[0].bias.value
            value[...] = n
            del value
            if n % 50 == 0:
                assert net(x).tobytes() == predictions(net, [x])[0]
                net[0].bias.value = np.full(2, n, np.float32)
    finally:
        done.set()
        predicting.join()
    fresh = copy.deepcopy(net)
    assert net(x).tobytes() == predictions(net, [x])[0] == fresh(x).tobytes()


def test_many_threads_predict_with_one_network(net):
    xs = [batch((1, 28, 28)) for _ in range(200)]
    want = predictions(net, xs)
    with ThreadPoolExecutor(16) as pool:
        for _ in range(5):
            assert [y.tobytes() for y in pool.map(net, xs)] == want


def test_copies_and_pickles_are_without_it(net, x):
    want = net(x)
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net)), copy.copy(net)):
        assert other._replay is None
        assert other(x).tobytes() == want.tobytes()
    assert is_replayed(net)


@pytest.mark.skipif(fc.get_num_threads() == 1, reason="one thread is all there are")
def test_each_thread_count_has_its_own(net, x):
    want = net(x)
    with fc.threads(1):
        assert not net._replay.is_of(net, x)
        assert net(x).tobytes() == want.tobytes()
