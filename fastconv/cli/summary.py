"""``fastconv summary``."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import Any

from .common import ARCHITECTURES, built, command


__all__ = ["add"]

_TEXT = f"""\
Show a network layer by layer: shapes, parameters (with shared weights, without sharing, and
fully connected), multiply-adds, receptive fields.

ARCHITECTURE is {ARCHITECTURES}."""

_EXAMPLES = """\
  fastconv summary
  fastconv summary mlp:784-100-10
  fastconv summary alexnet --json
  fastconv summary lenet5 --input 1x32x32"""


def add(commands: Any) -> None:
    parser = command(commands, "summary", _run, "show what a network is made of", _TEXT, _EXAMPLES)
    option = parser.add_argument
    option(
        "architecture", metavar="ARCHITECTURE", nargs="?", default="lenet5", help="(%(default)s)"
    )
    option("--input", metavar="CxHxW", type=_shape, help="shape of an input (the architecture's)")
    option("--json", action="store_true", help="print one JSON object instead of a table")


def _shape(text: str) -> tuple[int, ...]:
    parts = text.split("x")
    if not all(part.isdecimal() and int(part) for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} must be sizes such as 1x28x28")
    return tuple(map(int, parts))


def _run(options: Any) -> int:
    net, shape = built(options.architecture)
    found = net.summary(options.input or shape)
    if options.json:
        totals = {name: getattr(found, name) for name in ("parameters", "unshared", "macs")}
        rows = [asdict(row) for row in found.rows]
        print(json.dumps({"architecture": options.architecture, **totals, "layers": rows}))
    else:
        print(found)
    return 0
