"""What the tests of the kernels share: the ways to compute a verb, cases, data, memory.

A *way* is a registered implementation, and for the compiled ones an instruction set.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from fastconv.kernels import ConvDims, PoolDims, registry
from fastconv.kernels.arrays import channels_last


try:
    from fastconv.kernels import cpu
except ImportError:
    cpu = None  # the compiled kernels are not built: their ways are skipped, with the reason

# With NUMBA_DISABLE_JIT=1 Python runs Numba's kernels: small cases alone.
INTERPRETED = os.environ.get("NUMBA_DISABLE_JIT") == "1"

DTYPES = ("float32", "float64")
PADDINGS = (0, 1, (1, 2), ((0, 1), (2, 0)), "valid", "same", "same_lower")


@dataclass(frozen=True)
class Way:
    impl: registry.Implementation
    isa: str | None = None

    def __str__(self) -> str:
        return self.impl.name if self.isa is None else f"{self.impl.name}-{self.isa}"

    @property
    def missing(self) -> str | None:
        """Why this way is not there at all, or None (test_registry asks that none is)."""
        reason = registry.backend_why_not(self.impl.backend)
        if reason is None and find_spec(f"fastconv.kernels.{self.impl.module}") is None:
            reason = f"fastconv.kernels.{self.impl.module} is not built"
        return reason

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """The way's instruction set, for the time of a block."""
        if self.isa is None:
            yield
            return
        before = cpu.current_isa()
        cpu.use_isa(self.isa)
        try:
            yield
        finally:
            cpu.use_isa(before)

    def refuses(self, dims: Any, dtype: Any) -> str | None:
        return self.impl.why_not(dims, np.dtype(dtype))

    def run(self, *arguments: Any) -> None:
        """The implementation itself, on (arrays…, dims…); skips where it refuses them."""
        dims = next((a for a in arguments if isinstance(a, (ConvDims, PoolDims))), None)
        self.skip_if_refused(dims, arguments[0].dtype)
        self.impl.load()(*arguments)

    def skip_if_refused(self, dims: Any, dtype: Any) -> None:
        reason = self.refuses(dims, dtype)
        if reason is not None:
            pytest.skip(f"{self}: {reason}")

    def sibling(self, verb: str) -> Way:
        """The same backend, algorithm and instruction set for another verb."""
        own = (self.impl.backend, self.impl.algorithm)
        (impl,) = [i for i in registry.TABLE[verb] if (i.backend, i.algorithm) == own]
        return replace(self, impl=impl)

    @property
    def options(self) -> dict[str, str]:
        """The arguments with which a public verb takes this way."""
        options = {"backend": self.impl.backend}
        if self.impl.verb in ("conv2d", "conv2d_dx", "conv2d_dw"):
            options["algorithm"] = self.impl.algorithm
        return options


def ways(verb: str) -> list[Way]:
    """Every way to compute a verb, those that are missing included."""
    found = []
    for impl in registry.TABLE[verb]:
        isas = cpu.available_isas() if impl.backend == "cython" and cpu else (None,)
        found += [Way(impl, isa) for isa in isas]
    return found


def every_way(verb: str) -> pytest.MarkDecorator:
    """Run a test once per way; its fixture ``way`` selects the instruction set and skips."""
    return pytest.mark.parametrize("way", ways(verb), ids=str, indirect=True)


def conv_options(dims: ConvDims) -> dict[str, Any]:
    """The arguments of a public verb that mean these dims."""
    return {
        "stride": dims.stride,
        "padding": dims.pad,
        "dilation": dims.dilation,
        "groups": dims.groups,
    }


def reference(verb: str) -> Any:
    """The specification of a verb: direct NumPy."""
    return registry.TABLE[verb][-1].load()


# --- data -----------------------------------------------------------------------------


