"""Are we faster than PyTorch, ONNX Runtime, ncnn and JAX, and is it fast for this machine?

For each layer every contestant runs once per round, in turn, in one process with equal
thread counts, after its results were checked; a figure is the median over the rounds of
(time of the best peer / ours).  Each number of threads has a process of its own, because
some peers choose their threads once.

    python bench/versus.py                             everything, on one and on two threads
    python bench/versus.py forward backward            two sections
    python bench/versus.py forward --layers VGG --threads 1
    python bench/versus.py --json bench/results/versus.json --picture docs/roofline.png
    python bench/versus.py numba_forward numba_backward numba_numpy numba_lenet64
    python bench/versus.py --readme bench/results/*.json         from saved runs into the papers
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import machine
import peers
import report
import roofline
from contest import Options, Row
from sections import SECTIONS
from threadpoolctl import threadpool_limits

from fastconv import kernels


PACKAGES = ("fastconv", "numpy", "torch", "onnxruntime", "ncnn", "jax")

Saved = dict[str, Any]


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("sections", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)}; all by default")
    add("--threads", type=int, nargs="+", default=[1, 2], help="for all contestants (1 2)")
    add("--rounds", type=int, default=9)
    add("--layers", default="", metavar="REGEX", help="which rows, by name")
    add("--memory", choices=("nchw", "nhwc"), default="nchw", help="of our arrays")
    add("--json", metavar="PATH", help="save the run there")
    add("--picture", metavar="PATH", help="draw the roofline of the forward section there")
    add("--readme", metavar="PATH", nargs="+", help="run nothing: saved runs into the papers")
    options = parser.parse_args(arguments)
    if unknown := set(options.sections) - set(SECTIONS):
        parser.error(f"no section {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
    options.sections = options.sections or list(SECTIONS)
    return options


def left_out(name: str, threads: int) -> str | None:
    """Why a section cannot be run at all."""
    section = SECTIONS[name]
    reasons = [peers.missing(peer) for peer in section.peers]
    if reasons and all(reasons):
        return "; ".join(map(str, reasons))
    if name == "threads" and threads == 1:
        return "it takes more threads than one"
    return None


def run_section(name: str, options: Options) -> list[Row]:
    print(f"\n## {SECTIONS[name].title}\n", flush=True)
    if reason := left_out(name, options.threads):
        print(f"left out: {reason}")
        return []
    for peer in SECTIONS[name].peers:
        if reason := peers.missing(peer):
            print(f"without {peer}: {reason}\n")
    rows: list[Row] = []
    for row in SECTIONS[name].rows(options):
        print(
            "" if rows else "\n".join(report.head(row)) + "\n", report.line(row), sep="", flush=True
        )
        rows.append(row)
    print(f"\n{report.verdicts({name: rows})}" if rows else "no row has such a name", flush=True)
    return rows


def run(options: argparse.Namespace) -> Saved:
    """The sections, on one number of threads, in this process."""
    (threads,) = options.threads
    os.environ["NPROC"] = str(threads)  # JAX's, read when it is loaded
    kernels.set_num_threads(threads)
    with threadpool_limits(threads, user_api="blas"):
        found = machine.describe(threads)
        print(f"# {threads} threads: {found['peak']:.0f} GFLOP/s, {found['bandwidth']:.0f} GB/s")
        each = Options(threads, options.rounds, options.layers, options.memory, found["peak"])
        sections = {name: run_section(name, each) for name in options.sections}
    saved = {"machine": {str(threads): found}, "versions": versions(), "rounds": options.rounds}
    return saved | {"sections": {name: rows for name, rows in sections.items() if rows}}


def versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def run_each(options: argparse.Namespace, arguments: list[str]) -> Saved:
    """A process per number of threads; their rows together."""
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        for threads in options.threads:
            path = Path(folder) / f"{threads}.json"
            own = ["--threads", str(threads), "--json", str(path), "--picture", ""]
            subprocess.run([sys.executable, __file__, *arguments, *own], check=True)
            runs.append(json.loads(path.read_text()))
    return merged(runs)


def merged(runs: list[Saved]) -> Saved:
    names = [name for name in SECTIONS if any(name in run["sections"] for run in runs)]
    sections = {name: [row for r in runs for row in r["sections"].get(name, [])] for name in names}
    machines = {threads: found for run in runs for threads, found in run["machine"].items()}
    return runs[0] | {"machine": machines, "sections": sections}


def dumped(saved: Saved) -> str:
    """JSON with a row per line, so that a difference between two runs can be read."""
    head = json.dumps({key: value for key, value in saved.items() if key != "sections"}, indent=1)
    sections = (
        f'"{name}": [\n' + ",\n".join(map(json.dumps, rows)) + "\n]"
        for name, rows in saved["sections"].items()
    )
    return f'{head[:-2]},\n "sections": {{\n' + ",\n".join(sections) + "\n}}\n"


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    options = parse(arguments)
    if options.readme:
        report.fill_papers(merged([json.loads(Path(path).read_text()) for path in options.readme]))
        return 0
    if len(options.threads) == 1:
        saved = run(options)
    else:
        saved = run_each(options, arguments)
        print("\n# All\n", report.verdicts(saved["sections"]), sep="\n")
    print(f"\n{report.held(saved['sections'])}")
    if options.json:
        Path(options.json).write_text(dumped(saved))
    if options.picture:
        roofline.draw(saved, options.picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
