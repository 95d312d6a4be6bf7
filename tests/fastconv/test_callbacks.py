"""Stopping, checkpoints, schedules, clipping, records."""

import csv
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

import fastconv as fc
from fastconv.callbacks import (
    Checkpoint,
    ClipGradients,
    CosineLR,
    CSVHistory,
    EarlyStopping,
    ExponentialLR,
    JSONHistory,
    LivePlot,
    ReduceOnPlateau,
    StepLR,
    WarmUp,
)
from fastconv.callbacks.checkpoint import load_checkpoint_weights
from fastconv.hooks import Callback, TrainingState


def net_of(rng=0):
    return fc.models.mlp(6, 8, 3, dropout=[0.0, 0.25], rng=rng)


@pytest.fixture
def data(rng):
    x = rng.normal(size=(40, 6)).astype(np.float32)
    return x, np.argmax(x[:, :3], axis=1)


def weights(net):
    return [p.value.copy() for p in net.parameters()]


def assert_same_bits(a, b):
    for left, right in zip(a, b, strict=True):
        np.testing.assert_array_equal(left, right)


class Script:
    """A history of given validation losses, without training."""

    def __init__(self, losses, callback, column="val_loss"):
        self.net = net_of()
        optimizer = fc.SGD(self.net.parameters(), lr=0.4)
        self.state = TrainingState(self.net, optimizer, fc.History(), epochs=len(losses))
        self.state.callbacks = [callback]
        self.seen, self.rates = [], []
        callback.on_train_begin(self.state)
        for epoch, value in enumerate(losses, 1):
            self.state.epoch = epoch
            for p in self.net.parameters():
                p.value[...] = epoch  # so that weights tell their epoch
            row = dict.fromkeys(("loss", "accuracy", "val_loss", "val_accuracy", "seconds", "lr"))
            self.state.history.append(epoch=epoch, **{**row, column: value})
            self.rates.append(optimizer.groups[0].lr)
            self.seen.append(callback.on_epoch_end(self.state))
            if self.seen[-1]:
                break
        self.rates.append(optimizer.groups[0].lr)
        callback.on_train_end(self.state)

    @property
    def epoch_of_weights(self):
        return float(self.net.parameters()[0].value.flat[0])


def test_early_stopping_restores_the_best_weights():
    callback = EarlyStopping(patience=2)
    run = Script([3.0, 2.0, 2.5, 2.0, 1.0], callback)
    assert run.seen == [False, False, False, True]
    assert (callback.best_epoch, callback.best_value, callback.stopped_epoch) == (2, 2.0, 4)
    assert run.epoch_of_weights == 2
    assert run.state.history.best_epoch == 2


def test_early_stopping_restores_them_after_the_last_epoch_too():
    callback = EarlyStopping(patience=5)
    run = Script([3.0, 1.0, 2.0], callback)
    assert (run.epoch_of_weights, callback.best_epoch, callback.stopped_epoch) == (2, 2, None)


def test_min_delta_is_what_an_improvement_must_exceed():
    assert EarlyStopping(patience=2, min_delta=0.5).best_value is None
    callback = EarlyStopping(patience=2, min_delta=0.5)
    run = Script([3.0, 2.6, 2.55, 0.0], callback)
    assert len(run.seen) == 3
    assert callback.best_epoch == 1


def test_accuracies_are_to_rise():
    callback = EarlyStopping("val_accuracy", patience=1)
    Script([0.5, 0.7, 0.6], callback, "val_accuracy")
    assert (callback.best_epoch, callback.best_value) == (2, 0.7)


def test_the_mode_can_be_given():
    callback = EarlyStopping("loss", patience=9, mode="max")
    Script([0.5, 0.7, 0.6], callback, "loss")
    assert (callback.best_epoch, callback.best_value) == (2, 0.7)
    with pytest.raises(ValueError, match="EarlyStopping: mode must be 'min', 'max' or None"):
        EarlyStopping(mode="best")


def test_an_epoch_that_is_not_a_number_is_the_worst():
    callback = EarlyStopping(patience=9)
    run = Script([np.nan, 3.0, np.nan, 2.0, np.inf], callback)
    assert (callback.best_epoch, callback.best_value, run.epoch_of_weights) == (4, 2.0, 4)
    plateau = ReduceOnPlateau(factor=0.5, patience=2)
    assert Script([np.nan, 3.0, np.nan, 2.0], plateau).rates[-1] == 0.4


