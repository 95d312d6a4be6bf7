"""What `import fastconv` gives, and what it costs."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import fastconv as fc


ROOT = Path(__file__).parents[2]


def python(code):
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return run.stdout.strip()


@pytest.mark.parametrize("name", fc.__all__)
def test_every_public_name_is_there(name):
    assert getattr(fc, name) is not None


def test_public_names_have_docstrings():
    bare = [n for n in fc.__all__ if not (getattr(fc, n).__doc__ or "").strip()]
    assert bare == []


def test_version():
    assert fc.__version__ == version("fastconv")
    with pytest.raises(AttributeError, match="'fastconv' has no attribute 'conv3d'"):
        fc.conv3d  # noqa: B018


def test_the_source_folder_of_another_installation():
    """Python finds the package in the current folder first, where the kernels are not in it."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import fastconv"
    run = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True)
    assert run.returncode == 1
    assert "is fastconv's source, which lacks its kernels; start Python in another" in run.stderr


def test_import_loads_nothing_heavy():
    loaded = python(
        "import sys, numpy; before = set(sys.modules); import fastconv;"
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    others = set(loaded.split()) - sys.stdlib_module_names - {"numpy"}
    # the editable install's own finder is named __editable__..., Cython's runtime has no files
    ours = ("__editable__", "_cython", "cython_runtime")
    assert {name for name in others if not name.startswith(ours)} == {"fastconv"}


def test_import_does_not_load_the_slow_parts_of_the_library_and_numpy():
    """zipfile, gzip, json and hashlib cost milliseconds each, numpy.random 15; training 4."""
    slow = (
        "{'numpy.random', 'zipfile', 'gzip', 'json', 'hashlib', 'importlib.metadata',"
        "'fastconv.training', 'fastconv.kernels.explain'}"
    )
    assert (
        python(
            "import sys, numpy; before = set(sys.modules); import fastconv;"
            f"print({slow} & (set(sys.modules) - before))"
        )
        == "set()"
    )


def test_submodules_come_on_demand():
    assert python("import fastconv as fc; print(fc.datasets.mnist.__name__)") == "mnist"
    assert fc.models.lenet5 is not None
    assert fc.init.fans((2, 3)) == (3, 2)


def test_completion_offers_what_is_not_yet_imported():
    assert python("import fastconv as fc; print(set(fc.__all__) - set(dir(fc)))") == "set()"
