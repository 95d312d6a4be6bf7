"""Activation, dropout, loss and update: every way against the reference, and by hand."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from kernel_support import (
    INPUT_MEMORIES,
    OUT_MEMORIES,
    assert_same,
    every_way,
    integers,
    laid_out,
    normals,
    poisoned,
    reference,
)

from fastconv import kernels
from fastconv.kernels import elementwise


threads = importlib.import_module("fastconv.kernels.threads")
SIZES = [*range(20), 31, 32, 33, 63, 65, 100, (1 << 14) - 1, (1 << 14) + 17, 100_003]
sizes = pytest.mark.parametrize("size", SIZES)


def eps(dtype):
    return float(np.finfo(dtype).eps)


def run(way, verb, *arguments):
    way.sibling(verb).run(*arguments)


# --- activation and dropout -------------------------------------------------------------


@sizes
@every_way("relu")
def test_relu_and_its_gradient(way, size, dtype):
    x, dy = integers(0, (size,), dtype), integers(1, (size,), dtype)
    y, dx = poisoned((size,), dtype), poisoned((size,), dtype)
    run(way, "relu", x, y)
    assert_same(y, np.maximum(x, 0))
    run(way, "relu_dx", dy, y, dx)
    assert_same(dx, np.where(x > 0, dy, 0).astype(dtype))


@every_way("relu")
def test_relu_of_what_is_not_finite(way, dtype):
    x = np.array([np.nan, np.inf, -np.inf, -0.0, 1, -1] * 7, dtype)
    y, dx = poisoned(x.shape, dtype), poisoned(x.shape, dtype)
    run(way, "relu", x, y)
    assert_same(y, np.maximum(x, 0))
    run(way, "relu_dx", np.full_like(x, 3), y, dx)
    assert_same(dx, np.array([0, 3, 0, 0, 3, 0] * 7, dtype))
    run(way, "relu_dx", np.full_like(x, np.nan), y, dx)
    assert np.isnan(dx).all()


@sizes
@every_way("dropout")
def test_dropout(way, size, dtype):
    x, chance = normals(0, (size,), dtype), np.random.default_rng(1).random(size).astype(dtype)
    y, want = poisoned((size,), dtype), poisoned((size,), dtype)
    chance[:1] = 0.25  # a chance of p itself keeps
    way.run(x, chance, y, 0.25)
    reference("dropout")(x, chance, want, 0.25)
    assert_same(y, want)
    np.testing.assert_allclose(y[:1], x[:1] / dtype_of(dtype)(0.75))


def dtype_of(dtype):
    return np.dtype(dtype).type


@every_way("dropout")
@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_dropout_by_a_number_of_numpy(way, kind):
    y = kernels.dropout(
        np.ones(4, np.float32), np.full(4, 0.9, np.float32), kind(0.5), **way.options
    )
    assert y.tolist() == [2.0] * 4


@every_way("dropout")
def test_what_is_dropped_keeps_its_nan(way, dtype):
    y = poisoned((2,), dtype)
    way.run(np.array([np.nan, 1], dtype), np.array([0.1, 0.1], dtype), y, 0.5)
    assert_same(y, np.array([np.nan, 0], dtype))


@pytest.mark.parametrize("memory", INPUT_MEMORIES)
@every_way("relu")
def test_verbs_take_any_memory(way, memory, dtype):
    shape, backend = (2, 5, 3, 7), way.impl.backend
    x, dy, chance = (normals(i, shape, dtype) for i in range(3))
    chance = np.abs(chance) % 1
    x, want_y = laid_out(x, memory), np.maximum(laid_out(x, memory), 0)
    for other in ("C", memory):
        given = laid_out(dy, other), laid_out(chance, other)
        wanted = (want_y, given[0] * (want_y > 0), x * ((given[1] >= 0.5) * dtype_of(dtype)(2)))
        for out_memory in (None, *OUT_MEMORIES):
            outs = [None if out_memory is None else poisoned(shape, dtype, out_memory)] * 3
            got = (
                elementwise.relu(x, backend=backend, out=outs[0]).copy(),
                elementwise.relu_dx(given[0], want_y, backend=backend, out=outs[1]).copy(),
                elementwise.dropout(x, given[1], 0.5, backend=backend, out=outs[2]).copy(),
            )
            for a, b in zip(got, wanted, strict=True):
                assert_same(a, b)


@every_way("relu")
def test_results_keep_the_memory_format(way, dtype):
    x = laid_out(normals(0, (2, 5, 3, 7), dtype), "channels-last")
    y = elementwise.relu(x, backend=way.impl.backend)
    assert y.strides == x.strides
    assert elementwise.relu_dx(x, y, backend=way.impl.backend).strides == x.strides


@every_way("relu")
def test_in_place(way, dtype):
    x, backend = normals(0, (5, 33), dtype), way.impl.backend
    want, chance = np.maximum(x, 0), np.random.default_rng(0).random(x.shape).astype(dtype)
    y = x.copy()
    assert elementwise.relu(y, backend=backend, out=y) is y
    assert_same(y, want)
    dy = x.copy()
    elementwise.relu_dx(dy, y, backend=backend, out=dy)
    assert_same(dy, x * (want > 0))
    elementwise.dropout(y, chance, 0.5, backend=backend, out=y)
    assert_same(y, want * ((chance >= 0.5) * dtype_of(dtype)(2)))
    with pytest.raises(ValueError, match="relu: out overlaps an input"):
        elementwise.relu(y[:, :5], backend=backend, out=y[:, 1:6])


def test_other_dtypes_and_wrong_shapes():
    half = np.array([-1, 2], np.float16)
    assert elementwise.relu(half).dtype == np.float16
    assert elementwise.relu(np.array([-3, 4])).dtype == np.float32
    with pytest.raises(kernels.ShapeError, match=r"relu_dx: y has shape \(3,\), but"):
        elementwise.relu_dx(np.ones(2), np.ones(3))
    with pytest.raises(TypeError, match="dropout: chance is float64 but x is float32"):
        elementwise.dropout(np.ones(2, np.float32), np.ones(2), 0.5)


# --- loss -------------------------------------------------------------------------------


def loss_problem(n, classes, dtype, spread=3):
    scores = (spread * np.random.default_rng(n).standard_normal((n, classes))).astype(dtype)
    labels = np.random.default_rng(classes).integers(0, classes, n)
    return scores, labels, poisoned((n, classes), dtype), poisoned((n,), np.float64)


@pytest.mark.parametrize("spread", [0, 3, 60])
@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (5, 10), (64, 10), (3, 16), (70, 33), (9, 1000)])
@every_way("softmax_cross_entropy")
def test_loss(way, shape, spread, dtype):
    scores, labels, dscores, losses = loss_problem(*shape, dtype, spread)
    way.run(scores, labels, dscores, losses)
    exact = scores.astype(np.longdouble)
    exact -= exact.max(axis=1, keepdims=True)
    exps = np.exp(exact)
    softmax = exps / exps.sum(axis=1, keepdims=True)
    rows = np.arange(len(scores))
    want = np.log(exps.sum(axis=1)) - exact[rows, labels]
    tolerance = (8 + spread + shape[1] / 16) * eps(dtype)  # the scalar sum has a rounding a class
    np.testing.assert_allclose(losses, want.astype(float), rtol=tolerance, atol=tolerance)
    softmax[rows, labels] -= 1
    want = (softmax / len(scores)).astype(float)
    floor = 4 * eps(dtype) / len(scores)
    np.testing.assert_allclose(dscores, want, rtol=tolerance, atol=floor)


@every_way("softmax_cross_entropy")
def test_loss_of_what_is_not_finite_stays_in_its_row(way, dtype):
    scores, labels, dscores, losses = loss_problem(6, 21, dtype)
    scores[1, 20] = scores[2, 0] = np.nan
    scores[3, 7] = np.inf
    scores[4, :19] = -np.inf
    labels[4] = 20
    scores[5] = np.finfo(dtype).min / 2  # far below 0, but all the same
    want, wanted = dscores.copy(), losses.copy()
    reference("softmax_cross_entropy")(scores, labels, want, wanted)
    with np.errstate(invalid="ignore"):
        way.run(scores, labels, dscores, losses)
    assert np.isnan(dscores[1:4]).all()
    assert np.isnan(losses[1:4]).all()
    assert (dscores[4, :19] == 0).all()
    np.testing.assert_allclose(dscores, want, rtol=16 * eps(dtype), atol=eps(dtype))
    np.testing.assert_allclose(losses, wanted, rtol=16 * eps(dtype))


@every_way("softmax_cross_entropy")
def test_a_row_does_not_know_its_batch(way, dtype):
    scores, labels, dscores, losses = loss_problem(70, 33, dtype)
    way.run(scores, labels, dscores, losses)
    for n in (0, 42, 69):
        alone, loss = poisoned((1, 33), dtype), poisoned((1,), np.float64)
        way.run(scores[n : n + 1], labels[n : n + 1], alone, loss)
        assert loss[0] == losses[n]


@every_way("softmax_cross_entropy")
def test_the_exponential_is_good_to_two_units(way, dtype):
    """Two classes, 0 and -s: the second's share of the gradient is e^-s / (1 + e^-s)."""
    s = np.linspace(0, 80 if dtype == "float32" else 700, 20_001).astype(dtype)
    scores, labels = np.stack([0 * s, -s], axis=1), np.zeros(len(s), np.int64)
    dscores, losses = poisoned(scores.shape, dtype), poisoned(s.shape, np.float64)
    way.run(scores, labels, dscores, losses)
    exps = np.exp(-s.astype(np.longdouble))
    want = exps / (1 + exps)
    got = dscores[:, 1].astype(np.longdouble) * len(s)
    usual = want > np.finfo(dtype).tiny * len(s) * 4
    assert float(np.max(np.abs(got / want - 1)[usual])) < 4 * eps(dtype)


