import numpy as np
import pytest

import fastconv as fc


def numerical_gradient(loss, a, step=1e-6):
    grad = np.empty_like(a)
    for i in np.ndindex(a.shape):
        high, low = a.copy(), a.copy()
        high[i] += step
        low[i] -= step
        grad[i] = (loss(high) - loss(low)) / (2 * step)
    return grad


def test_cross_entropy_by_hand():
    """Two classes, scores 0 and log 3: probabilities 1/4 and 3/4."""
    scores = np.array([[0.0, np.log(3)], [0.0, np.log(3)]])
    loss, dscores = fc.softmax_cross_entropy(scores, [1, 0])
    assert loss == pytest.approx((np.log(4 / 3) + np.log(4)) / 2)
    np.testing.assert_allclose(dscores, [[0.125, -0.125], [-0.375, 0.375]])


def test_cross_entropy_gradient(rng):
    scores, labels = rng.normal(size=(5, 4)), rng.integers(0, 4, 5)
    _, dscores = fc.softmax_cross_entropy(scores, labels)
    expected = numerical_gradient(lambda s: fc.softmax_cross_entropy(s, labels)[0], scores)
    np.testing.assert_allclose(dscores, expected, atol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_cross_entropy_of_huge_scores(dtype):
    scores = np.array([[1e30, -1e30, 0], [-1e4, -1e4, -1e4]], dtype)
    loss, dscores = fc.softmax_cross_entropy(scores, np.array([0, 2], np.uint8))
    assert loss == pytest.approx(np.log(3) / 2)
    assert dscores.dtype == dtype
    np.testing.assert_allclose(dscores, [[0, 0, 0], [1 / 6, 1 / 6, -1 / 3]], rtol=1e-6)
    loss, _ = fc.softmax_cross_entropy(scores, [1, 2])  # certain, and wrong
    assert loss == pytest.approx(1e30)


def test_cross_entropy_does_not_change_its_input(rng):
    scores = rng.normal(size=(3, 3)).astype(np.float32)
    before = scores.copy()
    fc.softmax_cross_entropy(scores, [0, 1, 2])
    fc.softmax(scores)
    np.testing.assert_array_equal(scores, before)


def test_a_score_that_is_not_a_number_gives_a_loss_that_is_not():
    loss, _ = fc.softmax_cross_entropy([[np.nan, 1.0]], [0])
    assert np.isnan(loss)
    loss, _ = fc.softmax_cross_entropy([[np.inf, 1.0]], [0])
    assert np.isnan(loss)


def test_softmax(rng):
    p = fc.softmax(rng.normal(size=(6, 5)) * 1000)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    np.testing.assert_allclose(fc.softmax([[0, 0, 0, 0]]), [[0.25] * 4])
    assert fc.softmax(np.zeros((0, 3))).shape == (0, 3)


@pytest.mark.parametrize(
    ("scores", "labels", "error", "message"),
    [
        (np.zeros(3), [0], fc.ShapeError, r"scores must have shape \(N, classes\), got \(3,\)"),
        (np.zeros((2, 0)), [0, 0], fc.ShapeError, r"scores must have shape \(N, classes\), got"),
        (np.zeros((2, 3), complex), [0, 0], TypeError, "scores must hold real numbers, got dtype"),
        (
            np.zeros((2, 3)),
            [0],
            fc.ShapeError,
            r"labels have shape \(1,\), but scores \(2, 3\) need \(2,\)",
        ),
        (
            np.zeros((2, 3)),
            np.eye(3)[:2],
            fc.ShapeError,
            r"one-hot rows become labels by .argmax\(axis=1\)",
        ),
        (
            np.zeros((2, 3)),
            [0.0, 1.0],
            TypeError,
            r"labels must be integers 0 to 2, got dtype float64; .*labels.astype\(np.int64\)",
        ),
        (
            np.zeros((2, 3)),
            [0, 3],
            ValueError,
            r"labels run from 0 to 3, but scores \(2, 3\) have the classes 0 to 2",
        ),
        (np.zeros((2, 3)), [-1, 0], ValueError, "labels run from -1 to 0"),
        (np.zeros((0, 3)), np.zeros(0, int), fc.ShapeError, "a batch of N=0 does not exist"),
    ],
)
def test_cross_entropy_refuses(scores, labels, error, message):
    with pytest.raises(error, match="softmax_cross_entropy: .*" + message):
        fc.softmax_cross_entropy(scores, labels)


def test_mean_squared_error_by_hand():
    loss, dy = fc.mean_squared_error(np.array([[1.0, 2.0], [3.0, 4.0]]), [[1, 0], [0, 4]])
    assert loss == pytest.approx((4 + 9) / 4)
    np.testing.assert_allclose(dy, [[0, 1], [1.5, 0]])


def test_mean_squared_error_gradient_and_dtype(rng):
    y, target = rng.normal(size=(3, 2)), rng.normal(size=(3, 2))
    _, dy = fc.mean_squared_error(y, target)
    expected = numerical_gradient(lambda v: fc.mean_squared_error(v, target)[0], y)
    np.testing.assert_allclose(dy, expected, atol=1e-9)
    assert fc.mean_squared_error(y.astype(np.float32), target)[1].dtype == np.float32


@pytest.mark.parametrize(
    ("y", "target", "error", "message"),
    [
        (
            np.zeros((3, 1)),
            np.zeros(3),
            fc.ShapeError,
            r"y \(3, 1\) and target \(3,\) must have one shape; nothing is broadcast",
        ),
        (np.zeros((0, 2)), np.zeros((0, 2)), fc.ShapeError, r"mean of an empty array \(0, 2\)"),
        (np.zeros(2), np.array(["a", "b"]), TypeError, "target must hold real numbers"),
    ],
)
def test_mean_squared_error_refuses(y, target, error, message):
    with pytest.raises(error, match="mean_squared_error: .*" + message):
        fc.mean_squared_error(y, target)


def test_weights_are_factors_of_the_losses(rng):
    scores, labels = rng.normal(size=(4, 3)), np.array([0, 2, 1, 1])
    weight = np.array([0.0, 1.0, 2.0, 0.5])
    each = [fc.softmax_cross_entropy(scores[i : i + 1], labels[i : i + 1]) for i in range(4)]
    loss, dscores = fc.softmax_cross_entropy(scores, labels, weight)
    assert loss == pytest.approx(
        sum(w * value for w, (value, _) in zip(weight, each, strict=True)) / 4
    )
    expected = np.concatenate([w * d / 4 for w, (_, d) in zip(weight, each, strict=True)])
    np.testing.assert_allclose(dscores, expected, rtol=1e-12)


def test_weights_are_factors_of_the_squares():
    y, target = np.array([[1.0, 2.0], [3.0, 5.0]]), np.zeros((2, 2))
    loss, dy = fc.mean_squared_error(y, target, [2, 0.5])
    assert loss == (2 * (1 + 4) + 0.5 * (9 + 25)) / 4
    np.testing.assert_array_equal(dy, [[1.0, 2.0], [0.75, 1.25]])


@pytest.mark.parametrize("weight", [[1.0], [1.0, -1.0], [1.0, np.nan]])
def test_weights_that_cannot_be(weight):
    for loss, target in ((fc.softmax_cross_entropy, [0, 1]), (fc.mean_squared_error, np.eye(2))):
        with pytest.raises(ValueError, match="sample_weight"):
            loss(np.eye(2), target, weight)
