import numpy as np
import pytest

import fastconv as fc
from fastconv import init


RANDOM = [name for name in init.NAMES if name != "zeros"]
SHAPE, GROUPS = (250, 5, 9, 9), 2  # 101 250 weights: their std is known to 0.3 %


@pytest.mark.parametrize(
    ("shape", "groups", "fan_in", "fan_out"),
    [
        ((10, 784), 1, 784, 10),
        ((6, 3, 5, 5), 1, 75, 150),
        ((8, 2, 3, 3), 4, 18, 18),  # 8 channels in 4 groups: 2 filters see each input
        ((16, 1, 3, 5), 16, 15, 15),  # depthwise
        ((16, 8, 1, 1), 1, 8, 16),
    ],
)
def test_fans(shape, groups, fan_in, fan_out):
    assert init.fans(shape, groups) == (fan_in, fan_out)


def test_fans_of_a_vector():
    with pytest.raises(fc.ShapeError, match=r"fans: a weight has shape \(out, in\) or .* \(3,\)"):
        init.fans((3,))


FAN_IN, FAN_OUT = 5 * 81, 125 * 81
VARIANCES = {"xavier": 1 / FAN_IN, "glorot": 2 / (FAN_IN + FAN_OUT), "he": 2 / FAN_IN}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", RANDOM)
def test_variance(name, dtype, rng):
    """Normal and uniform forms have one variance, that of the formula."""
    draws = init.NAMES[name](SHAPE, rng, dtype, GROUPS)
    std = np.sqrt(VARIANCES[name.partition("_")[0]])
    assert draws.dtype == dtype
    assert draws.shape == SHAPE
    assert draws.std() == pytest.approx(std, rel=0.05)
    assert abs(draws.mean()) < 5 * std / np.sqrt(draws.size)
    beyond = np.mean(np.abs(draws) > np.sqrt(3) * std * 1.0001)  # a uniform one's limits
    assert beyond == 0 if name.endswith("uniform") else beyond == pytest.approx(0.083, abs=0.01)


@pytest.mark.parametrize("name", RANDOM)
def test_two_calls_differ_and_a_seed_repeats(name, rng):
    draw = init.NAMES[name]
    assert not np.array_equal(draw((3, 4), rng), draw((3, 4), rng))
    assert not np.array_equal(draw((3, 4)), draw((3, 4)))
    np.testing.assert_array_equal(draw((3, 4), 5), draw((3, 4), 5))


def test_layers_pass_their_groups():
    grouped = fc.Conv2d(8, 64, 9, groups=4, init="glorot_normal", rng=0).weight.value
    assert grouped.std() == pytest.approx(np.sqrt(2 / ((2 + 16) * 81)), rel=0.05)


def test_zeros_only_if_asked_for():
    assert not fc.Linear(3, 4, init="zeros").weight.value.any()
    assert fc.Linear(3, 4).weight.value.any()


def test_callable_init():
    layer = fc.Linear(3, 2, init=lambda shape, rng: np.arange(6).reshape(shape))
    np.testing.assert_array_equal(layer.weight.value, [[0, 1, 2], [3, 4, 5]])
    assert layer.weight.value.dtype == np.float32
    with pytest.raises(fc.ShapeError, match=r"Linear: init .* returned shape \(3, 2\), but the we"):
        fc.Linear(3, 2, init=lambda shape, rng: np.zeros((3, 2)))


def test_he_keeps_the_signal_through_relu_and_xavier_loses_it(rng):
    """20 layers of 256 units: each layer halves the variance unless it is made up for."""
    x = rng.normal(size=(200, 256)).astype(np.float32)

    def depth(init):
        layers = [
            f for _ in range(20) for f in (fc.Linear(256, 256, init=init, rng=rng), fc.ReLU())
        ]
        return fc.Sequential(*layers)(x).std()

    assert 0.3 < depth("he_normal") < 3
    assert depth("xavier_normal") < 0.01
