"""The estimators: all of scikit-learn's checks, and what is done with estimators."""

import copy
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

import fastconv as fc


sklearn = pytest.importorskip("sklearn")

from joblib import Parallel, cpu_count, delayed, parallel_config  # noqa: E402
from sklearn.base import clone  # noqa: E402
from sklearn.model_selection import (  # noqa: E402
    GridSearchCV,
    RandomizedSearchCV,
    StratifiedKFold,
    cross_val_score,
    learning_curve,
    validation_curve,
)
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402
from sklearn.utils.estimator_checks import parametrize_with_checks  # noqa: E402

from fastconv.sklearn import CNNClassifier, CNNRegressor  # noqa: E402


@parametrize_with_checks(
    [
        CNNClassifier(),
        CNNRegressor(),
        CNNClassifier(
            "mlp", hidden=(20, 20), dropout=0.1, early_stopping=True, validation_fraction=0.4
        ),
        CNNRegressor("mlp", dtype="float64", batch_size=16, early_stopping=True),
    ]
)
def test_scikit_learn_checks(estimator, check):
    """Without a check waived: nothing is expected to fail, no tag excuses from anything."""
    check(estimator)


def test_the_check_that_scipy_must_be_told_to_allow():
    """check_array_api_input is skipped without this variable, which SciPy reads at import."""
    code = (
        "from sklearn.utils.estimator_checks import check_estimator;"
        "from fastconv.sklearn import *;"
        "found = check_estimator(CNNClassifier()) + check_estimator(CNNRegressor());"
        "assert len(found) > 100 and {f['status'] for f in found} == {'passed'}"
    )
    variables = {**os.environ, "SCIPY_ARRAY_API": "1"}
    subprocess.run([sys.executable, "-c", code], env=variables, check=True)


def test_no_tag_excuses_from_a_check():
    for estimator in (CNNClassifier(), CNNRegressor()):
        tags = sklearn.utils.get_tags(estimator)
        assert not tags.no_validation
        assert not tags.non_deterministic
        assert tags.requires_fit
        assert not (tags.classifier_tags or tags.regressor_tags).poor_score


@pytest.fixture(scope="module")
def rows(digits):
    """The digits as flat rows: few to learn from, the rest held out."""
    (x, y), (x_test, y_test) = digits
    return x[:600].reshape(600, 64), y[:600], x_test.reshape(-1, 64), y_test


def quick(**settings):
    return CNNClassifier(**{"epochs": 8, "random_state": 0, "hidden": (32,), **settings})


def test_images_and_flat_rows_are_the_same(rows):
    x, y, x_test, _ = rows
    flat = quick(architecture="cnn", image_shape=(8, 8), epochs=2).fit(x, y)
    images = quick(architecture="cnn", epochs=2).fit(x.reshape(-1, 1, 8, 8), y)
    grey = quick(epochs=2).fit(x.reshape(-1, 8, 8), y)  # "auto" is "cnn" for such images
    expected = flat.predict_proba(x_test)
    np.testing.assert_array_equal(images.predict_proba(x_test.reshape(-1, 1, 8, 8)), expected)
    np.testing.assert_array_equal(grey.predict_proba(x_test.reshape(-1, 8, 8)), expected)
    np.testing.assert_allclose(expected.sum(axis=1), 1, rtol=1e-12)


def test_what_auto_is(rng):
    def first(x):
        return type(quick(epochs=1).fit(x, np.arange(len(x)) % 2).net_[0]), x.shape

    assert first(rng.random((6, 9)))[0] is fc.Flatten
    net = quick(epochs=1).fit(rng.random((6, 1, 28, 28)), np.arange(6) % 2).net_
    assert net.layers[0].weight.value.shape == (6, 1, 5, 5)  # LeNet's
    net = quick(epochs=1).fit(rng.random((6, 3, 5, 4)), np.arange(6) % 2).net_
    assert net.layers[0].weight.value.shape == (16, 3, 3, 3)


