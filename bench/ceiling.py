"""How far from what is possible? Saved runs, if no layer were slower than the roof.

The roof of a direct convolution is the smaller of two: what the micro-kernel makes alone, with
everything in L1 (tile.c), and each number of x, w and y moved once at the speed of copying.
That of pooling is to move x, y and the indices, and their gradients.  Layers that are above it
(Winograd's, and what stays in the caches) are left as they are.

    python bench/ceiling.py bench/results/versus.json bench/results/against_numpy.json
"""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import re
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import machine
from contest import US
from roofline import intensity

from fastconv.kernels import ConvDims, cpu
from fastconv.kernels.dims import PoolDims


SIMD = Path(__file__).parents[1] / "kernels" / "simd"
DEPTHS = (64, 128, 170)  # values of the depth; at 170 the panel fills 32 KiB
ROUNDS = 15


def compiled_tile() -> Any:
    """tile.c with the tile functions of this processor's instruction set."""
    isa = cpu.current_isa()
    sources = [Path(__file__).with_name("tile.c"), SIMD / f"tiles_{isa}_f32.c"]
    library = Path(tempfile.mkdtemp()) / "tile.so"
    flags = ["-O3", "-march=native", "-fno-math-errno", "-shared", "-fPIC", f"-I{SIMD}"]
    command = ["cc", *flags, f"-DTILES=fc_tiles_{isa}_f32", "-o", library, *sources, "-lm"]
    subprocess.run(command, check=True)
    loaded = ctypes.CDLL(str(library))
    loaded.tile.restype = ctypes.c_double
    loaded.tile.argtypes = ctypes.c_long, ctypes.c_long, ctypes.POINTER(ctypes.c_float)
    return loaded


def peak_gflops(peak: machine.Peak) -> float:
    start = time.perf_counter()
    peak.run()
    return peak.flops / (time.perf_counter() - start) / 1e9


def tile_shares() -> dict[int, float]:
    """The micro-kernel's share of the FMA peak by depth: medians of rounds, side by side."""
    library, peak, error = compiled_tile(), machine.peak(1), ctypes.c_float()
    shares: dict[int, list[float]] = {depth: [] for depth in DEPTHS}
    for _ in range(ROUNDS):
        for depth, found in shares.items():
            made = library.tile(200_000 // depth, depth, error)
            if not made:
                raise MemoryError("no memory for a panel and its rows")
            if error.value:
                raise AssertionError(f"the product is wrong by {error.value} at depth {depth}")
            found.append(made / peak_gflops(peak))
    return {depth: statistics.median(found) for depth, found in shares.items()}


def roof_of(dims: ConvDims, described: Any, share: float) -> float:
    """GFLOP/s of a direct convolution."""
    return min(share * described["peak"], intensity(dims) * described["bandwidth"])  # type: ignore[no-any-return]


def ceilings(rows: list[Any], described: Any, share: float) -> list[float]:
    """Each row's ratio, were it no slower than its roof."""
    found = []
    for row in rows:
        roof = roof_of(ConvDims.parse(row["dims"]), described, share)
        found.append(row["ratio"] * max(1.0, roof / row["gflops"]))
    return found


def shortest(section: str, row: Any, described: Any, share: float) -> float:
    """Seconds at the roof of a row of `pooling` (forward and backward) or `numpy` (forward)."""
    if "_k" in row["dims"]:
        dims = ConvDims.parse(row["dims"])
        return dims.flops / roof_of(dims, described, share) / 1e9
    pool = PoolDims.parse(row["dims"])
    x, y = math.prod(pool.x_shape), math.prod(pool.y_shape)
    numbers = 2 * x + 4 * y if section == "pooling" else x + y + ("indices" in row["layer"]) * y
    return 4 * numbers / described["bandwidth"] / 1e9


EACH = (  # rows that are held to something each: section, what, layers
    ("pooling", "max pooling, forward + backward", "pool"),
    ("numpy", "LeNet's layers, against NumPy", "LeNet 5x5"),
    ("numpy", "max pooling, against NumPy", r"pool.*N=\d+$"),
)


def print_each(saved: dict[str, Any], share: float) -> None:
    """The slowest of rows that are held to something each, now and at the roof."""
    for section, what, pattern in EACH:
        for threads, described in saved["machine"].items():
            rows = [
                row
                for row in saved["sections"].get(section, ())
                if str(row["threads"]) == threads and re.search(pattern, row["layer"])
            ]
            then = [
                row["ratio"]
                * max(1.0, row["seconds"][US] / shortest(section, row, described, share))
                for row in rows
            ]
            if rows:
                now = min(row["ratio"] for row in rows)
                print(f"| {what} | {threads} | {now:.2f} | {min(then):.2f} |")


def mean(ratios: list[float]) -> float:
    return math.exp(statistics.fmean(map(math.log, ratios)))


def print_means(saved: dict[str, Any], share: float) -> None:
    """Of convolutions, now and at the roof."""
    for name in ("forward", "backward"):
        for threads, described in saved["machine"].items():
            rows = [r for r in saved["sections"].get(name, ()) if str(r["threads"]) == threads]
            now, then = [r["ratio"] for r in rows], ceilings(rows, described, share)
            cells = (f"{mean(of):.2f} | {sum(r < 1 for r in of)}" for of in (now, then) if rows)
            if rows:
                print(f"| {name} | {threads} | {' | '.join(cells)} |")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("saved", type=Path, nargs="+", help="what bench/versus.py --json wrote")
    runs = [json.loads(path.read_text()) for path in parser.parse_args(arguments).saved]
    shares = tile_shares()
    for depth, share in shares.items():
        print(f"the micro-kernel alone, depth {depth}: {share:.2f} of the FMA peak")
    share = max(shares.values())
    print(
        "\n| | threads | mean | below 1 | mean at the roof | below 1 |\n|---|---|---|---|---|---|"
    )
    for saved in runs:
        print_means(saved, share)
    print("\n| | threads | slowest | slowest at the roof |\n|---|---|---|---|")
    for saved in runs:
        print_each(saved, share)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
