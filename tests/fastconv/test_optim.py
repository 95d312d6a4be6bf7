import numpy as np
import pytest

import fastconv as fc


def parameter(value, grad, **options):
    return fc.Parameter(np.array(value, float), np.array(grad, float), **options)


def test_plain_step_by_hand():
    p = parameter([1.0, 2.0], [10.0, -10.0])
    fc.SGD([p], lr=0.1).step()
    np.testing.assert_allclose(p.value, [0, 3], atol=1e-15)


def test_momentum_by_hand():
    p = parameter([0.0], [1.0])
    sgd = fc.SGD([p], lr=1, momentum=0.5)
    values = []
    for _ in range(3):
        sgd.step()
        values.append(p.value[0])
    np.testing.assert_allclose(values, [-1, -2.5, -4.25])  # velocities 1, 1.5, 1.75


def test_nesterov_by_hand():
    p = parameter([0.0], [1.0])
    sgd = fc.SGD([p], lr=1, momentum=0.5, nesterov=True)
    values = []
    for _ in range(2):
        sgd.step()
        values.append(p.value[0])
    np.testing.assert_allclose(values, [-1.5, -3.25])  # 1 + .5·1, then 1 + .5·1.5


def test_l2_and_l1_by_hand_spare_what_does_not_decay():
    weight, bias = parameter([[2.0, -4.0]], [[0, 0]]), parameter([2.0], [0], decay=False)
    fc.SGD([weight, bias], lr=0.5, l2=0.1, l1=0.2).step()
    np.testing.assert_allclose(weight.value, [[2 - 0.5 * 0.4, -4 + 0.5 * 0.6]])
    assert bias.value[0] == 2


def test_l2_is_the_gradient_of_half_the_squares(rng):
    """The step is that of the loss E + ½·l2·Σw² + l1·Σ|w|."""
    w, l2, l1 = rng.normal(size=7), 0.3, 0.2
    p = fc.Parameter(w.copy(), np.zeros(7))
    fc.SGD([p], lr=1, l2=l2, l1=l1).step()

    def penalty(w):
        return 0.5 * l2 * np.sum(w * w) + l1 * np.sum(np.abs(w))

    slope = [(penalty(w + d) - penalty(w - d)) / 2e-6 for d in 1e-6 * np.eye(7)]
    np.testing.assert_allclose(w - p.value, slope, atol=1e-8)


def test_l1_makes_weights_sparse(rng):
    """Two features matter out of thirty; L1 sends the others to nearly 0, L2 does not."""
    x = rng.normal(size=(200, 30))
    target = (3 * x[:, 0] - 2 * x[:, 1])[:, None] + rng.normal(size=(200, 1))

    def small(**penalty):
        net = fc.Linear(30, 1, rng=0, dtype=np.float64)
        sgd = fc.SGD(net.parameters(), lr=0.01, **penalty)
        fc.fit(net, (x, target), sgd, epochs=300, batch_size=200, loss=fc.mean_squared_error)
        return np.count_nonzero(np.abs(net.weight.value) < 0.01)

    assert small(l1=0.3) >= 25
    assert small(l2=0.3) < 10


@pytest.mark.parametrize("shape", [(3, 4), (3, 2, 2, 2), (40, 3000)])  # the last: many blocks
def test_max_norm_limits_each_unit(shape, rng):
    value = rng.normal(size=shape)
    value[0] *= 0.01
    before = value.copy()
    p, bias = fc.Parameter(value, np.zeros(shape)), parameter([50.0], [0], decay=False)
    fc.SGD([p, bias], lr=1, max_norm=1.5).step()
    norms = np.linalg.norm(value.reshape(shape[0], -1), axis=1)
    np.testing.assert_allclose(norms[1:], 1.5)
    np.testing.assert_array_equal(value[0], before[0])
    np.testing.assert_allclose(value[1] / norms[1], before[1] / np.linalg.norm(before[1]))
    assert bias.value[0] == 50


def test_max_norm_of_zero_weights():
    p = parameter([[0.0, 0.0]], [[0.0, 0.0]])
    fc.SGD([p], lr=1, max_norm=1).step()
    np.testing.assert_array_equal(p.value, [[0, 0]])


def test_groups_have_their_own_settings():
    a, b = parameter([1.0], [1.0]), parameter([1.0], [1.0])
    sgd = fc.SGD([{"parameters": [a], "lr": 0.5, "l2": 1.0}, {"params": [b]}], lr=0.1)
    sgd.step()
    assert (a.value[0], b.value[0]) == (0, pytest.approx(0.9))
    sgd.groups[1].lr = 1.0  # a setting changed is obeyed at the next step
    sgd.step()
    assert b.value[0] == pytest.approx(-0.1)


