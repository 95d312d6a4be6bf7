"""Data augmentation: random changes of images that leave their class as it is.

A transform is called with a batch (N, C, H, W) and a source of chance, and returns a new
batch of the same shape, each image changed by a draw of its own and all its channels alike.
Transforms compose::

    augment = Compose(Translate(2), Rotate(10), Sometimes(LensDistortion(0.2), 0.5))
    history = fit(net, data, augment=augment, seed=0)

Neighbouring transforms that are affine maps are multiplied, and the image is interpolated
once.  Interpolation is bilinear, by OpenCV; what enters from outside is `FILL`, 0.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from .kernels import ShapeError
from .kernels.arrays import Array
from .layers.base import as_real


__all__ = [
    "Choose",
    "Compose",
    "Flip",
    "LensDistortion",
    "QuarterTurns",
    "Rotate",
    "Shear",
    "Sometimes",
    "Stretch",
    "Transform",
    "Translate",
]

Rng = Any  # int, Generator or None
FILL = 0.0


class Transform:
    """A random change of images; subclasses define :meth:`apply`."""

    def __call__(self, x: Any, rng: Rng = None) -> Array:
        """The changed batch.

        Parameters
        ----------
        x : array (N, C, H, W)
            Of real numbers, integers becoming float32; not modified.
        rng : int, Generator or None
            The same seed gives the same result.

        Returns
        -------
        array (N, C, H, W)

        Raises
        ------
        ShapeError, TypeError
            If x is no such batch, or OpenCV cannot take its images' size.
        ImportError
            If the transform interpolates, and OpenCV is not installed.
        """
        who = type(self).__name__
        x = as_real(who, "x", x)
        if x.ndim != 4:
            raise ShapeError(f"{who}: x must be images (N, C, H, W), got shape {x.shape}")
        return self.apply(x, np.random.default_rng(rng))

    def apply(self, x: Array, rng: np.random.Generator) -> Array:
        raise NotImplementedError(f"{type(self).__name__} does not define apply")


class _Affine(Transform):
    """A transform that is a matrix for each image, in pixels (x, y) from the centre."""

    def apply(self, x: Array, rng: np.random.Generator) -> Array:
        return _warped(x, self.matrices(rng, len(x)))

    def matrices(self, rng: np.random.Generator, n: int) -> Array:
        """(N, 3, 3): where a point of the image goes to, in homogeneous coordinates."""
        raise NotImplementedError


def _matrices(n: int, **elements: Any) -> Array:
    """Identities (n, 3, 3) but for elements, named by row and column: m01=…"""
    found = np.broadcast_to(np.eye(3), (n, 3, 3)).copy()
    for name, values in elements.items():
        found[:, int(name[1]), int(name[2])] = values
    return found


@dataclass(frozen=True)
class Translate(_Affine):
    """Shift by up to `pixels` along each axis, uniformly.

    Parameters
    ----------
    pixels : float
        Or (horizontal, vertical).
    """

    pixels: float | tuple[float, float]

    def __post_init__(self) -> None:
        _check_pair("Translate", "pixels", self.pixels, 0, 10_000)

    def matrices(self, rng: np.random.Generator, n: int) -> Array:
        dx, dy = (rng.uniform(-limit, limit, n) for limit in _pair(self.pixels))
        return _matrices(n, m02=dx, m12=dy)


@dataclass(frozen=True)
class Rotate(_Affine):
    """Turn about the centre by up to `degrees`, uniformly, either way.

    Parameters
    ----------
    degrees : float
        Or (lowest, highest); positive is anticlockwise.
    """

    degrees: float | tuple[float, float]

    def __post_init__(self) -> None:
        _check_span("Rotate", "degrees", self.degrees, -360, 360)

    def matrices(self, rng: np.random.Generator, n: int) -> Array:
        angle = np.deg2rad(rng.uniform(*_span(self.degrees), n))
        c, s = np.cos(angle), np.sin(angle)
        return _matrices(n, m00=c, m01=s, m10=-s, m11=c)  # y points down


@dataclass(frozen=True)
class Stretch(_Affine):
    """Scale each axis by a factor in [1/(1 + most), 1 + most], as often up as down.

    Parameters
    ----------
    most : float
        Or (horizontal, vertical).
    """

    most: float | tuple[float, float]

    def __post_init__(self) -> None:
        _check_pair("Stretch", "most", self.most, 0, 100)

    def matrices(self, rng: np.random.Generator, n: int) -> Array:
        sx, sy = ((1 + limit) ** rng.uniform(-1, 1, n) for limit in _pair(self.most))
        return _matrices(n, m00=sx, m11=sy)


@dataclass(frozen=True)
class Shear(_Affine):
    """Slant upright lines by up to `degrees`, uniformly, either way.

    Parameters
    ----------
    degrees : float
        Below 90; or (lowest, highest); positive slants to the right.
    """

    degrees: float | tuple[float, float]

    def __post_init__(self) -> None:
        _check_span("Shear", "degrees", self.degrees, -89.9, 89.9)

    def matrices(self, rng: np.random.Generator, n: int) -> Array:
        angle = np.deg2rad(rng.uniform(*_span(self.degrees), n))
        return _matrices(n, m01=-np.tan(angle))  # y points down


@dataclass(frozen=True)
class LensDistortion(Transform):
    """Bend straight lines as a lens does: a point at radius r is taken from r·(1 + k·r²).

    Radii are in half diagonals, so that corners are at 1 (Brown 1966, the first radial
    term).  Positive k is a barrel, negative a pincushion.

    Parameters
    ----------
    strength : float
        k is uniform in [-strength, strength]; or (lowest, highest).  At least -1/3, below
        which the image folds.
    """

    strength: float | tuple[float, float]

    def __post_init__(self) -> None:
        _check_span("LensDistortion", "strength", self.strength, -1 / 3, 10)

    def apply(self, x: Array, rng: np.random.Generator) -> Array:
        height, width = x.shape[2:]
        cx, cy = (width - 1) / 2, (height - 1) / 2
        centre = np.array([cy, cx], np.float32)[:, None, None]
        down, right = np.mgrid[:height, :width].astype(np.float32) - centre  # as OpenCV takes maps
        r2 = (right**2 + down**2) / np.float32(max(cx**2 + cy**2, 1e-9))
        k = rng.uniform(*_span(self.strength), len(x)).astype(np.float32)[:, None, None]
        factor = 1 + k * r2
        columns, rows = factor * right + centre[1], factor * down + centre[0]
        cv2 = _opencv()

        def bend(image: Array, i: int) -> Any:
            return cv2.remap(
                image,
                columns[i],
                rows[i],
                cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_CONSTANT,
                borderValue=FILL,
            )

        return _each_plane(x, bend)


@dataclass(frozen=True)
class QuarterTurns(Transform):
    """Turn by 90°, 180° or 270°, exactly, nothing being interpolated.

    Parameters
    ----------
    turns : tuple of int
        Anticlockwise quarters of a turn to choose from; odd ones are for square images.
    """

    turns: tuple[int, ...] = (1, 2, 3)

    def __post_init__(self) -> None:
        turns = self.turns if isinstance(self.turns, tuple | list) else ()
        if not turns or any(turn not in range(4) for turn in turns):
            raise ValueError(
                f"QuarterTurns: turns must be a tuple of 0, 1, 2, 3, got {self.turns!r}"
            )

    def apply(self, x: Array, rng: np.random.Generator) -> Array:
        if x.shape[2] != x.shape[3] and any(turn % 2 for turn in self.turns):
            raise ShapeError(
                f"QuarterTurns: images {x.shape[2]}×{x.shape[3]} are not square and cannot be "
                "turned by 90°; use QuarterTurns((0, 2))"
            )
        drawn = rng.choice(self.turns, len(x))
        y = np.empty(x.shape, x.dtype)
        for turn in set(self.turns):
            y[drawn == turn] = np.rot90(x[drawn == turn], turn, axes=(2, 3))
        return y


@dataclass(frozen=True)
class Flip(Transform):
    """Mirror with chance p, along each direction asked for.

    Parameters
    ----------
    horizontal, vertical : bool
        Left and right exchanged; top and bottom.
    p : float
        In [0, 1].
    """

    horizontal: bool = True
    vertical: bool = False
    p: float = 0.5

    def __post_init__(self) -> None:
        _check("Flip", "p", self.p, 0, 1)

    def apply(self, x: Array, rng: np.random.Generator) -> Array:
        y = x.copy()
        for wanted, axis in ((self.horizontal, 3), (self.vertical, 2)):
            if wanted:
                chosen = rng.random(len(x)) < self.p
                y[chosen] = np.flip(y[chosen], axis)
        return y


class Compose(Transform):
    """One transform after another; affine neighbours are one interpolation.

    Parameters
    ----------
    *transforms : Transform
    """

    def __init__(self, *transforms: Transform) -> None:
        self.transforms = _checked("Compose", transforms)

    def apply(self, x: Array, rng: np.random.Generator) -> Array:
        pending: Array | None = None  # the product of affine transforms not yet done
        for transform in self.transforms:
            if isinstance(transform, _Affine):
                own = transform.matrices(rng, len(x))
                pending = own if pending is None else own @ pending
                continue
            x = x if pending is None else _warped(x, pending)
            x, pending = transform.apply(x, rng), None
        return x.copy() if pending is None else _warped(x, pending)

    def __repr__(self) -> str:
        return f"Compose({', '.join(map(repr, self.transforms))})"


class Choose(Transform):
    """One of several transforms for each image: a random mixture.

    Parameters
    ----------
    *transforms : Transform
    p : sequence of float, optional
        Their chances, 1 in sum; equal by default.
    """

    def __init__(self, *transforms: Transform, p: Any = None) -> None:
        self.transforms = _checked("Choose", transforms)
        if not self.transforms:
            raise ValueError("Choose: give at least one transform")
        self.p = None if p is None else _chances(p, len(self.transforms))

    def apply(self, x: Array, rng: np.random.Generator) -> Array:
        drawn = rng.choice(len(self.transforms), len(x), p=self.p)
        y = np.empty(x.shape, x.dtype)
        for i, transform in enumerate(self.transforms):
            y[drawn == i] = transform.apply(x[drawn == i], rng)
        return y

    def __repr__(self) -> str:
        return f"Choose({', '.join(map(repr, self.transforms))})"


@dataclass(frozen=True)
class Sometimes(Transform):
    """A transform for each image with chance p, else the image as it is.

    Parameters
    ----------
    transform : Transform
    p : float
        In [0, 1].
    """

    transform: Transform
    p: float = 0.5

    def __post_init__(self) -> None:
        _checked("Sometimes", (self.transform,))
        _check("Sometimes", "p", self.p, 0, 1)

    def apply(self, x: Array, rng: np.random.Generator) -> Array:
        chosen = rng.random(len(x)) < self.p
        y = x.copy()
        y[chosen] = self.transform.apply(x[chosen], rng)
        return y


def _warped(x: Array, matrices: Array) -> Array:
    """Each image under its matrix, about its centre."""
    cv2 = _opencv()
    height, width = x.shape[2:]
    to_centre = np.array([[1, 0, (width - 1) / 2], [0, 1, (height - 1) / 2], [0, 0, 1]])
    whole = (to_centre @ matrices @ np.linalg.inv(to_centre))[:, :2]

    def warp(image: Array, i: int) -> Any:
        return cv2.warpAffine(
            image,
            whole[i],
            (width, height),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=FILL,
        )

    return _each_plane(x, warp)


def _each_plane(x: Array, change: Any) -> Array:
    """change(plane, i) of every channel of every image i; OpenCV takes planes in a row."""
    height, width = x.shape[2:]
    if not 1 <= min(height, width) <= max(height, width) < 32767:  # OpenCV's int16
        raise ShapeError(
            f"augment: images to be warped must have 1 to 32766 rows and columns, got "
            f"{height}×{width}"
        )
    y = np.empty(x.shape, x.dtype)
    planes = np.ascontiguousarray(x, np.float64 if x.dtype == np.float64 else np.float32)
    for i, channels in enumerate(planes):
        for channel, plane in enumerate(channels):
            y[i, channel] = change(plane, i)
    return y


def _opencv() -> Any:
    try:
        return importlib.import_module("cv2")
    except ImportError as error:
        raise ImportError("warps need OpenCV: pip install 'fastconv[augment]'") from error


def _pair(value: Any) -> tuple[float, float]:
    return (value[0], value[1]) if isinstance(value, tuple | list) else (value, value)


def _span(value: Any) -> tuple[float, float]:
    return (value[0], value[1]) if isinstance(value, tuple | list) else (-value, value)


def _check(who: str, name: str, value: Any, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{who}: {name} must be a number, got {value!r}")
    if not low <= float(value) <= high:
        raise ValueError(f"{who}: {name} must be between {low:.6g} and {high:.6g}, got {value}")


def _check_pair(who: str, name: str, value: Any, low: float, high: float) -> None:
    """A number, or two."""
    several = isinstance(value, tuple | list)
    if several and len(value) != 2:
        raise ValueError(f"{who}: {name} must be one number or two, got {value}")
    for number in value if several else (value,):
        _check(who, name, number, low, high)


def _check_span(who: str, name: str, value: Any, low: float, high: float) -> None:
    """A limit either way, or (lowest, highest)."""
    _check_pair(who, name, value, low, high)
    least, most = _span(value)
    _check(who, name, least, low, high)  # of a limit, the other way
    if least > most:
        raise ValueError(
            f"{who}: {name} is a limit, not negative, or (lowest, highest), got {value}"
        )


def _chances(p: Any, n: int) -> Array:
    """p as an array, checked to be n chances."""
    try:
        chances = np.asarray(p, float)
    except (TypeError, ValueError):
        chances = np.empty(0)
    if chances.shape != (n,) or not ((chances >= 0).all() and abs(chances.sum() - 1) <= 1e-9):
        raise ValueError(
            f"Choose: p must be a chance for each of {n} transforms, 1 in sum, got {p!r}"
        )
    return chances


def _checked(who: str, transforms: tuple[Any, ...]) -> tuple[Transform, ...]:
    for transform in transforms:
        if not isinstance(transform, Transform):
            raise TypeError(f"{who}: {transform!r} is not a Transform")
    return transforms
