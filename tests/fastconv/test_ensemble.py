"""Ensembles: averages by hand, and on real digits better than their members."""

import numpy as np
import pytest

import fastconv as fc
from fastconv.callbacks import Checkpoint
from fastconv.ensemble import Ensemble


class Constant(fc.Layer):
    """Scores that do not depend on x."""

    def __init__(self, *scores):
        self.scores = np.array(scores)

    def forward(self, x, train=False):
        return np.tile(self.scores, (len(x), 1))


def sgd(net):
    return fc.SGD(net.parameters(), lr=0.1, momentum=0.9)


@pytest.fixture(scope="module")
def few(digits):
    """So few digits to learn from that single networks err."""
    (x, y), held_out = digits
    return (x[:200], y[:200]), held_out


def make(rng):
    return fc.models.mlp(64, 16, 10, rng=rng)


def assert_better_than_its_members(ensemble, held_out):
    alone = ensemble.member_accuracies(*held_out)
    assert len(set(alone)) > 1
    assert ensemble.accuracy(*held_out) > np.mean(alone)


def test_the_average_is_of_probabilities():
    third = np.log(3.0)
    ensemble = Ensemble([Constant(0.0, 0.0), Constant(third, 0.0), Constant(-third, 0.0)])
    x = np.zeros((2, 1))
    # (1/2 + 3/4 + 1/4) / 3
    np.testing.assert_allclose(ensemble.predict_proba(x), [[0.5, 0.5]] * 2, rtol=1e-12)
    np.testing.assert_array_equal(ensemble(x), ensemble.predict_proba(x))
    ensemble = Ensemble([Constant(0.0, 0.1), Constant(0.0, 0.1), Constant(9.0, 0.0)])
    np.testing.assert_array_equal(ensemble.predict(x), [0, 0])  # though two say 1
    assert ensemble.accuracy(x, [0, 1]) == 0.5
    assert ensemble.member_accuracies(x, np.array([0, 1])) == [0.5, 0.5, 0.5]


def test_different_initialisations(few):
    data, held_out = few
    ensemble = Ensemble.of_initialisations(make, data, 5, optimizer=sgd, epochs=15, seed=1)
    assert len(ensemble) == 5
    assert_better_than_its_members(ensemble, held_out)
    again = Ensemble.of_initialisations(make, data, 5, optimizer=sgd, epochs=15, seed=1)
    np.testing.assert_array_equal(
        ensemble.predict_proba(held_out[0]), again.predict_proba(held_out[0])
    )


def test_the_top_models_of_a_cross_validation(few):
    data, held_out = few
    sizes = {"2": (2,), "12": (12,), "24": (24,), "16-16": (16, 16)}
    candidates = {
        name: lambda rng, hidden=hidden: fc.models.mlp(64, *hidden, 10, rng=rng)
        for name, hidden in sizes.items()
    }
    ensemble = Ensemble.of_cross_validation(
        candidates, data, 3, optimizer=sgd, epochs=15, folds=3, seed=0
    )
    errors = [row["mean_error"] for row in ensemble.table]
    assert errors == sorted(errors)
    assert ensemble.table[-1]["name"] == "2"  # two hidden units are too few
    assert all(row["mean_error"] == np.mean(row["errors"]) for row in ensemble.table)
    assert all(len(row["errors"]) == 3 for row in ensemble.table)
    members = [net.layers[1].weight.value.shape[0] for net in ensemble.nets]
    assert members == [sizes[row["name"]][0] for row in ensemble.table[:3]]
    assert_better_than_its_members(ensemble, held_out)


def test_checkpoints_of_one_training(few, tmp_path):
    data, held_out = few
    net = make(0)
    keeper = Checkpoint(tmp_path, keep=5, monitor="loss")
    optimizer = fc.SGD(net.parameters(), lr=0.6, momentum=0.9)  # so that epochs differ
    fc.fit(net, data, optimizer, epochs=20, callbacks=[keeper], seed=2)
    ensemble = Ensemble.of_checkpoints(net, keeper.best_paths)
    assert len(ensemble) == 5
    assert_better_than_its_members(ensemble, held_out)
    same = Ensemble.of_checkpoints(net, [net.state_dict()])
    np.testing.assert_array_equal(same.predict(held_out[0]), net(held_out[0]).argmax(axis=1))


def test_labels_are_not_broadcast():
    ensemble = Ensemble([Constant(0.0, 1.0)])
    for y in (np.array([[1], [1]]), 1, [1]):
        with pytest.raises(fc.ShapeError, match="y has shape"):
            ensemble.accuracy(np.zeros((2, 1)), y)
    with pytest.raises(TypeError, match="weights are not supported"):
        Ensemble.of_cross_validation({"a": make}, (np.zeros((2, 1)), [0, 1], [1, 1]), 1)


def test_an_interrupt_ends_it(few):
    class Stop(fc.Callback):
        def before_update(self, state):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Ensemble.of_initialisations(make, few[0], 2, callbacks=[Stop()])


@pytest.mark.parametrize(
    "act, error, message",
    [
        (lambda: Ensemble([]), ValueError, "give at least one network"),
        (lambda: Ensemble([3]), TypeError, "3 is not a Layer"),
        (lambda: Ensemble(make(0)), TypeError, r"give a list of networks, e.g. \[net\]"),
        (
            lambda: Ensemble.of_initialisations(lambda rng: None, None, 1),
            TypeError,
            "make_net must return a Layer, got None",
        ),
        (
            lambda: Ensemble.of_cross_validation([("a", make)], None, 1),
            TypeError,
            "candidates must be a dict of functions",
        ),
        (
            lambda: Ensemble.of_cross_validation({"a": make}, None, 1),
            TypeError,
            "data must be a pair",
        ),
        (lambda: Ensemble.of_checkpoints(make(0), "last.npz"), TypeError, "put it in a list"),
        (
            lambda: Ensemble.of_checkpoints(make(0), make(0).state_dict()),
            TypeError,
            "put it in a list",
        ),
        (
            lambda: Ensemble.of_initialisations(make, None, 0),
            ValueError,
            "members must be at least",
        ),
        (
            lambda: Ensemble.of_cross_validation({"a": make}, None, 2),
            ValueError,
            "top must be from 1 to the 1 candidates, got 2",
        ),
        (
            lambda: Ensemble([Constant(1, 2), Constant(1, 2, 3)]).predict(np.zeros((1, 1))),
            fc.ShapeError,
            "different shapes",
        ),
    ],
)
def test_refused(act, error, message):
    with pytest.raises(error, match=message):
        act()
