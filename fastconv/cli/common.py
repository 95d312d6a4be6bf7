"""What the commands share."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .. import models
from ..files import replacing
from ..layers import Sequential


__all__ = [
    "INTERRUPTED",
    "built",
    "command",
    "positive",
    "say",
    "write_text",
]

INTERRUPTED = 130  # 128 + SIGINT, as shells have it
ARCHITECTURES = "lenet5, alexnet, or mlp:784-100-10 with sizes of your own"


def command(
    commands: Any,
    name: str,
    run: Callable[[Any], int],
    help: str,
    text: str = "",
    examples: str = "",
) -> argparse.ArgumentParser:
    """A parser for one command, which calls `run` with its options."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help,
        description=text or help,
        epilog=f"examples:\n{examples}" if examples else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


def positive(text: str) -> int:
    """A count, as argparse reads it."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number, at least 1")
    return int(text)


def built(
    architecture: str, classes: int | None = None, dropout: bool = False
) -> tuple[Sequential, tuple[int, ...]]:
    """A network by its name, and the shape of an input: ARCHITECTURES.

    `dropout`: whether LeNet has the layers, whose places count in the weights' names.

    Raises
    ------
    ValueError
        If there is no such architecture.
    """
    name, _, sizes = architecture.partition(":")
    if name == "lenet5" and not sizes:
        return models.lenet5(classes or 10, rng=0, dropout=0.5 * dropout), (1, 28, 28)
    if name == "alexnet" and not sizes:
        return models.alexnet(classes or 1000, rng=0), (3, 227, 227)
    if name == "mlp":
        parts = (sizes or "784-100-10").split("-")
        if len(parts) > 1 and all(part.isdecimal() and int(part) for part in parts):
            return models.mlp(*map(int, parts), rng=0), (int(parts[0]),)
    raise ValueError(f"architecture {architecture!r} is unknown; use {ARCHITECTURES}")


def write_text(path: Path, value: Any) -> None:
    """Write JSON, or a text as it is, to a file that is complete or not there."""
    text = value if isinstance(value, str) else json.dumps(value)
    with replacing(path) as file:
        file.write(text.encode())


def say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
