"""Convolution: y, dx and dw.  conftest.py parametrises, times, checks and records."""

import problems
from cases import CONV as CASES  # noqa: F401


def bench_conv2d(measure):
    measure(problems.conv2d)


def bench_conv2d_dx(measure):
    measure(problems.conv2d_dx)


def bench_conv2d_dw(measure):
    measure(problems.conv2d_dw)
