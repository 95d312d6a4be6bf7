"""The search protocol: one split for all, the smallest mean, one look at the test set."""

import json
import os
import signal

import numpy as np
import pytest

import fastconv as fc
from fastconv.search import count_trainings, search


pytest.importorskip("sklearn")
joblib = pytest.importorskip("joblib")

from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin  # noqa: E402
from sklearn.linear_model import Ridge  # noqa: E402
from sklearn.model_selection import (  # noqa: E402
    ParameterSampler,
    StratifiedShuffleSplit,
)
from sklearn.neighbors import KNeighborsClassifier  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402


NEIGHBOURS = {"n_neighbors": [1, 5, 60]}


@pytest.fixture
def flat(digits):
    """300 digits to learn from and 100 to test on, as rows of pixels."""
    (x, y), (x_test, y_test) = digits
    return (x[:300].reshape(300, -1), y[:300]), (x_test[:100].reshape(100, -1), y_test[:100])


def quiet(*arguments, seed=0, **named):
    return search(*arguments, seed=seed, progress=False, **named)


class Recorder(ClassifierMixin, BaseEstimator):
    """Writes down the first pixel of all it sees; its error is `wrong`."""

    seen = ()  # (verb, first pixels)
    trainings = 0
    stop_at = None

    def __init__(self, wrong=0.0, raises=False):
        self.wrong, self.raises = wrong, raises

    def fit(self, x, y):
        type(self).trainings += 1
        if self.trainings == self.stop_at:
            self.interrupted()
        if self.raises:
            raise FloatingPointError(f"no wrong={self.wrong}\nsecond line")
        self.classes_ = np.unique(y)
        self.seen.append(("fit", x[:, 0].copy()))
        return self

    def interrupted(self):
        raise KeyboardInterrupt

    def score(self, x, y):
        self.seen.append(("score", x[:, 0].copy()))
        return 1 - self.wrong


@pytest.fixture
def recorder():
    return type("Fresh", (Recorder,), {"seen": []})


@pytest.fixture
def numbered():
    """Examples told from each other by their first pixel: 40 to learn from, 10 to test on."""
    x = np.arange(50.0)[:, None] * np.ones((1, 3))
    y = np.arange(50) % 2
    return (x[:40], y[:40]), (x[40:], y[40:])


def test_the_number_of_trainings_is_m_times_p_to_the_q(course):
    assert count_trainings(course["search"]["grid"], 3) == 3 * 7  # the course's seven sizes
    grid = {"a": [1, 2, 3, 4], "b": [1, 2, 3, 4], "c": [1, 2, 3, 4]}
    assert count_trainings(grid, reshuffles=5) == 5 * 4**3
    assert count_trainings(ParameterSampler(grid, 9, random_state=0), 2) == 18
    assert count_trainings([{"a": 1}, {"b": 2}]) == 6


def test_the_number_of_trainings_is_said_in_advance_and_kept(recorder, numbered, capsys):
    result = search(recorder(), {"wrong": [0.1, 0.2]}, *numbered, reshuffles=4, seed=0)
    first = capsys.readouterr().err.splitlines()[0]
    assert first == "2 settings × 4 reshuffles = 8 trainings, and one of the winner"
    assert recorder.trainings == result.trainings == 9
    search(recorder(), [{}], *numbered, reshuffles=1)
    assert "1 setting × 1 reshuffle = 1 training, and one of" in capsys.readouterr().err


def test_the_winner_is_the_smallest_mean_over_the_same_splits(flat):
    (x, y), test = flat
    result = quiet(KNeighborsClassifier(), NEIGHBOURS, (x, y), test, reshuffles=3)
    assert [row["setting"]["n_neighbors"] for row in result.table] == [1, 5, 60]
    seed = int(np.random.SeedSequence(0).generate_state(1)[0])
    parts = list(StratifiedShuffleSplit(3, test_size=0.25, random_state=seed).split(x, y))
    for row in result.table:
        errors = [
            np.mean(KNeighborsClassifier(**row["setting"]).fit(x[a], y[a]).predict(x[b]) != y[b])
            for a, b in parts
        ]
        assert row["errors"] == pytest.approx(errors)
        assert row["mean_error"] == pytest.approx(np.mean(errors))
        assert row["std_error"] == pytest.approx(np.std(errors))
    means = [row["mean_error"] for row in result.table]
    assert result.best is result.table[int(np.argmin(means))]
    assert max(means) > min(means) + 0.1  # 60 neighbours of 225 are too many
    again = KNeighborsClassifier(**result.best["setting"]).fit(x, y)
    assert result.test_error == pytest.approx(1 - again.score(*test))
    assert np.array_equal(result.best_estimator_.predict(x), again.predict(x))