def test_architectures(rows):
    x, y, x_test, y_test = rows
    layers = [fc.Linear(64, 20, rng=0), fc.Tanh(), fc.Linear(20, 10, rng=1)]
    before = layers[0].weight.value.copy()

    def function(shape, outputs, rng):
        assert (shape, outputs) == ((64,), 10)
        return fc.models.mlp(64, 20, outputs, rng=rng)

    for architecture in (layers, tuple(layers), fc.Sequential(*layers), function, "mlp"):
        found = quick(architecture=architecture).fit(x, y)
        assert found.score(x_test, y_test) > 0.85
    np.testing.assert_array_equal(layers[0].weight.value, before)  # copied, not trained
    assert clone(quick(architecture=layers)).fit(x, y).score(x_test, y_test) > 0.85


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"architecture": "resnet"}, "architecture='resnet' is unknown; use one of"),
        ({"architecture": "lenet5"}, "is for images, but X has 64 features in rows; give image"),
        ({"architecture": [fc.Linear(64, 3)]}, r"makes \(3,\) of an example \(64,\), but 10"),
        ({"image_shape": (7, 9)}, r"image_shape=\(7, 9\) is not \(H, W\) or \(C, H, W\) of the 64"),
        ({"lr": -1}, "SGD: lr must satisfy"),
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"clip_norm": 0}, "max_norm must be positive"),
        ({"dtype": "float16"}, "dtype must be float32 or float64"),
        ({"image_shape": 8}, r"image_shape=8 is not \(H, W\) or \(C, H, W\) of the 64"),
        ({"image_shape": (-8, -8)}, r"image_shape=\(-8, -8\) is not"),
        ({"hidden": 50}, r"hidden=50 must be a sequence of sizes, e.g. \(100,\)"),
        ({"init": "orthogonal"}, "init='orthogonal' is unknown; use one of"),
        ({"init": "zeros", "architecture": [fc.Linear(64, 10)]}, "init='zeros' is for the archi"),
        ({"architecture": lambda *_: None}, "must return a Layer, got NoneType"),
        ({"callbacks": None}, r"callbacks must be a sequence, \(\) for none, got None"),
        ({"class_weight": {0: -1}}, "class_weight={0: -1} must hold finite numbers, none negative"),
        ({"class_weight": dict.fromkeys(range(10), 0)}, "and not 0 for every class of y"),
        ({"early_stopping": True, "validation_fraction": 50}, "validation_fraction must be a num"),
        ({"early_stopping": True, "validation_fraction": 0.01}, "without an example of each class"),
        ({"n_threads": 0}, r"^threads: .*got 0"),
    ],
)
def test_settings_that_cannot_be(settings, message, rows):
    x, y, *_ = rows
    with pytest.raises((ValueError, TypeError), match=message):
        quick(**settings).fit(x, y)


def test_data_that_does_not_fit(rows):
    x, y, *_ = rows
    found = quick(epochs=1).fit(x.reshape(-1, 1, 8, 8), y)
    with pytest.raises(fc.ShapeError, match=r"examples of shape \(1, 4, 16\), but was trained on"):
        found.predict(x.reshape(-1, 1, 4, 16))
    with pytest.raises(fc.ShapeError, match=r"images of shape \(1, 8, 8\), but image_shape="):
        quick(image_shape=(4, 16)).fit(x.reshape(-1, 1, 8, 8), y)
    with pytest.raises(ValueError, match=r"at least one non-zero number|nor all zero"):
        quick().fit(x, y, np.zeros(len(x)))


def test_the_order_of_the_examples_does_not_matter(rows):
    x, y, x_test, _ = rows
    order = np.random.default_rng(0).permutation(len(x))
    np.testing.assert_array_equal(
        quick(epochs=2, early_stopping=True).fit(x, y).predict_proba(x_test),
        quick(epochs=2, early_stopping=True).fit(x[order], y[order]).predict_proba(x_test),
    )


def test_a_weight_is_as_many_copies(rows):
    x, y, x_test, _ = rows
    weight = np.random.default_rng(0).integers(0, 4, len(x))
    for make in (lambda: quick(epochs=2), lambda: CNNRegressor(epochs=2, random_state=0)):
        weighted = make().fit(x, y, sample_weight=weight).predict(x_test)
        repeated = make().fit(x.repeat(weight, 0), y.repeat(weight)).predict(x_test)
        np.testing.assert_array_equal(weighted, repeated)


