import json
import os
import signal
import sys
import threading

import numpy as np
import pytest

import fastconv as fc
from fastconv.hooks import Callback
from fastconv.interrupts import uninterrupted


def small_net(rng=0):
    return fc.Sequential(
        fc.Conv2d(1, 8, 3, padding=1, rng=rng),
        fc.ReLU(),
        fc.MaxPool2d(2),
        fc.Flatten(),
        fc.Dropout(0.1, rng),
        fc.Linear(128, 10, rng=rng),
    )


@pytest.fixture
def data(rng):
    return rng.normal(size=(50, 1, 8, 8)), rng.integers(0, 10, 50)


class Each(Callback):
    """Do something after each epoch."""

    def __init__(self, action):
        self.action = action

    def on_epoch_end(self, state):
        return self.action(state)


def weights(net):
    return [p.value.copy() for p in net.parameters()]


def assert_same_bits(net, other):
    for a, b in zip(weights(net), weights(other), strict=True):
        np.testing.assert_array_equal(a, b)


def test_real_digits_are_learnt(digits):
    train, held_out = digits
    net = small_net()
    history = fc.fit(
        net,
        train,
        fc.SGD(net.parameters(), lr=0.05, momentum=0.9, l2=1e-4),
        epochs=8,
        batch_size=32,
        validation=held_out,
        seed=0,
    )
    loss, accuracy = fc.evaluate(net, held_out)
    assert accuracy > 0.96
    assert history["val_accuracy"][-1] == accuracy
    assert history["val_loss"][-1] == loss
    assert history["loss"][-1] < 0.2 < history["loss"][0]


@pytest.mark.parametrize("sizes", [(64, 32, 10), (64, 32, 32, 10)])
def test_a_perceptron_learns_too(digits, sizes):
    train, held_out = digits
    net = fc.models.mlp(*sizes, rng=0)
    fc.fit(net, train, fc.SGD(net.parameters(), lr=0.1, momentum=0.9), epochs=8, seed=0)
    assert fc.evaluate(net, held_out)[1] > 0.93


def test_a_seed_repeats_the_run_bit_for_bit_on_any_thread_count(data):
    runs = []
    for threads in (1, 1, 2):
        net = small_net()
        with fc.threads(threads):
            runs.append((net, fc.fit(net, data, epochs=3, seed=3, validation=data)))
    for net, history in runs[1:]:
        assert_same_bits(net, runs[0][0])
        assert history["val_loss"] == runs[0][1]["val_loss"]
        assert history["loss"] == runs[0][1]["loss"]
    other = small_net()
    fc.fit(other, data, epochs=3, seed=4)
    assert not np.array_equal(weights(other)[0], weights(runs[0][0])[0])


def test_seed_reaches_the_order_and_every_dropout(data):
    """With one of the two sources of chance removed, seeds still matter."""
    for dropout, shuffle in ((0.0, True), (0.5, False)):
        results = []
        for seed in (0, 0, 1):
            net = fc.models.mlp(64, 16, 16, 10, dropout=[0, dropout, dropout], rng=0)
            fc.fit(net, data, epochs=1, batch_size=10, seed=seed, shuffle=shuffle)
            results.append(weights(net)[0])
        np.testing.assert_array_equal(results[0], results[1])
        assert not np.array_equal(results[0], results[2])


def test_the_default_optimizer_and_the_steps_of_an_epoch(data):
    """Three batches of 20, 20 and the 10 that are left, in order, by hand."""
    x, y = data
    net, by_hand = fc.models.mlp(64, 10, rng=0), fc.models.mlp(64, 10, rng=0)
    history = fc.fit(net, data, epochs=1, batch_size=20, shuffle=False)
    sgd, total = fc.SGD(by_hand.parameters(), lr=0.01, momentum=0.9), 0.0
    for rows in (slice(0, 20), slice(20, 40), slice(40, 50)):
        loss, dscores = fc.softmax_cross_entropy(by_hand.forward(x[rows], train=True), y[rows])
        sgd.zero_grad()
        by_hand.backward(dscores)
        sgd.step()
        total += loss * len(x[rows])
    assert_same_bits(net, by_hand)
    assert history["loss"] == [pytest.approx(total / 50)]


