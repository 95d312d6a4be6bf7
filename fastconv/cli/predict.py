"""``fastconv predict``: image files in, classes and probabilities out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from ..losses import softmax
from .common import command, positive
from .images import read_images
from .networks import read_model


__all__ = ["add"]

_TEXT = """\
Tell the class of images, by a network that `fastconv train` has written.

MODEL is its model.npz, beside which model.json says what network it is (without that
file: LeNet-5 on ten digits).  Images of any size and format that Pillow reads (PNG, JPEG, …)
are scaled to the network's input.  A .npy or .npz file has an array of images that have that
shape already, such as (N, 1, 28, 28).  Digits are white on black there, as in MNIST: give
--invert for ink on paper."""

_EXAMPLES = """\
  fastconv predict fastconv-lenet5/model.npz digit.png
  fastconv predict fastconv-lenet5/model.npz --invert scans/a.jpg scans/b.jpg
  fastconv predict fastconv-lenet5/model.npz --top 1 --json digits.npy"""


def add(commands: Any) -> None:
    parser = command(commands, "predict", _run, "tell the class of image files", _TEXT, _EXAMPLES)
    option = parser.add_argument
    option("model", metavar="MODEL", type=Path, help="a model.npz (or .safetensors)")
    option("images", metavar="IMAGE", nargs="+", type=Path, help="image or .npy/.npz files")
    option("--top", metavar="K", type=positive, default=3, help="classes to show (3)")
    option("--invert", action="store_true", help="images are dark on light")
    option("--json", action="store_true", help="print one JSON list instead of lines")


def _run(options: Any) -> int:
    model = read_model(options.model)
    images = [
        image for path in options.images for image in read_images(path, model.shape, options.invert)
    ]
    scores = model.net.predict(np.stack([x for _, x in images]))
    results = []
    for (name, _), chances in zip(images, softmax(scores), strict=True):
        best = np.argsort(-chances, kind="stable")[: options.top]
        found = [{"class": model.classes[i], "probability": float(chances[i])} for i in best]
        results.append({"file": name, "classes": found})
    print(json.dumps(results) if options.json else "\n".join(map(_sentence, results)))
    return 0


def _sentence(result: dict[str, Any]) -> str:
    shown = (f"{c['class']} ({c['probability']:.1%})" for c in result["classes"])
    return f"{result['file']}: {', '.join(shown)}"
