"""Convolution, pooling and normalisation on NumPy arrays, on three backends.

The verbs (``conv2d``, ``conv2d_dx``, ``max_pool2d``, …) check, allocate, select an
implementation from ``registry.TABLE`` and run it.  This package imports nothing from
``fastconv``, and Numba only when it is needed.
"""

from .conv2d import conv2d, conv2d_db, conv2d_dw, conv2d_dx
from .dims import ConvDims, PoolDims
from .elementwise import dropout, relu, relu_dx, sgd_update, softmax_cross_entropy
from .errors import ShapeError
from .lrn import local_response_norm, local_response_norm_dx
from .pool2d import avg_pool2d, avg_pool2d_dx, max_pool2d, max_pool2d_dx
from .prepared import PreparedWeights
from .registry import available_backends, backend_why_not, use_backend
from .threads import get_num_threads, set_num_threads, threads


__all__ = [
    "ConvDims",
    "PoolDims",
    "PreparedWeights",
    "ShapeError",
    "available_backends",
    "avg_pool2d",
    "avg_pool2d_dx",
    "conv2d",
    "conv2d_db",
    "conv2d_dw",
    "conv2d_dx",
    "dropout",
    "get_num_threads",
    "local_response_norm",
    "local_response_norm_dx",
    "max_pool2d",
    "max_pool2d_dx",
    "relu",
    "relu_dx",
    "set_num_threads",
    "sgd_update",
    "softmax_cross_entropy",
    "threads",
    "use_backend",
]


# The instruction set is chosen now, and threadpoolctl can find the pool from now on.
backend_why_not("cython")