def test_the_history(data):
    net = small_net()
    sgd = fc.SGD(net.parameters(), lr=0.01)

    def halve(state):
        state.optimizer.groups[0].lr /= 2

    history = fc.fit(net, data, sgd, epochs=3, validation=data, callbacks=[Each(halve)])
    assert len(history) == 3
    assert history["epoch"] == [1, 2, 3]
    assert history["lr"] == [0.01, 0.005, 0.0025]
    assert all(s > 0 for s in history["seconds"])
    assert all(0 <= a <= 1 for a in history["accuracy"] + history["val_accuracy"])
    assert json.loads(history.to_json()) == history.as_dict() == dict(history)
    assert not history.interrupted
    assert repr(history).startswith("History(3 epochs, last: {'epoch': 3, 'loss': ")
    with pytest.raises(KeyError, match="'val' is not a column; use one of"):
        history["val"]
    with pytest.raises(ValueError, match=r"History\.append: a row has the columns"):
        history.append(epoch=4)


def test_history_without_validation_or_classes(rng):
    x = rng.normal(size=(20, 3))
    history = fc.fit(fc.Linear(3, 2, rng=0), (x, x[:, :2]), epochs=2, loss=fc.mean_squared_error)
    assert history["val_loss"] == history["accuracy"] == [None, None]
    assert history["loss"][1] < history["loss"][0]
    assert repr(fc.History()) == "History(no epochs)"


def test_callbacks_see_each_epoch_and_may_stop(data):
    seen = []

    def first(state):
        seen.append((state.epoch, len(state.history), state.net is net))
        return state.epoch == 2

    net = small_net()
    history = fc.fit(net, data, epochs=5, callbacks=[Each(first), Each(seen.append)])
    assert len(history) == 2
    assert seen[0] == (1, 1, True)
    assert seen[2] == (2, 2, True)
    assert len(seen) == 4  # the second one is called in the last epoch too


def test_ctrl_c_keeps_the_model_and_the_history(data):
    """In the loss of the fifth step: four steps are done, two of them a whole epoch."""
    calls = []

    def loss(scores, labels):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return fc.softmax_cross_entropy(scores, labels)

    net, other = small_net(), small_net()
    history = fc.fit(net, data, epochs=9, batch_size=25, seed=0, loss=loss)
    assert history.interrupted
    assert history["epoch"] == [1, 2]
    fc.fit(other, data, epochs=2, batch_size=25, seed=0)
    assert_same_bits(net, other)
    assert np.isfinite(fc.evaluate(net, data)[0])
    fc.fit(net, data, epochs=1)  # and it can go on


def test_ctrl_c_in_a_callback(data):
    def interrupt(state):
        raise KeyboardInterrupt

    history = fc.fit(small_net(), data, epochs=9, callbacks=[Each(interrupt)])
    assert history.interrupted
    assert len(history) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to oneself")
def test_ctrl_c_during_a_step_waits_for_its_end(data):
    class Slow(fc.SGD):
        def step(self):
            os.kill(os.getpid(), signal.SIGINT)
            super().step()

    net, other = small_net(), small_net()
    history = fc.fit(net, data, Slow(net.parameters(), lr=0.1), epochs=2, batch_size=50, seed=0)
    assert history.interrupted
    assert len(history) == 0
    fc.fit(other, data, fc.SGD(other.parameters(), lr=0.1), epochs=1, batch_size=50, seed=0)
    assert_same_bits(net, other)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_uninterrupted_in_another_thread_does_nothing():
    handlers = []

    def work():
        with uninterrupted():
            handlers.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(signal.SIGINT)]


def test_a_loss_that_is_not_finite_stops_before_the_step(data):
    x, y = data
    x = x.copy()
    x[30] = np.nan
    net, other = small_net(), small_net()
    with pytest.raises(
        FloatingPointError,
        match=r"fit: the loss is nan in epoch 1, batch 2; lower lr \(now 0.01\), scale x to abo",
    ):
        fc.fit(net, (x, y), batch_size=25, shuffle=False, seed=0)
    fc.fit(other, (x[:25], y[:25]), epochs=1, batch_size=25, shuffle=False, seed=0)
    assert_same_bits(net, other)


