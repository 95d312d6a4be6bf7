"""How far from the exact result is Winograd's algorithm, beside the direct one?

Normal data in float32 against the direct algorithm in float64, by kernel, channels and tile:
the largest difference as a part of the largest result.  Random numbers of a fixed seed, so
the table repeats on one instruction set.

    python bench/accuracy.py
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.kernels import ConvDims, conv2d_direct, conv2d_winograd, winograd


LAYERS = (
    "n4c64h56w56_k64r3x3_s1x1_p1x1_d1x1_g1",
    "n4c256h28w28_k256r3x3_s1x1_p1x1_d1x1_g1",
    "n4c512h14w14_k512r3x3_s1x1_p1x1_d1x1_g1",
    "n4c512h7w7_k512r3x3_s1x1_p1x1_d1x1_g1",
    "n4c96h27w27_k256r5x5_s1x1_p2x2_d1x1_g1",
    "n4c512h14w14_k512r5x5_s1x1_p2x2_d1x1_g1",
    "n4c3h227w227_k96r11x11_s4x4_p0x0_d1x1_g1",
    "n4c128h56w56_k128r3x3_s2x2_p1x1_d1x1_g1",
    "n4c256h28w28_k256r5x5_s2x2_p2x2_d1x1_g1",
    "n4c256h28w28_k256r7x7_s2x2_p3x3_d1x1_g1",
)

TILES = (4, 6, 7, 8)  # n


def calls(dims: ConvDims) -> dict[str, tuple[tuple[Any, ...], tuple[int, ...]]]:
    """Per verb its arrays in float64, and the shape of its result."""
    rng = np.random.default_rng(0)
    shapes = dims.x_shape, dims.w_shape, dims.y_shape
    x, w, dy = (rng.standard_normal(shape, np.float32).astype(np.float64) for shape in shapes)
    return {
        "conv2d": ((x, w, None), dims.y_shape),
        "conv2d_dx": ((dy, w), dims.x_shape),
        "conv2d_dw": ((dy, x), dims.w_shape),
    }


def run(
    kernel: Any, arrays: tuple[Any, ...], shape: Any, dtype: Any, *more: Any, **tile: int
) -> Any:
    result = np.empty(shape, dtype)
    kernel(*(a if a is None else a.astype(dtype) for a in arrays), result, *more, **tile)
    return result


def row(verb: str, dims: ConvDims, arrays: tuple[Any, ...], shape: Any) -> str:
    exact = run(getattr(conv2d_direct, verb), arrays, shape, np.float64, dims)

    def error(kernels: Any, **tile: int) -> str:
        got = run(getattr(kernels, verb), arrays, shape, np.float32, dims, **tile)
        return f"{np.abs(got - exact).max() / np.abs(exact).max():.1e}"

    choose = {"conv2d_dx": winograd.dx_tile, "conv2d_dw": winograd.dw_tile}.get(verb, winograd.tile)
    tiles = winograd.dw_tiles(dims) if verb == "conv2d_dw" else winograd.tiles(dims)
    errors = [error(conv2d_winograd, n=n) if n in tiles else "" for n in TILES]
    bold = [f"**{e}**" if n == choose(dims) else e for n, e in zip(TILES, errors, strict=True)]
    return f"| {verb} | {' | '.join((error(conv2d_direct), *bold))} |"


def main() -> None:
    print("| layer | verb | direct |", *(f"n = {n} |" for n in TILES))
    print("|---|---|---:|" + "---:|" * len(TILES))
    for dims in map(ConvDims.parse, LAYERS):
        stride = f"/{dims.stride[0]}" if dims.stride[0] > 1 else ""
        name = f"{dims.kh}x{dims.kw}{stride} {dims.c}-{dims.k} @{dims.h}"
        for verb, (arrays, shape) in calls(dims).items():
            print(f"| {name} {row(verb, dims, arrays, shape)}", flush=True)


if __name__ == "__main__":
    main()
