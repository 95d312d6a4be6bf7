"""What versus.py measures of the Numba backend: against our compiled kernels, NumPy and PyTorch."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import networks
import peers
import problems
from cases import POOL
from contest import FORMATS, Options, Row, Section, Target, chosen, contest
from layers import LAYERS
from timing import Run

import fastconv as fc


NUMBA = "numba"


def _checked(problem: problems.Problem, runs: dict[str, Run]) -> dict[str, Run]:
    """The runs, if their results are those of the reference: equal, for whole numbers."""
    want = problems.as_arrays(problem.run(backend="numpy"))
    for way, run in runs.items():
        problems.check(problem, way, run(), want)
    return runs


def _against(problem: problems.Problem, **other: str) -> dict[str, Run]:
    how = {"backend": NUMBA} | {key: other[key] for key in other if key == "algorithm"}
    name = other["backend"]
    return _checked(
        problem, {NUMBA: lambda: problem.run(**how), name: lambda: problem.run(**other)}
    )


def _against_compiled(make: Any) -> Any:
    def rows(options: Options) -> Iterator[Row]:
        for case in chosen(LAYERS, options):
            problem = make(case, options.memory)
            runs = _against(problem, backend="cython", algorithm="direct")
            yield contest(options, case.name, problem.dims, runs, problem.flops)

    return rows


def against_numpy(options: Options) -> Iterator[Row]:
    lenet = [case for case in LAYERS if case.name.startswith("LeNet") and case.dims.n > 1]
    pools = [case for case in POOL if re.search("LeNet|AlexNet.*N=16", case.name)]
    contests = (
        (", y", lenet, problems.conv2d),
        (", dx + dw", lenet, problems.conv2d_backward),
        (", y", pools, problems.max_pool2d),
        (", y with indices", pools, problems.max_pool2d_indices),
        (", y with indices, dx", pools, problems.max_pool2d_both),
    )
    for what, cases, make in contests:
        for case in chosen(cases, options):
            problem = make(case, options.memory)
            runs = _against(problem, backend="numpy")
            yield contest(options, case.name + what, problem.dims, runs)


def training(options: Options) -> Iterator[Row]:
    name = "LeNet-5 training step N=64"
    if not re.search(options.layers, name):
        return
    net, (x, labels) = networks.LENET.make(rng=0), networks.batch(networks.LENET, 64)
    ours = networks.ours(net, x, labels)

    def step() -> Any:
        with fc.use_backend(NUMBA):
            return ours.step()

    trainers = {NUMBA: ours._replace(step=step)}
    for memory in FORMATS if peers.missing("torch") is None else ():
        trainers[f"torch {memory}"] = networks.torch(net, x, labels, options.threads, memory)
    networks.check(trainers)
    yield contest(options, name, x.shape, {k: t.step for k, t in trainers.items()})


def _named(pattern: str) -> Any:
    return lambda row: re.search(pattern, row["layer"]) is not None


SECTIONS = {
    "numba_forward": Section(
        "Numba against our compiled direct kernels, forward",
        _against_compiled(problems.conv2d),
        (Target("Numba against our direct kernels, forward", mean=0.6),),
    ),
    "numba_backward": Section(
        "Numba against our compiled direct kernels, dx and dw",
        _against_compiled(problems.conv2d_backward),
        (Target("Numba against our direct kernels, backward", mean=0.6),),
    ),
    "numba_numpy": Section(
        "Numba against the NumPy reference",
        against_numpy,
        (
            Target("Numba against NumPy, LeNet's layers, y and dx + dw", mean=5, of=_named("5x5")),
            Target("Numba against NumPy, max pooling, y alone", mean=10, of=_named("pool.*y$")),
            Target("Numba against NumPy, max pooling with indices", mean=10, of=_named("indices$")),
            Target(
                "Numba against NumPy, max pooling, y with indices and dx", mean=10, of=_named("dx$")
            ),
        ),
    ),
    "numba_lenet64": Section(
        "Numba: LeNet-5 training step, N = 64, against PyTorch eager",
        training,
        (Target("Numba: LeNet-5 training step, N = 64", mean=1),),
        ("torch",),
    ),
}
