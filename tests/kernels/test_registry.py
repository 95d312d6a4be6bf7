"""The table of implementations, who is selected, and the reasons of the others."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from fastconv import kernels
from fastconv.kernels import ConvDims, registry


F32 = np.dtype("f4")
DIMS = ConvDims.parse("n1c2h5w5_k3r3x3_s1x1_p0x0_d1x1_g1")
IMPLEMENTATIONS = [impl for verb in registry.TABLE.values() for impl in verb]


@pytest.fixture
def table(monkeypatch):
    """Change the row of conv2d for one test."""

    def change(*row):
        monkeypatch.setitem(registry.TABLE, "conv2d", row)
        registry._select.cache_clear()

    yield change
    registry._select.cache_clear()


@pytest.mark.parametrize("impl", IMPLEMENTATIONS, ids=lambda i: f"{i.verb}-{i.name}")
def test_every_implementation_of_an_available_backend_loads(impl):
    reason = registry.backend_why_not(impl.backend)
    if reason:
        pytest.skip(reason)
    assert callable(impl.load())


@pytest.mark.parametrize("verb", registry.TABLE)
def test_reference_is_last_and_takes_all(verb):
    *others, last = registry.TABLE[verb]
    assert (last.backend, last.algorithm) == ("numpy", "direct")
    assert last.why_not(None, F32) is None
    names = [impl.name for impl in (*others, last)]
    assert len(set(names)) == len(names)
    assert {impl.verb for impl in others} == {verb}


@pytest.mark.parametrize("verb", registry.TABLE)
def test_python_implementations_have_the_parameters_of_the_reference(verb):
    *others, last = registry.TABLE[verb]
    want = list(inspect.signature(last.load()).parameters)
    for impl in others:
        if impl.backend != "cython" and not registry.backend_why_not(impl.backend):
            assert list(inspect.signature(impl.load()).parameters) == want


def test_select_takes_the_first_that_is_available():
    first = registry.available_backends()[0]
    assert registry.select("conv2d", DIMS, F32).backend == first
    assert registry.select("conv2d", DIMS, F32, "numpy").name == "im2col-numpy"
    assert registry.select("conv2d", DIMS, F32, "numpy", "direct").name == "direct-numpy"


def test_a_refusal_passes_the_problem_on(table):
    rows = registry.TABLE["conv2d"][-2:]
    picky = registry.Implementation(
        "conv2d", "numpy", "winograd", "none", "none", lambda dims, dtype: "kernel is not 3x3"
    )
    table(picky, *rows)
    assert registry.select("conv2d", DIMS, F32, "numpy") is rows[0]
    story = registry.candidates("conv2d", DIMS, F32, "numpy", "auto")
    assert [reason for _, reason in story] == ["kernel is not 3x3", None, None]


def test_candidates_give_every_reason():
    story = dict(registry.candidates("conv2d", DIMS, F32, "numpy", "im2col"))
    reasons = {impl.name: reason for impl, reason in story.items()}
    assert reasons["im2col-numpy"] is None
    assert reasons["direct-numpy"] == "algorithm='im2col' was asked for"
    assert reasons["direct-numba"] == "backend='numpy' was asked for"


def test_nothing_takes_it(table):
    table(registry.TABLE["conv2d"][-1]._replace(why_not=lambda dims, dtype: "too big"))
    with pytest.raises(ValueError, match=r"conv2d n1c2\S+ float32: no impl.*\n.*: too big"):
        registry.select("conv2d", DIMS, F32)


def test_what_loses_is_taken_only_when_asked_for(table):
    picky, *rows = registry.TABLE["conv2d"][-2:]
    loser = picky._replace(loses=lambda dims, dtype: "it would be slower")
    table(loser, *rows)
    assert registry.select("conv2d", DIMS, F32, "numpy") is rows[0]
    assert registry.select("conv2d", DIMS, F32, "numpy", loser.algorithm) is loser
    story = registry.candidates("conv2d", DIMS, F32, "numpy")
    assert [reason for _, reason in story] == ["it would be slower", None]


def test_use_backend_until_the_block_ends():
    before = registry.current_backend()
    with kernels.use_backend("numpy"):
        assert registry.current_backend() == "numpy"
        assert registry.select("conv2d", DIMS, F32).backend == "numpy"
        with kernels.use_backend("auto"):
            assert registry.current_backend() == "auto"
        assert registry.current_backend() == "numpy"
    assert registry.current_backend() == before


def test_use_backend_for_good():
    undo = kernels.use_backend("numpy")
    assert registry.current_backend() == "numpy"
    undo.__exit__()
    assert registry.current_backend() == "auto"


def test_backend_of_a_call_is_stronger_than_the_default():
    with kernels.use_backend("numpy"):
        for backend in kernels.available_backends():
            assert registry.select("max_pool2d", None, F32, backend).backend == backend


def test_numpy_is_always_available():
    assert kernels.available_backends()[-1] == "numpy"
    assert set(kernels.available_backends()) <= {"cython", "numba", "numpy"}


@pytest.fixture
def without(monkeypatch):
    """Pretend that one backend cannot be used."""

    def remove(backend, reason):
        real = registry.backend_why_not
        monkeypatch.setattr(
            registry, "backend_why_not", lambda b: reason if b == backend else real(b)
        )
        registry._select.cache_clear()

    yield remove
    registry._select.cache_clear()


def test_auto_falls_back(without):
    without("cython", "the compiled kernels are not installed")
    assert "cython" not in kernels.available_backends()
    assert registry.select("conv2d", DIMS, F32).backend != "cython"


def test_missing_backend_says_why(without):
    without("numba", "Numba is not installed (pip install 'fastconv[numba]')")
    message = r"use_backend: backend 'numba' cannot be used: Numba is not.*; available here: \("
    with pytest.raises(ValueError, match=message):
        kernels.use_backend("numba")
    with pytest.raises(ValueError, match=r"max_pool2d: backend 'numba' cannot be used"):
        kernels.max_pool2d(np.ones((1, 1, 2, 2)), 2, backend="numba")


def test_reason_of_missing_numba(monkeypatch):
    monkeypatch.setattr(registry.importlib.util, "find_spec", lambda name: None)
    reason = registry.backend_why_not.__wrapped__("numba")
    assert reason == "Numba is not installed (pip install 'fastconv[numba]')"


def test_reason_of_a_numba_that_cannot_be_imported(monkeypatch):
    def refuse(name):
        raise ImportError("Numba needs NumPy 2.3 or less")

    monkeypatch.setattr(registry.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(registry.importlib, "import_module", refuse)
    reason = registry.backend_why_not.__wrapped__("numba")
    assert reason == "Numba cannot be imported (Numba needs NumPy 2.3 or less)"


def test_reason_of_missing_compiled_kernels(monkeypatch):
    def refuse(name):
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(registry.importlib, "import_module", refuse)
    reason = registry.backend_why_not.__wrapped__("cython")
    assert reason.startswith("the compiled kernels are not installed (No module named")


@pytest.mark.parametrize("package", ["fastconv", "fastconv.kernels"])
def test_import_loads_numpy_and_the_standard_library_alone(package, run_script):
    script = f"""
import sys, numpy, {package}
third = {{"numba", "llvmlite", "sklearn", "matplotlib", "tqdm", "scipy", "torch", "safetensors"}}
assert not third & set(sys.modules), third & set(sys.modules)
"""
    run_script("-c", script)


def test_numba_compiles_nothing_on_import(run_script):
    if registry.backend_why_not("numba"):
        pytest.skip(registry.backend_why_not("numba"))
    script = """
import numba.core.dispatcher as d
def refuse(*args): raise AssertionError("compiled")
d.Dispatcher.compile = refuse
from fastconv.kernels import conv2d_numba, elementwise_numba, lrn_numba, pool2d_numba
try:
    import numpy as np
    conv2d_numba.conv2d_db(np.ones((1, 1, 1, 1)), np.ones(1))
except AssertionError:
    print("at the first call")
"""
    assert run_script("-c", script).strip() == "at the first call"
