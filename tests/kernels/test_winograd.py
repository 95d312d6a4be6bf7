"""Winograd's algorithm by itself: every tile, its definition, its accuracy, its choice."""

from __future__ import annotations

import re
from functools import lru_cache
from importlib import import_module
from itertools import product

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kernel_support import (
    TOLERANCES,
    assert_result,
    assert_same,
    integers,
    laid_out,
    normals,
    poisoned,
    reference,
    ways,
)

from fastconv import kernels
from fastconv.kernels import ConvDims, registry, winograd
from fastconv.kernels.explain import explain


VERBS = ("conv2d", "conv2d_dx", "conv2d_dw")
# n by the taps of a phase, of y and dx, and of dw: F(2, 5) has no form for dw.
TILES = {2: (6,), 3: (4, 6, 7, 8), 4: (6, 8), 5: (6, 8)}
DW_TILES = {2: (6,), 3: (6, 8), 4: (8,), 5: (8,)}
CASES = (
    # one pixel, less than a tile, one tile, one pixel more
    "n1c1h1w1_k1r3x3_s1x1_p1x1_d1x1_g1",
    "n2c5h3w2_k7r3x3_s1x1_p1x1_d1x1_g1",
    "n1c16h8w8_k16r3x3_s1x1_p0x0_d1x1_g1",
    "n2c16h9w9_k16r3x3_s1x1_p0x0_d1x1_g1",
    "n2c3h1w1_k4r5x5_s1x1_p2x2_d1x1_g1",
    # tails of channels and filters, several panels
    "n2c17h13w12_k49r3x3_s1x1_p1x1_d1x1_g1",
    "n1c9h7w11_k101r5x5_s1x1_p2x2_d1x1_g1",
    # blocks of 64 channels: whole, with a tail, of one channel
    "n2c128h6w7_k20r3x3_s1x1_p1x1_d1x1_g1",
    "n1c130h9w5_k52r3x3_s1x1_p0x0_d1x1_g1",
    "n1c65h7w8_k33r5x5_s1x1_p1x1_d1x1_g1",
    # wide and high planes: bands of columns, many bands
    "n1c5h2w901_k6r3x3_s1x1_p1x1_d1x1_g1",
    "n2c4h509w3_k5r3x3_s1x1_p1x1_d1x1_g1",
    "n1c18h61w73_k19r3x3_s1x1_p1x1_d1x1_g1",
    "n1c20h37w45_k23r5x5_s1x1_p2x2_d1x1_g1",
    # images across bands
    "n40c18h7w6_k17r3x3_s1x1_p1x1_d1x1_g1",
    # groups; padding on one side, larger than the kernel
    "n2c34h9w8_k38r3x3_s1x1_p1x1_d1x1_g2",
    "n2c6h8w9_k6r3x3_s1x1_p1x1_d1x1_g6",
    "n3c36h43w41_k54r3x3_s1x1_p1x1_d1x1_g3",  # in several bands
    "n1c32h6w9_k34r5x5_s1x1_p2x2_d1x1_g2",
    "n2c8h9w7_k9r3x3_s1x1_p0:2x3:0_d1x1_g1",
    "n1c7h3w4_k8r3x3_s1x1_p4x5_d1x1_g1",
    # two and four taps at stride 1
    "n1c18h17w12_k19r2x2_s1x1_p1x1_d1x1_g1",
    "n2c33h11w14_k17r4x4_s1x1_p1:2x2:1_d1x1_g1",
    # strides: few channels woven, with padding and without; a source that ends inside the last tile
    "n2c3h47w51_k20r11x11_s4x4_p0x0_d1x1_g1",
    "n1c3h41w38_k49r7x7_s2x2_p3x3_d1x1_g1",
    "n2c5h29w23_k18r8x8_s4x4_p0x0_d1x1_g1",
    "n1c1h31w64_k17r9x9_s3x3_p4x4_d1x1_g1",
    # ... whole vectors of channels, blocks of 16 of them, the last one woven
    "n1c16h22w31_k33r3x3_s2x2_p1x1_d1x1_g1",
    "n2c37h23w18_k50r5x5_s2x2_p2x2_d1x1_g1",
    "n1c32h20w20_k16r4x4_s2x2_p1x1_d1x1_g1",
    "n1c20h33w19_k18r10x10_s2x2_p1:4x0:7_d1x1_g1",
    # ... groups, rows that no window reaches, many bands
    "n2c12h25w26_k38r3x3_s2x2_p0x0_d1x1_g2",
    "n3c8h24w22_k10r5x5_s3x3_p0x0_d1x1_g2",
    "n5c4h203w118_k20r3x3_s2x2_p1x1_d1x1_g1",
    # no image
    "n0c4h8w8_k5r3x3_s1x1_p1x1_d1x1_g1",
    "n0c4h8w8_k5r3x3_s2x2_p1x1_d1x1_g1",
)


