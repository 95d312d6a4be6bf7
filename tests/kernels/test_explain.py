"""explain() and show_runtime() tell the truth about what runs."""

from itertools import product

import numpy as np
import pytest
from kernel_support import COLUMN_CASES

from fastconv.kernels import available_backends, registry, threads
from fastconv.kernels.dims import ConvDims
from fastconv.kernels.explain import explain
from fastconv.kernels.runtime import runtime_info, show_runtime


ALEXNET3 = {"x_shape": (16, 256, 13, 13), "w_shape": (384, 256, 3, 3), "padding": 1}
compiled = pytest.mark.skipif("cython" not in available_backends(), reason="nothing is compiled")


@pytest.mark.parametrize("backend", available_backends())
@pytest.mark.parametrize("algorithm", ["auto", "direct", "im2col"])
def test_explain_names_what_select_takes_and_why_not_the_rest(backend, algorithm):
    found = explain(**ALEXNET3, backend=backend, algorithm=algorithm)
    dims = ConvDims.of(ALEXNET3["x_shape"], ALEXNET3["w_shape"], padding=1)
    for verb, name in found.chosen.items():
        taken = registry.select(verb, dims, np.dtype("f4"), backend, algorithm)
        assert name == taken.name
    others = {impl.name for impl in registry.TABLE["conv2d"]} - {found.chosen["conv2d"]}
    assert set(found.refused) == others
    assert all(found.refused.values())
    text = str(found)
    assert str(dims) in text
    assert f"conv2d     {found.chosen['conv2d']}" in text


def test_explain_says_which_option_excludes_an_implementation():
    refused = explain(**ALEXNET3, backend="numpy", algorithm="direct").refused
    assert refused["im2col-numpy"] == "algorithm='direct' was asked for"
    assert refused["direct-cython"] == "backend='numpy' was asked for"


@compiled
@pytest.mark.parametrize(
    ("x_shape", "w_shape", "options", "way"),
    [
        ((16, 256, 13, 13), (384, 256, 3, 3), {"padding": 1}, "F(5x5, 3x3)"),
        ((16, 256, 56, 56), (64, 256, 3, 3), {"algorithm": "direct"}, "filters, depth 2304"),
        ((16, 256, 13, 13), (384, 256, 3, 3), {"algorithm": "direct"}, "columns, depth 2304"),
        ((16, 256, 13, 13), (384, 256, 3, 3), {"algorithm": "im2col"}, "columns, depth 2304"),
        ((1, 64, 56, 56), (64, 64, 1, 1), {}, "columns, depth 64"),
        ((64, 1, 28, 28), (6, 1, 5, 5), {}, "planar"),
        ((64, 16, 5, 5), (120, 16, 5, 5), {}, "as a linear layer of 400 inputs"),
        ((16, 9216, 1, 1), (4096, 9216, 1, 1), {}, "linear: dot products of 9216 inputs"),
        ((0, 16, 5, 5), (120, 16, 3, 3), {}, "nothing to do"),
        ((1, 32, 56, 56), (32, 1, 3, 3), {"groups": 32}, "depthwise: lanes are columns"),
        ((1, 32, 4, 3), (32, 1, 3, 3), {"groups": 32}, "depthwise: lanes are channels"),
        (
            (1, 32, 56, 56),
            (32, 1, 3, 3),
            {"groups": 32, "channels_last": True},
            "depthwise: lanes are channels",
        ),
    ],
)
def test_explain_tells_the_way(x_shape, w_shape, options, way):
    if way == "planar" or "depthwise" in way:
        from fastconv.kernels import cpu

        if cpu.vector_bytes() < 16:
            pytest.skip("one lane cannot be wasted")
    assert way in explain(x_shape, w_shape, **options, backend="cython").details["way"]


@compiled
@pytest.mark.parametrize("case", COLUMN_CASES)
def test_the_cases_of_columns_are_columns(case):
    dims = ConvDims.parse(case)
    options = {"stride": dims.stride, "padding": dims.pad, "dilation": dims.dilation}
    for channels_last in (False, True) if case in COLUMN_CASES[-3:] else (False,):
        for algorithm in ("direct", "im2col"):
            found = explain(
                dims.x_shape,
                dims.w_shape,
                **options,
                groups=dims.groups,
                backend="cython",
                algorithm=algorithm,
                channels_last=channels_last,
            )
            assert found.details["way"].startswith("columns")


@pytest.mark.skipif("numba" not in available_backends(), reason="Numba is not installed")
@pytest.mark.parametrize(
    ("x_shape", "w_shape", "options", "way"),
    [
        ((16, 256, 13, 13), (384, 256, 3, 3), {"padding": 1}, "lanes are filters"),
        ((16, 256, 13, 13), (384, 256, 3, 3), {"algorithm": "im2col"}, "windows unrolled"),
        ((64, 1, 28, 28), (6, 1, 5, 5), {}, "planar"),
        ((64, 16, 5, 5), (120, 16, 5, 5), {}, "as a linear layer of 400 inputs"),
        ((1, 32, 56, 56), (32, 1, 3, 3), {"groups": 32}, "depthwise: lanes are channels"),
        ((0, 16, 5, 5), (120, 16, 3, 3), {}, "nothing to do"),
    ],
)
def test_explain_tells_the_way_of_numba(x_shape, w_shape, options, way):
    from fastconv.kernels import numba_tiles

    if way == "planar" and numba_tiles.BYTES < 64:
        pytest.skip("6 filters fill most lanes of a smaller vector")
    found = explain(x_shape, w_shape, **options, backend="numba").details
    assert way in found["way"]
    assert f"vectors of {numba_tiles.BYTES} bytes" in found["isa"]


