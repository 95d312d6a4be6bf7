"""Kernels in a child process, after their threads ran in the parent.  Usage: BACKEND

A script (test_invariants starts it): the child inherits one thread and no workers.
"""

from __future__ import annotations

import os
import signal
import sys

import kernel_support as support
import numpy as np

from fastconv import kernels


def everything(backend: str) -> list[bytes]:
    x, w = support.normals(0, (4, 16, 40, 40), "f4"), support.normals(1, (32, 16, 3, 3), "f4")
    results = []
    for algorithm in ("direct", "im2col", *(["winograd"] if backend == "cython" else [])):
        how = {"padding": 1, "backend": backend, "algorithm": algorithm}
        y = kernels.conv2d(x, w, **how)
        results += [
            y,
            kernels.conv2d_dx(y, w, x.shape, **how),
            kernels.conv2d_dw(y, x, w.shape, **how),
        ]
    results += kernels.max_pool2d(x, 2, return_indices=True, backend=backend)
    results.append(kernels.local_response_norm(x, 5, backend=backend))
    return [a.tobytes() for a in results]


def main(backend: str) -> None:
    want = everything(backend)
    for _ in range(3):
        pid = os.fork()
        if pid == 0:
            signal.alarm(60)  # a deadlock in the child becomes an exit code
            os._exit(0 if everything(backend) == want else 3)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if status:
            sys.exit(f"the child ended with {status}")
        if everything(backend) != want:
            sys.exit("the parent computes something else after the fork")
    print("same bits", np.__version__)


if __name__ == "__main__":
    main(sys.argv[1])