def test_splits_are_stratified_and_differ(recorder):
    y = np.r_[np.zeros(60, int), np.ones(20, int)]
    x = np.arange(80.0)[:, None]
    quiet(recorder(), [{}], (x, y), reshuffles=3)
    parts = [set(pixels) for verb, pixels in recorder.seen if verb == "score"]
    assert [sum(p >= 60 for p in part) for part in parts] == [5, 5, 5]  # of 20, as 15 of 60
    assert parts[0] != parts[1] != parts[2]
    fits = [set(pixels) for verb, pixels in recorder.seen if verb == "fit"]
    assert all(not a & b and len(a | b) == 80 for a, b in zip(fits[:3], parts, strict=True))


def test_the_test_set_is_used_once_at_the_end(recorder, numbered):
    result = quiet(recorder(), {"wrong": [0.3, 0.125]}, *numbered)
    *before, fit, score = recorder.seen
    assert all(pixels.max() < 40 for _, pixels in before)
    assert fit[0] == "fit" and sorted(fit[1]) == list(range(40))
    assert score[0] == "score" and sorted(score[1]) == list(range(40, 50))
    assert result.test_error == result.best["mean_error"] == 0.125
    assert quiet(recorder(), {"wrong": [0.3]}, numbered[0]).test_error is None


def test_of_equals_the_first_wins(recorder, numbered):
    grid = [{"wrong": 0.5}, {"wrong": 0.25}, {"wrong": 0.25, "raises": False}]
    assert quiet(recorder(), grid, *numbered).best["setting"] == {"wrong": 0.25}


def test_two_at_a_time_give_the_same(flat):
    one, two = (
        quiet(KNeighborsClassifier(), NEIGHBOURS, *flat, reshuffles=2, n_jobs=n) for n in (1, 2)
    )
    assert [row["errors"] for row in one.table] == [row["errors"] for row in two.table]
    assert (one.best["setting"], one.test_error) == (two.best["setting"], two.test_error)


def thread_counter():
    """A regressor that predicts how many threads fastconv would use where it is."""

    class Threads(RegressorMixin, BaseEstimator):  # local, so that it travels by value
        def fit(self, x, y):
            return self

        def predict(self, x):
            import fastconv

            return np.full(len(x), float(fastconv.get_num_threads()))

    return Threads()