def test_progress_is_on_standard_error(data, capsys):
    fc.fit(small_net(), data, epochs=2, progress=True, validation=data)
    out, err = capsys.readouterr()
    assert out == ""
    assert "epoch 1/2" in err
    assert "epoch 2/2  loss " in err
    assert "  val_accuracy " in err


def test_progress_without_tqdm(data, capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    fc.fit(small_net(), data, epochs=2, progress=True)
    lines = capsys.readouterr().err.splitlines()
    assert [line[:16] for line in lines] == ["epoch 1/2  loss ", "epoch 2/2  loss "]
    assert "val_loss" not in lines[0]


def test_fit_is_silent_by_default(data, capsys):
    fc.fit(small_net(), data, epochs=1)
    assert capsys.readouterr() == ("", "")


def test_images_of_any_dtype_train_alike(rng):
    x, y = rng.integers(0, 2, (20, 1, 8, 8)), rng.integers(0, 10, 20)
    nets = []
    for dtype in (np.uint8, np.float16, np.float32, np.float64):
        nets.append(small_net())
        fc.fit(nets[-1], (x.astype(dtype), y), epochs=1, seed=0)
    for net in nets[1:]:
        assert_same_bits(net, nets[0])


def test_training_does_not_change_the_data(data):
    x, y = data[0].copy(), data[1].copy()
    x.flags.writeable = y.flags.writeable = False
    fc.fit(small_net(), (x, y), epochs=1)
    np.testing.assert_array_equal(x, data[0])


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_evaluate_does_not_depend_on_the_batch_size(data, batch_size):
    net = small_net()
    assert fc.evaluate(net, data, batch_size) == fc.evaluate(net, data)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"data": np.zeros(3)}, TypeError, r"fit: data must be a pair \(x, y\), got ndarray"),
        (
            {"data": (np.zeros((3, 1, 8, 8)), np.zeros(4, int))},
            fc.ShapeError,
            r"fit: x \(3, 1, 8, 8\) and y \(4,\) must have one example after another",
        ),
        (
            {"data": (np.zeros((0, 1, 8, 8)), np.zeros(0, int))},
            fc.ShapeError,
            r"fit: x \(0, 1, 8, 8\) holds no examples",
        ),
        ({"validation": (np.zeros((3, 2)), [1])}, fc.ShapeError, r"fit: validation: x \(3, 2\) an"),
        ({"epochs": 0}, ValueError, "fit: epochs must be at least 1, got 0"),
        ({"batch_size": 0}, ValueError, "fit: batch_size must be at least 1, got 0"),
        ({"batch_size": 2.5}, TypeError, "fit: batch_size must be an integer, got 2.5"),
        (
            {"callbacks": [print]},
            TypeError,
            r"fit: a callback is an object with one of the methods .*on_epoch_end.* got <built-in",
        ),
    ],
)
def test_fit_refuses(arguments, error, message, data):
    with pytest.raises(error, match=message):
        fc.fit(small_net(), **{"data": data, **arguments})


def test_evaluate_refuses():
    with pytest.raises(fc.ShapeError, match=r"evaluate: x \(0, 3\) holds no examples"):
        fc.evaluate(fc.Linear(3, 2), (np.zeros((0, 3)), np.zeros(0, int)))


def test_hooks_are_called_in_order(data):
    calls = []

    class Recorder(Callback):
        def on_train_begin(self, state):
            calls.append(("begin", state.epoch, state.step))

        def before_update(self, state):
            assert all(p.grad is not None for p in state.net.parameters())
            calls.append(("update", state.epoch, state.step))

        def on_epoch_end(self, state):
            calls.append(("epoch", state.epoch, len(state.history)))

        def on_train_end(self, state):
            calls.append(("end", state.epoch, state.step))

    fc.fit(small_net(), data, epochs=2, batch_size=25, callbacks=[Recorder()], seed=0)
    assert calls == [
        ("begin", 0, 0),
        ("update", 1, 0),
        ("update", 1, 1),
        ("epoch", 1, 1),
        ("update", 2, 2),
        ("update", 2, 3),
        ("epoch", 2, 2),
        ("end", 2, 4),
    ]