def test_early_stopping_begins_anew_in_each_training(data):
    best = EarlyStopping("loss")
    Script([-1.0, 0.0], best, "loss")  # better than any training
    history = fc.fit(net_of(), data, epochs=2, callbacks=[best], seed=0)
    assert best.best_value == min(history["loss"])


def test_early_stopping_needs_validation(data):
    with pytest.raises(ValueError, match=r"'val_loss' was not measured; give fit validation"):
        fc.fit(net_of(), data, epochs=1, callbacks=[EarlyStopping()])
    with pytest.raises(ValueError, match="monitor='error' is not one of"):
        EarlyStopping("error")
    with pytest.raises(ValueError, match="patience must be at least 1, got 0"):
        EarlyStopping(patience=0)


class InterruptAt(Callback):
    def __init__(self, step):
        self.at = step

    def before_update(self, state):
        if state.step == self.at:
            os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_returns_the_best_weights_too(data):
    best = EarlyStopping("loss", patience=9)
    kept = []

    class Keep(Callback):
        def on_epoch_end(self, state):
            kept.append(weights(state.net))

    net = net_of()
    callbacks = [best, Keep(), InterruptAt(5)]  # in the third epoch
    history = fc.fit(net, data, epochs=5, batch_size=20, callbacks=callbacks, seed=0)
    assert history.interrupted
    assert history.best_epoch == best.best_epoch == 2
    assert_same_bits(weights(net), kept[1])


@pytest.mark.parametrize("copy", [1, 2])
def test_ctrl_c_while_the_best_weights_are_copied(copy, data, monkeypatch):
    net = net_of()
    state_dict, kept, copies = net.state_dict, [], []

    def interrupted():
        copies.append(state_dict())
        if len(copies) == copy:
            os.kill(os.getpid(), signal.SIGINT)
        return copies[-1]

    monkeypatch.setattr(net, "state_dict", interrupted)
    best = EarlyStopping("loss")

    class Keep(Callback):
        def on_epoch_end(self, state):
            kept.append(weights(state.net))

    history = fc.fit(net, data, epochs=9, callbacks=[Keep(), best], seed=0)
    assert history.interrupted
    assert history.best_epoch == len(history) < 9
    assert_same_bits(weights(net), kept[-1])


def test_a_training_that_diverges_returns_the_best_weights_too(data):
    kept = []

    class Spoil(Callback):
        def on_epoch_end(self, state):
            kept.append(weights(state.net))
            if state.epoch == 2:
                state.net.parameters()[0].value[...] = np.nan

    net = net_of()
    sgd = fc.SGD(net.parameters(), lr=0.1)
    best = EarlyStopping("loss")
    with pytest.raises(FloatingPointError, match="the loss is nan in epoch 3"):
        fc.fit(net, data, sgd, callbacks=[best, CosineLR(), Spoil()], seed=0)
    assert_same_bits(weights(net), kept[best.best_epoch - 1])
    assert sgd.groups[0].lr == 0.1


@pytest.mark.parametrize(
    "schedule, rates",
    [
        (StepLR(2, 0.5), [0.4, 0.4, 0.2, 0.2, 0.1]),
        (ExponentialLR(0.5), [0.4, 0.2, 0.1, 0.05, 0.025]),
        (CosineLR(), [0.4, 0.4 * (2 + np.sqrt(2)) / 4, 0.2, 0.4 * (2 - np.sqrt(2)) / 4, 0.0]),
        (CosineLR(0.5), [0.4, 0.4 * (1 + (2 + np.sqrt(2)) / 4) / 2, 0.3, None, 0.2]),
    ],
    ids=["step", "exponential", "cosine", "cosine-final"],
)
def test_schedules_by_hand(schedule, rates):
    run = Script([1.0] * 4, schedule)
    for found, expected in zip(run.rates, rates, strict=True):
        assert expected is None or found == pytest.approx(expected, abs=1e-15)
    assert run.state.optimizer.groups[0].lr == 0.4  # as it was found


