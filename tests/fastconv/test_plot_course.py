"""Pictures of the course, by what they show: numbers, titles, marks."""

from itertools import pairwise

import numpy as np
import pytest

import fastconv as fc


pytest.importorskip("matplotlib")
from fastconv import plot


def deep(init, depth=10):
    rng = np.random.default_rng(0)
    layers = []
    for _ in range(depth):
        layers += [fc.Linear(100, 100, init=init, rng=rng), fc.ReLU()]
    return fc.Sequential(*layers)


def texts(figure):
    return [ax.get_title() for ax in figure.axes] + [t.get_text() for t in figure.texts]


def test_xavier_shrinks_with_relu_and_he_does_not(rng):
    """Row 15: the numbers behind the picture."""
    x = rng.normal(size=(500, 100)).astype(np.float32)
    ratio = {}
    for init in ("xavier_normal", "he_normal"):
        found = plot.activation_statistics(deep(init), x)
        assert len(found) == 10
        assert all(0.35 < layer.share_of_zeros < 0.65 for layer in found)
        ratio[init] = found[-1].std / found[0].std
        for layer, y in zip(found[:1], [deep(init)[:2](x)], strict=True):
            assert layer.mean == pytest.approx(y.mean())
            assert layer.share_of_zeros == np.mean(y == 0)
    assert ratio["xavier_normal"] < 0.1  # √½ of each ReLU, to the power of 9: 0.044
    assert 0.4 < ratio["he_normal"] < 2.5


