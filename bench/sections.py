"""What versus.py measures: per section its rows, and what they are held to."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import machine
import networks
import numba_sections
import peers
import problems
from cases import LRN, POOL
from contest import FORMATS, US, WAY, Options, Row, Section, Target, chosen, contest
from layers import LAYERS, plain3x3, wide
from timing import Run, race

import fastconv as fc
from fastconv import kernels
from fastconv.kernels import ConvDims


def there(*names: str) -> list[str]:
    return [name for name in names if peers.missing(name) is None]


def against_peers(
    options: Options, case: Any, make: Any, names: tuple[str, ...], call: Any = None
) -> Row:
    """A problem in our memory format against PyTorch in both, and others in NCHW."""
    problem = make(case, options.memory)
    want = problems.as_arrays(make(case).run(backend="numpy"))
    runs = {US: call(problem) if call else problem.run}
    problems.check(problem, WAY, runs[US](), want)
    for name in there(*names):
        for memory in FORMATS if name == "torch" else FORMATS[:1]:
            run = getattr(peers, name)(make(case, memory), options.threads)
            problems.check(problem, name, run(), want)
            runs[f"{name} {memory}" if name == "torch" else name] = run
    return contest(options, case.name, problem.dims, runs, _flops(problem))


def _flops(problem: problems.Problem) -> int:
    """Of a convolution; pooling and LRN are no multiply-adds."""
    return problem.flops if problem.verb.startswith("conv2d") else 0


def forward(options: Options) -> Iterator[Row]:
    for case in chosen(LAYERS, options):
        yield against_peers(options, case, problems.conv2d, ("torch", "onnxruntime"))


def backward(options: Options) -> Iterator[Row]:
    for case in chosen(LAYERS, options):
        yield against_peers(options, case, problems.conv2d_backward, ("torch",))


def _as_layer(problem: problems.Problem) -> Run:
    """A layer's prediction, which may keep its weights prepared."""
    (x, w), d = problem.arguments, problem.dims
    geometry = {"stride": d.stride, "padding": d.pad, "dilation": d.dilation, "groups": d.groups}
    layer = fc.Conv2d(d.c, d.k, (d.kh, d.kw), **geometry, bias=False)
    layer.weight.value[...] = w
    return lambda: layer(x)


def ncnn(options: Options) -> Iterator[Row]:
    for case in chosen(LAYERS, options):
        if plain3x3(case.dims) and case.dims.n == 1:
            yield against_peers(options, case, problems.conv2d, ("ncnn",), _as_layer)


def numpy(options: Options) -> Iterator[Row]:
    lenet = [case for case in LAYERS if case.name.startswith("LeNet") and case.dims.n > 1]
    pools = [case for case in POOL if re.search("LeNet|AlexNet.*N=16", case.name)]
    contests = (
        ("", lenet, problems.conv2d),
        ("", pools, problems.max_pool2d),
        (", indices", pools, problems.max_pool2d_indices),
    )
    for what, cases, make in contests:
        for case in chosen(cases, options):
            problem = make(case, options.memory)
            runs = {US: problem.run, "numpy": lambda p=problem: p.run(backend="numpy")}
            want = problems.as_arrays(runs["numpy"]())
            problems.check(problem, WAY, problem.run(), want)
            yield contest(options, case.name + what, problem.dims, runs)


DIRECTIONS = {"y": problems.conv2d, "dx": problems.conv2d_dx, "dw": problems.conv2d_dw}


def peak(options: Options) -> Iterator[Row]:
    """The machine's peak is a contestant, so that both have the clock of the same moment."""
    roof = machine.peak(options.threads)
    for case in chosen(LAYERS, options):
        if wide(case.dims):
            for direction, make in DIRECTIONS.items():
                p = make(case, options.memory)
                runs = {US: lambda p=p: p.run(algorithm="direct"), "peak": roof.run}
                share = p.flops / roof.flops
                yield contest(options, f"{direction} {case.name}", p.dims, runs, p.flops, share)


def im2col(options: Options) -> Iterator[Row]:
    for case in chosen(LAYERS, options):
        if wide(case.dims):
            for direction, make in DIRECTIONS.items():
                p = make(case, options.memory)
                runs = {
                    way: lambda p=p, way=way: p.run(algorithm=way) for way in ("im2col", "direct")
                }
                yield contest(options, f"{direction} {case.name}", p.dims, runs, p.flops)


def pooling(options: Options) -> Iterator[Row]:
    for cases, make in ((POOL, problems.max_pool2d_both), (LRN, problems.lrn_both)):
        for case in chosen(cases, options):
            if "AlexNet" in case.name:
                yield against_peers(options, case, make, ("torch",))


def training(
    network: networks.Network, n: int, names: tuple[str, ...], dropout: float = 0.0
) -> Any:
    """Rows of one training step: forward, loss, backward, SGD with momentum and L2."""

    def rows(options: Options) -> Iterator[Row]:
        name = f"{network.name} training step N={n}"
        if not re.search(options.layers, name):
            return
        net, (x, labels) = network.make(rng=0), networks.batch(network, n)
        trainers = {}
        for peer in there(*names):
            if peer == "torch":
                for memory in FORMATS:
                    trainers[f"torch {memory}"] = networks.torch(
                        net, x, labels, options.threads, memory
                    )
            else:
                trainers[peer] = networks.jax(net, x, labels)
        trainers = {US: networks.ours(net, x, labels)} | trainers
        networks.check(trainers)
        for trainer in trainers.values():
            trainer.dropout(dropout)
        yield contest(options, name, x.shape, {k: t.step for k, t in trainers.items()})

    return rows


