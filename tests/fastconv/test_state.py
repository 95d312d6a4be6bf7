import pickle
from pathlib import Path

import numpy as np
import pytest

import fastconv as fc
from fastconv import state


SUFFIXES = [".npz", ".safetensors"]


@pytest.fixture(params=SUFFIXES)
def path(request, tmp_path):
    if request.param == ".safetensors":
        pytest.importorskip("safetensors")
    return tmp_path / f"model{request.param}"


def net(rng=0):
    return fc.Sequential(
        fc.Sequential(fc.Conv2d(1, 2, 3, rng=rng), fc.ReLU()),
        fc.Flatten(),
        fc.Linear(8, 3, rng=rng, bias=False),
    )


def test_names_and_shapes():
    shapes = {name: a.shape for name, a in net().state_dict().items()}
    assert shapes == {"0.0.weight": (2, 1, 3, 3), "0.0.bias": (2,), "2.weight": (3, 8)}
    assert list(fc.Linear(2, 1).state_dict()) == ["weight", "bias"]


def test_state_dict_is_a_copy_and_loading_is_in_place():
    first, second = net(0), net(1)
    saved = first.state_dict()
    values = [p.value for p in second.parameters()]
    second.load_state_dict(saved)
    for p, value, a in zip(second.parameters(), values, saved.values(), strict=True):
        assert p.value is value
        np.testing.assert_array_equal(value, a)
    saved["2.weight"][...] = 7
    assert not np.any(first[2].weight.value == 7)
    assert not np.any(second[2].weight.value == 7)


def test_dtype_is_converted():
    wide = net(0).astype(np.float64)
    narrow = net(1)
    narrow.load_state_dict(wide.state_dict())
    assert narrow.dtype == np.float32
    np.testing.assert_array_equal(narrow[2].weight.value, wide[2].weight.value)
    with pytest.raises(TypeError, match="astype: dtype must be float32 or float64, got int64"):
        narrow.astype(np.int64)


def test_all_problems_are_named_and_nothing_is_changed():
    target, before = net(0), net(0)
    saved = net(1).state_dict()
    del saved["0.0.bias"]
    saved["3.weight"] = np.zeros(2)
    saved["2.weight"] = np.zeros((8, 3))
    with pytest.raises(
        fc.ShapeError,
        match=r"load_state_dict: 0.0.bias is missing; 3.weight is unexpected; 2.weight has shape "
        r"\(8, 3\), but the layer's is \(3, 8\)",
    ):
        target.load_state_dict(saved)
    with pytest.raises(TypeError, match=r"load_state_dict: 2\.weight must hold real numbers"):
        target.load_state_dict({**net(1).state_dict(), "2.weight": np.full((3, 8), "a")})
    for p, q in zip(target.parameters(), before.parameters(), strict=True):
        np.testing.assert_array_equal(p.value, q.value)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_round_trip(path, dtype):
    first, second = net(0).astype(dtype), net(1).astype(dtype)
    fc.save(first, path)
    loaded = fc.load(path)
    assert all(a.dtype == dtype for a in loaded.values())
    second.load_state_dict(loaded)
    for p, q in zip(first.parameters(), second.parameters(), strict=True):
        np.testing.assert_array_equal(p.value, q.value)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_dict_of_any_arrays(path):
    a = np.arange(12, dtype=np.float32).reshape(3, 4)
    fc.save({"t": a.T, "flip": a[::-1], "int": np.arange(3), "zero": np.float64(3)}, str(path))
    loaded = fc.load(str(path))
    np.testing.assert_array_equal(loaded["t"], a.T)
    np.testing.assert_array_equal(loaded["flip"], a[::-1])
    np.testing.assert_array_equal(loaded["int"], [0, 1, 2])
    assert loaded["zero"] == 3


def test_safetensors_can_read_what_we_write(tmp_path):
    theirs = pytest.importorskip("safetensors.numpy")
    fc.save(net(), tmp_path / "a.safetensors")
    loaded = theirs.load_file(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(loaded["2.weight"], net()[2].weight.value)


def test_a_failure_while_writing_leaves_the_old_file(path, monkeypatch):
    fc.save(net(0), path)
    old = path.read_bytes()

    def half(file, arrays):
        file.write(b"half of it")
        raise OSError("the disk is full")

    monkeypatch.setitem(state._WRITERS, path.suffix, half)
    with pytest.raises(OSError, match="the disk is full"):
        fc.save(net(1), path)
    assert path.read_bytes() == old
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_that_is_not_there(path):
    with pytest.raises(FileNotFoundError):
        fc.save(net(), path.parent / "none" / path.name)


class Bomb:
    """Runs code when unpickled."""

    def __reduce__(self):
        return (Path.touch, (Path("bomb-went-off"),))


def test_pickle_is_neither_written_nor_read(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    objects = np.array([Bomb()], dtype=object)
    with pytest.raises(TypeError, match=r"save: w must hold real numbers, got dtype object"):
        fc.save({"w": objects}, path)
    assert not path.exists()
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match="load: "):
        fc.load(path)
    np.savez(tmp_path / "evil.npz", w=objects)
    with pytest.raises(ValueError, match=r"does not hold plain arrays in the format \.npz"):
        fc.load(tmp_path / "evil.npz")
    assert not Path("bomb-went-off").exists()


def test_damaged_files(path):
    fc.save(net(), path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=rf"load: .*model{path.suffix} does not hold plain arr"):
        fc.load(path)


def test_an_array_is_not_an_archive(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(3))
    (tmp_path / "a.npy").rename(tmp_path / "a.npz")
    with pytest.raises(ValueError, match=r"does not hold plain arrays in the format \.npz"):
        fc.load(tmp_path / "a.npz")


@pytest.mark.parametrize("name", ["model.pkl", "model", "model.pth"])
def test_other_suffixes(name, tmp_path):
    with pytest.raises(ValueError, match=r"save: .* must end in .npz or .safetensors"):
        fc.save(net(), tmp_path / name)
    with pytest.raises(ValueError, match=r"load: .* must end in .npz or .safetensors"):
        fc.load(tmp_path / name)


def test_safetensors_that_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "safetensors", None)
    with pytest.raises(ImportError, match=r"pip install 'fastconv\[safetensors\]' \(or use .npz\)"):
        fc.save(net(), tmp_path / "a.safetensors")
    assert list(tmp_path.iterdir()) == []