def test_reduce_on_plateau():
    run = Script([3, 2, 2, 2, 2, 1, 1, 1, 1.0], ReduceOnPlateau(factor=0.5, patience=2))
    assert run.rates == [0.4, 0.4, 0.4, 0.4, 0.2, 0.2, 0.2, 0.2, 0.1, 0.1]
    run = Script([1.0] * 6, ReduceOnPlateau(factor=0.1, patience=1, smallest=0.05))
    assert run.rates[-1] == pytest.approx(0.4 * 0.05)


def test_a_warm_up_goes_with_another_schedule(data):
    rates = []

    class Record(Callback):
        def before_update(self, state):
            rates.append([group.lr for group in state.optimizer.groups])

    net = net_of()
    groups = [
        {"parameters": [p], "lr": lr}
        for p, lr in zip(net.parameters(), (0.4, 0.8, 0, 0), strict=True)
    ]
    callbacks = [WarmUp(4), StepLR(2, 0.5), Record()]
    sgd = fc.SGD(groups, lr=0.1)
    fc.fit(net, data, sgd, epochs=3, batch_size=20, callbacks=callbacks, seed=0)
    expected = [0.25, 0.5, 0.75, 1.0, 0.5, 0.5]
    np.testing.assert_allclose(rates, [[0.4 * f, 0.8 * f, 0, 0] for f in expected], rtol=1e-15)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: StepLR(0), "StepLR: every must be at least 1, got 0"),
        (lambda: ExponentialLR(1.5), "ExponentialLR: factor must satisfy 0 < factor <= 1"),
        (lambda: CosineLR(-1), "CosineLR: final must satisfy"),
        (lambda: WarmUp(0), "WarmUp: steps must be at least 1"),
        (lambda: ClipGradients(0), "ClipGradients: max_norm must be positive"),
        (lambda: Checkpoint("here", keep=-1), "Checkpoint: keep must be at least 0"),
        (lambda: Checkpoint("here", mode="top"), "Checkpoint: mode must be 'min', 'max' or None"),
        (lambda: EarlyStopping(min_delta=-1), "EarlyStopping: min_delta must be 0 or greater"),
        (lambda: ReduceOnPlateau(min_delta=-1), "ReduceOnPlateau: min_delta must be 0 or greater"),
        (lambda: ReduceOnPlateau(smallest=2), "ReduceOnPlateau: smallest must satisfy 0 <= small"),
    ],
)
def test_settings_that_cannot_be(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: StepLR(2.5), "StepLR: every must be an integer, got 2.5"),
        (lambda: StepLR(2, "a"), "StepLR: factor must be a number, got 'a'"),
        (lambda: CosineLR(None), "CosineLR: final must be a number, got None"),
        (lambda: ClipGradients("5"), "ClipGradients: max_norm must be a number, got '5'"),
        (lambda: EarlyStopping(min_delta="a"), "EarlyStopping: min_delta must be a number"),
    ],
)
def test_settings_that_are_not_numbers(make, message):
    with pytest.raises(TypeError, match=message):
        make()


def test_clipping_by_hand():
    parameters = [fc.Parameter(np.zeros(2)), fc.Parameter(np.zeros(1)), fc.Parameter(np.zeros(1))]
    parameters[0].grad, parameters[1].grad = np.array([2.0, 3.0]), np.array([6.0])
    state = TrainingState(None, fc.SGD(parameters, lr=1), fc.History())
    clip = ClipGradients(3.5)
    clip.before_update(state)
    assert clip.last_norm == 7.0  # √(4 + 9 + 36)
    np.testing.assert_array_equal(parameters[0].grad, [1.0, 1.5])
    np.testing.assert_array_equal(parameters[1].grad, [3.0])
    clip.before_update(state)
    assert clip.last_norm == 3.5
    np.testing.assert_array_equal(parameters[0].grad, [1.0, 1.5])
    parameters[0].grad[0] = np.inf
    with pytest.raises(FloatingPointError, match="norm is inf in step 1; lower lr"):
        clip.before_update(state)


