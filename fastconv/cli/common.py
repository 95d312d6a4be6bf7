"""What the commands share."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..files import replacing


__all__ = [
    "INTERRUPTED",
    "command",
    "positive",
    "say",
    "write_text",
]

INTERRUPTED = 130  # 128 + SIGINT, as shells have it


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


def write_text(path: Path, value: Any) -> None:
    """Write JSON, or a text as it is, to a file that is complete or not there."""
    text = value if isinstance(value, str) else json.dumps(value)
    with replacing(path) as file:
        file.write(text.encode())


def say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
