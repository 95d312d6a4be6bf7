"""The roofline picture: what each layer makes, under what the machine allows."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.kernels import ConvDims


def intensity(dims: ConvDims) -> float:
    """Operations per byte, if each number of x, w and y passes memory once."""
    numbers = sum(int(np.prod(shape)) for shape in (dims.x_shape, dims.w_shape, dims.y_shape))
    return dims.flops / (4 * numbers)


def draw(saved: dict[str, Any], path: str) -> None:
    """The forward section of the fewest threads, ours and the best peer's."""
    from matplotlib.figure import Figure

    threads = min(row["threads"] for row in saved["sections"]["forward"])
    rows = [row for row in saved["sections"]["forward"] if row["threads"] == threads]
    machine = saved["machine"][str(threads)]
    dims = [ConvDims.parse(row["dims"]) for row in rows]
    x = np.array([intensity(d) for d in dims])
    ours = np.array([row["gflops"] for row in rows])
    best = ours * [row["seconds"]["fastconv"] / row["seconds"][row["best"]] for row in rows]

    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.add_subplot(xscale="log", yscale="log")
    at = np.geomspace(min(x) / 1.5, max(x) * 1.5, 200)
    axes.plot(at, np.minimum(machine["peak"], at * machine["bandwidth"]), color="0.3", lw=1.5)
    axes.vlines(x, best, ours, color="0.85", lw=1, zorder=0)
    axes.scatter(
        x, best, s=16, marker="x", color="tab:orange", label="best of PyTorch and ONNX Runtime"
    )
    for marker, kind in {"o": "3×3", "s": "1×1", "^": "depthwise", "D": "other windows"}.items():
        of = np.array([_kind(d) == kind for d in dims])
        if of.any():
            label = f"fastconv, {kind}"
            axes.scatter(x[of], ours[of], s=26, marker=marker, color="tab:blue", label=label)
    roofs = f"{machine['peak']:.0f} GFLOP/s of multiply-adds, {machine['bandwidth']:.0f} GB/s"
    plural = "s" if threads > 1 else ""
    axes.set_title(f"Convolution forward, {threads} thread{plural}, float32; roofs: {roofs}")
    axes.set_xlabel("operations of the direct algorithm per byte of x, w and y")
    axes.set_ylabel("GFLOP/s")
    axes.grid(which="major", color="0.92")
    axes.set_axisbelow(True)
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=120)


def _kind(dims: ConvDims) -> str:
    if dims.groups > 1:
        return "depthwise"
    return {(1, 1): "1×1", (3, 3): "3×3"}.get((dims.kh, dims.kw), "other windows")
