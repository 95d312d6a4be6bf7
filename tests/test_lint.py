"""Format, lint and types of the whole repository, as `pip install -e ".[test]"` pins the tools."""

import importlib.util
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest


ROOT = Path(__file__).parents[1]


def run(module, *arguments, cwd=ROOT):
    """A tool finds nothing; its output is the message if it does."""
    if importlib.util.find_spec(module.partition(".")[0]) is None:
        pytest.skip(f"{module} is not installed")
    command = [sys.executable, "-m", module, *map(str, arguments)]
    # cython-lint calls pycodestyle by its name; the environment need not be activated.
    path = os.pathsep.join((sysconfig.get_path("scripts"), os.environ["PATH"]))
    found = subprocess.run(
        command, cwd=cwd, env={**os.environ, "PATH": path}, capture_output=True, text=True
    )
    assert found.returncode == 0, found.stdout + found.stderr


def test_ruff_format():
    run("ruff", "format", "--check", "--diff", ".")


def test_ruff_check():
    run("ruff", "check", ".")


def test_cython_lint():
    files = sorted([*ROOT.glob("kernels/*.pyx"), *ROOT.glob("kernels/*.pxi")])
    assert files
    run("cython_lint.cython_lint", *files)


def test_mypy(tmp_path):
    """mypy knows no package-dir: it gets the package as it is once installed."""
    package = tmp_path / "fastconv"
    package.mkdir()
    for path in (ROOT / "fastconv").iterdir():
        if path.name != "__pycache__":
            os.symlink(path, package / path.name)
    os.symlink(ROOT / "kernels", package / "kernels")
    run("mypy", "--config-file", ROOT / "pyproject.toml", cwd=tmp_path)