def test_a_callback_sees_the_training(data):
    seen = []
    callback = Each(seen.append)
    fc.fit(small_net(), data, epochs=3, batch_size=20, callbacks=[callback], seed=0)
    assert (seen[0].epochs, seen[0].steps_per_epoch, seen[0].step) == (3, 3, 9)
    assert seen[0].callbacks == [callback]


def test_an_integer_weight_is_as_many_copies():
    """In one batch, where the order of the examples does not matter; and 0 is none."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(6, 4)), np.array([0, 1, 2, 0, 1, 2])
    weight = np.array([2, 1, 0, 3, 1, 1])
    nets = [fc.models.mlp(4, 5, 3, rng=0).astype(np.float64) for _ in range(2)]
    settings = {"epochs": 3, "shuffle": False, "seed": 0, "batch_size": 8}
    mean = weight.mean()  # the loss is divided by the number of examples, not by the weights
    weighted = fc.fit(nets[0], (x, y), sample_weight=weight / mean, **settings)
    repeated = fc.fit(nets[1], (x.repeat(weight, 0), y.repeat(weight)), **settings)
    for a, b in zip(weights(nets[0]), weights(nets[1]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(weighted["loss"], repeated["loss"], rtol=1e-12)
    np.testing.assert_allclose(weighted["accuracy"], repeated["accuracy"], rtol=1e-12)


def test_validation_is_weighted(data):
    x, y = data
    weight = np.where(np.arange(50) < 10, 5.0, 0.0)
    net = small_net()
    history = fc.fit(net, data, epochs=1, validation=(x, y, weight), seed=0)
    assert history["val_accuracy"] == [fc.evaluate(net, (x[:10], y[:10]))[1]]
    loss = fc.evaluate(net, (x[:10], y[:10]))[0]
    assert history["val_loss"][0] == pytest.approx(loss, rel=1e-5)


def noisy(x, rng):
    return x + rng.normal(scale=0.1, size=x.shape)


def test_augmentation_is_seeded_and_leaves_the_data_alone(data):
    before = data[0].copy()
    runs = []
    for seed in (0, 0, 1):
        net = small_net()
        fc.fit(net, data, epochs=2, batch_size=8, augment=noisy, seed=seed)
        runs.append(weights(net)[0])
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])
    np.testing.assert_array_equal(data[0], before)


def test_each_batch_is_augmented_by_its_own_chance_ahead_of_the_step(data):
    draws, names = [], set()

    def record(x, rng):
        draws.append(rng.random())
        names.add(threading.current_thread().name)
        return x

    fc.fit(small_net(), data, epochs=2, batch_size=10, augment=record, seed=0)
    assert len(set(draws)) == len(draws) == 10
    assert threading.main_thread().name not in names


def test_an_error_in_the_augmentation_reaches_the_caller(data):
    def broken(x, rng):
        raise ZeroDivisionError("in the background")

    with pytest.raises(ZeroDivisionError, match="in the background"):
        fc.fit(small_net(), data, augment=broken)
    with pytest.raises(fc.ShapeError, match=r"must keep the number of examples"):
        fc.fit(small_net(), data, augment=lambda x, rng: x[1:])
    assert not [t for t in threading.enumerate() if t.name.startswith("fastconv-ahead")]


def test_fit_refuses_weights_of_another_length(data):
    with pytest.raises(fc.ShapeError, match=r"sample_weight \(3,\) must have shape \(50,\)"):
        fc.fit(small_net(), data, sample_weight=np.ones(3))
    for bad in (-1.0, np.nan):
        net = small_net()
        before = weights(net)
        with pytest.raises(ValueError, match="sample_weight must be finite and not negative"):
            fc.fit(net, data, sample_weight=np.r_[np.ones(49), bad], batch_size=8)
        for a, b in zip(before, weights(net), strict=True):
            np.testing.assert_array_equal(a, b)
    for wrong in (Each, [Each]):
        with pytest.raises(TypeError, match="a callback is an object with"):
            fc.fit(small_net(), data, callbacks=wrong)
    with pytest.raises(fc.ShapeError, match=r"augment made \(\) of a batch"):
        fc.fit(small_net(), data, augment=lambda x, rng: None)
    with pytest.raises(TypeError, match="augment must be a function"):
        fc.fit(small_net(), data, augment=3)
