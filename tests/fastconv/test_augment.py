"""Augmentation: every transform by numbers that can be worked by hand."""

import subprocess
import sys

import numpy as np
import pytest

import fastconv as fc
from fastconv.augment import (
    Choose,
    Compose,
    Flip,
    LensDistortion,
    QuarterTurns,
    Rotate,
    Shear,
    Sometimes,
    Stretch,
    Translate,
)


pytest.importorskip("cv2")

IDENTITIES = [
    Translate(0),
    Rotate(0),
    Stretch(0),
    Shear(0),
    LensDistortion(0),
    Flip(p=0),
    QuarterTurns((0,)),
    Sometimes(Rotate(90), p=0),
    Compose(),
    Compose(Translate(0), Flip(p=0), Rotate(0)),
]
RANDOM = [
    Translate(2),
    Rotate(20),
    Stretch(0.2),
    Shear(10),
    LensDistortion(0.3),
    Flip(),
    QuarterTurns(),
    Compose(Translate(2), Rotate(10), Flip()),
    Choose(Rotate(30), Translate(2)),
    Sometimes(Rotate(30)),
]


@pytest.fixture
def images(rng):
    return rng.random((12, 2, 9, 9)).astype(np.float32)


def one(rows):
    """An image written as rows of digits."""
    return np.array([[list(map(float, row)) for row in rows]])[None]


L_SHAPE = one(["00000", "01000", "01000", "01100", "00000"])


class Fixed(Translate):
    """A shift that is not random."""

    def __post_init__(self):
        pass

    def matrices(self, rng, n):
        found = np.broadcast_to(np.eye(3), (n, 3, 3)).copy()
        found[:, :2, 2] = self.pixels
        return found


@pytest.mark.parametrize("transform", IDENTITIES, ids=repr)
def test_nothing_changes_nothing(transform, images):
    y = transform(images, 0)
    np.testing.assert_array_equal(y, images)
    assert not np.shares_memory(y, images)


@pytest.mark.parametrize("transform", RANDOM, ids=repr)
def test_same_seed_same_images(transform, images):
    before = images.copy()
    y = transform(images, 0)
    np.testing.assert_array_equal(images, before)
    np.testing.assert_array_equal(y, transform(images, np.random.default_rng(0)))
    assert not np.array_equal(y, transform(images, 1))
    assert (y.shape, y.dtype) == (images.shape, images.dtype)
    assert transform(images.astype(np.float64), 0).dtype == np.float64
    assert transform((images * 255).astype(np.uint8), 0).dtype == np.float32


@pytest.mark.parametrize("transform", RANDOM, ids=repr)
def test_channels_alike_images_not(transform):
    x = np.broadcast_to(np.linspace(0, 1, 81).reshape(9, 9), (12, 3, 9, 9))
    y = transform(x, 0)
    np.testing.assert_array_equal(y[:, 0], y[:, 2])
    assert len({image.tobytes() for image in y}) > 1


def test_a_shift_by_hand():
    right_and_down = Fixed((1, 1))(L_SHAPE)
    np.testing.assert_array_equal(
        right_and_down, one(["00000", "00000", "00100", "00100", "00110"])
    )
    np.testing.assert_array_equal(
        Fixed((-2, 0))(L_SHAPE), one(["00000", "00000", "00000", "10000", "00000"])
    )


def test_shifts_reach_their_limits_and_not_beyond():
    x = np.zeros((500, 1, 1, 11))
    x[..., 5] = 1
    y = Translate((3, 0))(x, 0)
    centres = (y * np.arange(11)).sum(axis=(1, 2, 3)) - 5
    assert -3.05 < centres.min() < -2.8
    assert 2.8 < centres.max() < 3.05


@pytest.mark.parametrize("side", [5, 8, 28])
def test_rotation_by_90_is_a_quarter_turn(side, rng):
    x = rng.random((3, 1, side, side))
    for quarters in (1, 2, 3):
        turned = np.rot90(x, quarters, axes=(2, 3))
        y = Rotate((90 * quarters, 90 * quarters))(x)
        np.testing.assert_allclose(y, turned, rtol=0, atol=1e-5)
        np.testing.assert_array_equal(QuarterTurns((quarters,))(x), turned)