def test_histograms_have_a_row_for_each_initialisation(rng, tmp_path):
    x = rng.normal(size=(50, 100))
    nets = {"xavier": deep("xavier_normal", 3), "he": deep("he_normal", 3)}
    figure = plot.activation_histograms(nets, x, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
    assert len(figure.axes) == 6
    found = [layer for net in nets.values() for layer in plot.activation_statistics(net, x)]
    for ax, layer in zip(figure.axes, found, strict=True):
        bars = sum(bar.get_height() for bar in ax.patches)  # zeros are in none of them
        assert bars == pytest.approx(100 * (1 - layer.share_of_zeros))
        assert [ax.patches[i].get_x() for i in (0, -1)] == pytest.approx(
            [figure.axes[0].patches[i].get_x() for i in (0, -1)]
        )
    assert figure.axes[3].get_ylabel() == "he\nshare (%)"
    linear = plot.activation_histograms(fc.Linear(100, 3, rng=0), x)
    assert len(linear.axes) == 1
    with pytest.raises(ValueError, match=r"as many activations each, got \[2, 3\]"):
        plot.activation_histograms({"a": deep("zeros", 2), "b": deep("zeros", 3)}, x)


def ones(*shape_and_rng):
    return np.ones(shape_and_rng[0])


def box(kernel):
    return fc.Conv2d(1, 1, kernel, padding=kernel // 2, init=ones, bias=False)


def test_the_effective_field_of_one_convolution_is_its_window(rng):
    field = plot.effective_field(fc.Sequential(box(3)), rng.random((2, 1, 9, 9)))
    expected = np.zeros((9, 9))
    expected[3:6, 3:6] = 1
    np.testing.assert_array_equal(field, expected)


def test_the_effective_field_of_a_stack_is_larger_in_the_middle(rng):
    """Three boxes of 3×3 are 1 3 6 7 6 3 1 along each axis."""
    net = fc.Sequential(box(3), box(3), box(3))
    field = plot.effective_field(net, rng.random((1, 1, 15, 15)))
    profile = np.array([1, 3, 6, 7, 6, 3, 1])
    expected = np.zeros((15, 15))
    expected[4:11, 4:11] = np.outer(profile, profile)
    np.testing.assert_allclose(field, expected, rtol=1e-5)
    first_two = plot.effective_field(net, rng.random((1, 1, 15, 15)), layer="1")
    assert np.count_nonzero(first_two) == 25


def test_pictures_of_receptive_fields(rng):
    net = fc.models.lenet5(rng=0)
    figure = plot.receptive_field(net, (1, 28, 28))
    labels = figure.axes[0].get_legend_handles_labels()[1]
    sizes = sorted(label.split(": ")[1] for label in labels)
    assert sizes == sorted(["5×5", "6×6", "14×14", "16×16", "32×32"])
    figure = plot.effective_receptive_field(fc.Sequential(box(3), box(3)), rng.random((1, 1, 9, 9)))
    assert "seen 5×5, theory 5×5" in figure.axes[0].get_title()
    tall = plot.receptive_field(fc.models.alexnet(rng=0), (3, 227, 227))
    tall.draw_without_rendering()
    assert tall.axes[0].yaxis.label.get_window_extent().x0 > 0  # the legend leaves it room
    with pytest.raises(fc.ShapeError, match="sees more than one pixel"):
        plot.receptive_field(fc.Sequential(fc.ReLU()), (1, 4, 4))
    with pytest.raises(ValueError, match="layer='9' is no layer that makes planes"):
        plot.effective_field(net, rng.random((1, 1, 28, 28)), layer="9")
    with pytest.raises(fc.ShapeError, match=r"x must be images \(N, C, H, W\)"):
        plot.effective_field(net, rng.random((28, 28)))


@pytest.mark.parametrize("padding", [0, 1, "same", ((0, 2), (1, 0))])
def test_the_outline_is_the_field_that_theory_gives(padding):
    """With ones for weights every pixel of the theoretical field has an effect."""
    first = fc.Conv2d(1, 1, 4, stride=2, padding=padding, init=ones, bias=False)
    net = fc.Sequential(first, fc.AvgPool2d(3, 2, padding=1), box(3))
    figure = plot.effective_receptive_field(net, (1, 40, 40))
    (outline,) = figure.axes[0].patches
    field = plot.effective_field(net, (1, 40, 40))
    (top, left), (bottom, right) = (f(np.argwhere(field), axis=0) for f in (np.min, np.max))
    assert outline.get_xy() == (left - 0.5, top - 0.5)
    assert (outline.get_width(), outline.get_height()) == (right - left + 1, bottom - top + 1)
    assert (right - left + 1, bottom - top + 1) == (16, 16)  # 4 + 2·2 + 2·4
    assert figure.axes[0].get_title().endswith("seen 16×16, theory 16×16")


def test_outside_its_outline_a_network_sees_nothing():
    net = fc.models.lenet5(rng=0)
    figure = plot.effective_receptive_field(net, (1, 28, 28))
    (outline,) = figure.axes[0].patches
    assert (outline.get_width(), outline.get_height()) == (16, 16)
    left, top = (int(edge + 0.5) for edge in outline.get_xy())
    field = plot.effective_field(net, (1, 28, 28))
    inner = field[top : top + 16, left : left + 16]
    assert inner.all() and np.count_nonzero(field) == inner.size


def test_confusion_matrix_counts():
    true, predicted = ["a", "a", "b", "b", "b", "c"], ["a", "b", "b", "b", "a", "c"]
    figure = plot.confusion_matrix(true, predicted)
    ax = figure.axes[0]
    counts = {t.get_position(): t.get_text() for t in ax.texts}
    assert counts == {
        (0, 0): "1\n50%",
        (1, 0): "1\n50%",
        (0, 1): "1\n33%",
        (1, 1): "2\n67%",
        (2, 2): "1\n100%",
    }
    assert [t.get_text() for t in ax.get_yticklabels()] == ["a", "b", "c"]
    assert ax.get_title() == "66.7% right"
    shares = ax.images[0].get_array()
    np.testing.assert_allclose(shares.sum(axis=1), 100)
    ordered = plot.confusion_matrix(true, predicted, classes=["c", "b", "a", "d"])
    assert ordered.axes[0].images[0].get_array().shape == (4, 4)
    with pytest.raises(ValueError, match=r"classes=\['a'\] lacks \['b', 'c'\]"):
        plot.confusion_matrix(true, predicted, classes=["a"])
    with pytest.raises(fc.ShapeError, match="must be of one shape"):
        plot.confusion_matrix([1, 2], [1])


def test_twenty_long_names_do_not_cover_each_other():
    names = [f"class {i:02d}" for i in range(20)]
    figure = plot.confusion_matrix(names, names)
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    labels = figure.axes[0].get_xticklabels()
    boxes = [label.get_window_extent(canvas.get_renderer()) for label in labels]
    assert all(a.x1 < b.x0 for a, b in pairwise(boxes))
    assert figure.axes[0].texts[0].get_text() == "1"  # no room for per cent


def test_misclassified_are_sorted_by_certainty(rng):
    x = rng.random((4, 1, 5, 5))
    chances = np.array([[0.6, 0.4], [0.9, 0.1], [0.2, 0.8], [0.3, 0.7]])
    figure = plot.misclassified(chances, x, np.array([1, 1, 1, 0]))
    assert [ax.get_title() for ax in figure.axes] == [
        "said 0 (90%)\nis 1",
        "said 1 (70%)\nis 0",
        "said 0 (60%)\nis 1",
    ]
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), x[1, 0])
    assert figure.get_suptitle() == "3 of 4 are wrong"
    figure = plot.misclassified(chances, x, np.array([1, 1, 1, 0]), most=1)
    assert figure.get_suptitle() == "3 of 4 are wrong; the 1 surest"
    assert (
        plot.misclassified(chances, x, np.array([0, 0, 1, 1])).get_suptitle() == "0 of 4 are wrong"
    )
    assert not plot.misclassified(chances, x, np.array([0, 0, 1, 1])).axes
    net = fc.models.mlp(25, 2, rng=0)
    wrong = int(np.sum(net(x).argmax(axis=1) != 0))
    assert plot.misclassified(net, x, np.zeros(4, int)).get_suptitle() == f"{wrong} of 4 are wrong"
    with pytest.raises(fc.ShapeError, match="as many examples each"):
        plot.misclassified(chances, x, np.zeros(3, int))