def test_trainings_side_by_side_share_the_cores(monkeypatch):
    for name in ("OMP_NUM_THREADS", "FASTCONV_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    data = np.zeros((8, 1)), np.zeros(8)
    row = quiet(thread_counter(), [{}], data, reshuffles=4, n_jobs=2).table[0]
    cores = max(2, joblib.cpu_count())  # one thread each where there is but one
    assert all(1 <= np.sqrt(error) * 2 <= cores for error in row["errors"])


def test_random_search(flat):
    stats = pytest.importorskip("scipy.stats")
    ranges = {"alpha": stats.loguniform(1e-3, 1e3), "fit_intercept": [True, False]}
    (x, y), test = flat
    settings = ParameterSampler(ranges, 6, random_state=0)
    result = quiet(Ridge(), settings, (x, y.astype(float)), test)
    assert [row["setting"] for row in result.table] == list(settings)
    assert result.best["mean_error"] == min(row["mean_error"] for row in result.table)


def test_a_regressors_error_is_the_mean_square(flat):
    (x, y), test = flat
    result = quiet(Ridge(), {"alpha": [1.0]}, (x, y), test)
    residual = Ridge(alpha=1.0).fit(x, y).predict(test[0]) - test[1]
    assert result.test_error == pytest.approx(np.mean(residual**2))


@pytest.mark.parametrize(
    ("scoring", "expected"),
    [
        ("r2", lambda model, x, y: 1 - model.score(x, y)),
        ("neg_mean_absolute_error", lambda model, x, y: np.abs(model.predict(x) - y).mean()),
        (lambda model, x, y: -7.0, lambda model, x, y: 7.0),
    ],
)
def test_scoring(flat, scoring, expected):
    result = quiet(Ridge(), {"alpha": [1.0]}, *flat, scoring=scoring)
    assert result.test_error == pytest.approx(expected(result.best_estimator_, *flat[1]))


def test_a_pipeline_is_searched_through_its_steps(flat):
    model = make_pipeline(StandardScaler(), KNeighborsClassifier())
    result = quiet(model, {"kneighborsclassifier__n_neighbors": [3, 60]}, *flat)
    assert result.best_estimator_[-1].n_neighbors == 3
    assert model[-1].n_neighbors == 5  # the one given stays as it is


def test_networks_of_the_course(digits):
    """Hidden units from 2 to 32, as trained by fastconv; two at a time, the same errors."""
    estimators = pytest.importorskip("fastconv.sklearn")
    (x, y), (x_test, y_test) = digits
    net = estimators.CNNClassifier("mlp", epochs=8, lr=0.1, random_state=0)
    data = (x[:600], y[:600]), (x_test, y_test)
    one, two = (
        quiet(net, {"hidden": [(2,), (32,)]}, *data, reshuffles=2, n_jobs=n) for n in (1, 2)
    )
    assert one.best["setting"] == {"hidden": (32,)}
    assert one.best["mean_error"] < 0.15 < one.table[0]["mean_error"]
    assert one.test_error < 0.12
    assert [row["errors"] for row in one.table] == [row["errors"] for row in two.table]


def test_a_failing_setting_is_recorded_and_the_rest_goes_on(recorder, numbered):
    settings = [{"wrong": 0.0, "raises": True}, {"wrong": 0.4}, {"wrong": 0.2}]
    result = quiet(recorder(), settings, *numbered, reshuffles=2)
    failed = result.table[0]
    assert failed["failure"] == "FloatingPointError: no wrong=0.0\nsecond line"
    assert (failed["errors"], failed["mean_error"]) == ([None, None], None)
    assert result.best["setting"] == {"wrong": 0.2}
    assert "failed: FloatingPointError: no wrong=0.0\n" in str(result)


def test_an_error_that_is_no_number_is_a_failure(recorder, numbered):
    result = quiet(recorder(), {"wrong": [np.nan, 0.5]}, *numbered)
    assert result.table[0]["failure"] == "ValueError: the error is nan"
    assert result.best["setting"] == {"wrong": 0.5}


def test_if_all_fail_the_error_tells_why(recorder, numbered):
    with pytest.raises(RuntimeError, match=r"each of the 2 settings failed.*no wrong=1\b"):
        quiet(recorder(raises=True), {"wrong": [1, 2]}, *numbered)


def test_an_interrupted_search_goes_on_where_it_was(recorder, numbered, tmp_path, capsys):
    path = tmp_path / "search.jsonl"
    grid = {"wrong": [0.3, 0.2, 0.1]}
    whole = quiet(recorder(), grid, *numbered)
    recorder.trainings, recorder.stop_at = 0, 5
    with pytest.raises(KeyboardInterrupt):
        quiet(recorder(), grid, *numbered, resume=path)
    kept = [json.loads(line) for line in path.read_text().splitlines()[1:]]
    assert [(row["setting"], row["reshuffle"]) for row in kept] == [(0, 0), (0, 1), (0, 2), (1, 0)]
    assert list(tmp_path.iterdir()) == [path]

    recorder.trainings, recorder.stop_at, recorder.seen = 0, None, []
    resumed = search(recorder(), grid, *numbered, resume=path, seed=0)
    assert "= 9 trainings (4 of them done before), and one" in capsys.readouterr().err
    assert recorder.trainings == resumed.trainings == 9 - 4 + 1
    assert [row["errors"] for row in resumed.table] == [row["errors"] for row in whole.table]
    assert resumed.table[0]["seconds"] == sum(row["seconds"] for row in kept[:3])

    recorder.trainings = 0
    assert quiet(recorder(), grid, *numbered, resume=path).trainings == 1
    assert recorder.trainings == 1  # the winner's alone


def test_a_training_that_ctrl_c_cut_short_does_not_count(recorder, numbered, tmp_path):
    """fastconv.fit does not raise on Ctrl-C: it returns a network trained in part."""

    def interrupted(self):
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt:
            pass

    recorder.interrupted, recorder.stop_at = interrupted, 2
    path = tmp_path / "search.jsonl"
    with pytest.raises(KeyboardInterrupt):
        quiet(recorder(), {"wrong": [0.3, 0.2]}, *numbered, resume=path)
    assert len(path.read_text().splitlines()) == 1 + 1
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_without_a_seed_a_resumed_search_keeps_its_splits(recorder, numbered, tmp_path):
    path = tmp_path / "search.jsonl"
    recorder.stop_at = 2
    with pytest.raises(KeyboardInterrupt):
        quiet(recorder(), [{}, {"wrong": 0.5}], *numbered, reshuffles=1, seed=None, resume=path)
    quiet(recorder(), [{}, {"wrong": 0.5}], *numbered, reshuffles=1, seed=None, resume=path)
    first, second = [pixels for verb, pixels in recorder.seen if verb == "score"][:2]
    assert np.array_equal(first, second)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 1}, "seed"),
        ({"reshuffles": 2}, "reshuffles"),
        ({"validation_size": 0.5}, "validation_size"),
        ({"scoring": "f1"}, "scoring"),
        ({"settings": {"wrong": [0.5]}}, "settings"),
        ({"estimator": {"raises": 0}}, "estimator"),
        ({"learning": 1.0}, "data"),
    ],
)
def test_a_file_of_another_search_is_refused(recorder, numbered, tmp_path, change, named):
    (x, y), _ = numbered
    same = {"estimator": {}, "settings": {"wrong": [0.1]}, "learning": 0.0, "reshuffles": 3}

    def run(estimator, learning, **rest):
        quiet(recorder(**estimator), learning=(x + learning, y), resume=tmp_path / "s.json", **rest)

    run(**same)
    before = (tmp_path / "s.json").read_bytes()
    with pytest.raises(ValueError, match=rf"of a search with other {named};"):
        run(**same | change)
    assert (tmp_path / "s.json").read_bytes() == before


