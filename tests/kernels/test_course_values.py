"""The worked examples of the course that concern kernels, on every backend."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fastconv import kernels
from fastconv.kernels import ConvDims, PoolDims


VALUES = Path(__file__).parents[3] / "shared" / "course_values.json"


@pytest.fixture(scope="module")
def course():
    if not VALUES.exists():
        pytest.skip("the course's values are not beside this checkout")
    return json.loads(VALUES.read_text())


@pytest.fixture(params=kernels.available_backends())
def backend(request):
    return request.param


@pytest.fixture(params=["direct", "im2col"])
def algorithm(request):
    return request.param


def image(rows, dtype):
    return np.array(rows, dtype)[None, None]


def test_conv_edge(course, backend, algorithm, dtype):
    example = course["conv_edge"]
    x, w = image(example["x"], dtype), image(example["w"], dtype)
    y = kernels.conv2d(x, w, backend=backend, algorithm=algorithm)
    assert y[0, 0].tolist() == example["y"]


def test_conv_digit(course, backend, algorithm, dtype):
    """Four filters on a digit, ReLU, 2x2 maxima: 9x9, 7x7x4, 3x3x4."""
    example = course["conv_digit"]
    x, w = image(example["x"], dtype), np.array(example["w"], dtype)[:, None]
    b, how = np.array(example["bias"], dtype), {"backend": backend, "algorithm": algorithm}
    want = np.array(example["y"])
    y = kernels.conv2d(x, w, b, **how)
    np.testing.assert_allclose(y[0], want, rtol=1e-6)
    active = kernels.conv2d(x, w, b, **how, activation="relu")
    np.testing.assert_allclose(active[0], np.maximum(want, 0), rtol=1e-6)
    pooled = kernels.max_pool2d(active, 2, backend=backend)
    assert pooled.shape == (1, 4, 3, 3)
    cells = np.maximum(want, 0)[:, :6, :6].reshape(4, 3, 2, 3, 2)
    np.testing.assert_allclose(pooled[0], cells.max((2, 4)), rtol=1e-6)


def test_max_pool(course, backend, dtype):
    example = course["max_pool"]
    x = image(example["x"], dtype)
    y = kernels.max_pool2d(x, example["kernel"], stride=example["stride"], backend=backend)
    assert y[0, 0].tolist() == example["y"]


def test_sizes_of_results(course, backend):
    for e in course["conv_out"]:
        how = {"stride": e["s"], "padding": e["p"]}
        x_shape, w_shape = (1, 1, e["i"], e["i"]), (1, 1, e["k"], e["k"])
        dims = ConvDims.of(x_shape, w_shape, **how)
        assert dims.y_shape == (1, 1, e["o"], e["o"])
        assert PoolDims.of(x_shape, e["k"], **how).y_shape == dims.y_shape
        y = kernels.conv2d(np.ones(x_shape), np.ones(w_shape), **how, backend=backend)
        assert y.shape == dims.y_shape
