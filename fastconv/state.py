"""Weights on disk: .npz or .safetensors, never pickle, which runs code when read."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from .files import replacing
from .kernels.arrays import Array
from .layers.base import Layer, as_real


__all__ = ["load", "save"]

PathLike = str | os.PathLike[str]


def _safetensors() -> Any:
    try:
        import safetensors
        import safetensors.numpy
    except ImportError as error:
        raise ImportError(
            "a .safetensors file needs the safetensors package: "
            "pip install 'fastconv[safetensors]' (or use .npz)"
        ) from error
    return safetensors


def _write_npz(file: IO[bytes], arrays: dict[str, Array]) -> None:
    np.savez(file, **arrays)  # type: ignore[arg-type]


def _write_safetensors(file: IO[bytes], arrays: dict[str, Array]) -> None:
    file.write(_safetensors().numpy.save(arrays))


def _read_npz(path: Path) -> dict[str, Array]:
    import zlib
    from tokenize import TokenError
    from zipfile import BadZipFile  # NumPy imports it no sooner

    # What they raise for a file that is damaged, its header included.
    damaged = (ValueError, BadZipFile, zlib.error, EOFError, TypeError, SyntaxError, TokenError)

    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except damaged as error:
        raise _unreadable(path, error) from error


def _read_safetensors(path: Path) -> dict[str, Array]:
    package = _safetensors()
    try:
        found: dict[str, Array] = package.numpy.load_file(path)
    except package.SafetensorError as error:
        raise _unreadable(path, error) from error
    return found


def _unreadable(path: Path, error: Exception) -> ValueError:
    return ValueError(
        f"load: {path} does not hold plain arrays in the format {path.suffix} ({error}); "
        "pickled objects are never read"
    )


_WRITERS: dict[str, Callable[[IO[bytes], dict[str, Array]], None]] = {
    ".npz": _write_npz,
    ".safetensors": _write_safetensors,
}
_READERS: dict[str, Callable[[Path], dict[str, Array]]] = {
    ".npz": _read_npz,
    ".safetensors": _read_safetensors,
}


def _checked_suffix(verb: str, path: Path) -> str:
    if path.suffix not in _WRITERS:
        raise ValueError(f"{verb}: {path} must end in .npz or .safetensors")
    return path.suffix


def save(net_or_state_dict: Layer | Mapping[str, Any], path: PathLike) -> None:
    """Write the parameters of a network to a file, which is complete or not there.

    Parameters
    ----------
    net_or_state_dict : Layer or dict of arrays
    path : str or path
        Ends in ``.npz`` or ``.safetensors``.

    Raises
    ------
    TypeError, ValueError
        If the suffix is another, or something is not an array of real numbers.
    OSError
        If the file cannot be written; an old file of that name is then untouched.
    """
    path = Path(path)
    write = _WRITERS[_checked_suffix("save", path)]
    state = net_or_state_dict
    if isinstance(state, Layer):
        state = state.state_dict()
    arrays = {}
    for name, a in state.items():
        as_real("save", name, a)
        arrays[name] = np.asarray(a, order="C")
    with replacing(path) as file:
        write(file, arrays)


def load(path: PathLike) -> dict[str, Array]:
    """Read what :func:`save` wrote, for ``net.load_state_dict``.

    Raises
    ------
    ValueError
        If the suffix is not ``.npz`` or ``.safetensors``, or the file holds anything but
        plain arrays.
    OSError
        If the file cannot be read.
    """
    path = Path(path)
    return _READERS[_checked_suffix("load", path)](path)
