"""The command ``fastconv``: train, predict, search, show what a network is made of.

Results go to standard output, everything else to standard error.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from .. import __version__
from . import info, predict, search, summary, train
from .common import INTERRUPTED


__all__ = ["main"]

# What a user can cause; anything else is a bug and shows its traceback.
_USER_ERRORS = (OSError, ValueError, ImportError, FloatingPointError, MemoryError)

_EXAMPLES = """\
examples:
  fastconv train                                      LeNet-5 on 4000 digits, in some seconds
  fastconv predict fastconv-lenet5/model.npz 7.png    what digit is this?
  fastconv summary alexnet                            layers, parameters, receptive fields
  fastconv search --grid lr=0.01,0.1                  which learning rate is best?
  fastconv train --help                               all options of a command

Exit codes: 0, 2 for a user's error, 130 after Ctrl-C."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit code: 0, 2 for a user's error, 130 after Ctrl-C."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except _USER_ERRORS as error:
        print(f"fastconv: error: {_one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("fastconv: interrupted", file=sys.stderr)
        return INTERRUPTED


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fastconv",
        description="Convolutional networks on NumPy arrays.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"fastconv {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in (train, predict, search, summary, info):
        module.add(commands)
    return parser
