"""Does training wait for the augmentation?

One epoch of LeNet-5 on digits three times in turn: without augmentation, with it in the
training's own thread, and with it in background threads as `fit` does it.  The last two
must end with the same weights.  Said too is how long the training stood still for a batch.
Background threads can hide no more work than the processors have time for: where the kernels
use all of them, an epoch takes longer though it never waits.

    python bench/augmentation.py [--threads 1] [--rounds 5] [--digits 2560]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import Any
from unittest.mock import patch

import numpy as np
from timing import wait_until_idle

import fastconv as fc
from fastconv import training
from fastconv.augment import Compose, LensDistortion, Rotate, Shear, Stretch, Translate


CHAIN = Compose(Translate(2), Rotate(10), Stretch(0.1), Shear(5), LensDistortion(0.1))


def in_the_step(work: Callable[[Any], Any], jobs: Any) -> Any:
    """What `fit` would do without threads."""
    return map(work, jobs)


def watched(waited: list[float]) -> Callable[[Callable[[Any], Any], Any], Any]:
    """`fit`'s own background, which adds the seconds until each batch to the last of `waited`."""
    background = training.ahead

    def batches(work: Callable[[Any], Any], jobs: Any) -> Any:
        ready = iter(background(work, jobs))
        while True:
            began = perf_counter()
            batch = next(ready, None)
            waited[-1] += perf_counter() - began
            if batch is None:
                return
            yield batch

    return batches


def epoch(data: Any, augment: Any) -> tuple[float, Any]:
    """Seconds of an epoch, and the first layer's weights after it."""
    net = fc.models.lenet5(rng=0)
    wait_until_idle(1.0)
    history = fc.fit(net, data, epochs=1, seed=0, augment=augment)
    return history["seconds"][0], net.layers[0].weight.value


def run(digits: int, rounds: int) -> dict[str, list[float]]:
    (x, y), _ = fc.datasets.mnist()
    data = np.resize(x, (digits, *x.shape[1:])), np.resize(y, digits)
    taken: dict[str, list[float]] = {"none": [], "in the step": [], "in the background": []}
    waited = taken["of these, waited for batches"] = []
    epoch(data, CHAIN)  # wakes everything
    for _ in range(rounds):
        taken["none"].append(epoch(data, None)[0])
        with patch("fastconv.training.ahead", in_the_step):
            seconds, expected = epoch(data, CHAIN)
        taken["in the step"].append(seconds)
        waited.append(0.0)
        with patch("fastconv.training.ahead", watched(waited)):
            seconds, weights = epoch(data, CHAIN)
        taken["in the background"].append(seconds)
        assert np.array_equal(weights, expected), "the background changed the result"
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--threads", type=int, default=fc.get_num_threads())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--digits", type=int, default=2560)
    options = parser.parse_args()
    with fc.threads(options.threads):
        taken = run(options.digits, options.rounds)
    print(f"kernels on {options.threads} threads, {options.digits} digits, {options.rounds} rounds")
    for name, seconds in taken.items():
        share = median(s / s0 for s, s0 in zip(seconds, taken["none"], strict=True))
        print(f"augmentation {name:28}  {median(seconds):6.3f} s an epoch  {share:5.2f} x")


if __name__ == "__main__":
    main()
