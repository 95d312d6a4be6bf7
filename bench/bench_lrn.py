"""Local response normalisation: y and dx.  conftest.py parametrises, times and checks."""

import problems
from cases import LRN as CASES  # noqa: F401


def bench_lrn(measure):
    measure(problems.lrn)


def bench_lrn_dx(measure):
    measure(problems.lrn_dx)
