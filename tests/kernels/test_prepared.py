"""Weights that keep what kernels packed of them."""

from __future__ import annotations

import weakref

import numpy as np
import pytest
from kernel_support import every_way, laid_out, normals

from fastconv import kernels
from fastconv.kernels import winograd


CASES = {
    "3x3": ((2, 40, 9, 11), (50, 40, 3, 3), {"padding": 1}),
    "5x5": ((1, 16, 14, 14), (32, 16, 5, 5), {"padding": 2}),
    "strided": ((2, 17, 9, 9), (33, 17, 3, 3), {"stride": 2}),
    "grouped": ((1, 64, 6, 6), (64, 32, 3, 3), {"groups": 2, "padding": 1}),
    "pointwise": ((2, 33, 6, 6), (49, 33, 1, 1), {}),
    "whole image": ((2, 16, 5, 5), (20, 16, 5, 5), {}),
}


@pytest.mark.parametrize("memory", ["C", "channels-last"])
@pytest.mark.parametrize("name", CASES)
@every_way("conv2d")
def test_the_same_bits_as_with_the_array_itself(way, name, memory, dtype):
    x_shape, w_shape, how = CASES[name]
    x, w = laid_out(normals(0, x_shape, dtype), memory), normals(1, w_shape, dtype)
    dims = kernels.ConvDims.of(x_shape, w_shape, **how)
    if way.refuses(dims, dtype):
        pytest.skip(f"{way}: {way.refuses(dims, dtype)}")
    want = kernels.conv2d(x, w, **how, **way.options)
    prepared = kernels.PreparedWeights(w)
    for _ in range(3):
        got = kernels.conv2d(x, prepared, **how, **way.options)
        assert got.tobytes() == want.tobytes()


@pytest.mark.parametrize("algorithm", ["winograd", "direct", "im2col"])
def test_forms_are_made_once_and_not_without_bound(algorithm):
    if "cython" not in kernels.available_backends():
        pytest.skip("the compiled kernels keep forms")
    x = np.asfortranarray(normals(0, (1, 32, 12, 12), np.float32))
    w = kernels.PreparedWeights(normals(1, (64, 32, 3, 3), np.float32))
    x = laid_out(x, "channels-last")
    for _ in range(3):
        kernels.conv2d(x, w, algorithm=algorithm, backend="cython")
        assert len(w.forms) == 1
    assert w.nbytes >= w.array.nbytes
    (before,) = w.forms.values()
    kernels.conv2d(x, w, algorithm=algorithm, backend="cython")
    assert next(iter(w.forms.values())) is before
    for i in range(20):
        w.keep(i, w.place(64))
    assert len(w.forms) <= 4


def test_filters_too_large_when_transformed_are_kept_as_they_are_read():
    if "cython" not in kernels.available_backends():
        pytest.skip("the compiled kernels keep forms")
    # F(4, 3) takes 36 numbers for 9: more than 16 MiB here; the last panel is not full
    x, w = normals(0, (2, 360, 11, 9), np.float32), normals(1, (365, 360, 3, 3), np.float32)
    how = {"algorithm": "winograd", "backend": "cython", "padding": 1}
    dims = kernels.ConvDims.of(x.shape, w.shape, padding=1)
    prepared = kernels.PreparedWeights(w)
    want = kernels.conv2d(x, w, **how)
    for _ in range(2):
        assert kernels.conv2d(x, prepared, **how).tobytes() == want.tobytes()
    transformed = winograd.tile(dims) ** 2 / 9 * w.nbytes
    assert transformed > 16 * 2**20
    assert prepared.nbytes < 1.2 * w.nbytes


