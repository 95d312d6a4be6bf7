"""Two backends side by side, in turn in one process: is the faster one faster, and by how much?

A row's ratio is the median over the rounds of (time of the reference / time of the
contestant), timed as timing.py says.  Results are compared before anything is timed.

    python bench/compare.py                         LeNet and AlexNet, all directions
    python bench/compare.py --layers "LeNet.*N=64"  only those (a regular expression)
    python bench/compare.py --check                 exit 1 unless the promises below hold
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
from collections.abc import Callable, Iterator
from typing import Any

import problems
from cases import CONV, LRN, POOL
from threadpoolctl import threadpool_limits
from timing import PAUSE, race

from fastconv import kernels


CONTESTS: tuple[tuple[Any, Callable[..., problems.Problem]], ...] = (
    (CONV, problems.conv2d),
    (CONV, problems.conv2d_backward),
    (CONV, problems.conv2d_dx),
    (CONV, problems.conv2d_dw),
    (POOL, problems.max_pool2d),
    (POOL, problems.max_pool2d_indices),
    (POOL, problems.max_pool2d_dx),
    (LRN, problems.lrn),
    (LRN, problems.lrn_dx),
)
# What --check holds the contestant to: the first rule whose pattern fits a row's
# "problem layer" gives the least ratio; other rows are only shown.  Of a single image the
# small layers take some 20 us, most of it the call: they are not held to a factor.
PROMISES = (
    (r"conv2d(_backward)? LeNet.*N=64", 4.0),
    (r"max_pool2d\w* (LeNet.*N=64|AlexNet.*N=16)", 4.0),
    (r"(conv2d(_backward)?|max_pool2d\w*|lrn\w*) (LeNet|AlexNet)", 1.0),
)


def promise(row: str) -> float | None:
    return next((least for pattern, least in PROMISES if re.match(pattern, row)), None)


def contest(make: Any, case: Any, options: argparse.Namespace) -> dict[str, Any]:
    """One row: medians of both, and the median of their ratios."""
    problem = make(case, options.memory, options.dtype)
    names = (options.reference, options.backend)
    want = problems.as_arrays(problem.run(backend=names[0]))
    # (with "auto" the algorithm may be Winograd's: its tolerance)
    problems.check(problem, f"{names[1]}-winograd", problem.run(backend=names[1]), want)
    runs = [lambda name=name: problem.run(backend=name) for name in names]
    times = race(runs, options.rounds, options.pause)
    ratio = statistics.median(a / b for a, b in zip(*times, strict=True))
    medians = [statistics.median(taken) for taken in times]
    return {
        "problem": make.__name__,
        "layer": case.name,
        "dims": str(problem.dims),
        "seconds": dict(zip(names, medians, strict=True)),
        "gflops": problem.flops / medians[1] / 1e9,
        "ratio": ratio,
        "least": promise(f"{make.__name__} {case.name}"),
    }


def rows(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    for cases, make in CONTESTS:
        for case in cases:
            if re.search(options.layers, case.name) and re.search(options.problems, make.__name__):
                yield contest(make, case, options)


def show(row: dict[str, Any], names: tuple[str, str]) -> None:
    old, new = (row["seconds"][name] * 1e3 for name in names)
    verdict = "" if holds(row) else f" **below {row['least']:g}**"
    print(
        f"| {row['problem']} | {row['layer']} | {old:.3f} | {new:.3f} | {row['gflops']:.1f} "
        f"| {row['ratio']:.2f}{verdict} |",
        flush=True,
    )


def holds(row: dict[str, Any]) -> bool:
    return row["least"] is None or row["ratio"] > row["least"]


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--backend", default="cython", help="the contestant (default: cython)")
    add("--reference", default="numpy", help="what it is measured against (default: numpy)")
    add("--threads", type=int, default=kernels.get_num_threads(), help="for both, BLAS included")
    add("--rounds", type=int, default=9)
    add("--layers", default="LeNet|AlexNet", metavar="REGEX", help="which cases, by name")
    add("--problems", default="", metavar="REGEX", help="which problems, e.g. conv2d_d")
    add("--memory", choices=("nchw", "nhwc"), default="nchw")
    add("--dtype", choices=("f4", "f8"), default="f4")
    add("--pause", type=float, default=PAUSE, help="seconds to wait for idleness at most")
    add("--json", metavar="PATH", help="write the rows there too")
    add("--check", action="store_true", help="exit 1 if a promise does not hold")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    names = (options.reference, options.backend)
    kernels.set_num_threads(options.threads)
    print(f"{options.threads} threads, {options.dtype}, {options.memory}, {options.rounds} rounds")
    print(f"\n| problem | layer | {names[0]} ms | {names[1]} ms | GFLOP/s | times as fast |")
    print("|---|---|---:|---:|---:|---:|")
    found = []
    with threadpool_limits(options.threads, user_api="blas"):
        for row in rows(options):
            found.append(row)
            show(row, names)
    if not found:
        print("no case has such a name", file=sys.stderr)
        return 2
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"options": vars(options), "rows": found}, file, indent=1)
    broken = [row for row in found if not holds(row)]
    if options.check:
        print(f"\n{len(found) - len(broken)} of {len(found)} rows hold what is promised")
    return 1 if options.check and broken else 0


if __name__ == "__main__":
    sys.exit(main())