@pytest.mark.parametrize("text", ["", "no JSON", "[1]", '{"epoch": 1}', "1\n2"])
def test_a_file_of_something_else_is_refused(recorder, numbered, tmp_path, text):
    path = tmp_path / "notes.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match="is not a file that search wrote"):
        quiet(recorder(), [{}], *numbered, resume=path)
    assert path.read_text() == text


def test_a_function_among_the_settings_can_be_resumed(recorder, numbered, tmp_path):
    """Its address changes from one process to the next."""
    for _ in range(2):
        settings = [{"raises": lambda: None}, {"wrong": 0.5}]
        result = quiet(recorder(), settings, *numbered, resume=tmp_path / "s.json")
    assert result.trainings == 1


def test_the_table_can_be_read(recorder, numbered):
    result = quiet(recorder(), [{"wrong": 0.25}, {"wrong": 0.125, "raises": 0}], *numbered)
    head, first, second, last = str(result).splitlines()
    assert head.split() == ["wrong", "raises", "error", "±", "seconds"]
    assert first.split()[:3] == ["0.25", "0.2500", "0.0000"]
    assert second.split()[:5] == ["*", "0.125", "0", "0.1250", "0.0000"]
    assert head.index("seconds") + 7 == len(first) == len(second)  # columns stand in line
    assert last.endswith("test error 0.1250")
    assert repr(result).startswith("SearchResult(2 settings, best {'wrong': 0.125, 'raises': 0}")


