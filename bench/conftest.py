"""How every benchmark here is parametrised, run, checked and recorded."""

from __future__ import annotations

import sys
from functools import lru_cache
from pathlib import Path


sys.path.insert(0, str(Path(__file__).parent))  # cases, problems, peers: also for compare.py

import peers
import problems
import pytest

from fastconv.kernels import get_num_threads, registry


FORMATS = ("nchw", "nhwc")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every case × every implementation of the verb that the function is named after.

    In a plain test run (``--benchmark-disable``) only the small cases, once each.
    """
    option = metafunc.config.getoption
    smoke = option("benchmark_disable") and not option("benchmark_enable")
    cases = [case for case in metafunc.module.CASES if case.small or not smoke]
    metafunc.parametrize("case", cases, ids=lambda case: case.name)
    ways = _ways(metafunc.function.__name__.removeprefix("bench_"))
    metafunc.parametrize(("way", "memory"), ways, ids=map("-".join, ways))


def _ways(problem: str) -> list[tuple[str, str]]:
    verb = problem.removesuffix("_indices")
    ways = []
    for impl in registry.TABLE[verb]:
        formats = FORMATS if impl.backend == "cython" else FORMATS[:1]
        ways += [(impl.name, memory) for memory in formats]
    ways += [("torch", memory) for memory in FORMATS]
    if problem in peers.ONNX_VERBS:
        ways.append(("onnxruntime", "nchw"))
    return ways


@pytest.fixture
def measure(benchmark, case, way, memory):
    """A function that times, checks and records one implementation on one problem."""

    def run_problem(make):
        problem, threads = make(case, memory), get_num_threads()
        run = _peer(way, problem, threads) if way in _PEERS else _own(way, problem, case)
        benchmark.group = f"{make.__name__} {case.name} ({problem.dims})"
        benchmark.extra_info.update(way=way, memory=memory, flops=problem.flops, threads=threads)
        with _equal_threads(threads):
            result = benchmark(run)
        problems.check(problem, way, result, _expected(make, case))
        if benchmark.stats:
            benchmark.extra_info["gflops"] = problem.flops / benchmark.stats.stats.min / 1e9

    return run_problem


_PEERS = {"torch": peers.torch, "onnxruntime": peers.onnxruntime}


def _peer(way, problem, threads):
    for module in ("onnx", way) if way == "onnxruntime" else (way,):
        pytest.importorskip(module, reason=f"{module} is not installed")
    return _PEERS[way](problem, threads)


def _own(way, problem, case):
    (impl,) = [impl for impl in registry.TABLE[problem.verb] if impl.name == way]
    dims = None if problem.verb.startswith("lrn") else problem.dims
    reason = registry.backend_why_not(impl.backend) or impl.why_not(dims, problem.out.dtype)
    if reason:
        pytest.skip(reason)
    if way == "direct-numpy" and problem.verb.startswith("conv2d") and not case.small:
        pytest.skip("the direct reference is a specification; it would take minutes here")
    how = {"algorithm": impl.algorithm} if problem.verb.startswith("conv2d") else {}
    return lambda: problem.run(backend=impl.backend, **how)


def _equal_threads(threads):
    """NumPy's BLAS gets as many threads as everybody else."""
    return pytest.importorskip("threadpoolctl").threadpool_limits(threads, user_api="blas")


@lru_cache(maxsize=1)
def _expected(make, case):
    """What the NumPy reference says, the same for every way and memory format."""
    return problems.as_arrays(make(case).run(backend="numpy"))


def pytest_benchmark_update_machine_info(machine_info):
    """What must agree before two runs may be compared."""
    machine_info["fastconv_threads"] = get_num_threads()
    machine_info["fastconv_backends"] = list(registry.available_backends())
    if registry.backend_why_not("cython") is None:
        from fastconv.kernels import cpu

        machine_info["fastconv_isa"] = cpu.current_isa()