@compiled
def test_explain_tells_copies_threads_and_bounded_scratch():
    with threads(1):
        found = explain((1, 64, 56, 56), (64, 64, 3, 3), padding=1, algorithm="direct")
        assert found.threads == 1
    assert "gathered, padded" in found.details["copies"]
    assert (
        "read where it lies"
        in (explain((1, 64, 9, 9), (64, 64, 1, 1), channels_last=True).details["copies"])
    )
    for n, algorithm in product((1, 100), ("direct", "im2col", "winograd")):
        how = {"backend": "cython", "algorithm": algorithm}
        for channels, side in ((512, 224), (1200, 7), (1100, 9)):  # the last two are columns
            big = explain((n, channels, side, side), (512, channels, 3, 3), padding=1, **how)
            assert int(big.details["scratch"].split()[0]) < 8 * 1024


@compiled
@pytest.mark.parametrize(
    ("count", "channels", "side", "filters", "taps", "way"),
    [
        (1, 96, 27, 256, 5, "2 bands of 4 x 7 tiles"),  # not of 6 and of 1
        (2, 96, 27, 256, 5, "1 bands of 7 x 7 tiles in 2 tasks"),  # halves of the filters
        (2, 128, 56, 128, 3, "2 bands of 5 x 10 tiles in 2 tasks"),  # one for each, not 4, 4, 2
        (2, 64, 28, 8, 5, "2 bands of 4 x 7 tiles in 2 tasks"),  # of a single panel
    ],
)
def test_bands_of_winograd_are_shared_evenly(count, channels, side, filters, taps, way):
    shapes = (1, channels, side, side), (filters, channels, taps, taps)
    with threads(count):
        found = explain(*shapes, padding=taps // 2, algorithm="winograd", backend="cython")
    assert way in found.details["way"]


@compiled
def test_columns_cut_their_depth_and_leave_first_layers_to_planes():
    from fastconv.kernels import cpu

    if cpu.vector_bytes() < 64:
        pytest.skip("the cuts of narrower vectors are others")
    found = explain((1, 512, 14, 14), (512, 512, 3, 3), padding=1, algorithm="direct")
    assert found.details["way"].startswith("columns")
    assert "depth 4608; in 9 parts" in found.details["way"]
    first = explain((1, 3, 224, 224), (64, 3, 3, 3), padding=1, algorithm="direct")
    assert first.details["way"].startswith("planar")


@compiled
@pytest.mark.parametrize("filters", [16, 4096])
@pytest.mark.parametrize(("channels", "kernel"), [(16, 1), (4096, 1), (4096, 3), (3, 20)])
def test_scratch_of_columns_is_bounded(channels, kernel, filters):
    """Also where the last columns of small planes are dot products: N times all filters of them."""
    for n in (1, 1000):
        shape = (n, channels, 4 + kernel - 1, 5 + kernel - 1)
        found = explain(shape, (filters, channels, kernel, kernel), backend="cython")
        assert int(found.details["scratch"].split()[0]) < 8 * 1024


@compiled
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("side", [7, 224, 5000])
def test_depthwise_scratch_is_bounded(side, channels_last):
    for channels, n in ((32, 1), (4096, 100)):
        shape = (n, channels, side, side)
        options = {"padding": 1, "groups": channels, "channels_last": channels_last}
        found = explain(shape, (channels, 1, 3, 3), **options, backend="cython")
        assert int(found.details["scratch"].split()[0]) <= 1024


def test_explain_checks_its_arguments():
    with pytest.raises(TypeError, match="explain: dtype must be float32 or float64, got int64"):
        explain(**ALEXNET3, dtype="int64")
    with pytest.raises(ValueError, match=r"explain: x_shape must be a shape of 4 sizes"):
        explain((3, 8, 8), (8, 3, 3, 3))
    with pytest.raises(ValueError, match=r"explain: x \(1, 3, 8, 8\) has 3 channels"):
        explain((1, 3, 8, 8), (8, 4, 3, 3))


def test_show_runtime_prints_every_fact(capsys):
    show_runtime()
    text = capsys.readouterr().out
    info = runtime_info()
    assert text.count("\n") == len(info)
    for name in info:
        assert f"\n{name} " in "\n" + text
    assert info["numpy"] == np.__version__
    for backend in registry.BACKENDS:
        assert f"{backend}: " in text


def test_show_runtime_gives_the_reason_of_a_missing_backend(monkeypatch, capsys):
    monkeypatch.setattr(registry, "backend_why_not", lambda name: f"no {name} in this test")
    monkeypatch.setattr(registry, "available_backends", lambda: ("numpy",))
    show_runtime()
    assert "numba: no numba in this test" in capsys.readouterr().out