@pytest.mark.parametrize(("channels", "kept"), [(64, "transformed"), (150, "as they are read")])
def test_filters_are_kept_transformed_up_to_6_mib(channels, kept):
    """For one image and for several."""
    if "cython" not in kernels.available_backends():
        pytest.skip("the compiled kernels keep forms")
    x, w = normals(0, (20, channels, 13, 13), "f4"), normals(1, (260, channels, 3, 3), "f4")
    how = {"algorithm": "winograd", "backend": "cython", "padding": 1}
    dims = kernels.ConvDims.of(x.shape, w.shape, padding=1)
    transformed = winograd.tile(dims) ** 2 / 9 * w.nbytes
    assert (transformed < 6 * 2**20) == (kept == "transformed")
    one, batch = kernels.PreparedWeights(w), kernels.PreparedWeights(w)
    for _ in range(2):
        y = kernels.conv2d(x, batch, **how)
        assert kernels.conv2d(x[:1], one, **how).tobytes() == y[:1].tobytes()
    for prepared in (one, batch):
        assert (prepared.nbytes >= transformed) == (kept == "transformed")


def test_filters_too_large_when_transformed_are_kept_as_they_are_read_under_a_stride():
    if "cython" not in kernels.available_backends():
        pytest.skip("the compiled kernels keep forms")
    x, w = normals(0, (1, 128, 13, 13), np.float32), normals(1, (130, 128, 5, 5), np.float32)
    how = {"algorithm": "winograd", "backend": "cython", "stride": 2}
    dims = kernels.ConvDims.of(x.shape, w.shape, stride=2)
    assert winograd.tile(dims) ** 2 * 4 * 128 * 130 * 4 > 6 * 2**20
    prepared, want = kernels.PreparedWeights(w), kernels.conv2d(x, w, **how)
    for _ in range(2):
        assert kernels.conv2d(x, prepared, **how).tobytes() == want.tobytes()
    assert prepared.nbytes < 1.2 * w.nbytes


def test_one_kernel_under_two_strides():
    """The same tile, but of other filters: each stride has a form of its own."""
    if "cython" not in kernels.available_backends():
        pytest.skip("the compiled kernels keep forms")
    x, w = normals(0, (1, 20, 8, 8), np.float32), normals(1, (18, 20, 3, 3), np.float32)
    prepared, tiles = kernels.PreparedWeights(w), set()
    for stride in (1, 2, 1, 2):
        how = {"algorithm": "winograd", "backend": "cython", "stride": stride, "padding": 1}
        want = kernels.conv2d(x, w, **how)
        assert kernels.conv2d(x, prepared, **how).tobytes() == want.tobytes()
        tiles.add(winograd.tile(kernels.ConvDims.of(x.shape, w.shape, stride=stride, padding=1)))
    assert len(tiles) == 1
    assert len(prepared.forms) == 2


@pytest.fixture
def forgetful(monkeypatch):
    """As if another thread replaced each form at once: what nobody holds then is overwritten."""
    place = kernels.PreparedWeights.place

    def watched(size):
        memory = place(size)
        weakref.finalize(memory, memory.base.fill, 0xFF)
        return memory

    monkeypatch.setattr(kernels.PreparedWeights, "place", staticmethod(watched))
    monkeypatch.setattr(kernels.PreparedWeights, "keep", lambda self, key, form: None)


@pytest.mark.parametrize("channels", [32, 360], ids=["transformed", "taps"])
@pytest.mark.parametrize("algorithm", ["winograd", "direct", "im2col"])
def test_a_form_lives_while_it_is_read(algorithm, channels, forgetful):
    if "cython" not in kernels.available_backends():
        pytest.skip("the compiled kernels keep forms")
    x = normals(0, (2, channels, 11, 9), np.float32)
    w = normals(1, (365, channels, 3, 3), np.float32)
    how = {"algorithm": algorithm, "backend": "cython", "padding": 1}
    want = kernels.conv2d(x, w, **how)
    prepared = kernels.PreparedWeights(w)
    assert kernels.conv2d(x, prepared, **how).tobytes() == want.tobytes()


def test_an_array_of_another_dtype_is_converted_in_every_call():
    x, w = normals(0, (1, 4, 6, 6), np.float32), np.ones((5, 4, 3, 3), np.int64)
    prepared = kernels.PreparedWeights(w)
    assert kernels.conv2d(x, prepared).tobytes() == kernels.conv2d(x, w).tobytes()
    assert not prepared.forms


def test_memory_of_a_form_begins_with_a_cache_line():
    for size in (1, 64, 1000):
        place = kernels.PreparedWeights.place(size)
        assert place.nbytes == size
        assert place.ctypes.data % 64 == 0