def test_images_before_and_after(rng):
    x = rng.random((10, 1, 4, 4))
    figure = plot.before_after(x, 1 - x)
    assert len(figure.axes) == 16
    np.testing.assert_array_equal(figure.axes[9].images[0].get_array(), 1 - x[1, 0])
    colours = plot.images(rng.random((3, 3, 4, 4)), titles=[1, 2, 3])
    assert colours.axes[0].images[0].get_array().shape == (4, 4, 3)
    assert texts(colours)[:3] == ["1", "2", "3"]
    with pytest.raises(fc.ShapeError, match="2 titles for 3 images"):
        plot.images(rng.random((3, 1, 4, 4)), titles="ab")
    with pytest.raises(fc.ShapeError, match="10 images before and 9 after"):
        plot.before_after(x, x[1:])


def rows(*settings_and_errors):
    return [
        {"setting": s, "mean_error": e, "std_error": None if e is None else 0.01}
        for s, e in settings_and_errors
    ]


def test_a_search_over_one_parameter_is_a_curve():
    table = rows(({"lr": 0.1}, 0.2), ({"lr": 0.01}, 0.4), ({"lr": 9.0}, None), ({"lr": 1.0}, 0.3))
    figure = plot.search_results(table)
    ax = figure.axes[0]
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), [[0.01, 0.4], [0.1, 0.2], [1.0, 0.3]])
    assert ax.get_xscale() == "log"
    assert figure.get_suptitle() == "best: lr 0.1, error 0.2; 1 of 4 settings failed"


def test_a_search_over_two_parameters_is_a_map():
    table = rows(
        *(({"n": n, "kind": kind}, n / 10 + (kind == "b")) for n in (4, 2) for kind in ("a", "b"))
    )
    figure = plot.search_results(table)
    np.testing.assert_allclose(figure.axes[0].images[0].get_array(), [[0.2, 1.2], [0.4, 1.4]])
    assert figure.get_suptitle() == "best: n 2, kind a, error 0.2"


def test_a_failed_setting_is_an_empty_cell_of_the_map():
    table = rows(
        *(({"n": n, "lr": lr}, None if n * lr > 3 else n * lr) for n in (1, 2) for lr in (1, 2))
    )
    figure = plot.search_results(table)
    ax = figure.axes[0]
    np.testing.assert_allclose(ax.images[0].get_array().filled(np.nan), [[1, 2], [2, np.nan]])
    assert [t.get_text() for t in ax.texts] == ["1", "2", "2", "failed"]
    assert figure.get_suptitle() == "best: n 1, lr 1, error 1; 1 of 4 settings failed"


def test_a_table_of_another_kind_is_refused():
    with pytest.raises(ValueError, match=r"row 0 of the table lacks \['mean_error', 'std_error'\]"):
        plot.search_results([{"setting": {"a": 1}}])
    with pytest.raises(ValueError, match=r"the table lacks \['mean_test_score', 'std_test_score'"):
        plot.search_results({"params": [{"a": 1}], "mean_test_accuracy": [0.5]})


def test_a_random_search_is_dots_for_each_parameter(rng):
    settings = [{"a": float(a), "b": [int(10 * b)], "c": 1} for a, b in rng.random((6, 2))]
    table = rows(*((s, i / 10) for i, s in enumerate(settings)))
    figure = plot.search_results(table)
    assert len(figure.axes) == 2  # c is one value for all
    assert len(figure.axes[0].lines) == 6
    near = plot.search_results(rows(({"a": 20}, 0.1), ({"a": 300}, 0.2)))
    near.draw_without_rendering()
    ticks = near.axes[0].xaxis.get_major_ticks()
    assert {"20", "50", "100", "200"} <= {tick.label1.get_text() for tick in ticks}
    with pytest.raises(ValueError, match="no setting that was measured"):
        plot.search_results(rows(({"a": 1}, None)))


def test_scikit_learns_results_are_read():
    results = {
        "params": [{"lr": 0.1}, {"lr": 0.2}],
        "mean_test_score": np.array([0.7, 0.9]),
        "std_test_score": np.array([0.0, 0.1]),
    }
    assert plot.search_results(results).get_suptitle() == "best: lr 0.2, error 0.1"


def test_curve_over_the_size_of_the_training_set():
    figure = plot.training_size_curve([10, 20], [[1, 1], [0.9, 1]], [[0.5, 0.7], [0.8, 0.8]])
    training, validation = (line.get_ydata() for line in figure.axes[0].lines)
    np.testing.assert_allclose(training, [0, 5], atol=1e-12)
    np.testing.assert_allclose(validation, [40, 20])
    with pytest.raises(fc.ShapeError, match=r"validation scores must have shape \(2, folds\)"):
        plot.training_size_curve([10, 20], [[1], [1]], [1, 1])


def test_the_network_is_left_as_it_was(rng):
    net = fc.Sequential(fc.Dropout(0.5, rng=0), box(3))
    before = net.layers[0].rng.bit_generator.state
    plot.effective_field(net, rng.random((1, 1, 9, 9)))
    assert all(p.grad is None for p in net.parameters())
    assert net.layers[0].rng.bit_generator.state == before
