"""What of the course has no other place: its index, and LeNet on all of MNIST."""

import re
import subprocess
import sys
from pathlib import Path

import pytest


ROOT = Path(__file__).parents[2]
COURSE = ROOT / "docs" / "course"
MNIST = ROOT.parent / "shared" / "data" / "mnist.npz"


def rows():
    """The table of the index: (number, pages, test files)."""
    for line in (COURSE / "index.md").read_text().splitlines():
        if re.match(r"\| \d", line):
            number, _, _, pages, tests = (cell.strip() for cell in line.strip("|").split("|"))
            yield int(number), re.findall(r"\((\S+)\)", pages), re.findall(r"`(\S+)`", tests)


def test_every_system_has_a_page_that_treats_it_and_tests():
    found = list(rows())
    assert [number for number, _, _ in found] == list(range(1, 26))
    for number, pages, tests in found:
        assert pages and tests, number
        for page in pages:
            named = re.findall(r"\(rows? ([^)]*)\)", (COURSE / page).read_text())
            numbers = {n for text in named for n in re.findall(r"\d+", text)}
            assert str(number) in numbers, (number, page)
        for test in tests:
            assert list(ROOT.glob(f"tests/*/{test}")), test


def test_every_page_is_in_the_index():
    index = (COURSE / "index.md").read_text()
    for page in COURSE.glob("*.md"):
        assert page.name == "index.md" or f"({page.name})" in index, page.name


@pytest.mark.skipif(not MNIST.exists(), reason="MNIST is not beside the project")
def test_the_lenet_script_runs(tmp_path):
    """One epoch of its twenty; all of them give 99.5 %, in a minute and a half."""
    pytest.importorskip("cv2")
    script = [sys.executable, ROOT / "docs" / "lenet_mnist.py", MNIST, "--epochs", "1"]
    run = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True, check=True)
    right = re.match(r"seed 0: ([\d.]+)% of 10000 test digits, 1 epochs", run.stdout)
    assert right and float(right[1]) > 96
    assert (tmp_path / "lenet-mnist.npz").exists()