def test_records_are_complete_after_every_epoch(data, tmp_path):
    table, text = tmp_path / "new" / "history.csv", tmp_path / "history.json"
    lengths = []

    class Read(Callback):
        def on_epoch_end(self, state):
            with open(table, newline="") as file:
                rows = list(csv.DictReader(file))
            lengths.append((len(rows), len(json.loads(text.read_text())["loss"])))

    callbacks = [CSVHistory(table), JSONHistory(text), Read()]
    history = fc.fit(net_of(), data, epochs=2, callbacks=callbacks, seed=0)
    assert lengths == [(1, 1), (2, 2)]
    with open(table, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["loss"]) for row in rows] == history["loss"]
    assert rows[0]["val_loss"] == ""
    assert json.loads(text.read_text()) == history.as_dict()


def test_live_plot_redraws_its_picture(data, tmp_path):
    pytest.importorskip("matplotlib")
    path = tmp_path / "curve.png"
    pictures = []

    class Read(Callback):
        def on_epoch_end(self, state):
            pictures.append(path.read_bytes())

    fc.fit(net_of(), data, epochs=2, callbacks=[LivePlot(path), Read()], seed=0)
    assert pictures[0].startswith(b"\x89PNG")
    assert pictures[0] != pictures[1]


def test_live_plot_shows_one_picture_in_a_notebook(tmp_path):
    """IPython itself, in a process of its own, where nothing has imported pyplot."""
    pytest.importorskip("matplotlib")
    pytest.importorskip("IPython")
    code = """
import numpy as np
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
import fastconv as fc
from fastconv.callbacks import LivePlot
InteractiveShell.instance()
x, y = np.eye(8), np.arange(8) % 2
with capture_output() as captured:
    fc.fit(fc.models.mlp(8, 2, rng=0), (x, y), epochs=3, callbacks=[LivePlot()], seed=0)
pictures = [o.data["image/png"] for o in captured.outputs]
print([o.update for o in captured.outputs])
print(len({o.transient["display_id"] for o in captured.outputs}))
print(len(set(pictures)), {p[:4] for p in pictures})
"""
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "IPYTHONDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout == "[False, True, True]\n1\n3 {b'\\x89PNG'}\n"


def test_live_plot_needs_a_notebook_or_a_path(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"needs IPython; give path='curve.png'"):
        LivePlot()


def noisy(x, rng):
    return x + rng.normal(scale=0.1, size=x.shape).astype(x.dtype)


def whole_training(data, folder, epochs, resume=None, more=()):
    """Everything in play that a resumed training must restore."""
    net = net_of(rng=1)
    sgd = fc.SGD(net.parameters(), lr=0.2, momentum=0.9, l2=1e-3)
    stop, plateau = EarlyStopping("loss", patience=9), ReduceOnPlateau("loss", 0.5, 1, 0.05)
    callbacks = [WarmUp(5), CosineLR(), plateau, stop, Checkpoint(folder, 2, "loss"), *more]
    history = fc.fit(
        net, data, sgd, epochs, 16, data, callbacks, seed=3, augment=noisy, resume=resume
    )
    return net, history, stop, sgd


