"""What this installation found: versions, backends, instruction sets, threads."""

from __future__ import annotations

import importlib
import os
import platform
import sys
from typing import Any

import numpy as np

from . import registry
from .threads import cpu_count, get_num_threads


__all__ = ["runtime_info", "show_runtime"]

VARIABLES = ("FASTCONV_NUM_THREADS", "OMP_NUM_THREADS", "FASTCONV_MAX_ISA")


def runtime_info() -> dict[str, Any]:
    """The facts that :func:`show_runtime` prints, as plain values for a log or JSON."""
    backends = {name: registry.backend_why_not(name) or "available" for name in registry.BACKENDS}
    info: dict[str, Any] = {
        "fastconv": _version("fastconv"),
        "python": f"{platform.python_version()} ({sys.executable})",
        "platform": f"{platform.system()} {platform.machine()}",
        "numpy": np.__version__,
        "numba": _version("numba"),
        "backends": backends,
        "backend": f"{registry.current_backend()}: {registry.available_backends()[0]} first",
        "threads": f"{get_num_threads()} of {cpu_count()} allowed, {os.cpu_count()} processors",
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
    }
    if backends["cython"] == "available":
        cpu = importlib.import_module(f"{__package__}.cpu")
        info["isa"] = cpu.current_isa()
        info["isas"] = cpu.available_isas()
    return info


def _version(package: str) -> str:
    from importlib import metadata  # 18 ms that `import fastconv` must not pay

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def show_runtime() -> None:
    """Print versions, backends (and why one is missing), instruction sets and threads.

    Put its output into a bug report.
    """
    for name, value in runtime_info().items():
        if isinstance(value, dict):
            value = "; ".join(f"{key}: {text}" for key, text in value.items()) or "none set"
        elif isinstance(value, tuple):
            value = ", ".join(value)
        print(f"{name:<10} {value}")