def integers(seed: int, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Whole numbers from -4 to 4: their sums of products are exact in any order."""
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(dtype)


def normals(seed: int, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def poisoned(shape: tuple[int, ...], dtype: Any, memory: str = "C") -> np.ndarray:
    """A result array in which an element that nobody writes is seen."""
    y = laid_out(np.zeros(shape, dtype), memory, writeable=True)
    y[...] = -7 if np.dtype(dtype).kind == "i" else np.nan
    return y


INPUT_MEMORIES = (
    "C",
    "channels-last",
    "fortran",
    "reversed",
    "sliced",
    "channels-last-sliced",
    "broadcast",
    "readonly",
)
OUT_MEMORIES = ("C", "channels-last", "fortran", "reversed", "sliced", "channels-last-sliced")


def laid_out(a: np.ndarray, memory: str, writeable: bool = False) -> np.ndarray:
    """The values of `a` over memory of another kind ("broadcast" repeats the first image)."""
    if memory == "C":
        return np.ascontiguousarray(a).copy()
    if memory == "channels-last":
        return _filled(channels_last(a.shape, a.dtype) if a.ndim == 4 else np.empty_like(a), a)
    if memory == "fortran":
        return np.asfortranarray(a).copy(order="F")
    every_second = (slice(None, None, 2),) * a.ndim
    if memory == "reversed":
        backwards = (slice(None, None, -1),) * a.ndim
        return _filled(np.empty(a.shape, a.dtype)[backwards], a)
    if memory == "sliced":
        return _filled(np.full([2 * s for s in a.shape], 99, a.dtype)[every_second], a)
    if memory == "channels-last-sliced":
        double = tuple(2 * s for s in a.shape)
        wide = channels_last(double, a.dtype) if a.ndim == 4 else np.empty(double, a.dtype)
        wide[...] = 99
        return _filled(wide[every_second], a)
    if memory == "broadcast":
        return np.broadcast_to(a[:1], a.shape)
    if memory == "readonly":
        fixed = a.copy()
        fixed.setflags(write=False)
        return fixed
    raise ValueError(memory)


def _filled(to: np.ndarray, a: np.ndarray) -> np.ndarray:
    to[...] = a
    return to


def assert_same(got: np.ndarray, want: np.ndarray) -> None:
    """Equal, element for element, NaN equal to NaN; the message shows the first difference."""
    assert got.shape == want.shape
    assert got.dtype == want.dtype
    different = ~((got == want) | ((got != got) & (want != want)))
    if different.any():
        at = tuple(int(i[0]) for i in np.nonzero(different))
        raise AssertionError(
            f"{different.sum()} of {different.size} elements differ; "
            f"at {at}: got {got[at]!r}, want {want[at]!r}"
        )


# By algorithm and dtype: how far from the exact result, as a part of the largest.  The direct
# ways compute whole numbers exactly; Winograd's points ±½ … ±2 leave rounding errors.
TOLERANCES = {("winograd", "float32"): 2e-5, ("winograd", "float64"): 4e-14}


def assert_result(way: Way, got: np.ndarray, want: np.ndarray) -> None:
    """Equal, or as near as the way's algorithm promises on whole numbers."""
    tolerance = TOLERANCES.get((way.impl.algorithm, str(want.dtype)))
    if tolerance is None:
        assert_same(got, want)
        return
    assert got.shape == want.shape
    assert got.dtype == want.dtype
    largest = max(1, np.abs(want).max(initial=0))
    np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * largest)


def numerical_gradient(f: Any, x: np.ndarray, weight: np.ndarray, step: float = 1e-5) -> np.ndarray:
    """d(Σ weight · f(x)) / dx by central differences."""
    grad = np.empty_like(x)
    for at in np.ndindex(*x.shape):
        above, below = x.copy(), x.copy()
        above[at] += step
        below[at] -= step
        grad[at] = ((f(above) - f(below)) * weight).sum() / (2 * step)
    return grad


# --- cases: named by str(dims); tests of the kernels take each as it stands -------------

