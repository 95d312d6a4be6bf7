"""``fastconv summary``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from .common import command
from .networks import ARCHITECTURES, built, read_model


__all__ = ["add"]

_TEXT = f"""\
Show a network layer by layer: shapes, parameters (with shared weights, without sharing, and
fully connected), multiply-adds, receptive fields.

ARCHITECTURE is {ARCHITECTURES};
--model shows a network that `fastconv train` has written instead."""

_EXAMPLES = """\
  fastconv summary
  fastconv summary mlp:784-100-10
  fastconv summary alexnet --json
  fastconv summary lenet5 --input 1x28x28
  fastconv summary --model fastconv-lenet5/model.npz"""

_TOTALS = ("parameters", "unshared", "fully_connected", "macs")


def add(commands: Any) -> None:
    parser = command(commands, "summary", _run, "show what a network is made of", _TEXT, _EXAMPLES)
    option = parser.add_argument
    option("architecture", metavar="ARCHITECTURE", nargs="?", help="(lenet5)")
    option("--input", metavar="CxHxW", type=_shape, help="shape of an input (the architecture's)")
    option("--model", metavar="PATH", type=Path, help="a model.npz, in place of ARCHITECTURE")
    option("--json", action="store_true", help="print one JSON object instead of a table")


def _shape(text: str) -> tuple[int, ...]:
    parts = text.split("x")
    if not all(part.isdecimal() and int(part) for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} must be sizes such as 1x28x28")
    return tuple(map(int, parts))


def _run(options: Any) -> int:
    if options.model is None:
        name = "lenet5" if options.architecture is None else options.architecture
        net, shape = built(name)
    elif options.architecture is None:
        model = read_model(options.model)
        name, net, shape = model.architecture, model.net, model.shape
    else:
        raise ValueError("summary: give ARCHITECTURE or --model PATH, not both")
    found = net.summary(options.input or shape)
    if options.json:
        totals = {total: getattr(found, total) for total in _TOTALS}
        rows = [row._asdict() for row in found.rows]
        print(json.dumps({"architecture": name, **totals, "layers": rows}))
    else:
        print(found)
    return 0
