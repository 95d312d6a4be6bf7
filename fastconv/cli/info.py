"""``fastconv info``."""

from __future__ import annotations

from typing import Any

from ..kernels.runtime import show_runtime
from .common import command


__all__ = ["add"]


def add(commands: Any) -> None:
    command(commands, "info", _run, "show versions, backends, instruction set, threads")


def _run(options: Any) -> int:
    show_runtime()
    return 0