# --- update -----------------------------------------------------------------------------

SETTINGS = {
    "plain": {},
    "momentum": {"momentum": 0.9},
    "nesterov": {"momentum": 0.9, "nesterov": True},
    "l2": {"momentum": 0.9, "l2": 0.01},
    "l1": {"l1": 0.02, "l2": 0.01},
    "all": {"momentum": 0.5, "nesterov": True, "l2": 0.1, "l1": 0.2, "max_norm": 2.0},
}
SHAPES = (
    (),
    (1,),
    (7,),
    (16,),
    (33,),
    (3, 5),
    (6, 1, 5, 5),
    (16, 6, 5, 5),
    (84, 120),
    (7, 20_001),
    (0, 4),
)
settings = pytest.mark.parametrize("options", SETTINGS.values(), ids=SETTINGS)


def update_problem(dtype, momentum, shapes=SHAPES):
    ws, grads = ([normals(2 * i + j, s, dtype) for i, s in enumerate(shapes)] for j in range(2))
    return (
        ws,
        grads,
        [normals(99 + i, s, dtype) for i, s in enumerate(shapes)] if momentum else None,
    )


def positional(momentum=0.0, nesterov=False, l2=0.0, l1=0.0, max_norm=None):
    return 0.1, momentum, nesterov, l2, l1, max_norm


