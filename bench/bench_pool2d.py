"""Pooling: y, with indices, and dx.  conftest.py parametrises, times and checks."""

import problems
from cases import POOL as CASES  # noqa: F401


def bench_max_pool2d(measure):
    measure(problems.max_pool2d)


def bench_max_pool2d_indices(measure):
    measure(problems.max_pool2d_indices)


def bench_max_pool2d_dx(measure):
    measure(problems.max_pool2d_dx)


def bench_avg_pool2d(measure):
    measure(problems.avg_pool2d)


def bench_avg_pool2d_dx(measure):
    measure(problems.avg_pool2d_dx)
