"""Images from files, as a network's input."""

from __future__ import annotations

import importlib
import zlib
from pathlib import Path
from tokenize import TokenError
from zipfile import BadZipFile

import numpy as np

from ..kernels.arrays import Array


__all__ = ["read_images"]

Shape = tuple[int, ...]


def read_images(path: Path, shape: Shape, invert: bool) -> list[tuple[str, Array]]:
    """The images of a file, float32 in [0, 1] of `shape`, with a name for each.

    An image file has one, scaled to `shape` (C, H, W) as grey (C = 1) or RGB (C = 3).  A .npy
    or .npz file has one array, of one or several images that have the shape already; integers
    are taken to run to 255, or to the largest that an unsigned type can hold.

    Raises
    ------
    ImportError
        If an image file needs Pillow, which is not installed.
    OSError, ValueError
        If the file cannot be read, or holds something else.
    """
    if path.suffix in (".npy", ".npz"):
        images = _stack(path, _array(path), shape)
        names = [str(path)] if len(images) == 1 else [f"{path}[{i}]" for i in range(len(images))]
    else:
        images, names = _picture(path, shape, invert)[None], [str(path)]
    return list(zip(names, 1 - images if invert else images, strict=True))


# What zipfile and NumPy raise for a file that is damaged, its header included.
_DAMAGED = (ValueError, EOFError, BadZipFile, zlib.error, SyntaxError, TokenError)


def _picture(path: Path, shape: Shape, invert: bool) -> Array:
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise ValueError(
            f"{path}: the network reads {shape}, which no image can be scaled to; give a .npy file"
        )
    try:
        pillow = importlib.import_module("PIL.Image")
        upright = importlib.import_module("PIL.ImageOps").exif_transpose
    except ImportError as error:
        raise ImportError("images need Pillow: pip install 'fastconv[images]'") from error
    channels, height, width = shape
    try:
        with pillow.open(path) as file:
            image = upright(file)
            if image.mode.startswith("I;16"):  # which convert("L") would cut off at 255
                image = pillow.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            elif image.mode in ("F", "I"):  # of no known range
                raise ValueError(f"its pixels are of the kind {image.mode}; give a .npy file")
            if "A" in image.getbands() or "transparency" in image.info:
                ground = pillow.new("RGBA", image.size, "white" if invert else "black")
                image = pillow.alpha_composite(ground, image.convert("RGBA"))
            image = image.convert("L" if channels == 1 else "RGB")
            scaled = image.resize((width, height), pillow.Resampling.BILINEAR)
    except (FileNotFoundError, IsADirectoryError, PermissionError):
        raise
    except (OSError, SyntaxError, ValueError, pillow.DecompressionBombError) as error:
        # a broken PNG is a SyntaxError
        raise ValueError(f"{path} is not an image that Pillow can read: {error}") from error
    pixels = np.asarray(scaled, np.float32).reshape(height, width, channels)
    return pixels.transpose(2, 0, 1) / np.float32(255)


def _array(path: Path) -> Array:
    try:
        found = np.load(path, allow_pickle=False)
        if path.suffix == ".npy":
            return np.asarray(found)
        with found:
            if len(found.files) != 1:
                raise ValueError(f"it has the arrays {found.files}, and must have one")
            return np.asarray(found[found.files[0]])
    except (*_DAMAGED, TypeError, AttributeError) as error:
        raise ValueError(f"{path} does not hold an array of numbers: {error}") from error


def _stack(path: Path, images: Array, shape: Shape) -> Array:
    """(N, *shape) in [0, 1] of one image or several; a single channel may be left out."""
    ends = [shape, shape[1:]] if shape[0] == 1 and len(shape) == 3 else [shape]
    for end in ends:
        if images.shape == end or (images.shape[1:] == end and len(images) > 0):
            break
    else:
        raise ValueError(
            f"{path} has shape {images.shape}; it must be {shape} or, for N images, "
            f"(N, {', '.join(map(str, shape))})"
        )
    if images.dtype.kind not in "biuf":
        raise ValueError(f"{path} holds {images.dtype}; it must hold numbers")
    scale = 1
    if images.dtype.kind in "iu":
        scale = np.iinfo(images.dtype).max if images.dtype.kind == "u" else 255
    x = images.reshape(-1, *shape).astype(np.float32) / np.float32(scale)
    if not ((x >= 0) & (x <= 1)).all():
        raise ValueError(
            f"{path} has values from {images.min()} to {images.max()}; they must be in "
            "[0, 1], or uint8 from 0 to 255"
        )
    return x