CONV_CASES = (
    # first convolutions: one channel, three channels, large kernels and strides
    "n2c1h28w28_k6r5x5_s1x1_p2x2_d1x1_g1",
    "n2c1h12w12_k17r5x5_s1x1_p0x0_d1x1_g1",
    "n1c3h39w43_k96r11x11_s4x4_p0x0_d1x1_g1",
    "n2c3h19w19_k17r7x7_s2x2_p3x3_d1x1_g1",
    "n2c3h16w16_k16r3x3_s1x1_p1x1_d1x1_g1",
    # 1x1
    "n2c16h7w7_k16r1x1_s1x1_p0x0_d1x1_g1",
    "n2c17h7w5_k17r1x1_s1x1_p0x0_d1x1_g1",
    "n3c17h8w9_k15r1x1_s2x2_p0x0_d1x1_g1",
    "n1c5h5w5_k7r1x1_s3x2_p1x2_d1x1_g1",
    "n2c19h5w6_k17r1x1_s1x1_p1:2x0_d1x1_g1",
    # dw in place: images together in two blocks of channels; parts of a plane in groups
    "n9c330h9w7_k131r1x1_s2x1_p0x0_d1x1_g1",
    "n2c140h17w19_k90r1x1_s1x1_p0x0_d1x1_g2",
    # 3x3: whole vectors, tails, stride and tails
    "n2c16h14w14_k16r3x3_s1x1_p1x1_d1x1_g1",
    "n2c17h13w13_k17r3x3_s1x1_p1x1_d1x1_g1",
    "n2c17h14w13_k17r3x3_s2x2_p1x1_d1x1_g1",
    "n1c100h9w8_k40r3x3_s2x2_p1x1_d1x1_g1",  # dx: all phases of a band, which packs its panels
    "n1c50h71w65_k33r3x3_s2x2_p1x1_d1x1_g1",  # dx: the same in several bands, packed beforehand
    "n2c8h9w11_k9r3x3_s3x3_p0x0_d1x1_g1",
    # 5x5 and oblong
    "n2c6h14w14_k16r5x5_s1x1_p0x0_d1x1_g1",
    "n2c9h11w9_k17r5x5_s2x2_p2x2_d1x1_g1",
    "n2c5h9w12_k7r2x5_s1x2_p1x0_d1x1_g1",
    "n1c4h7w9_k5r4x1_s1x1_p2x0_d1x1_g1",
    # kernel larger than the image; padding larger than the kernel
    "n2c3h2w2_k5r5x5_s1x1_p2x2_d1x1_g1",
    "n1c2h1w1_k3r3x3_s1x1_p1x1_d1x1_g1",
    "n1c2h3w3_k4r2x2_s1x1_p3x4_d1x1_g1",
    # a window that is packed tap by tap
    "n1c17h20w21_k18r17x17_s2x2_p1x1_d1x1_g1",
    # groups: whole vectors, tails, stride; depthwise, with a multiplier, with one filter
    "n2c32h8w8_k32r3x3_s1x1_p1x1_d1x1_g2",
    "n2c34h7w7_k51r3x3_s1x1_p1x1_d1x1_g17",
    "n2c12h9w8_k18r3x2_s2x1_p1x1_d1x1_g3",
    "n2c16h9w9_k16r3x3_s1x1_p1x1_d1x1_g16",
    "n2c17h10w9_k17r3x3_s2x2_p1x1_d1x1_g17",
    "n1c37h8w8_k37r5x5_s1x1_p2x2_d2x1_g37",
    "n2c8h6w6_k24r3x3_s1x1_p1x1_d1x1_g8",
    "n2c24h6w6_k8r3x3_s1x1_p1x1_d1x1_g8",
    # depthwise: tails of lanes and of tiles, strides, dilation, two and three filters a channel
    "n2c33h15w29_k33r3x3_s1x1_p1x1_d1x1_g33",
    "n1c19h17w35_k19r3x3_s2x2_p1x1_d1x1_g19",
    "n1c18h16w71_k18r3x3_s2x2_p0x2_d1x1_g18",  # dx's even columns are the other phase
    "n1c18h9w68_k18r5x3_s1x2_p2x1:0_d1x1_g18",
    "n2c21h13w14_k21r5x5_s2x2_p2x2_d1x1_g21",
    "n1c18h16w15_k18r7x7_s1x1_p3x3_d1x1_g18",
    "n2c5h22w40_k5r3x3_s3x3_p1x2_d1x1_g5",
    "n1c6h20w37_k6r3x3_s2x3_p2x1_d2x2_g6",
    "n2c3h9w70_k6r3x3_s1x2_p0:2x1:0_d1x1_g3",
    "n1c4h9w21_k12r5x3_s2x1_p2x1_d1x1_g4",
    "n2c20h8w8_k20r2x2_s2x2_p0x0_d1x1_g20",
    "n1c3h2w1200_k3r3x3_s1x1_p1x1_d1x1_g3",
    "n1c3h700w2_k3r3x3_s2x2_p1x1_d1x1_g3",
    "n1c17h9w11_k17r3x3_s9x9_p1x1_d1x1_g17",
    "n1c1h30w19_k1r3x3_s1x1_p1x1_d1x1_g1",
    "n2c1024h3w3_k1024r3x3_s1x1_p1x1_d1x1_g1024",
    # dilation, alone and with strides that share a factor with it or not
    "n2c4h13w12_k6r3x3_s1x1_p2x2_d2x2_g1",
    "n2c3h13w17_k5r3x3_s2x2_p0x3_d2x3_g1",
    "n1c4h20w19_k4r2x3_s4x6_p1x0_d6x4_g2",
    "n1c2h16w16_k3r2x2_s3x3_p0x0_d5x9_g1",
    # a stride above the kernel or sharing a factor with the dilation: phases of dx without taps
    "n1c4h4w9_k8r4x2_s1x3_p3:1x3_d1x1_g1",
    "n2c1h10w9_k13r4x4_s1x3_p0:1x2:1_d1x3_g1",
    "n1c5h13w6_k6r1x5_s3x1_p0x2_d1x1_g1",
    # phases of dx without taps on rows that are wide against the dilation, and narrow
    "n1c1h8w3600_k4r1x1_s1x3_p0x0_d1x5000_g1",
    "n1c2h3w98_k3r1x3_s1x2_p0x0_d1x4_g1",
    # windows that a dilation makes so large that few channels of them fit into L2
    "n1c130h21w20_k5r3x3_s1x1_p9x9_d9x9_g1",
    # padding on one side, different on each; a stride that leaves cells unread
    "n2c3h8w8_k4r3x3_s1x1_p0:2x1:0_d1x1_g1",
    "n2c3h9w7_k4r3x4_s2x3_p2:1x0:3_d1x1_g1",
    "n1c3h12w12_k4r2x2_s5x5_p0x0_d1x1_g1",
    # no image, one image; one pixel, one row, one column, wide and high planes
    "n0c3h8w8_k4r3x3_s1x1_p1x1_d1x1_g1",
    "n0c4h5w5_k4r3x3_s2x2_p0x0_d1x1_g4",
    "n0c4h5w5_k3r5x5_s1x1_p0x0_d1x1_g1",
    "n5c20h1w1_k30r1x1_s1x1_p0x0_d1x1_g1",
    # linear layers in place: several parts of inputs, filters and images; few images
    "n7c1031h1w1_k150r1x1_s1x1_p0x0_d1x1_g1",
    "n2c531h1w1_k263r1x1_s1x1_p0x0_d1x1_g1",
    "n67c193h1w1_k90r1x1_s1x1_p0x0_d1x1_g1",
    "n1c68h2w2_k63r2x2_s1x1_p0x0_d1x1_g1",
    "n3c300h1w1_k56r1x1_s2x2_p1:0x1:0_d1x1_g1",  # no linear layer: padding is read
    "n3c16h5w5_k120r5x5_s1x1_p0x0_d1x1_g1",
    "n1c3h1w301_k5r1x7_s1x1_p0x3_d1x1_g1",
    "n1c2h259w1_k3r5x1_s2x1_p0x0_d1x1_g1",
    "n1c1h3w1030_k2r3x3_s1x1_p1x1_d1x1_g1",
    # across register tiles: filters and pixels
    "n1c5h1w1_k1r1x1_s1x1_p0x0_d1x1_g1",
    "n1c7h3w9_k6r3x3_s1x1_p0x0_d1x1_g1",
    "n1c6h3w10_k15r3x3_s1x1_p0x0_d1x1_g1",
    "n1c6h11w3_k16r3x3_s1x1_p0x0_d1x1_g1",
    "n1c3h6w7_k47r3x3_s1x1_p1x1_d1x1_g1",
    "n2c3h7w6_k48r3x3_s1x1_p1x1_d1x1_g1",
    "n1c3h9w5_k49r3x3_s1x1_p1x1_d1x1_g1",
    "n1c11h13w13_k100r3x3_s1x1_p1x1_d1x1_g1",
    # several hundred channels and filters
    "n1c300h4w5_k270r3x3_s1x1_p1x1_d1x1_g1",
    "n1c530h3w3_k34r1x1_s1x1_p0x0_d1x1_g1",
)