class Stop(Callback):
    """End the training after an epoch, as if the machine had gone down."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_end(self, state):
        return state.epoch == self.epoch


@pytest.mark.parametrize("end", [Stop(3), InterruptAt(10)], ids=["after-epoch", "in-epoch"])
def test_a_resumed_training_has_the_same_bits(end, data, tmp_path):
    net, history, stop, sgd = whole_training(data, tmp_path / "whole", 6)
    assert stop.best_epoch > 3  # else the weights prove nothing of the second half
    whole_training(data, tmp_path / "part", 6, more=[end])
    last = tmp_path / "part" / "last.npz"
    assert json.loads(fc.load(last)["meta"].tobytes())["epoch"] == 3
    again, resumed, stop_again, sgd_again = whole_training(data, tmp_path / "part", 6, last)
    assert_same_bits(weights(net), weights(again))
    assert_same_bits(sgd.state_dict().values(), sgd_again.state_dict().values())
    for column in ("epoch", "loss", "accuracy", "val_loss", "val_accuracy", "lr"):
        assert history[column] == resumed[column], column
    assert stop.state_dict().keys() == stop_again.state_dict().keys()
    assert (stop.best_epoch, stop.best_value) == (stop_again.best_epoch, stop_again.best_value)
    names = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "part").iterdir())


def test_a_training_that_patience_ended_is_not_resumed(data, tmp_path):
    def run(epochs, patience, resume=None):
        net = net_of()
        callbacks = [EarlyStopping("lr", patience), Checkpoint(tmp_path, 0)]  # lr never falls
        return fc.fit(net, data, epochs=epochs, callbacks=callbacks, seed=0, resume=resume)

    assert len(run(9, 2)) == 3
    assert len(run(9, 2, tmp_path / "last.npz")) == 3
    assert len(run(9, 4, tmp_path / "last.npz")) == 5  # more patience goes on


def test_numpy_numbers_are_plain_in_the_history(data):
    def loss(scores, labels):
        value, dscores = fc.softmax_cross_entropy(scores, labels)
        return np.float32(value), dscores

    net = net_of()
    history = fc.fit(net, data, fc.SGD(net.parameters(), np.float32(0.5)), 1, loss=loss, seed=0)
    assert json.loads(history.to_json())["lr"] == [0.5]


def test_checkpoints_keep_the_best_and_the_last(data, tmp_path):
    kept = {}

    class Keep(Callback):
        def on_epoch_end(self, state):
            kept[state.epoch] = weights(state.net)

    net = net_of()
    keeper = Checkpoint(tmp_path / "new" / "folder", keep=2, monitor="val_loss")
    history = fc.fit(
        net, data, epochs=6, validation=data, callbacks=[keeper, Keep()], seed=0, batch_size=8
    )
    order = sorted(range(1, 7), key=lambda epoch: history["val_loss"][epoch - 1])
    assert [path.name for path in keeper.best_paths] == [f"epoch-{e:04d}.npz" for e in order[:2]]
    names = {path.name for path in keeper.folder.iterdir()}
    assert names == {"last.npz", *(path.name for path in keeper.best_paths)}
    other = net_of(rng=5)
    other.load_state_dict(load_checkpoint_weights(keeper.best_paths[0]))
    assert_same_bits(weights(other), kept[order[0]])


def test_a_checkpoint_of_another_training_is_refused(data, tmp_path):
    whole_training(data, tmp_path, 1)
    last = tmp_path / "last.npz"
    with pytest.raises(ValueError, match=r"has the callbacks \['WarmUp'.*but this training \[\]"):
        fc.fit(net_of(), data, resume=last)
    net = fc.models.mlp(6, 9, 3, dropout=[0.0, 0.25])
    callbacks = [
        *(WarmUp(5), CosineLR(), ReduceOnPlateau("loss"), EarlyStopping("loss")),
        Checkpoint(tmp_path, 2, "loss"),
    ]
    before = weights(net)
    with pytest.raises(fc.ShapeError, match=r"has shape|of other parameters"):
        fc.fit(net, data, batch_size=16, resume=last, callbacks=callbacks)
    assert_same_bits(weights(net), before)
    other = net_of(rng=9)  # the same network, but an optimizer without momentum
    before = weights(other)
    with pytest.raises(fc.ShapeError, match="of other parameters"):
        sgd = fc.SGD(other.parameters(), 0.1)
        fc.fit(other, data, sgd, 10, 16, resume=last, callbacks=callbacks)
    assert_same_bits(weights(other), before)
    with pytest.raises(ValueError, match="has 3 steps an epoch, but this training 5"):
        fc.fit(net_of(), data, batch_size=8, resume=last, callbacks=callbacks)
    weights_alone = tmp_path / "weights.npz"
    for others in ({}, {"meta": np.zeros(3)}, {"meta": np.frombuffer(b"{}", np.uint8)}):
        fc.save({**net_of().state_dict(), **others}, weights_alone)
        with pytest.raises(ValueError, match="was not written by Checkpoint"):
            fc.fit(net_of(), data, resume=weights_alone)
    with pytest.raises(FileNotFoundError):
        fc.fit(net_of(), data, resume=tmp_path / "none.npz")


def test_ctrl_c_while_a_checkpoint_is_written(data, tmp_path, monkeypatch):
    written = []

    def save(arrays, path):
        written.append(path)
        if len(written) == 3:  # the second epoch, before its file is there
            os.kill(os.getpid(), signal.SIGINT)
        fc.save(arrays, path)

    monkeypatch.setattr("fastconv.callbacks.checkpoint.save", save)
    keeper = Checkpoint(tmp_path, 3, "loss")
    history = fc.fit(net_of(), data, epochs=5, callbacks=[keeper], seed=0)
    assert history.interrupted
    assert len(history) == len(keeper.best_paths) == 2
    assert all(path.exists() for path in keeper.best_paths)
    assert json.loads(fc.load(tmp_path / "last.npz")["meta"].tobytes())["epoch"] == 2


def test_the_best_epochs_are_files_that_are_there(data, tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    fc.fit(net_of(), data, epochs=3, callbacks=[Checkpoint(old, 2, "loss")], seed=0)
    keeper = Checkpoint(new, 2, "loss")
    resume = old / "last.npz"
    fc.fit(net_of(), data, epochs=4, callbacks=[keeper], seed=0, resume=resume)
    assert keeper.best_paths == [new / "epoch-0004.npz"]


@pytest.mark.parametrize("generator", ["MT19937", "Philox", "SFC64", "PCG64DXSM"])
def test_a_resumed_training_with_another_generator(generator, data, tmp_path):
    def losses(epochs, resume=None):
        net = net_of()
        dropout = next(layer for layer in net.layers if isinstance(layer, fc.Dropout))
        dropout.rng = np.random.Generator(getattr(np.random, generator)(1))
        sgd = fc.SGD(net.parameters(), lr=np.float32(0.5))
        options = {"callbacks": [Checkpoint(tmp_path, 0)], "shuffle": False, "resume": resume}
        return fc.fit(net, data, sgd, epochs, **options)["loss"]

    whole = losses(4)
    losses(2)
    assert losses(4, tmp_path / "last.npz") == whole


def test_what_a_callback_remembers(data, tmp_path):
    class Counter(Callback):
        def __init__(self, count):
            self.count = count

        def on_epoch_end(self, state):
            pass

        def state_dict(self):
            return {"count": self.count}

        def load_state_dict(self, state):
            self.count = state["count"]

    def train(count, resume=None):
        counter = Counter(count)
        callbacks = [counter, Checkpoint(tmp_path, 0)]
        fc.fit(net_of(), data, epochs=1, callbacks=callbacks, resume=resume)
        return counter.count

    train(np.int64(5))
    assert train(0, tmp_path / "last.npz") == 5
    with pytest.raises(TypeError, match=r"state_dict\(\) holds \{1\}; it must hold arrays"):
        train({1})


def test_a_cosine_that_is_resumed_for_longer_has_the_rates_of_the_longer(data, tmp_path):
    def run(epochs, resume=None):
        net = net_of()
        callbacks = [CosineLR(), Checkpoint(tmp_path, 0)]
        sgd = fc.SGD(net.parameters(), lr=0.1)
        return fc.fit(net, data, sgd, epochs, callbacks=callbacks, seed=0, resume=resume)["lr"]

    run(3)
    expected = [0.1 * (1 + np.cos(np.pi * epoch / 6)) / 2 for epoch in (3, 4, 5)]
    assert run(6, tmp_path / "last.npz")[3:] == pytest.approx(expected)


def test_a_new_training_takes_the_place_of_an_earlier_one(data, tmp_path):
    for epochs in (6, 2):
        keeper = Checkpoint(tmp_path, 2, "loss")
        fc.fit(net_of(), data, epochs=epochs, callbacks=[keeper], seed=0)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"last.npz", "epoch-0001.npz", "epoch-0002.npz"}


def test_every_callback_ends_though_another_fails(data):
    class Broken(Callback):
        def on_train_end(self, state):
            raise OSError("disk full")

    net = net_of()
    sgd = fc.SGD(net.parameters(), lr=0.1)
    with pytest.raises(OSError, match="disk full"):
        fc.fit(net, data, sgd, epochs=2, callbacks=[Broken(), ExponentialLR(0.5)])
    assert sgd.groups[0].lr == 0.1


def test_a_checkpoint_comes_last(data, tmp_path):
    two = [Checkpoint(tmp_path, monitor="loss"), Checkpoint(tmp_path / "2", monitor="loss")]
    with pytest.raises(ValueError, match="put the Checkpoint last, and only one"):
        fc.fit(net_of(), data, callbacks=two)
    callbacks = [Checkpoint(tmp_path, monitor="loss"), EarlyStopping("loss")]
    with pytest.raises(ValueError, match=r"EarlyStopping comes behind it.*put the Checkpoint last"):
        fc.fit(net_of(), data, callbacks=callbacks)
