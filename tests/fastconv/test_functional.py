"""The gradients under their public names: the parts, need=, and messages that name them."""

import numpy as np
import pytest

import fastconv as fc
from fastconv import kernels


def problem(rng, dtype=np.float64):
    x = rng.integers(-3, 4, (2, 4, 6, 5)).astype(dtype)
    w = rng.integers(-3, 4, (6, 2, 3, 3)).astype(dtype)
    options = {"stride": (2, 1), "padding": 1, "groups": 2}
    y = fc.conv2d(x, w, **options)
    return x, w, rng.integers(-3, 4, y.shape).astype(dtype), options


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_conv2d_backward_is_dx_dw_db(dtype, backend, rng):
    x, w, dy, options = problem(rng, dtype)
    dx, dw, db = fc.conv2d_backward(dy, x, w, **options)
    np.testing.assert_array_equal(dx, kernels.conv2d_dx(dy, w, x.shape, **options))
    np.testing.assert_array_equal(dw, kernels.conv2d_dw(dy, x, w.shape, **options))
    np.testing.assert_array_equal(db, dy.sum(axis=(0, 2, 3)))
    assert dx.dtype == dw.dtype == db.dtype == dtype


@pytest.mark.parametrize("need", [(), ("x",), ("w",), ("b",), ("b", "x"), ["w", "b"]])
def test_only_what_is_needed(need, rng):
    x, w, dy, options = problem(rng)
    found = fc.conv2d_backward(dy, x, w, **options, need=need)
    everything = fc.conv2d_backward(dy, x, w, **options)
    for name, grad, expected in zip("xwb", found, everything, strict=True):
        if name in need:
            np.testing.assert_array_equal(grad, expected)
        else:
            assert grad is None


def test_the_backend_and_the_algorithm_are_obeyed(rng):
    x, w, dy, options = problem(rng)
    expected = fc.conv2d_backward(dy, x, w, **options)
    for backend in fc.available_backends():
        for algorithm in ("direct", "im2col"):
            found = fc.conv2d_backward(dy, x, w, **options, backend=backend, algorithm=algorithm)
            for a, b in zip(found, expected, strict=True):
                np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="backend='fast' is unknown"):
        fc.conv2d_backward(dy, x, w, **options, backend="fast")
    with pytest.raises(ValueError, match="algorithm='fft' is unknown"):
        fc.conv2d_backward(dy, x, w, **options, algorithm="fft")


def test_half_precision_in_and_out(rng):
    x, w, dy, options = problem(rng, np.float16)
    expected = fc.conv2d_backward(*(a.astype(np.float32) for a in (dy, x, w)), **options)
    for grad, wide in zip(fc.conv2d_backward(dy, x, w, **options), expected, strict=True):
        assert grad.dtype == np.float16
        np.testing.assert_array_equal(grad, wide)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": (4, 6, 5)}, fc.ShapeError, r"conv2d_backward: x must have 4 axes \(N, C, H, W\)"),
        ({"w": (6, 2, 3)}, fc.ShapeError, r"conv2d_backward: w must have 4 axes \(O, C/groups"),
        ({"w": (6, 3, 3, 3)}, fc.ShapeError, r"conv2d_backward: x \(2, 4, 6, 5\) has 4 channels"),
        ({"dy": (2, 6, 9, 9)}, fc.ShapeError, r"conv2d_backward: dy has shape \(2, 6, 9, 9\), but"),
        ({"stride": 0}, ValueError, "conv2d_backward: stride must be at least 1, got 0"),
        (
            {"need": ("x", "bias")},
            ValueError,
            r"conv2d_backward: need=\('x', 'bias'\) has unknown \['bias'\]; use some of",
        ),
    ],
)
def test_conv2d_backward_refuses(change, error, message, rng):
    x, w, dy, options = problem(rng)
    arrays = {"dy": dy, "x": x, "w": w, **options}
    arrays |= {k: np.zeros(v) if k in ("dy", "x", "w") else v for k, v in change.items()}
    with pytest.raises(error, match=message):
        fc.conv2d_backward(**arrays)


def test_mixed_dtypes_are_refused(rng):
    x, w, dy, options = problem(rng)
    with pytest.raises(TypeError, match="conv2d_backward: dy is float64 but w is float32; conve"):
        fc.conv2d_backward(dy, x, w.astype(np.float32), **options)


def test_pooling_and_norm_gradients_have_public_names(rng):
    """Each against the sum that defines it: Σ dy·y is linear in x where the choice is fixed."""
    x = rng.normal(size=(2, 3, 6, 6))
    y, indices = fc.max_pool2d(x, 2, return_indices=True)
    dy = rng.normal(size=y.shape)
    dx = fc.max_pool2d_backward(dy, indices, x.shape)
    assert np.sum(dx * x) == pytest.approx(np.sum(dy * y))
    dx = fc.avg_pool2d_backward(dy, x.shape, 2)
    assert np.sum(dx * x) == pytest.approx(np.sum(dy * fc.avg_pool2d(x, 2)))
    dy, step = rng.normal(size=x.shape), 1e-6 * rng.normal(size=x.shape)
    dx = fc.local_response_norm_backward(dy, x, 3, alpha=0.5)
    high, low = (fc.local_response_norm(v, 3, alpha=0.5) for v in (x + step, x - step))
    assert np.sum(dx * step) == pytest.approx(np.sum(dy * (high - low)) / 2, rel=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda a: fc.max_pool2d_backward(a, np.zeros((1, 1, 2, 2), int), (1, 2, 4, 4)),
            "max_pool2d_backward: dy ",
        ),
        (lambda a: fc.avg_pool2d_backward(a, (1, 1, 9, 9), 2), "avg_pool2d_backward: dy has sha"),
        (
            lambda a: fc.local_response_norm_backward(a, np.zeros((1, 1, 3, 3)), 5),
            "local_response_norm_backward: dy has shape",
        ),
    ],
)
def test_messages_name_the_public_verb(call, message):
    with pytest.raises(fc.ShapeError, match=message):
        call(np.zeros((1, 1, 2, 2)))