def taps(dims):
    """Of a phase of the stride, along an axis."""
    return -(-dims.kh // dims.stride[0])


ISAS = [way for way in ways("conv2d") if way.impl.algorithm == "winograd"]
every_isa = pytest.mark.parametrize("way", ISAS, ids=str, indirect=True)


def every_tile(verbs=VERBS, cases=CASES):
    """Parametrise over (verb, case, n)."""
    found = [
        pytest.param(verb, case, n, id=f"{verb}-n{n}-{case}")
        for verb, case in product(verbs, cases)
        for n in (DW_TILES if verb == "conv2d_dw" else TILES)[taps(ConvDims.parse(case))]
    ]
    return pytest.mark.parametrize(("verb", "case", "n"), found)


def arrays(dims, dtype, make=integers):
    """x, w, b, dy."""
    shapes = (dims.x_shape, dims.w_shape, (dims.k,), dims.y_shape)
    return [make(seed, shape, dtype) for seed, shape in enumerate(shapes)]


def call(verb, dims, x, w, b, dy):
    """Arguments, shape of the result, and what follows dims."""
    return {
        "conv2d": ((x, w, b), dims.y_shape, (False,)),
        "conv2d_dx": ((dy, w), dims.x_shape, ()),
        "conv2d_dw": ((dy, x), dims.w_shape, ()),
    }[verb]


def compute(way, verb, n, dims, data, memory="C", relu=False):
    """By the tile n, from and into arrays of one memory format."""
    inputs, shape, more = call(verb, dims, *data)
    result = poisoned(shape, data[0].dtype, memory if verb != "conv2d_dw" else "C")
    more = (relu,) if more else more
    inputs = [laid_out(a, memory) if a.ndim == 4 else a for a in inputs if a is not None]
    if verb == "conv2d" and len(inputs) == 2:
        inputs.append(None)
    way.sibling(verb).impl.load()(*inputs, result, dims, *more, n=n)
    return result


def exact(verb, dims, data):
    """The direct algorithm in float64."""
    data = [a if a is None else a.astype(np.float64) for a in data]
    inputs, shape, more = call(verb, dims, *data)
    result = poisoned(shape, np.float64)
    registry.select(verb, dims, result.dtype, algorithm="direct").load()(
        *inputs, result, dims, *more
    )
    return result


@lru_cache(maxsize=4)
def expected(verb, case, dtype):
    dims = ConvDims.parse(case)
    data = arrays(dims, dtype)
    inputs, shape, more = call(verb, dims, *data)
    result = poisoned(shape, dtype)
    reference(verb)(*inputs, result, dims, *more)
    return dims, data, result


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@every_tile()
@every_isa
def test_every_tile(way, verb, case, n, dtype):
    """Against the reference, in both memory formats; F(2×2, 3×3) has whole numbers only."""
    dims, data, want = expected(verb, case, dtype)
    for memory in ("C", "channels-last"):
        got = compute(way, verb, n, dims, data, memory)
        if n == 4:
            assert_same(got, want)
        else:
            assert_result(way, got, want)


@st.composite
def square_dims(draw):
    """What Winograd's algorithm takes."""
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    stride = draw(st.sampled_from([1, 1, 2, 3, 4]))
    c = groups * draw(st.integers(1, 70 // stride))  # as many products a sum as at stride 1
    k = groups * draw(st.integers(1, 60 // stride))
    kernel = draw(st.integers(2 * stride - (stride > 1), min(5 * stride, 12)))
    pads = draw(st.tuples(*[st.tuples(st.integers(0, 6), st.integers(0, 6))] * 2))
    # (under a stride some results along each axis: a single one may be near 0)
    least = [max(1, kernel - sum(pad)) + 2 * stride * (stride > 1) for pad in pads]
    h, w = (draw(st.integers(size, size + 20)) for size in least)
    n, one, stride = draw(st.integers(0, 3)), (1, 1), (stride, stride)
    return ConvDims(n, c, h, w, k, kernel, kernel, stride, pads, one, groups)


@given(dims=square_dims(), memory=st.sampled_from(["C", "channels-last"]), tile=st.integers(0, 3))
@settings(
    max_examples=80,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@every_isa
def test_any_shape(way, dtype, dims, memory, tile):
    data = arrays(dims, dtype)
    for verb in VERBS:
        tiles = (DW_TILES if verb == "conv2d_dw" else TILES)[taps(dims)]
        got = compute(way, verb, tiles[tile % len(tiles)], dims, data, memory)
        assert_result(way, got, exact(verb, dims, data).astype(dtype))


@pytest.mark.parametrize("n", [4, 6, 7, 8])
@every_isa
def test_relu_and_bias(way, n, dtype):
    dims = ConvDims.parse("n2c18h13w9_k21r3x3_s1x1_p1x1_d1x1_g1")
    data = arrays(dims, dtype)
    want = np.maximum(exact("conv2d", dims, data), 0).astype(dtype)
    assert_result(way, compute(way, "conv2d", n, dims, data, relu=True), want)


# --- the definition ----------------------------------------------------------------------


def matrices(n, r):
    """Bᵀ, G and Aᵀ from polynomials: n - 1 points, and infinity."""
    points = [0, 1, -1, 2, -2, 0.5, -0.5][: n - 1]
    bt, g, at = np.zeros((n, n)), np.zeros((n, r)), np.zeros((n + 1 - r, n))
    for j, p in enumerate(points):
        others = np.poly1d([q for q in points if q != p], r=True)
        bt[j, : n - 1] = others.coeffs[::-1]
        g[j] = [p**i / others(p) for i in range(r)]
        at[:, j] = [p**i for i in range(n + 1 - r)]
    bt[-1] = np.poly1d(points, r=True).coeffs[::-1]
    g[-1, -1] = at[-1, -1] = 1
    return bt, g, at


@pytest.mark.parametrize(("n", "r"), [(n, r) for r in TILES for n in TILES[r]])
@every_isa
def test_one_tile_is_what_the_definition_says(way, n, r):
    """y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A for every cell of data with every tap of the filter."""
    m = n + 1 - r
    dims = ConvDims(n * n, 1, n, n, r * r, r, r, (1, 1), ((0, 0), (0, 0)), (1, 1), 1)
    cells = np.eye(n * n).reshape(dims.x_shape)
    taps = np.eye(r * r).reshape(dims.w_shape)
    bt, g, at = matrices(n, r)
    v, u = bt @ cells @ bt.T, (g @ taps @ g.T)[:, 0]
    want = at @ (v * u) @ at.T
    assert want.shape == dims.y_shape == (n * n, r * r, m, m)
    got = compute(way, "conv2d", n, dims, (cells, taps, None, None))
    np.testing.assert_allclose(got, want, rtol=0, atol=4e-14)
    hit = exact("conv2d", dims, (cells, taps, None, None))
    np.testing.assert_allclose(got, hit, rtol=0, atol=4e-14)


@pytest.mark.parametrize("n", [4, 6, 7, 8])
@every_isa
def test_nan_and_infinity_spread_over_their_tiles_and_no_further(way, n, dtype):
    dims = ConvDims.parse("n1c17h26w26_k18r3x3_s1x1_p0x0_d1x1_g1")
    x, w, b, dy = arrays(dims, dtype)
    clean = compute(way, "conv2d", n, dims, (x, w, b, dy))
    for value in (np.nan, np.inf):
        spoilt = x.copy()
        spoilt[0, 5, 13, 13] = value
        y = compute(way, "conv2d", n, dims, (spoilt, w, b, dy))
        assert not np.isfinite(y[0, :, 11:14, 11:14][w[:, 5, ::-1, ::-1] != 0]).any()
        reached = slice((14 - n) // (n - 2) * (n - 2), 13 // (n - 2) * (n - 2) + n - 2)
        y[:, :, reached, reached] = clean[:, :, reached, reached]
        assert_same(y, clean)


def test_the_direct_algorithm_keeps_infinity_to_its_windows(dtype):
    x, w = np.ones((1, 32, 26, 26), dtype), np.ones((32, 32, 3, 3), dtype)
    x[0, 0, 13, 13] = np.inf
    y = kernels.conv2d(x, w, algorithm="direct")
    assert (y[:, :, 11:14, 11:14] == np.inf).all()
    assert np.isfinite(y).sum() == y.size - 32 * 9


# --- accuracy ------------------------------------------------------------------------------

# Deep layers of VGG-16, the widest 5×5 of AlexNet, and what the table of tolerances is from.
DEEP = (
    "n4c512h28w28_k64r3x3_s1x1_p1x1_d1x1_g1",
    "n4c64h28w28_k512r3x3_s1x1_p1x1_d1x1_g1",
    "n4c512h14w14_k64r3x3_s1x1_p1x1_d1x1_g1",
    "n2c96h27w27_k128r5x5_s1x1_p2x2_d1x1_g1",
    "n2c512h14w14_k64r5x5_s1x1_p2x2_d1x1_g1",
    "n4c3h227w227_k96r11x11_s4x4_p0x0_d1x1_g1",
    "n4c128h28w28_k64r3x3_s2x2_p1x1_d1x1_g1",
    "n2c512h14w14_k64r7x7_s2x2_p3x3_d1x1_g1",
)


@every_tile(cases=DEEP)
def test_accuracy_on_normal_data(verb, case, n):
    """float32, up to 512 channels: 1e-4 of the largest result at most, with every tile."""
    dims = ConvDims.parse(case)
    data = arrays(dims, np.float32, normals)
    want = exact(verb, dims, data)
    got = compute(ISAS[0], verb, n, dims, data)
    assert np.abs(got - want).max() <= 1e-4 * np.abs(want).max()


def test_tolerances_are_tight():
    """Whole numbers do round in F(4), F(5) and F(6): a tolerance of nothing would not hold."""
    assert {algorithm for algorithm, _ in TOLERANCES} == {"winograd"}
    assert max(TOLERANCES.values()) <= 1e-4


# --- the choice --------------------------------------------------------------------------


def of(case):
    return ConvDims.parse(case)


@pytest.fixture(params=[True, False], ids=["wide", "narrow"])
def wide_fma(request, monkeypatch):
    """The choice on either kind of processor."""
    monkeypatch.setattr(winograd, "_fma_is_wide", lambda: request.param)
    caches = (winograd.tile, winograd.dx_tile, winograd.dw_tile, registry._select)
    for cache in caches:
        cache.cache_clear()
    yield request.param
    for cache in caches:
        cache.cache_clear()


@pytest.mark.parametrize(
    ("case", "n", "n_dw"),
    [
        ("n1c64h56w56_k64r3x3_s1x1_p1x1_d1x1_g1", 8, 8),
        ("n1c512h28w28_k512r3x3_s1x1_p1x1_d1x1_g1", 8, 8),
        ("n16c256h13w13_k384r3x3_s1x1_p1x1_d1x1_g1", 7, 6),
        ("n1c512h7w7_k512r3x3_s1x1_p1x1_d1x1_g1", 6, 6),
        ("n16c64h8w8_k64r3x3_s1x1_p1x1_d1x1_g1", 6, 6),
        ("n1c64h2w2_k64r3x3_s1x1_p1x1_d1x1_g1", 4, 6),
        ("n16c96h27w27_k256r5x5_s1x1_p2x2_d1x1_g1", 8, 8),
        ("n1c96h2w2_k256r5x5_s1x1_p2x2_d1x1_g1", 6, 8),
        ("n1c3h227w227_k96r11x11_s4x4_p0x0_d1x1_g1", 7, 8),
        ("n1c3h227w227_k96r11x11_s4x4_p5x5_d1x1_g1", 8, 8),
        ("n1c3h224w224_k64r7x7_s2x2_p3x3_d1x1_g1", 8, 8),
    ],
)
def test_tiles_of_known_planes(case, n, n_dw, wide_fma):
    assert winograd.tiles(of(case)) == TILES[taps(of(case))]
    assert winograd.dw_tiles(of(case)) == DW_TILES[taps(of(case))]
    assert winograd.tile(of(case)) == n
    assert winograd.dw_tile(of(case)) == n_dw


@pytest.mark.parametrize(
    ("case", "reason", "reason_dw"),
    [
        ("n1c64h56w56_k64r3x3_s1x1_p1x1_d1x1_g1", None, None),
        ("n1c512h7w7_k512r3x3_s1x1_p1x1_d1x1_g1", None, "sums and transforms would cost more"),
        ("n64c512h7w7_k512r3x3_s1x1_p1x1_d1x1_g1", None, None),
        ("n0c512h7w7_k512r3x3_s1x1_p1x1_d1x1_g1", None, "sums and transforms would cost more"),
        ("n1c3h224w224_k64r3x3_s1x1_p1x1_d1x1_g1", *2 * ["less than 4 channels"]),
        ("n1c64h56w56_k3r3x3_s1x1_p1x1_d1x1_g1", *2 * ["less than 4 channels or filters"]),
        ("n1c64h56w56_k64r3x3_s1x1_p1x1_d1x1_g64", *2 * ["less than 4 channels"]),
        ("n64c6h14w14_k16r5x5_s1x1_p0x0_d1x1_g1", *2 * ["transforms would cost more"]),
        ("n1c512h1w1_k512r3x3_s1x1_p1x1_d1x1_g1", *2 * ["transforms would cost more"]),
        ("n64c16h5w5_k120r5x5_s1x1_p0x0_d1x1_g1", *2 * ["transforms would cost more"]),
    ],
)
def test_where_it_loses(case, reason, reason_dw, wide_fma):
    """It is not chosen, but it can be asked for."""
    dims, f4 = of(case), np.dtype("f4")
    for verb in VERBS:
        loses, why = winograd.loses, reason
        if verb == "conv2d_dw":
            loses, why = winograd.dw_loses, reason_dw
        told = loses(dims, f4)
        assert told is None if why is None else why in told
        taken = registry.select(verb, dims, f4, "cython").algorithm
        assert (taken == "winograd") == (why is None)
        assert registry.select(verb, dims, f4, algorithm="winograd").algorithm == "winograd"


@pytest.mark.parametrize(
    ("case", "wide", "narrow"),
    [
        ("n1c3h227w227_k96r11x11_s4x4_p0x0_d1x1_g1", "y dx dw", "y dx dw"),
        ("n1c3h224w224_k64r7x7_s2x2_p3x3_d1x1_g1", "dx dw", "y dx dw"),
        ("n4c32h20w20_k64r4x4_s2x2_p0x0_d1x1_g1", "dw", "y dx dw"),
        ("n1c64h56w56_k64r4x4_s2x2_p1x1_d1x1_g1", "y dx dw", "y dx dw"),
        ("n1c32h112w112_k64r5x5_s2x2_p2x2_d1x1_g1", "y dx dw", "y dx dw"),
        ("n1c64h56w56_k128r3x3_s2x2_p1x1_d1x1_g1", "", ""),
        ("n1c3h224w224_k32r3x3_s2x2_p1x1_d1x1_g1", "", ""),
        ("n1c256h14w14_k512r3x3_s2x2_p1x1_d1x1_g1", "", ""),
        ("n1c8h112w112_k64r3x3_s1x1_p1x1_d1x1_g1", "dw", "y dx dw"),
        ("n1c32h56w56_k8r3x3_s1x1_p1x1_d1x1_g1", "dw", "dx dw"),
        ("n1c64h56w56_k64r3x3_s1x1_p1x1_d1x1_g8", "dw", "dw"),
        ("n5c13h29w31_k17r5x5_s1x1_p2x2_d1x1_g1", "y dw", "y dx dw"),
        ("n1c12h28w28_k96r3x3_s1x1_p1x1_d1x1_g1", "y dx dw", "y dx dw"),
        ("n1c4h112w112_k64r3x3_s1x1_p1x1_d1x1_g1", "", ""),
    ],
)
def test_what_is_taken_under_a_stride_or_with_few_channels(case, wide, narrow, wide_fma):
    taken = wide if wide_fma else narrow
    dims, f4 = of(case), np.dtype("f4")
    found = [v for v in VERBS if registry.select(v, dims, f4, "cython").algorithm == "winograd"]
    assert " ".join(v.removeprefix("conv2d_").replace("conv2d", "y") for v in found) == taken


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("n1c64h56w56_k64r3x5_s1x1_p1x1_d1x1_g1", "the kernel is 3x5, not square"),
        ("n1c64h56w56_k64r7x7_s1x1_p1x1_d1x1_g1", "the kernel is 7x7"),
        ("n1c64h56w56_k64r1x1_s1x1_p1x1_d1x1_g1", "the kernel is 1x1"),
        ("n1c64h56w56_k64r2x2_s2x2_p1x1_d1x1_g1", "not square with 2 to 5 taps per step"),
        ("n1c64h56w56_k64r3x3_s1x2_p1x1_d1x1_g1", r"the stride is \(1, 2\)"),
        ("n1c64h56w56_k64r9x9_s5x5_p1x1_d1x1_g1", "not 1 to 4 along both axes"),
        ("n1c64h56w56_k64r3x3_s1x1_p1x1_d2x1_g1", "dilation is not 1"),
    ],
)
def test_what_it_does_not_take(case, reason):
    dims = of(case)
    assert re.search(reason, winograd.why_not(dims))
    with pytest.raises(ValueError, match=reason):
        registry.select("conv2d", dims, np.dtype("f4"), algorithm="winograd")


@pytest.mark.parametrize("plane", ["h7w7", "h13w13", "h14w15", "h56w56"])
def test_the_choice_knows_nothing_of_the_batch(plane, wide_fma):
    choices = set()
    for n in (0, 1, 2, 17, 256):
        dims = of(f"n{n}c96{plane}_k64r3x3_s1x1_p1x1_d1x1_g1")
        choices.add((winograd.tile(dims), winograd.dw_tile(dims), winograd.loses(dims)))
    assert len(choices) == 1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [1, 100])
@pytest.mark.parametrize(
    ("size", "c", "kernel", "stride"),
    [
        *((size, c, 3, 1) for size, c in [(14, 512), (28, 512), (56, 256), (112, 128), (224, 512)]),
        *((size, 3, kernel, 4) for size in (227, 4099) for kernel in (11, 20)),
        *((size, c, 5, 2) for size, c in [(224, 3), (30, 256), (1030, 18), (112, 512)]),
    ],
)
def test_scratch_is_bounded(n, size, c, kernel, stride, dtype):
    details = explain(
        (n, c, size, size),
        (max(c, 96), c, kernel, kernel),
        stride=stride,
        padding=1,
        dtype=dtype,
        algorithm="winograd",
    ).details
    assert "products for" in details["way"]
    assert int(details["scratch"].split()[0]) <= 8 * 1024 * (2 if dtype == "float64" else 1)


def test_explain_tells_the_tile():
    def told(n, size):
        return explain((n, 64, size, size), (64, 64, 3, 3), padding=1).details

    assert "F(6x6, 3x3): 64 products for 36 results" in told(1, 56)["way"]
    strided = explain((1, 3, 227, 227), (96, 3, 11, 11), stride=4).details
    assert "F(5x5, 3x3) of 4x4 phases: 49 products for 25 results" in strided["way"]
    assert "filters beforehand" in told(4, 56)["copies"]
    assert "filters block by block" in told(1, 13)["copies"]
    assert "nothing to do" in told(0, 13)["way"]


# --- the same bits -------------------------------------------------------------------------


@pytest.mark.parametrize("n", [4, 6, 7, 8])
@pytest.mark.parametrize("verb", ["conv2d", "conv2d_dx"])
@every_isa
def test_same_bits_from_filters_transformed_beforehand_or_block_by_block(way, verb, n, dtype):
    """One image is one band, the batch several: the filters come by the two ways."""
    dims = of("n50c70h12w12_k70r3x3_s1x1_p1x1_d1x1_g1")
    x, w, b, dy = arrays(dims, dtype, normals)
    batch = compute(way, verb, n, dims, (x, w, b, dy))
    for i in (0, 31, 49):
        one, image = of("n1" + str(dims)[3:]), slice(i, i + 1)
        alone = compute(way, verb, n, one, (x[image], w, b, dy[image]))
        assert_same(alone, batch[image])


@pytest.mark.parametrize(
    "case",
    [
        "n3c18h19w17_k20r3x3_s1x1_p1x1_d1x1_g1",  # few units: parts with sums of their own
        "n2c600h9w9_k40r3x3_s1x1_p1x1_d1x1_g1",  # many
    ],
)
@every_isa
def test_same_bits_of_dw_for_any_number_of_threads(way, case, dtype, monkeypatch):
    monkeypatch.setattr(import_module("fastconv.kernels.threads"), "cpu_count", lambda: 8)
    dims = of(case)
    data = arrays(dims, dtype, normals)
    results = set()
    for count in (1, 2, 3, 8):
        with kernels.threads(count):
            results.add(compute(way, "conv2d_dw", 8, dims, data).tobytes())
    assert len(results) == 1


@pytest.mark.parametrize("memory", ["readonly", "fortran", "sliced", "reversed"])
@every_isa
def test_weights_of_any_memory(way, memory, dtype):
    """Read as they are, and written: dw into them."""
    dims = of("n2c66h9w8_k50r3x3_s1x1_p1x1_d1x1_g1")
    x, w, b, dy = arrays(dims, dtype)
    y, dx = poisoned(dims.y_shape, dtype), poisoned(dims.x_shape, dtype)
    way.run(x, laid_out(w, memory), b, y, dims)
    way.sibling("conv2d_dx").run(dy, laid_out(w, memory), dx, dims)
    assert_result(way, y, exact("conv2d", dims, (x, w, b, dy)).astype(dtype))
    assert_result(way, dx, exact("conv2d_dx", dims, (x, w, b, dy)).astype(dtype))
    if memory != "readonly":
        dw = poisoned(dims.w_shape, dtype, memory)
        way.sibling("conv2d_dw").run(dy, x, dw, dims)
        assert_result(way, dw, exact("conv2d_dw", dims, (x, w, b, dy)).astype(dtype))
