"""``fastconv predict``: image files in, classes and probabilities out."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from ..kernels.arrays import Array
from ..layers import Sequential
from ..losses import softmax
from ..state import load
from .common import built, command, positive


__all__ = ["add"]

_TEXT = """\
Tell the class of images, by a network that `fastconv train` has written.

MODEL is its model.npz, beside which model.json says what network it is (without that
file: LeNet-5 on ten digits).  Images of any size and format that Pillow reads are scaled to
the network's input.  Digits are white on black there, as in MNIST: give --invert for ink on
paper."""

_EXAMPLES = """\
  fastconv predict fastconv-lenet5/model.npz digit.png
  fastconv predict fastconv-lenet5/model.npz --invert scans/a.jpg scans/b.jpg
  fastconv predict fastconv-lenet5/model.npz --top 1 --json digit.png"""


def add(commands: Any) -> None:
    parser = command(commands, "predict", _run, "tell the class of image files", _TEXT, _EXAMPLES)
    option = parser.add_argument
    option("model", metavar="MODEL", type=Path, help="a model.npz (or .safetensors)")
    option("images", metavar="IMAGE", nargs="+", type=Path, help="image files")
    option("--top", metavar="K", type=positive, default=3, help="classes to show (3)")
    option("--invert", action="store_true", help="images are dark on light")
    option("--json", action="store_true", help="print one JSON list instead of lines")


def _run(options: Any) -> int:
    net, shape, classes = _model(options.model)
    x = np.stack([_image(path, shape, options.invert) for path in options.images])
    results = []
    for path, chances in zip(options.images, softmax(net.predict(x)), strict=True):
        best = np.argsort(-chances, kind="stable")[: options.top]
        found = [{"class": classes[i], "probability": float(chances[i])} for i in best]
        results.append({"file": str(path), "classes": found})
    print(json.dumps(results) if options.json else "\n".join(map(_sentence, results)))
    return 0


def _sentence(result: dict[str, Any]) -> str:
    shown = (f"{c['class']} ({c['probability']:.1%})" for c in result["classes"])
    return f"{result['file']}: {', '.join(shown)}"


def _model(path: Path) -> tuple[Sequential, tuple[int, ...], list[Any]]:
    """The network, the shape of its input, and the names of its classes."""
    weights = load(path)
    beside = path.with_suffix(".json")
    about: dict[str, Any] = {"architecture": "lenet5", "classes": list(range(10))}
    if beside.exists():
        try:
            about = json.loads(beside.read_text())
            about["architecture"], list(about["classes"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{beside} does not describe a network ({error!r})") from error
    net, shape = built(
        str(about["architecture"]), len(about["classes"]), bool(about.get("dropout"))
    )
    try:
        net.load_state_dict(weights)
    except ValueError as error:
        raise ValueError(
            f"{path} does not hold the weights of {about['architecture']}: {error}"
        ) from error
    return net, shape, list(about["classes"])


def _image(path: Path, shape: tuple[int, ...], invert: bool) -> Array:
    """(C, H, W) in [0, 1]."""
    try:
        pillow = importlib.import_module("PIL.Image")
    except ImportError as error:
        raise ImportError("images need Pillow: pip install 'fastconv[images]'") from error
    channels, height, width = shape
    try:
        with pillow.open(path) as file:
            whole = file.convert("L" if channels == 1 else "RGB")
            scaled = whole.resize((width, height), pillow.Resampling.BILINEAR)
    except pillow.UnidentifiedImageError as error:
        raise ValueError(f"{path} is not an image that Pillow can read") from error
    x = np.asarray(scaled, np.float32).reshape(height, width, channels).transpose(2, 0, 1) / 255
    return 1 - x if invert else x
