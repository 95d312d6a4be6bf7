"""The measurement of augmentation runs, and compares what it times."""

from time import sleep

import pytest


pytest.importorskip("cv2")
pytest.importorskip("mlxtend")

import augmentation
import numpy as np


def test_it_measures_every_way_as_often():
    taken = augmentation.run(digits=128, rounds=2)
    *whole, waited = taken
    assert whole == ["none", "in the step", "in the background"]
    assert all(len(seconds) == 2 and min(seconds) > 0 for seconds in taken.values())
    assert all(w < s for w, s in zip(taken[waited], taken["in the background"], strict=True))


def test_waiting_is_measured(monkeypatch):
    def slow(work, jobs):
        for job in jobs:
            sleep(0.05)
            yield work(job)

    monkeypatch.setattr("fastconv.training.ahead", slow)
    waited = augmentation.run(digits=128, rounds=1)["of these, waited for batches"]
    assert waited[0] >= 0.1  # two batches of 64


def test_a_background_that_changes_the_result_is_found(monkeypatch):
    def wrong(work, jobs):
        for job in jobs:
            x, *rest = work(job)
            yield np.zeros_like(x), *rest

    monkeypatch.setattr("fastconv.training.ahead", wrong)
    with pytest.raises(AssertionError, match="the background changed the result"):
        augmentation.run(digits=128, rounds=1)