def update(way, *arguments):
    way.impl.load()(*arguments)


def copies(arrays):
    return None if arrays is None else [a.copy() for a in arrays]


@settings
@every_way("sgd_update")
def test_update(way, options, dtype):
    """Of many parameters in one call; a parameter of no axis is a unit of its own."""
    shapes = SHAPES[1:] if "max_norm" in options else SHAPES
    ws, grads, velocities = update_problem(dtype, "momentum" in options, shapes)
    wanted, wanted_v, before = copies(ws), copies(velocities), copies(grads)
    for _ in range(3):
        update(way, ws, grads, velocities, *positional(**options))
        reference("sgd_update")(wanted, grads, wanted_v, *positional(**options))
    tolerance = {"rtol": 32 * eps(dtype), "atol": 16 * eps(dtype)}
    for got, want in zip(ws + (velocities or []), wanted + (wanted_v or []), strict=True):
        np.testing.assert_allclose(got, want, **tolerance)
    for grad, same in zip(grads, before, strict=True):
        assert_same(grad, same)


@settings
@every_way("sgd_update")
def test_update_has_the_same_bits_for_any_number_of_threads(way, options, dtype, monkeypatch):
    monkeypatch.setattr(threads, "cpu_count", lambda: 8)

    def bits(count):
        ws, grads, velocities = update_problem(
            dtype, "momentum" in options, ((70, 999), (5,), (300_001,))
        )
        with kernels.threads(count):
            update(way, ws, grads, velocities, *positional(**options))
        return [a.tobytes() for a in ws + (velocities or [])]

    want = bits(1)
    assert all(bits(count) == want for count in (2, 3, 8))