def test_quarter_turns_are_all_drawn(rng):
    x = np.broadcast_to(rng.random((1, 1, 6, 6)), (60, 1, 6, 6))
    y = QuarterTurns()(x, 0)
    for quarters in (1, 2, 3):
        turned = np.rot90(x[0], quarters, axes=(1, 2))
        assert 8 < sum(np.array_equal(image, turned) for image in y) < 35


def test_quarter_turns_of_images_that_are_not_square(rng):
    x = rng.random((4, 1, 4, 6))
    np.testing.assert_array_equal(QuarterTurns((2,))(x), x[:, :, ::-1, ::-1])
    with pytest.raises(fc.ShapeError, match="4×6 are not square"):
        QuarterTurns()(x)


def test_flips(images):
    np.testing.assert_array_equal(Flip(p=1)(images), images[..., ::-1])
    np.testing.assert_array_equal(Flip(False, True, p=1)(images), images[:, :, ::-1])
    y = Flip(p=0.5)(np.tile(images[:1], (400, 1, 1, 1)), 0)
    flipped = (y == images[:1, ..., ::-1]).all(axis=(1, 2, 3)).mean()
    assert 0.4 < flipped < 0.6


def test_stretching_is_about_the_centre():
    x = np.zeros((300, 1, 1, 41))
    x[..., 30] = 1  # 10 to the right of the centre
    y = Stretch((0.5, 0))(x, 0)
    place = (y * np.arange(41)).sum(axis=(1, 2, 3)) / y.sum(axis=(1, 2, 3)) - 20
    assert 6.6 < place.min() < 7.2  # 10 / 1.5
    assert 14.5 < place.max() < 15.1


def test_shearing_moves_rows():
    x = np.zeros((1, 1, 21, 41))
    x[:, :, :, 20] = 1
    y = Shear((45, 45))(x)
    for row in (5, 10, 15):  # above the centre to the right, by as much as it is above
        assert y[0, 0, row].argmax() == 20 + (10 - row)


def test_lens_distortion_by_its_formula():
    side, k = 41, 0.3
    down, right = np.mgrid[:side, :side] - 20.0
    x = np.exp(-((np.hypot(down, right) - 12) ** 2) / 8)[None, None]  # a ring of radius 12
    y = LensDistortion((k, k))(x)
    # Taken from r·(1 + k·r²/800) = 12; 800 is the square of half the diagonal.
    expected = min(np.linspace(5, 15, 10001), key=lambda r: abs(r * (1 + k * r * r / 800) - 12))
    profile = y[0, 0, 20, 20:]
    assert abs(profile.argmax() - expected) < 0.6
    assert y[0, 0, 20, 20] == pytest.approx(x[0, 0, 20, 20], abs=1e-3)
    pincushion = LensDistortion((-k, -k))(x)[0, 0, 20, 20:].argmax()
    assert pincushion > 12 > profile.argmax()


def test_composition_is_in_order_and_one_interpolation(rng):
    x = np.zeros((1, 1, 9, 9))
    x[..., 4, 6] = 1  # two to the right
    turn, shift = Rotate((90, 90)), Fixed((1, 0))
    first_turned = Compose(turn, shift)(x)[0, 0]
    assert np.unravel_index(first_turned.argmax(), (9, 9)) == (2, 5)
    first_shifted = Compose(shift, turn)(x)[0, 0]
    assert np.unravel_index(first_shifted.argmax(), (9, 9)) == (1, 4)
    sharp = rng.random((1, 1, 9, 9))
    there_and_back = Compose(Fixed((0.5, 0)), Fixed((-0.5, 0)))(sharp)
    np.testing.assert_array_equal(there_and_back, sharp)  # twice interpolated it would be blurred