def test_the_picture_is_that_of_the_table(recorder, numbered, monkeypatch):
    from fastconv import plot

    monkeypatch.setattr(plot, "search_results", lambda *arguments: arguments, raising=False)
    result = quiet(recorder(), {"wrong": [0.25]}, *numbered)
    assert result.plot("search.png") == (result.table, "search.png")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"settings": []}, ValueError, "settings is empty"),
        ({"settings": 3}, TypeError, "settings must be a dict of lists"),
        ({"settings": ["wrong"]}, TypeError, "must be a dict, got 'wrong'"),
        ({"settings": {"right": [1]}}, ValueError, "'right', which Fresh does not; use one of"),
        ({"estimator": Recorder}, TypeError, "must be a scikit-learn estimator"),
        ({"learning": np.ones((4, 2))}, TypeError, "learning must be a pair"),
        ({"learning": (np.ones((4, 2)), [0, 1])}, fc.ShapeError, "learning has X and y of diff"),
        ({"test": (np.ones((4, 2)), [0, 1, 0, 1])}, fc.ShapeError, r"test has X of shape \(4, 2\)"),
        ({"reshuffles": 0}, ValueError, "reshuffles must be at least 1"),
        ({"reshuffles": 1.5}, TypeError, "reshuffles must be an integer"),
    ],
)
def test_what_cannot_be_used_is_refused_before_any_training(
    recorder, numbered, change, error, message
):
    arguments = {"estimator": recorder(), "settings": [{}], "learning": numbered[0]} | change
    with pytest.raises(error, match=message):
        quiet(**arguments)
    assert recorder.trainings == 0


def test_a_backend_without_generators_gives_the_same(flat):
    class Plain(joblib.parallel.ThreadingBackend):
        supports_return_generator = False

    joblib.register_parallel_backend("plain", Plain)
    with joblib.parallel_config("plain", n_jobs=2):
        two = quiet(KNeighborsClassifier(), NEIGHBOURS, *flat, reshuffles=1)
    one = quiet(KNeighborsClassifier(), NEIGHBOURS, *flat, reshuffles=1)
    assert [row["errors"] for row in one.table] == [row["errors"] for row in two.table]


def test_on_a_dask_cluster(flat, tmp_path):
    """Unchanged, on two worker processes; one thread each, so fastconv takes one core."""
    distributed = pytest.importorskip("distributed")
    path = tmp_path / "search.jsonl"
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, local_directory=tmp_path
    )
    with cluster, distributed.Client(cluster), joblib.parallel_config("dask"):
        there = quiet(KNeighborsClassifier(), NEIGHBOURS, *flat, resume=path)
        data = np.zeros((8, 1)), np.zeros(8)
        threads = quiet(thread_counter(), [{}], data, reshuffles=2).table[0]["errors"]
    here = quiet(KNeighborsClassifier(), NEIGHBOURS, *flat)
    assert [row["errors"] for row in there.table] == [row["errors"] for row in here.table]
    assert len(path.read_text().splitlines()) == 1 + 9
    assert threads == [1.0, 1.0]


@pytest.mark.parametrize("change", ["function", "weights", "state"])
def test_resume_refuses_what_only_looks_the_same(change, tmp_path):
    """Functions of one scope, layers of other weights, generators of another state."""
    from fastconv.sklearn import CNNClassifier

    x, y = np.random.default_rng(0).random((30, 4)), np.arange(30) % 2

    def setting(which):
        if change == "function":
            size = 4 + which
            return {"architecture": lambda shape, n, rng: fc.models.mlp(4, size, n, rng=rng)}
        if change == "weights":
            return {"architecture": [fc.Linear(4, 2, rng=which)]}
        return {"random_state": np.random.RandomState(which)}

    def run(which):
        estimator = CNNClassifier(epochs=1, random_state=0)
        settings = {"reshuffles": 1, "seed": np.int64(0), "validation_size": np.int64(10)}
        return search(
            *(estimator, [setting(which)], (x, y)),
            **settings,
            resume=tmp_path / "log",
            progress=False,
        )

    assert run(1).trainings == 2
    assert run(1).trainings == 1
    with pytest.raises(ValueError, match="is of a search with other settings"):
        run(2)


def test_the_table_survives_a_winner_that_fails():
    from sklearn.tree import DecisionTreeClassifier

    class FailsOnMany(DecisionTreeClassifier):
        def fit(self, x, y):
            if len(x) == 40:
                raise FloatingPointError("diverged")
            return super().fit(x, y)

    x, y = np.random.default_rng(0).random((40, 3)), np.arange(40) % 2
    found = search(
        FailsOnMany(), {"max_depth": [1, 2]}, (x, y), (x, y), seed=0, progress=False, reshuffles=2
    )
    assert len(found.table) == 2
    assert (found.best_estimator_, found.test_error) == (None, None)
    assert found.best["failure"] == "on the whole learning set: FloatingPointError: diverged"
    assert "failed: on the whole learning set" in str(found)
