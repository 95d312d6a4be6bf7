"""Pictures show the data given, say what they show, and are written whole."""

import sys

import numpy as np
import pytest

import fastconv as fc
from fastconv import plot


pytest.importorskip("matplotlib")


def history_of(epochs, validation=True, perfect=False):
    history = fc.History()
    for epoch in range(1, epochs + 1):
        history.append(
            epoch=epoch,
            loss=1 / epoch,
            accuracy=1.0 if perfect else 1 - 0.4 / epoch,
            val_loss=1.2 / epoch if validation else None,
            val_accuracy=1 - 0.5 / epoch if validation else None,
            seconds=1.0,
            lr=0.1,
        )
    return history


@pytest.fixture
def net():
    return fc.models.lenet5(rng=0)


@pytest.fixture
def image(rng):
    return rng.random((1, 28, 28), np.float32)


def titles(figure):
    return [ax.get_title() or ax.get_title(loc="left") for ax in figure.axes]


def pictures(figure):
    """What imshow was given, 0 between the tiles."""
    return [im.get_array().filled(0) for ax in figure.axes for im in ax.images]


def assert_nothing_overlaps(figure):
    """Titles and axes (ticks and labels) lie in the picture, and none covers another."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer, page = canvas.get_renderer(), figure.bbox
    boxes = {}
    for i, ax in enumerate(figure.axes):
        for text in (ax.title, ax._left_title):
            if text.get_text():
                boxes[i, text.get_text()] = text.get_window_extent(renderer)
        drawn = [axis.get_tightbbox(renderer) for axis in (ax.xaxis, ax.yaxis) if ax.axison]
        boxes |= {(i, side): box for side, box in zip("xy", drawn, strict=False) if box}
    assert len(boxes) >= len(figure.axes)
    for (i, name), box in boxes.items():
        assert page.x0 <= box.x0 and box.x1 <= page.x1, name
        assert page.y0 <= box.y0 and box.y1 <= page.y1, name
        others = {key: other for key, other in boxes.items() if key[0] != i}
        assert not [key for key, other in others.items() if box.overlaps(other)], name


def test_learning_curve_shows_both_parts(tmp_path):
    history = history_of(5)
    figure = plot.learning_curve(history, tmp_path / "curve.png")
    loss, error = figure.axes
    assert titles(figure) == ["Loss", "Error"]
    assert [line.get_label() for line in loss.lines] == ["training", "validation"]
    assert loss.lines[0].get_ydata() == pytest.approx(history["loss"])
    assert loss.lines[1].get_ydata() == pytest.approx(history["val_loss"])
    assert error.lines[1].get_ydata() == pytest.approx([50, 25, 50 / 3, 12.5, 10])
    assert error.get_ylabel() == "wrong answers (%)" and error.get_xlabel() == "epoch"
    assert loss.get_yscale() == error.get_yscale() == "log"
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert [p.name for p in tmp_path.iterdir()] == ["curve.png"]  # nothing half-written beside it


def test_learning_curve_without_validation_or_with_no_error_left():
    figure = plot.learning_curve(history_of(3, validation=False))
    assert [len(ax.lines) for ax in figure.axes] == [1, 1]
    figure = plot.learning_curve(history_of(3, perfect=True))
    assert [ax.get_yscale() for ax in figure.axes] == ["log", "linear"]


def test_learning_curve_of_a_regression_has_no_error(tmp_path):
    history = fc.History()
    values = dict.fromkeys(("accuracy", "val_loss", "val_accuracy"))
    history.append(epoch=1, loss=0.5, seconds=1.0, lr=0.1, **values)
    figure = plot.learning_curve(history, tmp_path / "curve.png")
    assert [len(ax.lines) for ax in figure.axes] == [1, 0]


def test_an_empty_history_has_no_curve():
    with pytest.raises(ValueError, match=r"learning_curve: the history is empty; train for an"):
        plot.learning_curve(fc.History())


def test_filters_of_a_layer_and_of_its_weights(net):
    figure = plot.filters(net[3])
    assert titles(figure)[0] == "16 filters of 5×5, in rows its 6 channels"
    (picture,) = pictures(figure)
    w = net[3].weight.value
    assert picture[0, 0] == w[0, 0, 0, 0]  # first tile, first cell
    assert picture[-1, -1] == w[15, 5, 4, 4]  # last filter, last channel, last cell
    assert set(picture.ravel()) == {0, *w.ravel().astype(float)}
    assert np.array_equal(pictures(plot.filters(w))[0], picture)
    low, high = figure.axes[0].images[0].get_clim()
    assert low == -high == -np.abs(w).max()


def test_large_layers_are_shown_in_part(rng):
    figure = plot.filters(rng.standard_normal((96, 48, 3, 3)))
    assert titles(figure)[0].endswith("48 channels (here the first 24 and 12 channels)")


def test_filters_need_four_axes():
    with pytest.raises(fc.ShapeError, match=r"filters: weights must have 4 axes .* got \(5, 5\)"):
        plot.filters(np.ones((5, 5)))


def test_feature_maps_are_those_of_the_network(net, image):
    figure = plot.feature_maps(net, image)
    assert [t for t in titles(figure) if t] == [
        "Input image",
        "Layer 0: 6 feature maps of 28×28 after ReLU",
        "Layer 3: 16 feature maps of 10×10 after ReLU",
    ]
    shown, first, second = pictures(figure)
    assert shown[0, 0] == image[0, 0, 0]
    maps = net[:2](image[None])[0]
    assert first.max() == maps.max() and first[-1, -1] == maps[-1, -1, -1]
    assert second.max() == net[:5](image[None]).max()


def test_images_of_every_rank(net, image):
    wanted = pictures(plot.feature_maps(net, image))
    for same in (image[0], image[None]):
        assert all(map(np.array_equal, wanted, pictures(plot.feature_maps(net, same))))
    with pytest.raises(fc.ShapeError, match=r"feature_maps: image must be one .* \(2, 1, 28, 28\)"):
        plot.feature_maps(net, np.zeros((2, 1, 28, 28)))


def test_without_a_convolution_there_is_nothing_to_see(image):
    with pytest.raises(fc.ShapeError, match="no convolution of the network makes planes"):
        plot.feature_maps(fc.models.mlp(784, 10), image)


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_everything_in_one_picture(net, image, tmp_path, suffix):
    path = tmp_path / f"filters.{suffix}"
    figure = plot.filters_and_feature_maps(net, image, path)
    shown = [t for t in titles(figure) if t]
    assert [t.split(":")[0] for t in shown] == ["Input image"] + ["Layer 0"] * 2 + ["Layer 3"] * 2
    assert path.stat().st_size > 1000


def test_no_text_covers_another(net, image):
    assert_nothing_overlaps(plot.filters_and_feature_maps(net, image))
    assert_nothing_overlaps(plot.learning_curve(history_of(12)))


def test_a_dead_network_can_be_drawn(net):
    """All maps zero: a scale needs two ends all the same."""
    plot.feature_maps(net, np.zeros((28, 28)))


def test_pyplot_is_left_alone(net, image):
    plot.filters_and_feature_maps(net, image)
    assert "matplotlib.pyplot" not in sys.modules


def test_without_matplotlib(monkeypatch, net):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.delitem(sys.modules, "fastconv.plot.picture", raising=False)
    with pytest.raises(ImportError, match=r"pictures need matplotlib: pip install 'fastconv\[plot"):
        plot.filters(net[0])