# Whose y is a walk over columns in NCHW (dx of the first two, too), of the last three also in NHWC.
COLUMN_CASES = (
    "n2c70h17w16_k33r1x1_s1x1_p0x0_d1x1_g1",  # more tiles of filters than are copied at once
    "n7c33h7w7_k140r1x1_s1x1_p0x0_d1x1_g1",  # panels across images, their last columns apart
    "n3c37h9w8_k30r1x1_s1x1_p0x0_d1x1_g1",  # blocks of channels, and a narrow last panel
    "n3c48h9w8_k200r3x3_s2x2_p0:1x1:0_d1x2_g2",
    "n2c307h7w7_k130r3x3_s1x1_p1x1_d1x1_g1",  # the depth in parts
    "n5c40h5w6_k130r3x3_s2x2_p1x1_d1x1_g1",  # dw: several images a part
)
CONV_CASES += COLUMN_CASES

if INTERPRETED:
    CONV_CASES = tuple(case for case in CONV_CASES if ConvDims.parse(case).flops < 100_000)

# A few that meet most branches, for tests that multiply cases with something else.
CONV_SAMPLE = (
    "n2c5h9w8_k7r3x3_s1x1_p1x1_d1x1_g1",
    "n2c6h11w9_k34r3x2_s2x1_p1:0x0:2_d1x2_g2",
    "n3c17h6w7_k17r3x3_s1x1_p1x1_d1x1_g17",
    "n2c18h5w9_k19r1x1_s1x1_p0x0_d1x1_g1",
)