def prediction(options: Options) -> Iterator[Row]:
    for network in (networks.LENET, networks.ALEXNET):
        name = f"{network.name} prediction N=1"
        if re.search(options.layers, name):
            net, (x, _) = network.make(rng=0), networks.batch(network, 1)
            runs: dict[str, Run] = {US: lambda net=net, x=x: net(x)}
            for memory in FORMATS if there("torch") else ():
                runs[f"torch {memory}"] = networks.torch_predict(net, x, options.threads, memory)
            if there("onnxruntime"):
                runs["onnxruntime"] = networks.onnxruntime_predict(net, x, options.threads)
            networks.check_scores({way: run() for way, run in runs.items()})
            yield contest(options, name, x.shape, runs)


def threads(options: Options) -> Iterator[Row]:
    """All threads against one, of ours, where one takes more than a millisecond."""

    def with_threads(problem: problems.Problem, count: int) -> Run:
        def run() -> Any:
            kernels.set_num_threads(count)  # a microsecond
            return problem.run()

        return run

    for case in chosen(LAYERS, options):
        for way, make in (("y", problems.conv2d), ("dx + dw", problems.conv2d_backward)):
            problem = make(case, options.memory)
            many = f"{options.threads} threads"
            both = {
                many: with_threads(problem, options.threads),
                "1 thread": with_threads(problem, 1),
            }
            if min(race([both["1 thread"]], 3)[0]) > 1e-3:
                yield contest(options, f"{way} {case.name}", case.dims, both, problem.flops)
    kernels.set_num_threads(options.threads)


def _dims(row: Row) -> ConvDims:
    return ConvDims.parse(row["dims"])


def _named(pattern: str) -> Callable[[Row], bool]:
    return lambda row: re.search(pattern, row["layer"]) is not None


TORCH_ORT = ("torch", "onnxruntime")
SECTIONS: dict[str, Section] = {
    "forward": Section(
        "Convolution forward, weights packed inside the call",
        forward,
        (
            Target("convolution forward", mean=1.7, each=1.0),
            Target(
                "of these 3×3, stride 1, 64 channels and more",
                mean=2.2,
                of=lambda row: plain3x3(_dims(row)) and wide(_dims(row)),
            ),
        ),
        TORCH_ORT,
    ),
    "backward": Section(
        "Convolution backward, dx and dw",
        backward,
        (Target("convolution backward", mean=2.5, each=1.0),),
        ("torch",),
    ),
    "ncnn": Section(
        "Prediction with prepared weights, 3×3 at stride 1, one image, against ncnn",
        ncnn,
        (Target("3×3 with prepared weights, against ncnn", mean=1.25, each=1.0),),
        ("ncnn",),
    ),
    "numpy": Section(
        "Forward against the NumPy reference",
        numpy,
        (
            Target("LeNet's layers, against NumPy", each=12, of=_named("LeNet 5x5")),
            Target("max pooling, against NumPy", each=30, of=_named("pool.*N=\\d+$")),
            Target("max pooling with indices, against NumPy", each=30, of=_named("indices")),
        ),
    ),
    "peak": Section(
        "Direct kernels against the machine's FMA peak, 64 channels and more",
        peak,
        (Target("direct kernels, share of the FMA peak", each=0.85),),
    ),
    "im2col": Section(
        "im2col against direct, 64 channels and more",
        im2col,
        (Target("im2col against direct", each=0.8),),
    ),
    "pooling": Section(
        "Max pooling and LRN, forward and backward, AlexNet's sizes",
        pooling,
        (Target("max pooling and LRN, forward + backward", each=5),),
        ("torch",),
    ),
    "lenet64": Section(
        "LeNet-5 training step, N = 64, against PyTorch eager",
        training(networks.LENET, 64, ("torch",)),
        (Target("LeNet-5 training step, N = 64", mean=3),),
        ("torch",),
    ),
    "lenet1": Section(
        "LeNet-5 training step, N = 1, against PyTorch eager and JAX jit",
        training(networks.LENET, 1, ("torch", "jax")),
        (Target("LeNet-5 training step, N = 1", mean=1.5),),
        ("torch", "jax"),
    ),
    "alexnet": Section(
        "AlexNet training step, N = 16, with LRN and dropout, against PyTorch eager",
        training(networks.ALEXNET, 16, ("torch",), dropout=0.5),
        (Target("AlexNet training step, N = 16", mean=2),),
        ("torch",),
    ),
    "predict": Section(
        "Prediction of one image",
        prediction,
        (
            Target("LeNet-5 prediction, N = 1", mean=2, of=_named("LeNet")),
            Target("AlexNet prediction, N = 1", mean=1.2, of=_named("AlexNet")),
        ),
        TORCH_ORT,
    ),
    "threads": Section(
        "Two threads against one, layers over 1 ms",
        threads,
        (Target("two threads against one", each=1.8),),
    ),
}
SECTIONS |= numba_sections.SECTIONS
