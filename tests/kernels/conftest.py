"""Fixtures of the kernels' tests, and the way to ``kernel_support`` for the test modules."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from kernel_support import DTYPES  # noqa: E402


@pytest.fixture
def way(request):
    """One way to compute a verb (see ``every_way``), its instruction set in use."""
    if request.param.missing:
        pytest.skip(f"{request.param}: {request.param.missing}")
    with request.param.in_use():
        yield request.param


@pytest.fixture(params=DTYPES)
def dtype(request):
    return request.param


@pytest.fixture
def run_script():
    """Run a Python script beside this file (or `-c` text) in a process of its own."""

    def run(*arguments, timeout=240, **environment):
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=HERE,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        told = f"{done.stdout[-500:]}\n{done.stderr[-4000:]}"
        assert done.returncode == 0, f"exit code {done.returncode}\n{told}"
        return done.stdout

    return run