def test_early_stopping_restores_the_best_epoch(rows):
    x, y, x_test, y_test = rows
    found = quick(early_stopping=True, epochs=100, patience=4, lr=0.3).fit(x, y)
    curve = found.validation_loss_curve_
    assert found.n_iter_ == len(curve) == len(found.loss_curve_) < 100
    assert found.best_epoch_ == np.argmin(curve) + 1 == found.n_iter_ - 4
    assert found.score(x_test, y_test) > 0.85
    # The weights are those of a training that ended there.
    shorter = quick(early_stopping=True, epochs=found.best_epoch_, patience=50, lr=0.3).fit(x, y)
    np.testing.assert_array_equal(found.predict_proba(x_test), shorter.predict_proba(x_test))
    without = quick(epochs=2).fit(x, y)
    assert (without.validation_loss_curve_, without.best_epoch_) == (None, None)


def test_the_validation_part_is_stratified(rows):
    x, y, *_ = rows
    keep = (y == 0) | (np.cumsum(y == 1) <= 20) & (y == 1)  # about 60 to 20
    x, y = x[keep], y[keep]
    seen = []

    class Recorder(CNNClassifier):
        def _split(self, *arguments):
            parts = super()._split(*arguments)
            seen.append((parts[1], parts[3][1]))
            return parts

    Recorder(early_stopping=True, validation_fraction=0.25, epochs=1, random_state=0).fit(x, y)
    (training, validation) = seen[0]
    assert abs(training.mean() - validation.mean()) < 0.03
    assert len(validation) == pytest.approx(0.25 * len(y), abs=1)


def test_class_weights_move_the_decision(rng):
    x = rng.normal(size=(400, 2)) + np.repeat([[0.0, 0.0], [1.0, 1.0]], [360, 40], axis=0)
    y = np.repeat(["often", "rare"], [360, 40])

    def share(class_weight):
        found = CNNClassifier(hidden=(8,), random_state=0, class_weight=class_weight).fit(x, y)
        return (found.predict(x) == "rare").mean()

    assert share({"rare": 100.0}) > share("balanced") > share(None)
    weights = np.where(y == "rare", 9.0, 1.0)  # what "balanced" is here
    balanced = CNNClassifier(random_state=0, class_weight="balanced").fit(x, y)
    by_hand = CNNClassifier(random_state=0).fit(x, y, weights)
    np.testing.assert_allclose(balanced.predict_proba(x), by_hand.predict_proba(x), atol=1e-4)


def test_partial_fit_is_an_epoch(rows):
    x, y, x_test, y_test = rows
    found = quick()
    for _ in range(8):
        found.partial_fit(x, y, classes=np.arange(10))
    assert found.n_iter_ == len(found.loss_curve_) == 8
    assert found.score(x_test, y_test) > 0.85
    few = quick().partial_fit(x[y < 3], y[y < 3], classes=np.arange(10))
    assert few.predict_proba(x_test).shape == (len(x_test), 10)
    few.partial_fit(x, y)
    with pytest.raises(ValueError, match=r"classes=\[0, 1\] are not those of before"):
        few.partial_fit(x, y, classes=[0, 1])


def test_warm_start_goes_on(rows):
    x, y, *_ = rows
    cold, warm = quick(epochs=3), quick(epochs=3, warm_start=True)
    cold.fit(x, y).fit(x, y)
    warm.fit(x, y).fit(x, y)
    assert (cold.n_iter_, warm.n_iter_) == (3, 6)
    assert warm.loss_curve_[3] < warm.loss_curve_[2] < cold.loss_curve_[0]
    with pytest.raises(ValueError, match=r"y has the classes \[77\]"):
        warm.fit(x, np.full(len(x), 77))


def test_each_partial_fit_draws_anew(rows):
    """With a seed too: else each call had the shuffling, dropout and augmentation of the first."""
    x, y, *_ = rows

    def drawn():
        draws = []

        def augment(images, rng):
            draws.append((images[0].tobytes(), rng.integers(2**60)))
            return images

        found = quick(augment=augment, batch_size=len(x))
        for _ in range(3):
            found.partial_fit(x, y)
        return draws

    first = drawn()
    assert [len(set(column)) for column in zip(*first, strict=True)] == [3, 3]
    assert first == drawn()


def test_a_warm_start_obeys_the_settings_of_now(rows):
    x, y, *_ = rows
    found = quick(epochs=1, warm_start=True, l2=0.0).fit(x, y)
    before, velocities = found.net_.state_dict(), found.optimizer_.state_dict()
    found.set_params(lr=0.0).fit(x, y)
    for name, weight in found.net_.state_dict().items():
        np.testing.assert_array_equal(weight, before[name])
    assert found.optimizer_.state_dict().keys() == velocities.keys()
    assert found.set_params(momentum=0.0).fit(x, y).optimizer_.state_dict() == {}
    assert found.set_params(momentum=0.5).partial_fit(x, y).optimizer_.groups[0].momentum == 0.5