def test_mixtures_are_drawn_image_by_image(images):
    x = np.tile(images[:1], (300, 1, 1, 1))
    chosen = Choose(Flip(p=1), Flip(False, True, p=1), p=[0.8, 0.2])(x, 0)
    share = (chosen == x[:1, ..., ::-1]).all(axis=(1, 2, 3)).mean()
    assert 0.72 < share < 0.88
    assert ((chosen == x[:1, :, ::-1]).all(axis=(1, 2, 3)).mean()) == pytest.approx(1 - share)
    some = (Sometimes(Flip(p=1), 0.25)(x, 0) != x).any(axis=(1, 2, 3)).mean()
    assert 0.17 < some < 0.33


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Translate(-1), "Translate: pixels must be between 0 and 10000, got -1"),
        (lambda: Translate(float("inf")), "Translate: pixels must be between 0 and 10000"),
        (lambda: Translate((1, 2, 3)), r"pixels must be one number or two, got \(1, 2, 3\)"),
        (lambda: Rotate((1,)), "Rotate: degrees must be one number or two"),
        (lambda: Stretch(-0.1), "Stretch: most must be between"),
        (lambda: Shear(90), "Shear: degrees must be between"),
        (lambda: LensDistortion(0.5), "LensDistortion: strength must be between -0.333"),
        (lambda: Rotate(-10), "Rotate: degrees is a limit, not negative"),
        (lambda: Rotate((10, -10)), r"or \(lowest, highest\), got \(10, -10\)"),
        (lambda: Rotate(float("nan")), "Rotate: degrees must be between -360 and 360, got nan"),
        (lambda: Flip(p=1.5), "Flip: p must be between 0 and 1"),
        (lambda: Sometimes(Flip(), 2), "Sometimes: p must be between"),
        (lambda: QuarterTurns(()), "QuarterTurns: turns must be a tuple of 0, 1, 2, 3"),
        (lambda: QuarterTurns(1), "QuarterTurns: turns must be a tuple of 0, 1, 2, 3, got 1"),
        (lambda: Choose(), "Choose: give at least one"),
        (lambda: Choose(Flip(), p=[0.5]), "Choose: p must be a chance for each of 1"),
        (lambda: Choose(Flip(), p=[float("nan")]), "Choose: p must be a chance for each of 1"),
        (lambda: Choose(Flip(), p="x"), "Choose: p must be a chance for each of 1.*got 'x'"),
    ],
)
def test_settings_that_cannot_be(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Translate("a"), "Translate: pixels must be a number, got 'a'"),
        (lambda: Stretch(None), "Stretch: most must be a number, got None"),
        (lambda: Rotate("a"), "Rotate: degrees must be a number, got 'a'"),
        (lambda: Flip(p="x"), "Flip: p must be a number, got 'x'"),
    ],
)
def test_settings_that_are_no_numbers(make, message):
    with pytest.raises(TypeError, match=message):
        make()


@pytest.mark.parametrize("transform", [Rotate(5), LensDistortion(0.1)], ids=repr)
@pytest.mark.parametrize("size", [(0, 4), (2, 40_000)], ids=str)
def test_sizes_that_opencv_cannot_warp(transform, size):
    with pytest.raises(fc.ShapeError, match=f"1 to 32766 rows and columns, got {size[0]}×"):
        transform(np.zeros((1, 1, *size), np.float32), 0)


@pytest.mark.parametrize("channels", [1, 3, 7])
def test_any_number_of_channels(channels, rng):
    """Each channel as if it were alone: OpenCV's limit of four is not ours."""
    x = rng.random((4, channels, 6, 5))
    for transform in (Rotate(30), LensDistortion(0.3)):
        y = transform(x, 0)
        for c in range(channels):
            np.testing.assert_array_equal(y[:, c : c + 1], transform(x[:, c : c + 1], 0))


def test_what_is_no_batch_of_images(images):
    with pytest.raises(fc.ShapeError, match=r"Flip: x must be images \(N, C, H, W\)"):
        Flip()(images[0])
    with pytest.raises(TypeError, match="Compose: 3 is not a Transform"):
        Compose(Flip(), 3)


@pytest.mark.parametrize("transform", RANDOM, ids=repr)
def test_no_images(transform):
    assert transform(np.zeros((0, 1, 8, 8), np.float32), 0).shape == (0, 1, 8, 8)


def test_augmented_training_reads_shifted_digits_better(digits):
    """What augmentation is for: digits moved to where the training set has none."""
    (x, y), (x_test, y_test) = digits
    moved = Translate(1)(x_test, 9)
    accuracy = {}
    for augment in (None, Translate(1)):
        net = fc.models.mlp(64, 64, 10, rng=0)
        sgd = fc.SGD(net.parameters(), lr=0.1, momentum=0.9)
        fc.fit(net, (x, y), sgd, epochs=12, augment=augment, seed=0)
        accuracy[augment] = fc.evaluate(net, (moved, y_test))[1]
    assert accuracy[Translate(1)] > accuracy[None] + 0.05


def test_opencv_is_not_loaded_before_it_is_needed():
    code = "import sys, fastconv.augment; sys.exit('cv2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
