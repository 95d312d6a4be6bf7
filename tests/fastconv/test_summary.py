import pytest

import fastconv as fc


def test_receptive_field_of_the_worked_example(course):
    example = course["receptive_field"]
    (k1, k2, k3), (s1, s2, s3) = example["kernels"], example["strides"]
    net = fc.Sequential(fc.Conv2d(1, 1, k1, s1), fc.MaxPool2d(k2, s2), fc.Conv2d(1, 1, k3, s3))
    rows = fc.summary(net, (1, 28, 28)).rows
    assert [row.receptive_field for row in rows] == example["R"]


def test_receptive_field_is_what_one_result_depends_on(rng):
    """By changing the input pixel by pixel, strides, dilation and pooling included."""
    net = fc.Sequential(
        fc.Conv2d(1, 1, (3, 2), (2, 1), rng=0),
        fc.AvgPool2d(2, 1),
        fc.Conv2d(1, 1, 2, dilation=(2, 1), rng=0),
    )
    x = rng.normal(size=(1, 1, 20, 20))
    centre = net(x)[0, 0, 3, 3]
    rows, columns = set(), set()
    for i in range(20):
        for j in range(20):
            changed = x.copy()
            changed[0, 0, i, j] += 1
            if net(changed)[0, 0, 3, 3] != centre:
                rows.add(i)
                columns.add(j)
    span = (max(rows) - min(rows) + 1, max(columns) - min(columns) + 1)
    assert fc.summary(net, (1, 20, 20)).rows[-1].receptive_field == span


def test_weight_sharing(course):
    numbers = course["parameters"]
    net = fc.Conv2d(3, 30, 5, padding=2, bias=False)
    row = fc.summary(net, (3, 32, 32)).rows[0]
    assert row.output_shape == (30, 32, 32)
    assert row.parameters == numbers["conv_30_5x5x3_no_bias"]
    assert row.unshared == numbers["unshared_30_5x5x3"]
    assert row.fully_connected == (32 * 32 * 3) * (32 * 32 * 30)
    with_bias = fc.summary(fc.Conv2d(3, 30, 5, padding=2), (3, 32, 32))
    assert with_bias.unshared == numbers["unshared_30_5x5x3"] + 32 * 32 * 30


def test_totals_of_lenet():
    found = fc.models.lenet5().summary((1, 28, 28))
    assert found.parameters == 61706
    by_hand = 28 * 28 * 6 * 25 + 100 * 16 * 150 + 120 * 400 + 120 * 84 + 84 * 10
    assert found.macs == by_hand
    assert fc.models.lenet5().summary((8, 1, 28, 28)).macs == 8 * by_hand


def test_shapes_of_one_example_and_of_a_batch():
    net = fc.Sequential(fc.Conv2d(1, 2, 3), fc.Flatten(), fc.Linear(32, 5))
    one, batch = fc.summary(net, (1, 6, 6)), fc.summary(net, (7, 1, 6, 6))
    assert [row.output_shape for row in one.rows] == [(2, 4, 4), (32,), (5,)]
    assert [row.output_shape for row in batch.rows] == [(7, 2, 4, 4), (7, 32), (7, 5)]
    assert [row.receptive_field for row in one.rows] == [3, None, None]
    assert fc.summary(fc.Linear(4, 2), (4,)).rows[0].output_shape == (2,)


def test_the_table():
    net = fc.Sequential(fc.Sequential(fc.Conv2d(1, 2, (3, 1)), fc.ReLU()), fc.GlobalAvgPool2d())
    table = str(fc.summary(net, (1, 5, 4)))
    head, rule, *rows, last_rule, total = table.splitlines()
    assert head.split("  ")[-1] == "receptive field"
    assert rule == last_rule == "-" * len(head)
    assert [row.split() for row in rows] == [
        ["0.0", "Conv2d(1,", "2,", "(3,", "1))", "2×3×4", "8", "96", "504", "72", "3×1"],
        ["0.1", "ReLU()", "2×3×4", "0", "0", "0", "0", "3×1"],
        ["1", "GlobalAvgPool2d()", "2×1×1", "0", "0", "0", "0", "5×4"],
    ]
    assert total.split() == ["total", "8", "96", "504", "72"]
    assert {len(line) for line in (head, *rows)} == {len(head)}
    assert repr(fc.summary(net, (1, 5, 4))) == table


def test_layers_that_do_not_fit():
    net = fc.Sequential(fc.Conv2d(1, 2, 3), fc.Flatten(), fc.Linear(33, 5))
    with pytest.raises(fc.ShapeError, match=r"Linear\(33, 5\): x has shape \(1, 32\)"):
        fc.summary(net, (1, 6, 6))
    with pytest.raises(fc.ShapeError, match=r"summary: input_shape is that of .*; got \(6, 6\)"):
        fc.summary(net, (6, 6))