def test_partial_fit_keeps_the_velocities(rows):
    x, y, *_ = rows
    found = quick().partial_fit(x, y)
    before = found.optimizer_.state_dict()
    found.set_params(lr=0.0, momentum=0.999, clip_norm=1e-9, l2=0.0).partial_fit(x, y)
    steps = -(-len(x) // found.batch_size)
    for name, velocity in found.optimizer_.state_dict().items():
        np.testing.assert_allclose(velocity, before[name] * 0.999**steps, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("random_state", [0, None, np.random.RandomState(0)])
def test_warm_starts_validate_on_the_same_part(random_state, rows):
    """Else what one fit has learned would validate the next."""
    x, y, *_ = rows
    seen = []

    class Recorder(CNNClassifier):
        def _split(self, *arguments):
            parts = super()._split(*arguments)
            seen.append(parts[3][0].tobytes())
            return parts

    found = Recorder(early_stopping=True, warm_start=True, epochs=1, random_state=random_state)
    found.fit(x, y).fit(x, y)
    assert seen[0] == seen[1]


@pytest.mark.parametrize("architecture", ["mlp", "cnn"])
def test_init_draws_the_weights(architecture, rows):
    x, y, *_ = rows

    def weights(init):
        untrained = {"epochs": 1, "lr": 0.0, "l2": 0.0, "image_shape": (8, 8)}
        net = quick(architecture=architecture, init=init, **untrained).fit(x, y).net_
        return [p.read for name, p in net.named_parameters() if name.endswith("weight")]

    for he, xavier in zip(weights("he_normal"), weights("xavier_normal"), strict=True):
        np.testing.assert_allclose(he.std() / xavier.std(), 2**0.5, rtol=1e-5)
        assert he.std() == pytest.approx((2 / he[0].size) ** 0.5, rel=0.15)
    assert not any(weight.any() for weight in weights("zeros"))
    assert all((weight == 3).all() for weight in weights(lambda shape, rng: np.full(shape, 3.0)))


def test_init_can_be_searched(rows):
    x, y, *_ = rows
    grid = {"init": ["zeros", "he_normal"]}  # from zeros, a ReLU network learns biases at most
    assert GridSearchCV(quick(epochs=3), grid, cv=2).fit(x, y).best_params_ == {"init": "he_normal"}


def test_regression(rng):
    x = rng.uniform(-1, 1, (400, 3))
    y = 1000 + 500 * x[:, 0] ** 2 - 300 * x[:, 1]  # far from 0 and 1
    found = CNNRegressor(random_state=0, epochs=60).fit(x[:300], y[:300])
    assert found.score(x[300:], y[300:]) > 0.95
    assert found.predict(x[300:]).shape == (100,)
    assert found.partial_fit(x, y).n_iter_ == 61


def test_pickle_copy_and_clone(rows):
    x, y, x_test, _ = rows
    found = quick(epochs=2).fit(x, y)
    expected = found.predict_proba(x_test)
    for same in (pickle.loads(pickle.dumps(found)), copy.deepcopy(found)):
        np.testing.assert_array_equal(same.predict_proba(x_test), expected)
    fresh = clone(found)
    assert not hasattr(fresh, "net_")
    np.testing.assert_array_equal(fresh.fit(x, y).predict_proba(x_test), expected)


def test_cross_validation_and_nested_cross_validation(rows):
    x, y, *_ = rows
    folds = StratifiedKFold(4, shuffle=True, random_state=0)
    assert cross_val_score(quick(), x, y, cv=folds).mean() > 0.85
    inner = GridSearchCV(quick(epochs=3), {"lr": [1e-5, 0.1]}, cv=2)
    assert (cross_val_score(inner, x, y, cv=2) > 0.7).all()  # no fold chose the small rate


def test_searches_in_parallel(rows):
    x, y, *_ = rows
    grid = {"lr": [1e-5, 0.1], "hidden": [(8,), (32,)]}
    parallel = GridSearchCV(quick(epochs=3), grid, cv=2, n_jobs=2).fit(x, y)
    alone = GridSearchCV(quick(epochs=3), grid, cv=2).fit(x, y)
    assert parallel.best_params_["lr"] == 0.1
    key = "mean_test_score"
    np.testing.assert_array_equal(parallel.cv_results_[key], alone.cv_results_[key])
    found = RandomizedSearchCV(quick(epochs=2), grid, n_iter=2, cv=2, random_state=0).fit(x, y)
    assert len(found.cv_results_["params"]) == 2


def test_pipeline_and_curves(rows):
    x, y, *_ = rows
    chain = make_pipeline(StandardScaler(), quick(epochs=3))
    assert chain.fit(x, y).score(x, y) > 0.9
    sizes, _, validation = learning_curve(chain, x, y, train_sizes=[0.2, 1.0], cv=2)
    assert sizes[0] < sizes[1]
    assert validation[1].mean() > validation[0].mean()
    scores = validation_curve(quick(epochs=2), x, y, param_name="lr", param_range=[1e-5, 0.1], cv=2)
    assert scores[1][1].mean() > scores[1][0].mean()


def test_workers_share_the_processors():
    """joblib's processes, each with its part of the threads, or as many as it is told."""
    ask = delayed(fc.get_num_threads)
    share = max(1, cpu_count() // 2)
    assert Parallel(n_jobs=2)(ask() for _ in range(4)) == [share] * 4
    with parallel_config("loky", n_jobs=2, inner_max_num_threads=1):
        assert Parallel()(ask() for _ in range(4)) == [1] * 4


def test_n_threads_limits_training_and_prediction(rows):
    x, y, x_test, _ = rows
    seen = []

    class Spy(fc.ReLU):
        def forward(self, x, train=False):
            seen.append((train, fc.get_num_threads()))
            return super().forward(x, train)

    def layers(shape, outputs, rng):
        return fc.Sequential(fc.Linear(64, 8, rng=rng), Spy(), fc.Linear(8, outputs, rng=rng))

    whole = fc.get_num_threads()
    found = [
        quick(architecture=layers, epochs=1, n_threads=n).fit(x, y).predict_proba(x_test)
        for n in (1, None)
    ]
    assert set(seen) == {(train, n) for train in (True, False) for n in (1, whole)}
    np.testing.assert_array_equal(*found)


def test_threads_train_side_by_side(rows):
    """joblib's threads: the same scores as one after the other."""
    x, y, *_ = rows
    estimator = quick(epochs=2, n_threads=1)
    alone = cross_val_score(estimator, x, y, cv=3)
    with parallel_config("threading", n_jobs=2):
        np.testing.assert_array_equal(cross_val_score(estimator, x, y, cv=3), alone)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_forked_workers_give_the_same():
    """In a process of its own: a fork takes along what locks the threads of other tests hold."""
    code = """
import numpy as np
from joblib import parallel_config
from sklearn.model_selection import cross_val_score
from fastconv.sklearn import CNNClassifier
x, y = np.random.default_rng(0).random((80, 8, 8)), np.arange(80) % 2
x[y == 1] /= 2
estimator = CNNClassifier("cnn", epochs=2, random_state=0)
alone = cross_val_score(estimator, x, y, cv=2)  # wakes the pool that is then forked
with parallel_config("multiprocessing", n_jobs=2):
    print(np.array_equal(cross_val_score(estimator, x, y, cv=2), alone))
"""
    run = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code]
    assert subprocess.check_output(run, text=True, timeout=300) == "True\n"


def test_ctrl_c_is_not_swallowed(rows):
    """A search must not take half a training for a whole one; what was learned is there."""
    x, y, x_test, _ = rows

    class Interrupt(fc.Callback):
        def on_epoch_end(self, state):
            if state.epoch == 2:
                raise KeyboardInterrupt

    found = quick(callbacks=[Interrupt()])
    with pytest.raises(KeyboardInterrupt):
        found.fit(x, y)
    assert found.n_iter_ == 2
    assert found.predict(x_test).shape == (len(x_test),)


def test_augmentation_and_callbacks_are_passed_on(rows):
    x, y, *_ = rows
    epochs, batches = [], []

    class Count(fc.Callback):
        def on_epoch_end(self, state):
            epochs.append(state.epoch)

    def augment(images, rng):
        batches.append(images.shape)
        return images

    settings = {"image_shape": (8, 8), "augment": augment, "callbacks": (Count(),)}
    quick(epochs=2, batch_size=300, **settings).fit(x, y)
    assert epochs == [1, 2]
    assert batches == [(300, 1, 8, 8)] * 4