POOL_CASES = (
    # LeNet, AlexNet (overlapping), whole vectors and tails of channels
    "n2c6h24w24_r2x2_s2x2_p0x0_d1x1",
    "n2c16h13w13_r3x3_s2x2_p0x0_d1x1",
    "n2c17h13w11_r3x3_s2x2_p1x1_d1x1",
    "n1c100h6w7_r2x2_s2x2_p0x0_d1x1",
    "n1c1h7w7_r3x3_s1x1_p1x1_d1x1",
    # oblong windows, strides below and above the window, odd sizes
    "n2c5h9w11_r2x3_s1x2_p0x1_d1x1",
    "n2c3h11w10_r2x2_s3x4_p0x0_d1x1",
    # narrow planes by twos: oblong, rows over the edge, one or two results in a row, few channels
    "n2c17h13w7_r5x3_s2x2_p0x0_d1x1",
    "n2c17h9w9_r3x2_s2x2_p0x0_d1x1",
    "n2c17h7w7_r3x3_s2x2_p1x0_d1x1",
    "n9c2h5w5_r3x3_s2x2_p0x0_d1x1",
    "n9c3h10w10_r2x2_s1x2_p0x0_d1x1",
    "n1c33h8w9_r3x1_s1x1_p1x0_d1x1",
    # padding on one side, different on each, almost the window
    "n2c3h7w8_r3x3_s2x2_p0:2x1:0_d1x1",
    "n2c4h5w5_r3x3_s1x1_p2x2_d1x1",
    # ceil_mode: windows over the edge, one dropped, with padding
    "n2c3h7w8_r2x2_s2x2_p0x0_d1x1_ceil",
    "n2c3h9w10_r3x3_s2x3_p1x1_d1x1_ceil",
    "n1c2h4w4_r3x3_s3x3_p1x1_d1x1_ceil",
    "n1c17h6w5_r2x2_s3x3_p1x0_d1x1_ceil",
    "n1c2h2w2_r3x3_s2x2_p0x0_d1x1_ceil",
    # no image, one pixel, the whole plane, wide and high planes
    "n0c3h8w8_r2x2_s2x2_p0x0_d1x1",
    "n2c5h1w1_r1x1_s1x1_p0x0_d1x1",
    "n2c19h6w6_r6x6_s6x6_p0x0_d1x1",
    "n1c3h1w301_r1x3_s1x2_p0x1_d1x1",
    "n1c2h259w1_r5x1_s2x1_p0x0_d1x1",
    "n1c260h3w4_r2x2_s1x1_p0x0_d1x1",
)

DILATED_POOL_CASES = (
    "n2c5h9w9_r3x3_s1x1_p0x0_d2x2",
    "n2c17h11w13_r2x3_s2x1_p1x2_d2x3",
    "n1c3h10w10_r3x2_s2x2_p2x1_d2x3_ceil",
    "n1c3h5w5_r2x2_s1x1_p1x1_d4x4",
)

LRN_CASES = (  # shape, size
    ((2, 5, 4, 6), 5),
    ((2, 16, 5, 5), 5),
    ((1, 17, 3, 7), 4),
    ((1, 100, 2, 3), 3),
    ((2, 3, 3, 3), 8),
    ((1, 1, 5, 5), 5),
    ((3, 7, 1, 1), 1),
    ((0, 4, 3, 3), 3),
    ((1, 2, 1, 259), 2),
    ((1, 260, 3, 1), 5),
)