def test_blocks_give_what_one_formula_gives(rng):
    """A weight larger than a block, in any memory order, and in place."""
    w, g = rng.normal(size=(300, 400)), rng.normal(size=(300, 400))
    for order in "CF":
        value = np.array(w, order=order)
        p = fc.Parameter(value, g)
        sgd = fc.SGD([p], lr=0.1, momentum=0.9, l2=0.01)
        sgd.step()
        sgd.step()
        v1 = g + 0.01 * w
        w1 = w - 0.1 * v1
        v2 = 0.9 * v1 + g + 0.01 * w1
        np.testing.assert_allclose(value, w1 - 0.1 * v2, rtol=1e-10, atol=1e-15)
        assert p.value is value


def test_float32_stays_float32():
    p = fc.Parameter(np.ones(3, np.float32), np.ones(3, np.float32))
    fc.SGD([p], lr=0.1, momentum=0.9, nesterov=True, l2=0.1, l1=0.1, max_norm=1).step()
    assert p.value.dtype == np.float32


def test_the_gradient_is_not_changed_and_zero_grad_forgets_it():
    p, untouched = parameter([[1.0]], [[2.0]]), fc.Parameter(np.ones(1))
    sgd = fc.SGD([p, untouched], lr=0.1, momentum=0.9, l2=0.1)
    sgd.step()
    assert p.grad[0] == 2
    assert untouched.value[0] == 1
    sgd.zero_grad()
    assert p.grad is None


def test_velocities_can_be_saved_and_restored(rng):
    def run(steps, sgd, p):
        for i in range(steps):
            p.grad = np.full(3, float(i + 1))
            sgd.step()

    p, q = parameter([1, 2, 3], [0] * 3), parameter([1, 2, 3], [0] * 3)
    first = fc.SGD([p], lr=0.1, momentum=0.9)
    run(3, first, p)
    second = fc.SGD([q], lr=0.1, momentum=0.9)
    q.value[...] = p.value
    second.load_state_dict(first.state_dict())
    run(3, first, p)
    run(3, second, q)
    np.testing.assert_array_equal(p.value, q.value)
    with pytest.raises(fc.ShapeError, match=r"0.0 \(2,\), but this optimizer has 0.0 \(3,\)"):
        first.load_state_dict({"0.0": np.zeros(2)})


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"lr": -1}, ValueError, "lr must satisfy 0 <= lr < inf, got -1"),
        ({"lr": float("nan")}, ValueError, "lr must satisfy 0 <= lr < inf, got nan"),
        ({"lr": "0.1"}, TypeError, "lr must be a number, got '0.1'"),
        ({"momentum": 1}, ValueError, "momentum must satisfy 0 <= momentum < 1, got 1"),
        ({"l2": -0.1}, ValueError, "l2 must satisfy 0 <= l2 < inf, got -0.1"),
        ({"l1": -0.1}, ValueError, "l1 must satisfy 0 <= l1 < inf, got -0.1"),
        ({"max_norm": 0}, ValueError, "max_norm must be positive, or None for no limit, got 0"),
        ({"max_norm": -2}, ValueError, "max_norm must satisfy 0 <= max_norm"),
        ({"nesterov": True}, ValueError, "nesterov=True needs momentum > 0"),
    ],
)
def test_bad_settings(settings, error, message):
    with pytest.raises(error, match="SGD: " + message):
        fc.SGD([parameter([1.0], [1.0])], **{"lr": 0.1, **settings})
    with pytest.raises(error, match="SGD: " + message):
        fc.SGD([{"parameters": [parameter([1.0], [1.0])], **settings}], lr=0.1)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ([], ValueError, "a group has no parameters"),
        ([np.zeros(2)], TypeError, r"must be Parameter objects, got ndarray; give net.parameters"),
        ([{"lr": 1}], ValueError, r"a group is {'parameters': \[...\]} .* got the keys \['lr'\]"),
        ([{"parameters": [], "rate": 1}], ValueError, r"got the keys \['parameters', 'rate'\]"),
    ],
)
def test_bad_parameters(given, error, message):
    with pytest.raises(error, match="SGD: .*" + message):
        fc.SGD(given, lr=0.1)


def test_a_parameter_given_twice():
    p = parameter([1.0], [1.0])
    with pytest.raises(ValueError, match="SGD: a parameter is given twice"):
        fc.SGD([{"parameters": [p]}, {"parameters": [p]}], lr=0.1)
