import json
from pathlib import Path

import numpy as np
import pytest

import fastconv as fc


SHARED = Path(__file__).parents[2].parent / "shared"


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(params=fc.available_backends())
def backend(request):
    """Each backend in turn, as the choice of the process."""
    with fc.use_backend(request.param):
        yield request.param


@pytest.fixture(scope="session")
def course():
    """Worked examples with their answers."""
    path = SHARED / "course_values.json"
    if not path.exists():
        pytest.skip(f"{path.name} is not here")
    return json.loads(path.read_text())


@pytest.fixture(scope="session")
def digits():
    """1797 real digits of 8×8 pixels: (x, y) to learn from and (x, y) held out."""
    datasets = pytest.importorskip("sklearn.datasets")
    x, y = datasets.load_digits(return_X_y=True)
    x = (x / 16).reshape(-1, 1, 8, 8)
    order = np.random.default_rng(0).permutation(len(x))
    x, y = x[order], y[order]
    return (x[:1400], y[:1400]), (x[1400:], y[1400:])