@every_way("sgd_update")
def test_units_that_are_not_numbers_are_left_to_be_seen(way, dtype):
    w = np.ones((3, 40), dtype)
    w[1, 17] = np.nan
    update(way, [w], [np.zeros_like(w)], None, *positional(max_norm=2.0))
    assert np.isnan(w[1]).all()
    np.testing.assert_allclose(np.linalg.norm(w[::2], axis=1), 2, rtol=1e-6)


@pytest.mark.parametrize("isa", [w for w in every_way("sgd_update").args[1] if w.isa], ids=str)
def test_denormal_velocities_become_zero(isa):
    """A unit without gradient: its velocity shrinks, and below 1e-38 is flushed, not carried."""
    if isa.missing:
        pytest.skip(isa.missing)
    with isa.in_use():
        w, velocity = np.ones(40, np.float32), np.full(40, 1e-38, np.float32)
        for _ in range(3):
            update(isa, [w], [np.zeros(40, np.float32)], [velocity], *positional(momentum=0.5))
        assert (velocity == 0).all()


@every_way("sgd_update")
def test_update_takes_any_memory_and_dtype(way):
    backend, names = way.impl.backend, ("C", "fortran", "sliced", "reversed", "channels-last")
    how = {"momentum": 0.9, "nesterov": True, "l2": 0.1, "max_norm": 1.0}
    kinds = [(m, d) for m in names for d in ("float32", "float64", "float16")]
    ws, grads, velocities = (
        [laid_out(normals(i, (4, 3, 5, 2), d), m, writeable=True) for m, d in kinds]
        for i in range(3)
    )
    wanted = [w.astype(float) for w in ws]
    wanted_v = [v.astype(float) for v in velocities]
    reference("sgd_update")(wanted, grads, wanted_v, *positional(**how))
    assert elementwise.sgd_update(ws, grads, velocities, 0.1, backend=backend, **how) is None
    for got, want in zip(ws + velocities, wanted + wanted_v, strict=True):
        np.testing.assert_allclose(got, want, rtol=32 * eps(got.dtype), atol=8 * eps(got.dtype))


def test_update_of_nothing_and_of_wrong_shapes():
    elementwise.sgd_update([], [], None, 0.1)
    with pytest.raises(
        kernels.ShapeError, match=r"sgd_update: grad has shape \(2,\), but the array"
    ):
        elementwise.sgd_update([np.ones(3)], [np.ones(2)], None, 0.1)
    with pytest.raises(kernels.ShapeError, match=r"sgd_update: velocity has shape \(4,\), but"):
        elementwise.sgd_update([np.ones(3)], [np.ones(3)], [np.ones(4)], 0.1)
